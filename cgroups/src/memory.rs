//! The memory controller: limits, usage, events. All values are bytes.

use crate::{Ceiling, Cgroup, Result, Setting, files};

/// What to set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `memory.min`: never reclaimed.
    pub min: Option<Ceiling>,
    /// `memory.low`: reclaimed last.
    pub low: Option<Ceiling>,
    /// `memory.high`: throttled and reclaimed above it.
    pub high: Option<Ceiling>,
    /// `memory.max`: the OOM killer acts above it.
    pub max: Option<Ceiling>,
    /// `memory.swap.high`.
    pub swap_high: Option<Ceiling>,
    /// `memory.swap.max`.
    pub swap_max: Option<Ceiling>,
    /// `memory.zswap.max`.
    pub zswap_max: Option<Ceiling>,
    /// `memory.zswap.writeback`.
    pub zswap_writeback: Option<bool>,
    /// `memory.oom.group`: an OOM kill takes the whole group.
    pub oom_group: Option<bool>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let ceilings = [
            ("memory.min", self.min),
            ("memory.low", self.low),
            ("memory.high", self.high),
            ("memory.max", self.max),
            ("memory.swap.high", self.swap_high),
            ("memory.swap.max", self.swap_max),
            ("memory.zswap.max", self.zswap_max),
        ];
        let flags = [("memory.zswap.writeback", self.zswap_writeback), ("memory.oom.group", self.oom_group)];
        let ceilings = ceilings.into_iter().filter_map(|(file, value)| Some(Setting::new(file, value?)));
        let flags = flags.into_iter().filter_map(|(file, value)| Some(Setting::new(file, u8::from(value?))));
        Ok(ceilings.chain(flags).collect())
    }
}

/// `memory.events`: how often each has happened in the group and below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// Reclaimed although below `memory.low`.
    pub low: u64,
    /// Throttled at `memory.high`.
    pub high: u64,
    /// About to go over `memory.max`.
    pub max: u64,
    /// Ran out of memory.
    pub oom: u64,
    /// Processes killed by an OOM killer.
    pub oom_kill: u64,
    /// Whole-group kills.
    pub oom_group_kill: u64,
}

impl Events {
    /// Read the text of `memory.events`; keys of newer kernels are skipped.
    pub fn parse(text: &str) -> Self {
        let mut events = Events::default();
        for (key, value) in files::flat_keyed(text) {
            match key {
                "low" => events.low = value,
                "high" => events.high = value,
                "max" => events.max = value,
                "oom" => events.oom = value,
                "oom_kill" => events.oom_kill = value,
                "oom_group_kill" => events.oom_group_kill = value,
                _ => {}
            }
        }
        events
    }
}

/// The fields of `memory.stat` that say what kind of memory it is; the others are in [`Cgroup::memory_stat_pairs`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// Anonymous memory.
    pub anon: u64,
    /// Page cache.
    pub file: u64,
    /// Page cache on the inactive list, the first to be reclaimed.
    pub inactive_file: u64,
    /// Shared memory and tmpfs.
    pub shmem: u64,
    /// Kernel memory of all kinds.
    pub kernel: u64,
}

impl Cgroup {
    /// `memory.current`.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn memory_current(&self) -> Result<u64> {
        self.read_number("memory.current")
    }

    /// `memory.peak` (Linux 5.19).
    ///
    /// # Errors
    /// The controller is not enabled here or the kernel is older.
    pub fn memory_peak(&self) -> Result<u64> {
        self.read_number("memory.peak")
    }

    /// `memory.max`.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn memory_max(&self) -> Result<Ceiling> {
        let text = self.read("memory.max")?;
        Ceiling::parse(&text).ok_or_else(|| crate::Error::Format { file: self.path().join("memory.max"), text })
    }

    /// `memory.events`. A poll for `POLLPRI` on that file tells of changes.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn memory_events(&self) -> Result<Events> {
        Ok(Events::parse(&self.read("memory.events")?))
    }

    /// The main fields of `memory.stat`.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn memory_stat(&self) -> Result<Stat> {
        let mut stat = Stat::default();
        for (key, value) in self.memory_stat_pairs()? {
            match key.as_str() {
                "anon" => stat.anon = value,
                "file" => stat.file = value,
                "inactive_file" => stat.inactive_file = value,
                "shmem" => stat.shmem = value,
                "kernel" => stat.kernel = value,
                _ => {}
            }
        }
        Ok(stat)
    }

    /// All of `memory.stat`, in the kernel's order.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn memory_stat_pairs(&self) -> Result<Vec<(String, u64)>> {
        let text = self.read("memory.stat")?;
        Ok(files::flat_keyed(&text).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Ask the kernel to reclaim so many bytes now (`memory.reclaim`, Linux 5.19).
    ///
    /// # Errors
    /// Less than that could be reclaimed (EAGAIN).
    pub fn memory_reclaim(&self, bytes: u64) -> Result<()> {
        self.write("memory.reclaim", &bytes.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_writes() {
        let limits = Limits {
            max: Some(Ceiling::Value(64 << 20)),
            swap_max: Some(Ceiling::Max),
            oom_group: Some(true),
            ..Default::default()
        };
        let writes: Vec<_> =
            limits.settings().unwrap().into_iter().map(|set| format!("{}={}", set.file, set.value)).collect();
        assert_eq!(writes, ["memory.max=67108864", "memory.swap.max=max", "memory.oom.group=1"]);
    }

    #[test]
    fn files_of_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("memory.current", "4096\n"),
            ("memory.max", "max\n"),
            ("memory.events", "low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\nsock_throttled 0\n"),
            ("memory.stat", "anon 1\nfile 2\nkernel 3\nbrand_new 4\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let group = Cgroup::open(dir.path()).unwrap();
        assert_eq!(group.memory_current().unwrap(), 4096);
        assert_eq!(group.memory_max().unwrap(), Ceiling::Max);
        assert_eq!(group.memory_events().unwrap(), Events { max: 12, oom: 3, oom_kill: 2, ..Default::default() });
        assert_eq!(group.memory_stat().unwrap(), Stat { anon: 1, file: 2, kernel: 3, ..Default::default() });
        assert!(group.memory_peak().is_err());
    }
}
