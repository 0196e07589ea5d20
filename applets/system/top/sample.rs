//! What happened between two looks at /proc.

use std::collections::HashMap;
use std::fs;

use anyhow::Context as _;
use procfs::{Current as _, Meminfo};

use crate::system::processes::{self, Process};

/// Ticks of one processor, or of all (proc_stat(5)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    user: u64,
    nice: u64,
    system: u64,
    idle: u64,
    wait: u64,
    irq: u64,
    softirq: u64,
    steal: u64,
}

impl Ticks {
    fn total(self) -> u64 {
        self.user + self.nice + self.system + self.idle + self.wait + self.irq + self.softirq + self.steal
    }

    fn since(self, before: Self) -> Self {
        Self {
            user: self.user.saturating_sub(before.user),
            nice: self.nice.saturating_sub(before.nice),
            system: self.system.saturating_sub(before.system),
            idle: self.idle.saturating_sub(before.idle),
            wait: self.wait.saturating_sub(before.wait),
            irq: self.irq.saturating_sub(before.irq),
            softirq: self.softirq.saturating_sub(before.softirq),
            steal: self.steal.saturating_sub(before.steal),
        }
    }

    /// `1.2 us,  0.3 sy, ...` as procps has it.
    pub fn shares(self) -> String {
        let total = self.total().max(1) as f64;
        let share = |ticks: u64| 100.0 * ticks as f64 / total;
        [
            (self.user, "us"),
            (self.system, "sy"),
            (self.nice, "ni"),
            (self.idle, "id"),
            (self.wait, "wa"),
            (self.irq, "hi"),
            (self.softirq, "si"),
            (self.steal, "st"),
        ]
        .map(|(ticks, name)| format!("{:4.1} {name}", share(ticks)))
        .join(", ")
    }
}

/// A process and what it did.
pub struct Task {
    /// The process.
    pub process: Process,
    /// Percent of one processor.
    pub cpu: f64,
    /// Percent of memory.
    pub memory: f64,
    /// The container that it runs in.
    pub container: Option<String>,
}

/// One look.
pub struct Sample {
    /// Seconds since boot.
    pub uptime: f64,
    /// All processors together, then each.
    pub processors: Vec<Ticks>,
    /// Memory.
    pub memory: Meminfo,
    /// Processes.
    pub tasks: Vec<Task>,
}

/// Remembers the look before.
#[derive(Default)]
pub struct Sampler {
    uptime: f64,
    processors: Vec<Ticks>,
    ticks: HashMap<(i32, u64), u64>,
}

impl Sampler {
    /// Look; the first time, since each began.
    ///
    /// # Errors
    /// When /proc is not there.
    pub fn look(&mut self) -> anyhow::Result<Sample> {
        let stat = fs::read_to_string("/proc/stat").context("cannot read /proc/stat; is /proc mounted?")?;
        let now = parse_stat(&stat);
        let uptime = processes::uptime()?;
        let memory = Meminfo::current().context("cannot read /proc/meminfo; is /proc mounted?")?;
        let rate = processes::tick_rate() as f64;
        let page = rustix::param::page_size() as u64;
        let mut ticks = HashMap::new();
        let mut tasks = Vec::new();
        for process in processes::all()? {
            let key = (process.pid, process.stat.starttime);
            let all = process.ticks();
            ticks.insert(key, all);
            let (used, since) = match self.ticks.get(&key) {
                Some(before) => (all.saturating_sub(*before), self.uptime),
                None => (all, process.stat.starttime as f64 / rate),
            };
            let elapsed = (uptime - since).max(1.0 / rate);
            let resident = process.stat.rss * page;
            tasks.push(Task {
                cpu: 100.0 * used as f64 / rate / elapsed,
                memory: 100.0 * resident as f64 / memory.mem_total.max(1) as f64,
                container: container(process.pid),
                process,
            });
        }
        let before = |index: usize| self.processors.get(index).copied().unwrap_or_default();
        let processors = now.iter().enumerate().map(|(index, ticks)| ticks.since(before(index))).collect();
        (self.uptime, self.processors, self.ticks) = (uptime, now, ticks);
        Ok(Sample { uptime, processors, memory, tasks })
    }
}

fn parse_stat(text: &str) -> Vec<Ticks> {
    let lines = text.lines().filter(|line| line.starts_with("cpu"));
    lines
        .map(|line| {
            let numbers: Vec<u64> = line.split_whitespace().skip(1).map_while(|word| word.parse().ok()).collect();
            let number = |index: usize| numbers.get(index).copied().unwrap_or(0);
            Ticks {
                user: number(0),
                nice: number(1),
                system: number(2),
                idle: number(3),
                wait: number(4),
                irq: number(5),
                softirq: number(6),
                steal: number(7),
            }
        })
        .collect()
}

/// The container of a process: ctr's cgroups are .../coracle/containers/ID.
fn container(pid: i32) -> Option<String> {
    container_in(&fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?)
}

fn container_in(cgroups: &str) -> Option<String> {
    let path = cgroups.lines().find_map(|line| line.split_once("coracle/containers/"))?.1;
    let id = path.split('/').next()?;
    (!id.is_empty()).then(|| id.chars().take(12).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        let ticks = parse_stat("cpu  4 3 2 1 0 0 0 0 0 0\ncpu0 4 3 2 1 0 0 0 0 0 0\nintr 5\n");
        assert_eq!(ticks.len(), 2);
        assert_eq!(ticks[0].shares(), "40.0 us, 20.0 sy, 30.0 ni, 10.0 id,  0.0 wa,  0.0 hi,  0.0 si,  0.0 st");
        assert_eq!(ticks[0].since(ticks[1]), Ticks::default());
    }

    #[test]
    fn containers() {
        let id = container_in("1:name=systemd:/\n0::/coracle/containers/0123456789abcdef/sub\n");
        assert_eq!(id.as_deref(), Some("0123456789ab"));
        assert_eq!(container_in("0::/init\n"), None);
    }

    #[test]
    fn looks_at_this_machine() {
        let mut sampler = Sampler::default();
        assert!(sampler.look().unwrap().tasks.len() > 1);
        let second = sampler.look().unwrap();
        assert!(second.tasks.iter().any(|task| task.process.pid == std::process::id() as i32));
    }
}
