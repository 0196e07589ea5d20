//! Which unit is to be started when: a pure type, without a clock, a process or a descriptor of its own.

use std::path::PathBuf;
use std::time::Duration;

/// How long a unit has to run before its failures are forgotten.
const SETTLED: Duration = Duration::from_secs(10);
/// Pause before the first restart; it doubles with each one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A program that init keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Its name, unique; also that of its cgroup.
    pub name: String,
    /// What is executed.
    pub program: PathBuf,
    /// What the program sees as its own name, if not the path.
    pub arg0: Option<String>,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its standard streams.
    pub io: Io,
    /// What happens when it ends.
    pub restart: Restart,
}

/// A unit's standard streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Io {
    /// No input; output to the kernel's log.
    Log,
    /// No input; output to the console.
    Console,
    /// A terminal, by its name below `/dev`, which becomes the controlling terminal of a new session.
    Terminal(String),
}

/// What happens when a unit ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// It is started again.
    Always,
    /// It is started again unless its status is 0.
    OnFailure,
    /// Nothing.
    Never,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// By exit, with this status.
    Exit(i32),
    /// By a signal.
    Signal(i32),
}

impl Ended {
    /// As a shell reports it: 128 + n for signal n.
    #[must_use]
    pub fn status(self) -> i32 {
        match self {
            Ended::Exit(status) => status,
            Ended::Signal(signal) => 128 + signal,
        }
    }
}

/// A unit's place in the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(usize);

/// Where a unit is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// To be started at this time.
    Waiting {
        /// On the clock of whoever calls.
        until: Duration,
    },
    /// Handed out by [`Supervisor::due`]; the caller is starting it.
    Starting,
    /// Running.
    Running {
        /// Its main process.
        pid: i32,
        /// Since when.
        since: Duration,
    },
    /// Ended, and not to be started again.
    Over(Ended),
}

#[derive(Debug)]
struct Entry {
    unit: Unit,
    state: State,
    failures: u32,
}

/// All units. Times are durations since any fixed moment.
#[derive(Debug, Default)]
pub struct Supervisor {
    entries: Vec<Entry>,
    stopping: bool,
}

impl Supervisor {
    /// Keep a unit, from `now` on. A unit of the same name that is already kept stays as it is.
    pub fn add(&mut self, unit: Unit, now: Duration) -> Id {
        if let Some(at) = self.entries.iter().position(|entry| entry.unit.name == unit.name) {
            return Id(at);
        }
        self.entries.push(Entry { unit, state: State::Waiting { until: now }, failures: 0 });
        Id(self.entries.len() - 1)
    }

    /// The units whose time has come. Each must be answered by [`Self::started`] or [`Self::not_started`].
    pub fn due(&mut self, now: Duration) -> Vec<(Id, Unit)> {
        if self.stopping {
            return vec![];
        }
        let mut due = vec![];
        for (index, entry) in self.entries.iter_mut().enumerate() {
            if matches!(entry.state, State::Waiting { until } if until <= now) {
                entry.state = State::Starting;
                due.push((Id(index), entry.unit.clone()));
            }
        }
        due
    }

    /// When [`Self::due`] will next have something.
    #[must_use]
    pub fn next(&self) -> Option<Duration> {
        if self.stopping {
            return None;
        }
        let waiting = self.entries.iter().filter_map(|entry| match entry.state {
            State::Waiting { until } => Some(until),
            _ => None,
        });
        waiting.min()
    }

    /// The unit runs as `pid`.
    pub fn started(&mut self, id: Id, pid: i32, now: Duration) {
        if let Some(entry) = self.entries.get_mut(id.0) {
            entry.state = State::Running { pid, since: now };
        }
    }

    /// The unit could not be started; it is tried again unless it is to run only once.
    pub fn not_started(&mut self, id: Id, now: Duration) {
        if let Some(entry) = self.entries.get_mut(id.0) {
            entry.end(Ended::Exit(127), now, Duration::ZERO);
        }
    }

    /// A child has ended. The unit whose main process it was, if it was one's.
    pub fn ended(&mut self, pid: i32, how: Ended, now: Duration) -> Option<(Id, &Unit)> {
        let running = |entry: &Entry| matches!(entry.state, State::Running { pid: main, .. } if main == pid);
        let index = self.entries.iter().position(running)?;
        let entry = self.entries.get_mut(index)?;
        if let State::Running { since, .. } = entry.state {
            entry.end(how, now, now.saturating_sub(since));
        }
        Some((Id(index), &entry.unit))
    }

    /// Start nothing any more.
    pub fn stop(&mut self) {
        self.stopping = true;
    }

    /// Where a unit is in its life.
    #[must_use]
    pub fn state(&self, id: Id) -> Option<State> {
        self.entries.get(id.0).map(|entry| entry.state)
    }

    /// All units and where they are in their lives.
    pub fn units(&self) -> impl Iterator<Item = (&Unit, State)> {
        self.entries.iter().map(|entry| (&entry.unit, entry.state))
    }
}

