//! `ctr stop`, `ctr kill`, `ctr rm` and `ctr wait`.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;

use super::lock::Lock;
use super::record::{self, Live, Record, Status};
use super::wire::{CHUNK, Kind, Packet, Wire, number};
use super::{limits, paths, reaper, signals, volumes};

/// How long a payload that was killed may take to be recorded as ended.
const RECORDING: Duration = Duration::from_secs(30);

/// `stop`.
#[derive(clap::Args)]
pub struct StopArgs {
    /// Seconds until it is killed
    #[arg(short, long, default_value_t = 10)]
    time: u64,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `kill`.
#[derive(clap::Args)]
pub struct KillArgs {
    /// Signal to send
    #[arg(short, long, default_value = "KILL", value_parser = signals::parse)]
    signal: i32,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `rm`.
#[derive(clap::Args)]
pub struct RmArgs {
    /// Kill it if it runs
    #[arg(short, long)]
    force: bool,

    /// Also remove its anonymous volumes
    #[arg(short, long)]
    volumes: bool,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `wait`.
#[derive(clap::Args)]
pub struct WaitArgs {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// The payload of a running container; `None` if it does not run.
pub fn payload(id: &str) -> anyhow::Result<Option<rustix::fd::OwnedFd>> {
    reaper::sweep(id)?;
    Live::read(id).map_or(Ok(None), |live| live.open())
}

fn send(pidfd: &rustix::fd::OwnedFd, signal: i32) -> anyhow::Result<()> {
    match coracle_abi::process::pidfd_send_signal(pidfd.as_fd(), signal) {
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => Ok(()),
        sent => sent.with_context(|| format!("cannot send {} to the container", signals::name(signal))),
    }
}

/// Wait for the end of the payload; false when the time is up.
fn ended(pidfd: &rustix::fd::OwnedFd, timeout: Duration) -> bool {
    let deadline = Instant::now() + timeout;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        };
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], Some(&left)) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Wait until the monitor has put the end on record.
fn recorded(id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECORDING;
    while paths::container(id).exists() {
        // The monitor holds the lock until all is done.
        if let Some(lock) = Lock::try_take(id)? {
            return match Record::read(id)?.state.status {
                Status::Running => reaper::finish(id, lock),
                _ => lock.remove().context("cannot remove the container's volatile files"),
            };
        }
        ensure!(Instant::now() < deadline, "the container's monitor does not finish");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Stop: the container's stop signal, then SIGKILL.
///
/// All are told before any is waited for, so that many take no longer than the slowest. What cannot be done for one is reported, and
/// the others are stopped all the same.
pub fn stop(args: &StopArgs) -> anyhow::Result<i32> {
    let told: Vec<_> = args.containers.iter().map(|name| (name, tell_to_stop(name))).collect();
    let deadline = Instant::now() + Duration::from_secs(args.time);
    let mut status = 0;
    for (name, told) in told {
        match told.and_then(|(id, payload)| payload.map_or(Ok(()), |pidfd| see_stopped(&id, &pidfd, deadline))) {
            Ok(()) => writeln!(std::io::stdout(), "{name}")?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    Ok(status)
}

/// Send the stop signal; the container's id, and its payload if it runs.
fn tell_to_stop(name: &str) -> anyhow::Result<(String, Option<rustix::fd::OwnedFd>)> {
    let id = record::resolve(name)?;
    let payload = payload(&id)?;
    if let Some(pidfd) = &payload {
        let signal = Record::read(&id)?.config.stop_signal;
        let signal =
            if signal.is_empty() { libc::SIGTERM } else { signals::parse(&signal).map_err(anyhow::Error::msg)? };
        send(pidfd, signal)?;
    }
    Ok((id, payload))
}

fn see_stopped(id: &str, pidfd: &rustix::fd::OwnedFd, deadline: Instant) -> anyhow::Result<()> {
    if !ended(pidfd, deadline.saturating_duration_since(Instant::now())) {
        send(pidfd, libc::SIGKILL)?;
    }
    recorded(id)
}

/// Send a signal.
pub fn kill(args: &KillArgs) -> anyhow::Result<i32> {
    for name in &args.containers {
        let id = record::resolve(name)?;
        let Some(pidfd) = payload(&id)? else { bail!("container {name} is not running") };
        send(&pidfd, args.signal)?;
        writeln!(std::io::stdout(), "{name}")?;
    }
    Ok(0)
}

/// Remove containers.
pub fn rm(args: &RmArgs) -> anyhow::Result<i32> {
    for name in &args.containers {
        let id = record::resolve(name)?;
        if let Some(pidfd) = payload(&id)? {
            ensure!(args.force, "container {name} is running; stop it first, or use -f");
            send(&pidfd, libc::SIGKILL)?;
            if let Some(group) = limits::open(&id) {
                let _ = group.kill();
            }
            recorded(&id)?;
        }
        // With --rm its monitor has removed it already.
        if paths::container(&id).exists() {
            let Some(lock) = Lock::take(&id)? else { bail!("container {name} is being started") };
            // The monitor of one with --rm may have been faster.
            if Record::exists(&id) {
                let record = Record::read(&id)?;
                if args.volumes {
                    volumes::remove_of(&record)?;
                }
                reaper::remove_files(&record)?;
            }
            lock.remove()?;
        }
        writeln!(std::io::stdout(), "{name}")?;
    }
    Ok(0)
}

/// Connect to the monitor of a container; `None` if it does not run.
pub fn connect(id: &str) -> anyhow::Result<Option<Wire>> {
    let deadline = Instant::now() + RECORDING;
    loop {
        if let Ok(wire) = Wire::connect(&paths::live_container(id)) {
            return Ok(Some(wire));
        }
        // A monitor without a socket is about to make it, or to be gone.
        if let Some(lock) = Lock::try_take(id)? {
            lock.remove().context("cannot remove the container's volatile files")?;
            return Ok(None);
        }
        ensure!(Instant::now() < deadline, "the container's monitor does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Wait for the end and print the exit status.
pub fn wait(args: &WaitArgs) -> anyhow::Result<i32> {
    for name in &args.containers {
        let id = record::resolve(name)?;
        reaper::sweep(&id)?;
        let code = match connect(&id)? {
            Some(wire) => wait_for(&wire, &id)?,
            None => Record::read(&id)?.state.exit_code,
        };
        writeln!(std::io::stdout(), "{code}")?;
    }
    Ok(0)
}

/// The exit status by way of the monitor, or from the record if the monitor ends before it can tell.
fn wait_for(wire: &Wire, id: &str) -> anyhow::Result<i32> {
    let mut buffer = [0; CHUNK];
    if wire.send(Kind::Wait, &[]).is_ok() {
        loop {
            match wire.receive(&mut buffer)? {
                Packet::Body(Kind::Exited, _) => {
                    return number(&buffer).context("the monitor sent a broken exit status");
                }
                Packet::Body(..) | Packet::Nothing => {}
                Packet::Closed => break,
            }
        }
    }
    recorded(id)?;
    Ok(Record::read(id)?.state.exit_code)
}
