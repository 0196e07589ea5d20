//! Health checks: when one is due, and how it is run. The monitor only keeps the time; each check is a child of its own.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use coracle_abi::clone::Child;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::exec::{self, Wanted};
use super::record::{Health, Healthcheck, Record};
use super::record_health::HealthResult;
use super::relay::timespec;
use super::{events, limits, time};
use crate::runtime::{Io, Running};

/// Output that is kept of a check.
const OUTPUT_MAX: usize = 4096;

/// Exit status of a check's child: the container is not in its start any more.
const SETTLED: i32 = 0;
const STARTING: i32 = 1;

/// When checks are due.
pub struct Probes {
    id: String,
    interval: Duration,
    start_interval: Duration,
    start_end: Instant,
    is_starting: bool,
    next: Instant,
    running: Option<Child>,
}

impl Probes {
    /// Of a container that has just been started; `None` if it has no check.
    pub fn of(record: &Record) -> Option<Self> {
        let check = record.config.healthcheck.as_ref().filter(|check| check.is_active())?;
        let now = Instant::now();
        let mut probes = Probes {
            id: record.id.clone(),
            interval: check.interval(),
            start_interval: check.start_interval(),
            start_end: now + check.start_period(),
            is_starting: true,
            next: now,
            running: None,
        };
        probes.schedule();
        Some(probes)
    }

    fn schedule(&mut self) {
        let now = Instant::now();
        let in_start = self.is_starting && now < self.start_end;
        self.next = now + if in_start { self.start_interval } else { self.interval };
    }

    /// The container.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// How long until the next check; `None` while one runs.
    pub fn timeout(&self) -> Option<Duration> {
        self.running.is_none().then(|| self.next.saturating_duration_since(Instant::now()))
    }

    /// Whether one is to be started.
    pub fn is_due(&self) -> bool {
        self.timeout().is_some_and(|left| left.is_zero())
    }

    /// The running check, to poll.
    pub fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.running.as_ref().map(|child| child.pidfd.as_fd())
    }

    /// A check was started, or could not be: then the next one is tried at its time.
    pub fn began(&mut self, child: Option<Child>) {
        self.running = child;
        self.schedule();
    }

    /// The running check has ended.
    pub fn ended(&mut self) {
        if let Some(child) = self.running.take() {
            self.is_starting = reap(&child) == Some(STARTING);
        }
        self.schedule();
    }

    /// The container has ended, and with it the check.
    pub fn stop(self) {
        if let Some(child) = &self.running {
            let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
            reap(child);
        }
    }
}

fn reap(child: &Child) -> Option<i32> {
    loop {
        match waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {
            Err(Errno::INTR) => {}
            ended => return ended.ok().flatten()?.exit_status(),
        }
    }
}

/// In the child: check once and put the result on record.
pub fn probe(id: &str, payload: BorrowedFd<'_>) -> i32 {
    // Nobody waits for it when the monitor is gone.
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    match check(id, payload) {
        Ok(health) if health.status == "starting" => STARTING,
        _ => SETTLED,
    }
}

fn check(id: &str, payload: BorrowedFd<'_>) -> anyhow::Result<Health> {
    let record = Record::read(id)?;
    let mut health = Health::read(id).unwrap_or_else(Health::starting);
    let check = record.config.healthcheck.clone().context("the container has no health check")?;
    if limits::is_frozen(id) {
        return Ok(health);
    }
    let start = time::now();
    let in_start_period = time::since(&record.state.started_at) < check.start_period();
    let (exit_code, output) = run(&record, payload, &check).unwrap_or_else(|error| (-1, format!("{error:#}")));
    let before = health.status.clone();
    health.add(HealthResult { start, end: time::now(), exit_code, output }, &check, in_start_period);
    health.write(id).context("cannot record the health check")?;
    if health.status != before {
        events::of_container(&record, &format!("health_status: {}", health.status), &[]);
    }
    Ok(health)
}

/// Run the check in the container: its exit status and output.
fn run(record: &Record, payload: BorrowedFd<'_>, check: &Healthcheck) -> anyhow::Result<(i32, String)> {
    let command = match check.test.split_first() {
        Some((kind, args)) if kind == "CMD" => args.to_vec(),
        Some((kind, args)) if kind == "CMD-SHELL" => {
            let shell = ["/bin/sh", "-c"].map(str::to_owned).to_vec();
            let shell = if record.config.shell.is_empty() { shell } else { record.config.shell.clone() };
            shell.into_iter().chain(args.iter().cloned()).collect()
        }
        _ => bail!("Unknown probe type (expected 'CMD' or 'CMD-SHELL')"),
    };
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let (output, end) = pipe_with(PipeFlags::CLOEXEC)?;
    let io = Io::Fds { stdin: null.as_fd(), stdout: end.as_fd(), stderr: end.as_fd() };
    let mut created = exec::create(record, payload, &Wanted { command, ..Wanted::default() }, io)?;
    created.ready()?;
    let running = created.start()?;
    drop((null, end));
    watch(&running, &output, check.timeout())
}

/// Wait for the end, at most for so long.
fn watch(running: &Running, output: &OwnedFd, timeout: Duration) -> anyhow::Result<(i32, String)> {
    let deadline = Instant::now() + timeout;
    let mut text = Vec::new();
    let mut is_open = true;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let _ = pidfd_send_signal(running.pidfd(), Signal::KILL);
            let _ = running.wait();
            return Ok((-1, format!("Health check exceeded timeout ({timeout:?})")));
        }
        let mut polled = vec![PollFd::from_borrowed_fd(running.pidfd(), PollFlags::IN)];
        if is_open {
            polled.push(PollFd::new(output, PollFlags::IN));
        }
        match poll(&mut polled, Some(&timespec(left))) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno).context("cannot wait for the health check"),
        }
        let ended = !polled[0].revents().is_empty();
        let readable = polled.get(1).is_some_and(|fd| !fd.revents().is_empty());
        if readable {
            is_open = take(output, &mut text)?;
        } else if ended {
            // Nothing more is in the pipe, though a process that was left behind may hold it.
            let is_cut = text.len() > OUTPUT_MAX;
            text.truncate(OUTPUT_MAX);
            let text = String::from_utf8_lossy(&text).into_owned();
            return Ok((running.wait()?.code(), if is_cut { text + "..." } else { text }));
        }
    }
}

/// Read some output; of what is beyond the limit only that there is such. False at its end.
fn take(output: &OwnedFd, text: &mut Vec<u8>) -> anyhow::Result<bool> {
    let mut buffer = [0; 1024];
    match rustix::io::read(output, &mut buffer) {
        Ok(0) => Ok(false),
        Ok(length) => {
            let room = (OUTPUT_MAX + 1).saturating_sub(text.len());
            text.extend_from_slice(&buffer[..length.min(room)]);
            Ok(true)
        }
        Err(Errno::INTR) => Ok(true),
        Err(errno) => Err(errno).context("cannot read the health check's output"),
    }
}
