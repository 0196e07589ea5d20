//! `ctr stop`, `ctr restart`, `ctr kill`, `ctr rm` and `ctr wait`.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fd::AsFd;

use super::lock::Lock;
use super::record::{self, Live, Record, Status};
use super::wire::{CHUNK, Kind, Packet, Wire, number};
use super::{events, limits, paths, reaper, restart, signals};

/// How long a payload that was killed may take to be recorded as ended.
const RECORDING: Duration = Duration::from_secs(30);

/// Seconds that a container is given to stop, unless it asks for other.
const STOP_SECONDS: i64 = 10;

/// How a container is to be stopped.
#[derive(clap::Args, Default)]
pub struct Manner {
    /// Signal to send first
    #[arg(short, long, value_name = "SIGNAL", value_parser = signals::parse)]
    signal: Option<i32>,

    /// Seconds until it is killed; -1 to wait for ever
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", allow_hyphen_values = true)]
    time: Option<i64>,
}

/// `stop`.
#[derive(clap::Args)]
pub struct StopArgs {
    #[command(flatten)]
    manner: Manner,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `restart`.
#[derive(clap::Args)]
pub struct RestartArgs {
    #[command(flatten)]
    manner: Manner,

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
    /// Kill it if it runs; one that does not exist is no error
    #[arg(short, long)]
    force: bool,

