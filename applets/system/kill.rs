//! `kill` and `killall` (POSIX kill(1), psmisc killall(1)).

use std::ffi::OsString;
use std::io::{self, Write};

use nix::errno::Errno;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use super::processes;
use super::signals::{self, Choice};
use crate::common;
use crate::registry::{Applet, Dir};

/// `kill`.
pub const KILL: Applet =
    Applet { name: "kill", aliases: &[], dir: Dir::Bin, summary: "send a signal to processes", run: kill };

/// `killall`.
pub const KILLALL: Applet = Applet {
    name: "killall",
    aliases: &[],
    dir: Dir::Bin,
    summary: "send a signal to processes by name",
    run: killall,
};

const KILL_USAGE: &str = "\
usage: kill [-s SIGNAL | -SIGNAL] PID...
       kill -l [SIGNAL | STATUS]...

Send SIGNAL (a name or a number, TERM if none is given) to each PID. 0 is the caller's process group, -1 all processes, -PID the
process group PID. -l lists the signals, or translates between names and numbers.
";

const KILLALL_USAGE: &str = "\
usage: killall [-q] [-s SIGNAL | -SIGNAL] NAME...
       killall -l

Send SIGNAL (TERM if none is given) to all processes with one of the names. -q: do not complain when there is none.
";

/// The parsed command line of `kill`: what to do with which operands.
#[derive(Debug, PartialEq, Eq)]
pub enum Request {
    /// Print this.
    Say(String),
    /// Send the signal to the operands.
    Send(Choice, Vec<String>),
}

/// Parse the arguments after the name.
///
/// # Errors
/// What is wrong with them.
pub fn parse(args: &[String]) -> Result<Request, String> {
    let mut signal: Choice = Some(Signal::SIGTERM);
    let mut rest = args.iter();
    let mut operands = Vec::new();
    match rest.next().map(String::as_str) {
        None => return Err("whom? see kill --help".into()),
        Some("--help") => return Ok(Request::Say(KILL_USAGE.into())),
        Some("-l" | "-L" | "--list" | "--table") => {
            let words: Result<Vec<String>, String> = rest.map(|word| signals::translate(word)).collect();
            let words = words?;
            return Ok(Request::Say(if words.is_empty() { signals::table() } else { words.join("\n") + "\n" }));
        }
        Some("-s" | "-n" | "--signal") => signal = signals::parse(rest.next().ok_or("-s: the signal is missing")?)?,
        Some("--") => {}
        Some(word) if word.starts_with('-') => signal = signals::parse(&word[1..])?,
        Some(word) => operands.push(word.to_owned()),
    }
    let mut rest = rest.peekable();
    rest.next_if(|word| operands.is_empty() && *word == "--");
    operands.extend(rest.cloned());
    if operands.is_empty() {
        return Err("whom? see kill --help".into());
    }
    Ok(Request::Send(signal, operands))
}

/// Send to one operand, which must be a number.
///
/// # Errors
/// What the kernel said.
pub fn send(signal: Choice, operand: &str) -> Result<(), String> {
    let pid: i32 = operand.parse().map_err(|_| format!("{operand}: not a process id"))?;
    nix::sys::signal::kill(Pid::from_raw(pid), signal).map_err(|errno| match errno {
        Errno::ESRCH => format!("({pid}): no such process"),
        errno => format!("({pid}): {}", errno.desc()),
    })
}

fn kill(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let result = match parse(&words) {
        Ok(Request::Say(text)) => io::stdout().write_all(text.as_bytes()).map(|()| 0).map_err(Into::into),
        Ok(Request::Send(signal, operands)) => Ok(send_all(&name, signal, &operands)),
        Err(message) => Err(anyhow::anyhow!(message)),
    };
    common::finish(&name, result)
}

/// Send to every operand; 1 if one of them failed, which is told.
fn send_all(name: &str, signal: Choice, operands: &[String]) -> i32 {
    let mut status = 0;
    for operand in operands {
        if let Err(message) = send(signal, operand) {
            let _ = writeln!(io::stderr(), "{name}: {message}");
            status = 1;
        }
    }
    status
}

fn killall(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let words: Vec<String> = args.iter().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    common::finish(&name, kill_by_name(&name, &words))
}

fn kill_by_name(called: &str, words: &[String]) -> anyhow::Result<i32> {
    let (mut signal, mut quiet, mut names): (Choice, bool, Vec<&str>) = (Some(Signal::SIGTERM), false, Vec::new());
    let mut rest = words.iter().map(String::as_str);
    while let Some(word) = rest.next() {
        match word {
            "--help" => {
                io::stdout().write_all(KILLALL_USAGE.as_bytes())?;
                return Ok(0);
            }
            "-l" => {
                io::stdout().write_all(signals::table().as_bytes())?;
                return Ok(0);
            }
            "-q" => quiet = true,
            "-s" => {
                let word = rest.next().ok_or_else(|| anyhow::anyhow!("-s: the signal is missing"))?;
                signal = signals::parse(word).map_err(anyhow::Error::msg)?;
            }
            "--" => names.extend(rest.by_ref()),
            option if option.starts_with('-') => signal = signals::parse(&option[1..]).map_err(anyhow::Error::msg)?,
            operand => names.push(operand),
        }
    }
    anyhow::ensure!(!names.is_empty(), "whom? see killall --help");
    let all = processes::all()?;
    let mut status = 0;
    for wanted in names {
        let mut hit = false;
        for process in all.iter().filter(|process| process.is_called(wanted) && process.pid != own_pid()) {
            match send(signal, &process.pid.to_string()) {
                Ok(()) => hit = true,
                Err(message) => writeln!(io::stderr(), "{called}: {wanted}{message}")?,
            }
        }
        if !hit {
            status = 1;
            if !quiet {
                writeln!(io::stderr(), "{called}: {wanted}: no process found")?;
            }
        }
    }
    Ok(status)
}

/// The caller, which never signals itself by name.
pub fn own_pid() -> i32 {
    nix::unistd::getpid().as_raw()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Request, String> {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn signals_and_operands() {
        let send = |signal, operands: &[&str]| {
            Ok(Request::Send(signal, operands.iter().map(|word| (*word).to_owned()).collect()))
        };
        assert_eq!(parsed(&["1", "2"]), send(Some(Signal::SIGTERM), &["1", "2"]));
        assert_eq!(parsed(&["-9", "1"]), send(Some(Signal::SIGKILL), &["1"]));
        assert_eq!(parsed(&["-s", "HUP", "--", "-5"]), send(Some(Signal::SIGHUP), &["-5"]));
        assert_eq!(parsed(&["-TERM", "-1"]), send(Some(Signal::SIGTERM), &["-1"]));
        assert_eq!(parsed(&["-0", "7"]), send(None, &["7"]));
        assert_eq!(parsed(&["--", "-7"]), send(Some(Signal::SIGTERM), &["-7"]));
        assert_eq!(parsed(&["-l", "9"]), Ok(Request::Say("KILL\n".into())));
        for wrong in [&[][..], &["-9"], &["-s"], &["-FROB", "1"], &["-l", "frob"]] {
            assert!(parsed(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn no_such_process() {
        assert!(send(None, "99999999").is_err_and(|message| message.contains("no such process")));
        assert!(send(None, "frob").is_err());
        assert!(send(None, &own_pid().to_string()).is_ok());
    }
}
