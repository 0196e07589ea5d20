//! The one small process per container: it holds the payload's pidfd, the ends of its pipes or terminal, and its exit status.
//!
//! It is forked, never executed anew, before anything of size is in memory; the launcher that does the heavy work is its child and
//! gone when the payload runs. The payload is then reparented to the monitor, which is a child subreaper. One thread, one poll loop;
//! what it does not hold it does not have to copy.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use coracle_abi::clone::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::lock::Lock;
use super::record::{Health, Record, State, Status};
use super::relay::Relay;
use super::restart::{self, Backoff};
use super::wire::{self, CHUNK, Kind, Listener, Packet, Wire};
use super::{events, limits, paths, reaper, start, time};

/// Exit status of what was lost or killed before it could say.
const KILLED: i32 = 137;

/// The monitor's ends of the payload's streams.
#[derive(Default)]
pub struct Ends {
    /// Writes to its standard input, if that is kept open.
    pub stdin: Option<OwnedFd>,
    /// Reads its standard output.
    pub stdout: Option<OwnedFd>,
    /// Reads its standard error.
    pub stderr: Option<OwnedFd>,
    /// The master of its terminal, which then stands for all three.
    pub console: Option<OwnedFd>,
}

/// What a monitor is born with.
pub struct Monitor {
    /// The container.
    pub id: String,
    /// Its lock, held until the end.
    pub lock: Lock,
    /// Whoever waits for the start.
    pub client: Wire,
    /// Whether that client also wants what follows.
    pub attached: bool,
}

impl Monitor {
    /// See the container from its start to its end. The result is an exit status that nobody reads.
    pub fn run(self, launcher: Child, from_launcher: Wire, ends: Ends) -> i32 {
        let Monitor { id, lock, client, attached } = self;
        let code = match await_start(Some(&client), &launcher, &from_launcher) {
            Start::Running { pidfd, console } => {
                drop((launcher, from_launcher));
                // Before the word goes out: who hears it may connect at once.
                let listener = Listener::bind(&paths::live_container(&id)).ok();
                let told = client.send(Kind::Started, &[]).is_ok();
                let first = (told && attached).then_some(client);
                return supervise(&id, Relay::new(lock, listener, first), pidfd, Ends { console, ..ends });
            }
            Start::Failed(code) => code,
            Start::Lost => {
                reaper::record_loss(&id, KILLED, "the start was interrupted");
                125
            }
        };
        drop(ends);
        if let Err(error) = reaper::finish(&id, lock) {
            report(&error);
        }
        // A client that is gone needs no answer.
        let _ = client.send(Kind::Failed, &code.to_le_bytes());
        0
    }
}

enum Start {
    Running { pidfd: OwnedFd, console: Option<OwnedFd> },
    Failed(i32),
    Lost,
}

/// Wait for the launcher's word, and stop it if the client, where there is one, goes away meanwhile.
fn await_start(client: Option<&Wire>, launcher: &Child, from_launcher: &Wire) -> Start {
    let mut buffer = [0; CHUNK];
    let mut fds = Vec::new();
    let start = loop {
        // Without a client the launcher's end is looked at twice.
        let client = client.unwrap_or(from_launcher).as_fd();
        let mut polled = [
            PollFd::from_borrowed_fd(from_launcher.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(client, PollFlags::RDHUP),
        ];
        match poll(&mut polled, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_) => break Start::Lost,
        }
        if polled[0].revents().is_empty() {
            if !polled[1].revents().is_empty() {
                // An unstarted payload ends with its launcher.
                let _ = rustix::process::pidfd_send_signal(&launcher.pidfd, rustix::process::Signal::KILL);
                break Start::Lost;
            }
            continue;
        }
        match from_launcher.receive_fds(&mut buffer, &mut fds) {
            Ok(Packet::Body(Kind::Started, _)) => {
                let mut fds = fds.into_iter();
                let Some(pidfd) = fds.next() else { break Start::Lost };
                break Start::Running { pidfd, console: fds.next() };
            }
            Ok(Packet::Body(Kind::Failed, _)) => break Start::Failed(wire::number(&buffer).unwrap_or(125)),
            _ => break Start::Lost,
        }
    };
    let _ = reap(launcher.pidfd.as_fd());
    start
}

