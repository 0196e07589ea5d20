//! `coracle.run=COMMAND`: a virtual machine as a function.

use crate::console::say;
use crate::supervise::{Ended, Io, Restart, Unit};

/// The command as a unit: by `sh -c`, without input, its output on the console.
#[must_use]
pub fn unit(command: &str) -> Unit {
    Unit {
        name: "coracle.run".into(),
        program: "/bin/sh".into(),
        arg0: Some("sh".into()),
        args: vec!["-c".into(), command.into()],
        io: Io::Console,
        restart: Restart::Never,
    }
}

/// Say how it ended, in the words that whoever started the machine waits for.
pub fn report(ended: Ended) {
    say(&format!("coracle.run: exit {}", ended.status()));
}
