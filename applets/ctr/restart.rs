//! Restart policies: which end of a container is followed by another start, and after how long.
//!
//! A stop by hand is remembered by a file in the container's directory: it ends the restarting now, and keeps an `unless-stopped`
//! container from coming back with the machine. So is a restart by hand, which a container with `--rm` outlives. While the machine shuts down nothing is started again, and no stop is by hand.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::record::{self, Record, RestartPolicy, Status};
use super::{files, paths, reaper, run, time};

/// Docker's (moby restartmanager): the first delay, what it grows to by doubling, and the run that makes it begin anew.
const FIRST_DELAY: Duration = Duration::from_millis(100);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
const LONG_RUN: Duration = Duration::from_secs(10);

/// How long to wait before the next start.
#[derive(Default)]
pub struct Backoff {
    delay: Duration,
}

impl Backoff {
    /// A run has ended: how long to wait for the next, `None` if there is to be none.
    pub fn after(&mut self, id: &str, code: i32, ran: Duration) -> Option<Duration> {
        let record = Record::read(id).ok()?;
        let wanted = is_wanted(&record.host_config.restart_policy, code, record.restart_count);
        (wanted && !is_held(id)).then(|| self.next(ran))
    }

    fn next(&mut self, ran: Duration) -> Duration {
        if ran >= LONG_RUN {
            self.delay = Duration::ZERO;
        }
        self.delay = if self.delay.is_zero() { FIRST_DELAY } else { (self.delay * 2).min(LONGEST_DELAY) };
        self.delay
    }
}

/// Whether a policy wants another start.
fn is_wanted(policy: &RestartPolicy, code: i32, count: u32) -> bool {
    match policy.name.as_str() {
        "always" | "unless-stopped" => true,
        "on-failure" => code != 0 && (policy.maximum_retry_count == 0 || count < policy.maximum_retry_count),
        _ => false,
    }
}

fn stop_file(id: &str) -> PathBuf {
    paths::container(id).join("stopped")
}

/// Whether the container was stopped by hand, or the machine is being stopped.
pub fn is_held(id: &str) -> bool {
    is_shutting_down() || was_stopped(id)
}

fn is_shutting_down() -> bool {
    paths::run_dir().join("stopping").exists()
}

fn was_stopped(id: &str) -> bool {
    stop_file(id).exists()
}

/// The container is being stopped by hand: it is not to be started again.
pub fn hold(id: &str) -> io::Result<()> {
    if is_shutting_down() {
        return Ok(());
    }
    match std::fs::write(stop_file(id), "") {
        // It has just removed itself.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        written => written,
    }
}

/// The container is being started by hand.
pub fn release(id: &str) -> io::Result<()> {
    files::remove(&stop_file(id))?;
    let_go(id)
}

fn kept_file(id: &str) -> PathBuf {
    paths::container(id).join("kept")
}

/// The container is being restarted: with `--rm` it outlives this end.
pub fn keep(id: &str) -> io::Result<()> {
    std::fs::write(kept_file(id), "")
}

/// Whether the container outlives its end in spite of `--rm`.
pub fn is_kept(id: &str) -> bool {
    kept_file(id).exists()
}

/// There is no restart after all.
pub fn let_go(id: &str) -> io::Result<()> {
    files::remove(&kept_file(id))
}

/// `autostart`.
#[derive(clap::Args)]
pub struct AutostartArgs {}

/// Start the containers that are to come back with the machine. One that does not start is named, and the others are started.
pub fn autostart(_: &AutostartArgs) -> anyhow::Result<i32> {
    crate::runtime::seal_self()?;
    reaper::sweep_all()?;
    let mut status = 0;
    for id in record::ids()? {
        let Ok(record) = Record::read(&id) else { continue };
        if !comes_back(&record, was_stopped(&id)) {
            continue;
        }
        match run::start_again(&id) {
            Ok(0) => {}
            Ok(_) => status = 1,
            Err(error) => {
                eprintln!("ctr: container {}: {error:#}", record.short_name());
                status = 1;
            }
        }
    }
    Ok(status)
}

fn comes_back(record: &Record, was_stopped: bool) -> bool {
    let wanted = match record.host_config.restart_policy.name.as_str() {
        "always" => true,
        "unless-stopped" => !was_stopped,
        _ => false,
    };
    wanted && record.state.status == Status::Exited && record.state.started_at != time::NEVER
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_minute_and_begin_anew_after_a_long_run() {
        let mut backoff = Backoff::default();
        let delays: Vec<_> = (0..12).map(|_| backoff.next(Duration::ZERO).as_millis()).collect();
        assert_eq!(delays[..4], [100, 200, 400, 800]);
        assert_eq!(delays[9..], [51_200, 60_000, 60_000]);
        assert_eq!(backoff.next(LONG_RUN), FIRST_DELAY);
    }

    #[test]
    fn policies() {
        let wanted = |name: &str, maximum_retry_count, code, count| {
            is_wanted(&RestartPolicy { name: name.into(), maximum_retry_count }, code, count)
        };
        assert!(wanted("always", 0, 0, 99) && wanted("unless-stopped", 0, 1, 0));
        assert!(wanted("on-failure", 0, 1, 99) && !wanted("on-failure", 0, 0, 0));
        assert!(wanted("on-failure", 3, 1, 2) && !wanted("on-failure", 3, 1, 3));
        assert!(!wanted("no", 0, 1, 0));
    }

    #[test]
    fn what_comes_back_with_the_machine() {
        let mut record = Record::default();
        record.state.status = Status::Exited;
        record.state.started_at = time::now();
        let back = |name: &str, stopped| {
            let mut record = record.clone();
            record.host_config.restart_policy.name = name.into();
            comes_back(&record, stopped)
        };
        assert!(back("always", true) && back("unless-stopped", false) && !back("unless-stopped", true));
        assert!(!back("on-failure", false) && !back("no", false));
    }
}