impl Entry {
    fn end(&mut self, how: Ended, now: Duration, ran: Duration) {
        let again = match self.unit.restart {
            Restart::Always => true,
            Restart::OnFailure => how != Ended::Exit(0),
            Restart::Never => false,
        };
        if !again {
            self.state = State::Over(how);
            return;
        }
        self.failures = if ran >= SETTLED { 0 } else { self.failures.saturating_add(1) };
        self.state = State::Waiting { until: now.saturating_add(pause(self.failures)) };
    }
}

/// The pause before the restart after so many failures in a row.
fn pause(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_PAUSE.saturating_mul(1 << doublings).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn unit(name: &str, restart: Restart) -> Unit {
        Unit { name: name.into(), program: "/bin/true".into(), arg0: None, args: vec![], io: Io::Log, restart }
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn restarts_with_a_growing_pause() {
        let mut supervisor = Supervisor::default();
        let id = supervisor.add(unit("a", Restart::Always), ms(0));
        let mut now = ms(0);
        for pause in [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000] {
            assert_eq!(supervisor.due(now).len(), 1);
            supervisor.started(id, 7, now);
            assert_eq!(supervisor.ended(7, Ended::Exit(1), now).map(|(id, _)| id), Some(id));
            assert_eq!(supervisor.next(), Some(now + ms(pause)));
            assert!(supervisor.due(now + ms(pause - 1)).is_empty());
            now += ms(pause);
        }
    }

    #[test]
    fn a_long_life_forgives() {
        let mut supervisor = Supervisor::default();
        let id = supervisor.add(unit("a", Restart::Always), ms(0));
        for (start, end) in [(0, 1), (200, 20_000)] {
            supervisor.due(ms(start));
            supervisor.started(id, 7, ms(start));
            supervisor.ended(7, Ended::Signal(9), ms(end));
        }
        assert_eq!(supervisor.next(), Some(ms(20_100)));
    }

    #[test]
    fn policies() {
        let cases = [
            (Restart::Never, Ended::Exit(1), false),
            (Restart::OnFailure, Ended::Exit(0), false),
            (Restart::OnFailure, Ended::Exit(1), true),
            (Restart::OnFailure, Ended::Signal(15), true),
            (Restart::Always, Ended::Exit(0), true),
        ];
        for (restart, how, again) in cases {
            let mut supervisor = Supervisor::default();
            let id = supervisor.add(unit("a", restart), ms(0));
            supervisor.due(ms(0));
            supervisor.started(id, 1, ms(0));
            supervisor.ended(1, how, ms(1));
            assert_eq!(supervisor.next().is_some(), again, "{restart:?} {how:?}");
        }
    }

    #[test]
    fn strangers_and_doubles_change_nothing() {
        let mut supervisor = Supervisor::default();
        let id = supervisor.add(unit("a", Restart::Always), ms(0));
        assert_eq!(supervisor.add(unit("a", Restart::Never), ms(5)), id);
        supervisor.due(ms(0));
        supervisor.started(id, 5, ms(0));
        assert!(supervisor.ended(6, Ended::Exit(0), ms(1)).is_none());
        assert_eq!(supervisor.state(id), Some(State::Running { pid: 5, since: ms(0) }));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(u8),
        Due { fails: bool },
        End { pid: i32, status: i32 },
        Later(u64),
        Stop,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0u8..4).prop_map(Step::Add),
            any::<bool>().prop_map(|fails| Step::Due { fails }),
            (1i32..20, 0i32..3).prop_map(|(pid, status)| Step::End { pid, status }),
            (0u64..100_000).prop_map(Step::Later),
            Just(Step::Stop),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        /// Whatever happens in whatever order: no unit runs twice, none starts before its time or after the stop, and every
        /// one that is to run again has a time for it, at most the longest pause away.
        #[test]
        fn invariants(steps in steps()) {
            let mut supervisor = Supervisor::default();
            let (mut now, mut pid, mut stopped) = (ms(0), 0, false);
            for step in steps {
                match step {
                    Step::Add(n) => { supervisor.add(unit(&n.to_string(), Restart::Always), now); }
                    Step::Due { fails } => for (id, _) in supervisor.due(now) {
                        prop_assert!(!stopped);
                        prop_assert_eq!(supervisor.state(id), Some(State::Starting));
                        pid += 1;
                        if fails { supervisor.not_started(id, now) } else { supervisor.started(id, pid, now) }
                    },
                    Step::End { pid, status } => { supervisor.ended(pid, Ended::Exit(status), now); }
                    Step::Later(n) => now += ms(n),
                    Step::Stop => { supervisor.stop(); stopped = true; }
                }
                let mut pids: Vec<_> = supervisor.units().filter_map(|(_, state)| match state {
                    State::Running { pid, .. } => Some(pid),
                    _ => None,
                }).collect();
                pids.sort_unstable();
                pids.dedup();
                let running = supervisor.units().filter(|(_, state)| matches!(state, State::Running { .. })).count();
                prop_assert_eq!(pids.len(), running);
                for (_, state) in supervisor.units() {
                    prop_assert!(!matches!(state, State::Starting | State::Over(_)));
                    if let State::Waiting { until } = state {
                        prop_assert!(until <= now + LONGEST_PAUSE);
                    }
                }
            }
        }
    }
}
