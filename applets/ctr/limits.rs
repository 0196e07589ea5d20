//! A container's cgroup.

use anyhow::Context;
use coracle_cgroups::units::Cpus;
use coracle_cgroups::{Ceiling, Cgroup, Error, Hierarchy, Limits, cpu, memory, pids};

use super::paths;
use super::record::HostConfig;

/// The limits that were asked for.
pub fn limits(config: &HostConfig) -> Limits {
    let max = (config.memory > 0).then_some(Ceiling::Value(config.memory));
    Limits {
        cpu: cpu::Limits { max: Cpus::from_nanos(config.nano_cpus).map(Into::into), ..Default::default() },
        memory: memory::Limits { max, swap_max: swap(config), ..Default::default() },
        pids: pids::Limits { max: (config.pids_limit > 0).then_some(pids::Max::Count(config.pids_limit)) },
        ..Default::default()
    }
}

/// Docker counts memory and swap together, cgroup v2 apart. Without `--memory-swap` there is as much swap as memory.
fn swap(config: &HostConfig) -> Option<Ceiling> {
    match config.memory_swap {
        _ if config.memory == 0 => None,
        -1 => Some(Ceiling::Max),
        0 => Some(Ceiling::Value(config.memory)),
        total => Some(Ceiling::Value(u64::try_from(total).unwrap_or(0).saturating_sub(config.memory))),
    }
}

/// Refuse early what this host cannot do.
pub fn check(config: &HostConfig) -> anyhow::Result<()> {
    let wanted = limits(config);
    if wanted.is_empty() {
        return Ok(());
    }
    let tree = Hierarchy::find().context("limits need cgroup v2")?;
    wanted
        .controllers()?
        .into_iter()
        .try_for_each(|controller| tree.require(controller))
        .context("limits need cgroup v2")
}

/// Make the container's cgroup with its limits. `None` on a host without cgroup v2, if no limit was asked for.
pub fn create(id: &str, config: &HostConfig) -> anyhow::Result<Option<Cgroup>> {
    let mut wanted = limits(config);
    let tree = match Hierarchy::find() {
        Ok(tree) => tree,
        Err(Error::NoHierarchy) if wanted.is_empty() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let group = match tree.create(paths::cgroup(id)) {
        Ok(group) => group,
        // Hybrid and restricted hosts: go on without, unless it matters.
        Err(_) if wanted.is_empty() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // A kernel without swap has no limit for it, and needs none unless one was asked for.
    if config.memory_swap == 0 && group.read("memory.swap.max").is_err() {
        wanted.memory.swap_max = None;
    }
    group.set(&wanted)?;
    Ok(Some(group))
}

/// Open the container's cgroup, if it has one.
pub fn open(id: &str) -> Option<Cgroup> {
    Hierarchy::find().ok()?.open(paths::cgroup(id)).ok()
}

/// Whether the OOM killer has struck in the container.
pub fn oom_killed(id: &str) -> bool {
    open(id).and_then(|group| group.memory_events().ok()).is_some_and(|events| events.oom_kill > 0)
}

/// Whether the container is paused.
pub fn is_frozen(id: &str) -> bool {
    open(id).and_then(|group| group.events().ok()).is_some_and(|events| events.frozen)
}

/// Kill what is left in the cgroup and remove it.
pub fn destroy(id: &str) -> anyhow::Result<()> {
    match Hierarchy::find() {
        Ok(tree) => Ok(Cgroup::destroy(&tree.path(paths::cgroup(id)))?),
        Err(Error::NoHierarchy) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn swap_is_what_is_beyond_memory() {
        let swap = |memory, memory_swap| swap(&HostConfig { memory, memory_swap, ..Default::default() });
        assert_eq!(swap(0, 0), None);
        assert_eq!(swap(64, 0), Some(Ceiling::Value(64)));
        assert_eq!(swap(64, 64), Some(Ceiling::Value(0)));
        assert_eq!(swap(64, 100), Some(Ceiling::Value(36)));
        assert_eq!(swap(64, -1), Some(Ceiling::Max));
    }

    #[test]
    fn nothing_asked_for_is_no_limit() {
        assert!(limits(&HostConfig::default()).is_empty());
        let asked = HostConfig { nano_cpus: 500_000_000, pids_limit: 20, memory: 1 << 26, ..Default::default() };
        assert_eq!(limits(&asked).controllers().unwrap(), ["cpu", "memory", "pids"]);
    }
}
