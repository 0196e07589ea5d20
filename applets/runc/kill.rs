//! `kill`: send a signal to a container.

use std::os::fd::AsFd;

use anyhow::{Context, anyhow, bail};
use coracle_abi::process::pidfd_send_signal;
use nix::sys::signal::Signal;
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::container::Container;
use super::options::Global;
use super::words;

/// `kill`.
#[derive(clap::Args)]
pub struct Args {
    /// Send it to all processes inside the container
    #[arg(short, long)]
    all: bool,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,

    /// Name or number of the signal
    #[arg(default_value = "SIGTERM", allow_hyphen_values = true)]
    signal: String,
}

/// Send it.
pub fn kill(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let signal = parse(&args.signal)?;
    let container = Container::load(global, &args.id)?;
    if args.all {
        send_all(&container, signal)?;
        return Ok(0);
    }
    let Some(pidfd) = container.pidfd()? else { bail!("container not running") };
    match pidfd_send_signal(pidfd.as_fd(), signal) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => bail!("container not running"),
        Err(error) => bail!("unable to signal init: {}", words::reason(&error)),
    }
    // Whose PID namespace is the host's loses only the first process by that.
    if signal == libc::SIGKILL && !has_pid_namespace(&container.state.spec()?) {
        send_all(&container, signal)?;
    }
    Ok(0)
}

/// Whether all processes end with the first one.
pub fn has_pid_namespace(spec: &Spec) -> bool {
    let namespaces = spec.linux().as_ref().and_then(|linux| linux.namespaces().as_ref());
    // One that is joined has another first process.
    namespaces.into_iter().flatten().any(|one| one.typ() == LinuxNamespaceType::Pid && one.path().is_none())
}

/// Send a signal to every process of the container.
fn send_all(container: &Container, signal: i32) -> anyhow::Result<()> {
    if signal == libc::SIGKILL
        && let Some(cgroup) = container.cgroup()
    {
        return cgroup.kill().map_err(words::cgroup);
    }
    for pid in container.pids()? {
        let Some(number) = Pid::from_raw(pid) else { continue };
        let Ok(pidfd) = pidfd_open(number, PidfdFlags::empty()) else { continue };
        // The number may be another process' by now.
        if !container.pids()?.contains(&pid) {
            continue;
        }
        match pidfd_send_signal(pidfd.as_fd(), signal) {
            Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
                return Err(error).with_context(|| format!("unable to signal process {pid}"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// A number, or a name with or without SIG in any case.
fn parse(text: &str) -> anyhow::Result<i32> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    let name = text.to_ascii_uppercase();
    let name = match name.strip_prefix("SIG").unwrap_or(&name) {
        "CLD" => "CHLD",
        "POLL" => "IO",
        "IOT" => "ABRT",
        name => name,
    };
    let unknown = || anyhow!("unknown signal {text:?}");
    // The C library keeps 32 and 33 for itself; 64 is the last.
    if let Some(offset) = name.strip_prefix("RTMIN") {
        let offset = if offset.is_empty() { Ok(0) } else { offset.trim_start_matches('+').parse::<i32>() };
        return offset.ok().filter(|offset| (0..=30).contains(offset)).map(|offset| 34 + offset).ok_or_else(unknown);
    }
    if let Some(offset) = name.strip_prefix("RTMAX") {
        let offset = if offset.is_empty() { Ok(0) } else { offset.trim_start_matches('-').parse::<i32>() };
        return offset.ok().filter(|offset| (0..=30).contains(offset)).map(|offset| 64 - offset).ok_or_else(unknown);
    }
    format!("SIG{name}").parse::<Signal>().map(|signal| signal as i32).map_err(|_| unknown())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers() {
        for (text, number) in [
            ("KILL", 9),
            ("SIGKILL", 9),
            ("sigterm", 15),
            ("9", 9),
            ("0", 0),
            ("99", 99),
            ("RTMIN+3", 37),
            ("RTMAX-1", 63),
            ("CLD", 17),
        ] {
            assert_eq!(parse(text).unwrap(), number, "{text}");
        }
        for text in ["", "NOSIG", "SIG", "RTMIN+x", "RTMIN+31", "9x"] {
            assert_eq!(parse(text).unwrap_err().to_string(), format!("unknown signal {text:?}"));
        }
    }
}
