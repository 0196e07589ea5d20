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

/// Where `ctr` keeps its containers.
const CONTAINERS: &str = "/var/lib/coracle/containers";

/// Whether there is a container at all.
#[must_use]
pub fn has_containers() -> bool {
    std::fs::read_dir(CONTAINERS).is_ok_and(|mut entries| entries.next().is_some())
}

/// What starts the containers whose restart policy wants them back. Which these are is not for PID 1 to read.
#[must_use]
pub fn autostart() -> Unit {
    Unit {
        name: "autostart".into(),
        program: "/usr/bin/ctr".into(),
        arg0: Some("ctr".into()),
        args: vec!["autostart".into()],
        io: Io::Log,
        restart: Restart::Never,
    }
}