    /// Remove a link between containers, as CONTAINER/ALIAS: there are none
    #[arg(short, long)]
    link: bool,

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

/// Do something with each of several containers and print the name of each that it worked for. What cannot be done for one is
/// reported, and the others are seen to all the same.
pub fn each(names: &[String], mut act: impl FnMut(&str) -> anyhow::Result<()>) -> anyhow::Result<i32> {
    let mut status = 0;
    for name in names {
        match act(name) {
            Ok(()) => writeln!(std::io::stdout(), "{name}")?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    Ok(status)
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
    let deadline = Instant::now().checked_add(timeout);
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.map(|left| rustix::time::Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match poll(&mut [PollFd::new(pidfd, PollFlags::IN)], left.as_ref()) {
            Ok(count) => return count > 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}

/// Wait until the monitor has put the end on record and is gone.
fn recorded(id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECORDING;
    while !reaper::sweep(id)? {
        ensure!(Instant::now() < deadline, "the container's monitor does not finish");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Stop: the container's stop signal, then SIGKILL.
///
/// All are told before any is waited for, so that many take no longer than the slowest.
pub fn stop(args: &StopArgs) -> anyhow::Result<i32> {
    let mut told: VecDeque<_> = args.containers.iter().map(|name| tell_to_stop(name, &args.manner)).collect();
    kill_the_deaf(told.iter_mut().flatten());
    each(&args.containers, |_| told.pop_front().map_or(Ok(()), |told| see_stopped(told?)))
}

/// Stop containers without a word: all are told before any is waited for.
pub fn stop_all(ids: &[String], manner: &Manner) -> anyhow::Result<()> {
    let mut told: Vec<_> = ids.iter().map(|id| tell_to_stop(id, manner)).collect();
    kill_the_deaf(told.iter_mut().flatten());
    told.into_iter().try_for_each(|told| see_stopped(told?))
}

/// A container that has been sent its stop signal.
struct Told {
    record: Record,
    /// Nothing if it did not run.
    payload: Option<rustix::fd::OwnedFd>,
    /// When it is killed, if ever.
    deadline: Option<Instant>,
    is_killed: bool,
}

/// Send the stop signal.
fn tell_to_stop(name: &str, manner: &Manner) -> anyhow::Result<Told> {
    let id = record::resolve(name)?;
    if Record::read(&id)?.state.status.is_live() {
        restart::hold(&id)?;
    }
    let payload = payload(&id)?;
    let record = Record::read(&id)?;
    if let Some(pidfd) = &payload {
        let own = &record.config.stop_signal;
        let own = if own.is_empty() { Ok(libc::SIGTERM) } else { signals::parse(own).map_err(anyhow::Error::msg) };
        signal(&record, pidfd, manner.signal.map_or(own, Ok)?)?;
    }
    let seconds = manner.time.unwrap_or_else(|| stop_seconds(&record));
    let deadline = u64::try_from(seconds).ok().map(|seconds| Instant::now() + Duration::from_secs(seconds));
    Ok(Told { record, payload, deadline, is_killed: false })
}

/// `--stop-timeout`.
fn stop_seconds(record: &Record) -> i64 {
    record.config.stop_timeout.unwrap_or(STOP_SECONDS)
}

/// Send a signal, and let a paused container run to take it.
fn signal(record: &Record, pidfd: &rustix::fd::OwnedFd, signal: i32) -> anyhow::Result<()> {
    send(pidfd, signal)?;
    events::of_container(record, "kill", &[("signal", signal.to_string())]);
    if let Some(group) = limits::open(&record.id).filter(|_| limits::is_frozen(&record.id)) {
        group.thaw()?;
    }
    Ok(())
}

/// Kill those that still run when their time is up, all of them before any end is waited for to be recorded. Those that may take for
/// ever are left.
fn kill_the_deaf<'a>(told: impl Iterator<Item = &'a mut Told>) {
    let mut waiting: Vec<_> = told.filter_map(|told| Some((told.deadline?, told))).collect();
    waiting.sort_by_key(|(deadline, _)| *deadline);
    for (_, told) in waiting {
        // Who sees it stopped tries again, and says why it cannot.
        let _ = told.kill_when_due();
    }
}

impl Told {
    /// Wait for its end, and kill it when its time is up.
    fn kill_when_due(&mut self) -> anyhow::Result<()> {
        let Some(pidfd) = &self.payload else { return Ok(()) };
        let patience = self.deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
        if !self.is_killed && !ended(pidfd, patience) {
            signal(&self.record, pidfd, libc::SIGKILL)?;
            self.is_killed = true;
        }
        Ok(())
    }
}

fn see_stopped(mut told: Told) -> anyhow::Result<()> {
    if told.payload.is_none() {
        return see_restarting_end(&told.record.id);
    }
    told.kill_when_due()?;
    recorded(&told.record.id)?;
    events::of_container(&told.record, "stop", &[]);
    Ok(())
}

/// End the restarting of a container that has been held: between two runs, or in a start that had begun.
fn see_restarting_end(id: &str) -> anyhow::Result<()> {
    let deadline = Instant::now() + RECORDING;
    while Record::exists(id) && Record::read(id)?.state.status.is_live() {
        if let Some(pidfd) = payload(id)? {
            send(&pidfd, libc::SIGKILL)?;
        }
        // Connecting is what makes a monitor that waits look around; it can kill a payload that is not on record any more.
        if let Ok(wire) = Wire::connect(&paths::live_container(id)) {
            let _ = wire.send(Kind::Signal, &libc::SIGKILL.to_le_bytes());
        }
        ensure!(Instant::now() < deadline, "the container's monitor does not finish");
        std::thread::sleep(Duration::from_millis(5));
    }
    recorded(id)
}

/// Stop and start again; one that does not run is started.
pub fn restart(args: &RestartArgs) -> anyhow::Result<i32> {
    crate::runtime::seal_self()?;
    each(&args.containers, |name| {
        let id = record::resolve(name)?;
        if Record::read(&id)?.host_config.auto_remove {
            restart::keep(&id).with_context(|| format!("cannot restart container {name}"))?;
        }
        let stopped = tell_to_stop(name, &args.manner).and_then(see_stopped);
        if stopped.is_err() {
            restart::let_go(&id)?;
        }
        stopped?;
        // The start lets it go.
        ensure!(super::run::start_again(&id)? == 0, "cannot restart container {name}");
        events::of_container(&Record::read(&id)?, "restart", &[]);
        Ok(())
    })
}

/// Send a signal.
pub fn kill(args: &KillArgs) -> anyhow::Result<i32> {
    each(&args.containers, |name| {
        let id = record::resolve(name)?;
        let Some(pidfd) = payload(&id)? else {
            bail!("cannot kill container: {name}: container {id} is not running");
        };
        let record = Record::read(&id)?;
        // As under Docker: what may well be meant to end it keeps it from being started again.
        let own = &record.config.stop_signal;
        if args.signal == libc::SIGKILL || own.is_empty() || signals::parse(own) == Ok(args.signal) {
            restart::hold(&id)?;
        }
        signal(&record, &pidfd, args.signal)
    })
}

/// Remove containers.
pub fn rm(args: &RmArgs) -> anyhow::Result<i32> {
    each(&args.containers, |name| {
        if args.link {
            record::resolve(name)?;
            bail!("conflict, cannot remove the default name of the container {name}");
        }
        match record::resolve(name) {
            Ok(id) => remove(&id, name, args.force, args.volumes),
            Err(error) if args.force => {
                eprintln!("ctr: {error:#}");
                Ok(())
            }
            Err(error) => Err(error),
        }
    })
}

/// Remove a container, with `force` also one that runs, or of which nobody can read what it is.
pub fn remove(id: &str, name: &str, force: bool, with_volumes: bool) -> anyhow::Result<()> {
    if let (true, Err(error)) = (force && Record::exists(id), Record::read(id)) {
        eprintln!("ctr: {error:#}");
        restart::hold(id)?;
        return reaper::remove_unreadable(id);
    }
    if let Some(pidfd) = payload(id)? {
        let (state, way_out) = if limits::is_frozen(id) {
            ("paused", " and must be unpaused first")
        } else {
            ("running", ": stop the container before removing or force remove")
        };
        ensure!(force, "cannot remove container {name:?}: container is {state}{way_out}");
        restart::hold(id)?;
        send(&pidfd, libc::SIGKILL)?;
        if let Some(group) = limits::open(id) {
            let _ = group.kill();
        }
        recorded(id)?;
    } else if Record::exists(id) && Record::read(id)?.state.status.is_live() {
        ensure!(
            force || Record::read(id)?.state.status != Status::Restarting,
            "cannot remove container {name:?}: container is restarting: stop the container before removing or force remove"
        );
        if force {
            restart::hold(id)?;
            see_restarting_end(id)?;
        }
    }
    // With --rm its monitor has removed it already.
    if !paths::container(id).exists() {
        return Ok(());
    }
    let Some(lock) = Lock::take(id)? else { bail!("container {name} is being started") };
    reaper::remove(id, lock, with_volumes)
}

/// Connect to the monitor of a container; `None` if it does not run.
pub fn connect(id: &str) -> anyhow::Result<Option<Wire>> {
    let deadline = Instant::now() + RECORDING;
    loop {
        if let Ok(wire) = Wire::connect(&paths::live_container(id)) {
            return Ok(Some(wire));
        }
        // A monitor without a socket is about to make it, or to be gone.
        if reaper::sweep(id)? {
            return Ok(None);
        }
        ensure!(Instant::now() < deadline, "the container's monitor does not answer");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Wait for the end and print the exit status.
pub fn wait(args: &WaitArgs) -> anyhow::Result<i32> {
    let mut status = 0;
    for name in &args.containers {
        match exit_code(name) {
            Ok(code) => writeln!(std::io::stdout(), "{code}")?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    Ok(status)
}

fn exit_code(name: &str) -> anyhow::Result<i32> {
    let id = record::resolve(name)?;
    reaper::sweep(&id)?;
    match connect(&id)? {
        Some(wire) => wait_for(&wire, &id),
        None => Ok(Record::read(&id)?.state.exit_code),
    }
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
