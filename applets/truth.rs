//! `true` and `false`: exit with a status and do nothing else, as fast as a process can.
//!
//! POSIX.1-2024 XCU `true`, `false`. Operands are ignored; only a lone `--help` or `--version` is answered.

use std::ffi::OsString;
use std::io::{self, Write};

use crate::registry::{Applet, Dir};

/// `true`: success.
pub const TRUE: Applet = Applet {
    name: "true",
    aliases: &[],
    dir: Dir::Bin,
    summary: "Exit with success",
    run: |args| answer(args).unwrap_or(0),
};

/// `false`: failure.
pub const FALSE: Applet = Applet {
    name: "false",
    aliases: &[],
    dir: Dir::Bin,
    summary: "Exit with failure",
    run: |args| answer(args).unwrap_or(1),
};

/// The status after answering a lone `--help` or `--version`.
fn answer(args: &[OsString]) -> Option<i32> {
    let [name, option] = args else { return None };
    let name = name.to_string_lossy();
    // Nothing can be done about a closed output here.
    let _ = match option.to_str()? {
        "--help" => {
            let status = if name == "false" { 1 } else { 0 };
            writeln!(io::stdout(), "Usage: {name} [ignored arguments]\n\nExit with status {status}.")
        }
        "--version" => writeln!(io::stdout(), "{name} (coracle) {}", env!("CARGO_PKG_VERSION")),
        _ => return None,
    };
    Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(applet: &Applet, args: &[&str]) -> i32 {
        let args: Vec<OsString> =
            std::iter::once(applet.name).chain(args.iter().copied()).map(OsString::from).collect();
        (applet.run)(&args)
    }

    #[test]
    fn statuses() {
        assert_eq!(status(&TRUE, &[]), 0);
        assert_eq!(status(&TRUE, &["--nonsense", "x"]), 0);
        assert_eq!(status(&FALSE, &[]), 1);
        assert_eq!(status(&FALSE, &["--help", "x"]), 1);
        assert_eq!(status(&FALSE, &["--help"]), 0);
    }
}