/// Wait for a child and reap it.
fn reap(pidfd: BorrowedFd<'_>) -> io::Result<i32> {
    loop {
        match waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED) {
            Ok(Some(status)) => {
                let signal = status.terminating_signal().map(|signal| 128 + signal);
                return Ok(status.exit_status().or(signal).unwrap_or(KILLED));
            }
            Ok(None) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

fn report(error: &anyhow::Error) {
    eprintln!("ctr: {error:#}");
}

/// From the running payload to the record of its end, over all runs that the restart policy wants.
fn supervise(id: &str, mut relay: Relay, mut pidfd: OwnedFd, mut ends: Ends) -> i32 {
    let mut backoff = Backoff::default();
    loop {
        let begun = Instant::now();
        relay.begin(id, ends);
        relay.until_exit(pidfd.as_fd());
        let code = reap(pidfd.as_fd()).unwrap_or(KILLED);
        relay.end();
        let Some(delay) = backoff.after(id, code, begun.elapsed()) else {
            let result = record_end(id, code, Status::Exited);
            return relay.conclude(id, code, result.map(drop));
        };
        if let Err(error) = record_end(id, code, Status::Restarting).and_then(|record| reaper::undo(&record)) {
            return relay.conclude(id, code, Err(error));
        }
        relay.tell_apart(code);
        if !relay.rest(delay, || restart::is_held(id)) {
            let result = Record::change(id, |record| {
                record.state.status = Status::Exited;
                Ok(())
            });
            return relay.conclude(id, code, result.map(drop));
        }
        match run_again(id) {
            Ok((next, streams)) => (pidfd, ends) = (next, streams),
            Err(code) => return relay.conclude(id, code, Ok(())),
        }
    }
}

/// Start the payload once more; else the exit status, with the reason on record.
fn run_again(id: &str) -> Result<(OwnedFd, Ends), i32> {
    let starting = Record::change(id, |record| {
        record.state = State::starting();
        Ok(())
    });
    let lost = |code: i32, error: &anyhow::Error| {
        reaper::record_loss(id, code, &format!("{error:#}"));
        code
    };
    let (launcher, from_launcher, ends) =
        starting.and_then(|record| start::launch_again(&record)).map_err(|error| lost(KILLED, &error))?;
    match await_start(None, &launcher, &from_launcher) {
        Start::Running { pidfd, console } => Ok((pidfd, Ends { console, ..ends })),
        Start::Failed(code) => Err(code),
        Start::Lost => Err(lost(KILLED, &anyhow::anyhow!("the start was interrupted"))),
    }
}

fn record_end(id: &str, code: i32, status: Status) -> anyhow::Result<Record> {
    let record = Record::read(id)?;
    let oom_killed = limits::oom_killed(id);
    events::ended(&record, code, oom_killed);
    if reaper::goes_with_its_end(&record) {
        // It is about to go.
        return Ok(record);
    }
    let health = Health::read(id).map(Health::stopped);
    let changed = Record::change(id, |record| {
        record.state.oom_killed = oom_killed;
        record.state.status = status;
        record.state.exit_code = code;
        record.state.finished_at = time::now();
        record.state.health = health;
        record.restart_count += u32::from(status == Status::Restarting);
        Ok(())
    });
    changed.context("cannot record the end")
}

/// Make this process a monitor: no terminal, no folder, no streams of the caller's.
pub fn detach() -> anyhow::Result<()> {
    rustix::process::setsid().context("cannot start a session")?;
    rustix::process::set_child_subreaper(Some(rustix::process::getpid())).context("cannot become a subreaper")?;
    std::env::set_current_dir("/").context("cannot change to /")?;
    rustix::thread::set_name(c"ctr-monitor").context("cannot set the process' name")
}

/// Let go of the caller's standard streams.
pub fn release_streams() -> anyhow::Result<()> {
    let null =
        open(Path::new("/dev/null"), OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).context("cannot open /dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}
