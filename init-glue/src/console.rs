//! What init says, and on which terminals people log in.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use nix::fcntl::OFlag;
use rustix::termios::{self, ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, Winsize};

use crate::supervise::{Io, Restart, Unit};

/// Say one line on the console. It goes out in one write, so that lines of other processes do not mix with it; that
/// nobody can hear it is no reason to fail.
pub fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// Make `/dev/console` standard input, output and error. The kernel does so before it starts init, unless the initramfs
/// has no such node.
pub fn reopen() {
    let console = File::options().read(true).write(true).custom_flags(OFlag::O_NOCTTY.bits()).open("/dev/console");
    if let Ok(console) = console {
        let _ = rustix::stdio::dup2_stdin(&console);
        let _ = rustix::stdio::dup2_stdout(&console);
        let _ = rustix::stdio::dup2_stderr(&console);
    }
}

/// The terminals that the kernel uses as consoles, by name (`ttyS0`), the one behind `/dev/console` last.
#[must_use]
pub fn active() -> Vec<String> {
    let names = fs::read_to_string("/sys/class/tty/console/active").unwrap_or_default();
    let found = terminals(&names);
    // A kernel without any console driver: then /dev/console is the best guess.
    if found.is_empty() { vec!["console".into()] } else { found }
}

fn terminals(active: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    for name in active.split_whitespace() {
        // tty0 is whichever virtual terminal is in the foreground; people log in on the first.
        let name = if name == "tty0" { "tty1" } else { name };
        if !found.iter().any(|known| known == name) {
            found.push(name.into());
        }
    }
    found
}

/// A root login shell on a terminal, for as long as the machine runs.
#[must_use]
pub fn getty(terminal: &str) -> Unit {
    Unit {
        name: format!("getty-{terminal}"),
        program: "/bin/sh".into(),
        arg0: Some("-sh".into()),
        args: vec![],
        io: Io::Terminal(terminal.into()),
        restart: Restart::Always,
    }
}

/// Open a terminal for a login: in the state that a shell expects, whatever the last program left behind.
///
/// # Errors
/// What open(2) says; a terminal that cannot be set up is still given out.
pub fn open_terminal(name: &str) -> io::Result<File> {
    let path = PathBuf::from("/dev").join(name);
    // Without O_NONBLOCK the open of a serial line waits for a carrier.
    let terminal = File::options()
        .read(true)
        .write(true)
        .custom_flags((OFlag::O_NOCTTY | OFlag::O_NONBLOCK).bits())
        .open(&path)?;
    rustix::io::ioctl_fionbio(&terminal, false)?;
    let _ = make_sane(&terminal);
    Ok(terminal)
}

fn make_sane(terminal: &File) -> rustix::io::Result<()> {
    let mut modes = termios::tcgetattr(terminal)?;
    modes.input_modes.insert(InputModes::ICRNL | InputModes::IXON | InputModes::BRKINT);
    modes.input_modes.remove(InputModes::INLCR | InputModes::IGNCR | InputModes::IXOFF);
    modes.output_modes.insert(OutputModes::OPOST | OutputModes::ONLCR);
    modes.local_modes.insert(LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN);
    modes
        .local_modes
        .insert(LocalModes::ECHO | LocalModes::ECHOE | LocalModes::ECHOK | LocalModes::ECHOCTL | LocalModes::ECHOKE);
    // A modem line that drops must not leave PID 1 hanging in open or write.
    modes.control_modes.insert(ControlModes::CLOCAL | ControlModes::CREAD);
    termios::tcsetattr(terminal, OptionalActions::Now, &modes)?;
    let size = termios::tcgetwinsize(terminal)?;
    if size.ws_row == 0 || size.ws_col == 0 {
        // A serial line does not know; this is what a VT100 has.
        termios::tcsetwinsize(terminal, Winsize { ws_row: 24, ws_col: 80, ..size })?;
    }
    Ok(())
}

/// `TERM` for a terminal of this name.
#[must_use]
pub fn terminal_type(name: &str) -> &'static str {
    let virtual_terminal = name.strip_prefix("tty").is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()));
    if virtual_terminal { "linux" } else { "vt220" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consoles() {
        assert_eq!(terminals("tty0 ttyS0\n"), ["tty1", "ttyS0"]);
        assert_eq!(terminals("ttyAMA0 ttyAMA0"), ["ttyAMA0"]);
        assert!(terminals("").is_empty());
    }

    #[test]
    fn terminal_types() {
        assert_eq!(terminal_type("tty1"), "linux");
        assert_eq!(terminal_type("ttyS0"), "vt220");
        assert_eq!(terminal_type("hvc0"), "vt220");
    }
}
