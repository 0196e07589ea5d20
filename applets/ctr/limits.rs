//! A container's cgroup.

use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use anyhow::{Context, ensure};
use coracle_cgroups::units::Cpus;
use coracle_cgroups::{Ceiling, Cgroup, Error, Hierarchy, Limits, Setting, cpu, cpuset, io, memory, pids};

use super::paths;
use super::record::HostConfig;
use super::record_host::ThrottleDevice;

/// The limits that were asked for.
pub fn limits(config: &HostConfig) -> Limits {
    let max = (config.memory > 0).then_some(Ceiling::Value(config.memory));
    let low = (config.memory_reservation > 0).then_some(Ceiling::Value(config.memory_reservation));
    let list = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let weight = (config.cpu_shares > 0).then(|| cpu::weight_from_shares(config.cpu_shares));
    Limits {
        cpu: cpu::Limits { max: bandwidth(config), weight, ..Default::default() },
        cpuset: cpuset::Limits {
            cpus: list(&config.cpuset_cpus),
            mems: list(&config.cpuset_mems),
            ..Default::default()
        },
        memory: memory::Limits { max, low, swap_max: swap(config), ..Default::default() },
        pids: pids::Limits { max: (config.pids_limit > 0).then_some(pids::Max::Count(config.pids_limit)) },
        ..Default::default()
    }
}

/// `--cpus`, or `--cpu-quota` and `--cpu-period`.
fn bandwidth(config: &HostConfig) -> Option<cpu::Max> {
    if let Some(cpus) = Cpus::from_nanos(config.nano_cpus) {
        return Some(cpus.into());
    }
    let quota_us = u64::try_from(config.cpu_quota).ok().filter(|quota| *quota > 0);
    let period_us = if config.cpu_period > 0 { config.cpu_period } else { cpu::PERIOD_US };
    (quota_us.is_some() || config.cpu_period > 0).then_some(cpu::Max { quota_us, period_us })
}

/// The limits of block devices, each as the host has it now.
fn block_devices(config: &HostConfig) -> anyhow::Result<io::Limits> {
    let mut all = io::Limits::default();
    type Field = fn(&mut io::Throttle) -> &mut Option<Ceiling>;
    let kinds: [(&[ThrottleDevice], Field); 4] = [
        (&config.blkio_device_read_bps, |throttle| &mut throttle.rbps),
        (&config.blkio_device_write_bps, |throttle| &mut throttle.wbps),
        (&config.blkio_device_read_iops, |throttle| &mut throttle.riops),
        (&config.blkio_device_write_iops, |throttle| &mut throttle.wiops),
    ];
    for (limits, field) in kinds {
        for limit in limits {
            let device = block_device(&limit.path)?;
            let index = all.max.iter().position(|throttle| throttle.device == device).unwrap_or_else(|| {
                all.max.push(io::Throttle { device, rbps: None, wbps: None, riops: None, wiops: None });
                all.max.len() - 1
            });
            *field(&mut all.max[index]) = Some(if limit.rate == 0 { Ceiling::Max } else { Ceiling::Value(limit.rate) });
        }
    }
    Ok(all)
}

fn block_device(path: &Path) -> anyhow::Result<io::Device> {
    let meta = std::fs::metadata(path).with_context(|| format!("cannot use the device {}", path.display()))?;
    ensure!(meta.file_type().is_block_device(), "{} is no block device", path.display());
    Ok(io::Device { major: rustix::fs::major(meta.rdev()), minor: rustix::fs::minor(meta.rdev()) })
}

/// Weights of block devices: the BFQ scheduler's, where there is one, which takes Docker's numbers; else those of the io controller.
fn set_block_weights(group: &Cgroup, config: &HostConfig) -> anyhow::Result<()> {
    if config.blkio_weight > 0 {
        let Setting { file, value } = block_weight(group, config.blkio_weight);
        group.write(&file, &value)?;
    }
    for device in &config.blkio_weight_device {
        let (file, weight) = scaled_weight(group, device.weight);
        group.write(file, &format!("{} {weight}", block_device(&device.path)?))?;
    }
    Ok(())
}

/// What sets the weight of all block devices.
pub fn block_weight(group: &Cgroup, weight: u16) -> Setting {
    let (file, weight) = scaled_weight(group, weight);
    Setting { file: file.into(), value: format!("default {weight}") }
}

fn scaled_weight(group: &Cgroup, weight: u16) -> (&'static str, u64) {
    match group.read("io.bfq.weight") {
        Ok(_) => ("io.bfq.weight", u64::from(weight)),
        Err(_) => ("io.weight", 1 + (u64::from(weight.max(10)) - 10) * 9_999 / 990),
    }
}

/// Whether weights of block devices are asked for, which need the io controller.
fn wants_block_weights(config: &HostConfig) -> bool {
    config.blkio_weight > 0 || !config.blkio_weight_device.is_empty()
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
    let wanted = Limits { io: block_devices(config)?, ..limits(config) };
    if wanted.is_empty() && !wants_block_weights(config) {
        return Ok(());
    }
    let tree = Hierarchy::find().context("limits need cgroup v2")?;
    let mut controllers = wanted.controllers()?;
    if wants_block_weights(config) {
        controllers.push("io");
    }
    controllers.into_iter().try_for_each(|controller| tree.require(controller)).context("limits need cgroup v2")
}

/// Make the container's cgroup with its limits. `None` on a host without cgroup v2, if no limit was asked for.
pub fn create(id: &str, config: &HostConfig) -> anyhow::Result<Option<Cgroup>> {
    let mut wanted = Limits { io: block_devices(config)?, ..limits(config) };
    let is_optional = wanted.is_empty() && !wants_block_weights(config) && config.cgroup_parent.is_empty();
    if !config.cgroup_parent.is_empty() {
        let path = paths::cgroup_parent(id);
        std::fs::write(&path, &config.cgroup_parent).with_context(|| format!("cannot write {}", path.display()))?;
    }
    let tree = match Hierarchy::find() {
        Ok(tree) => tree,
        Err(Error::NoHierarchy) if is_optional => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let group = match tree.create(paths::cgroup(id)) {
        Ok(group) => group,
        // Hybrid and restricted hosts: go on without, unless it matters.
        Err(_) if is_optional => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    // A kernel without swap has no limit for it, and needs none unless one was asked for.
    if config.memory_swap == 0 && group.read("memory.swap.max").is_err() {
        wanted.memory.swap_max = None;
    }
    group.set(&wanted)?;
    set_block_weights(&group, config)?;
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

    #[test]
    fn bandwidth_by_cpus_or_quota() {
        let max = |nano_cpus, cpu_quota, cpu_period| {
            let config = HostConfig { nano_cpus, cpu_quota, cpu_period, ..Default::default() };
            bandwidth(&config).map(|max| max.to_string())
        };
        assert_eq!(max(0, 0, 0), None);
        assert_eq!(max(0, -1, 0), None);
        assert_eq!(max(500_000_000, 0, 0).unwrap(), "50000 100000");
        assert_eq!(max(0, 20_000, 50_000).unwrap(), "20000 50000");
        assert_eq!(max(0, 20_000, 0).unwrap(), "20000 100000");
        assert_eq!(max(0, 0, 50_000).unwrap(), "max 50000");
    }
}
