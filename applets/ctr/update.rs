//! `ctr update`: the limits of containers, also of those that run. All of them take effect, or none.

use anyhow::{Context, ensure};
use coracle_cgroups::{Cgroup, Limits, Setting, pids};

use super::lifecycle::{each, payload};
use super::options_health::parse_restart;
use super::options_limits::{
    parse_cpus, parse_list, parse_memory, parse_period, parse_quota, parse_shares, parse_swap, parse_weight,
};
use super::record::{self, HostConfig, Record};
use super::record_host::RestartPolicy;
use super::{events, limits};

/// `update`.
#[derive(clap::Args)]
pub struct Args {
    /// Share of block devices' time, 10 to 1000
    #[arg(long, value_name = "NUMBER", value_parser = parse_weight)]
    blkio_weight: Option<u16>,

    /// Period of the limit of CPU time in microseconds
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_period)]
    cpu_period: Option<u64>,

    /// CPU time in each period in microseconds; -1 for no limit
    #[arg(long, value_name = "MICROSECONDS", value_parser = parse_quota, allow_hyphen_values = true)]
    cpu_quota: Option<i64>,

    /// Share of CPU time when there is not enough; 1024 is the default's
    #[arg(short, long, value_name = "NUMBER", value_parser = parse_shares, allow_hyphen_values = true)]
    cpu_shares: Option<u64>,

    /// Limit of CPU time, as a number of CPUs
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus)]
    cpus: Option<u64>,

    /// CPUs that it may run on, such as 0-2,4
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cpuset_cpus: Option<String>,

    /// Memory nodes that it may use
    #[arg(long, value_name = "LIST", value_parser = parse_list)]
    cpuset_mems: Option<String>,

    /// Limit of memory, in bytes or with k, m, g
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    memory: Option<u64>,

    /// Memory that it is pressed back to when the host runs short
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    memory_reservation: Option<u64>,

    /// Limit of memory and swap together; -1 for no limit of swap
    #[arg(long, value_name = "SIZE", value_parser = parse_swap, allow_hyphen_values = true)]
    memory_swap: Option<i64>,

    /// Limit of the number of tasks; -1 for none
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(-1..), allow_hyphen_values = true)]
    pids_limit: Option<i64>,

    /// When to start it again: no, always, unless-stopped, on-failure[:MAX]
    #[arg(long, value_name = "POLICY", value_parser = parse_restart)]
    restart: Option<RestartPolicy>,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Change limits.
pub fn update(args: &Args) -> anyhow::Result<i32> {
    ensure!(args.changes_anything(), "You must provide one or more flags when using this command.");
    each(&args.containers, |name| {
        let id = record::resolve(name)?;
        let runs = payload(&id)?.is_some();
        let record = Record::change(&id, |record| {
            let mut wanted = record.host_config.clone();
            args.apply(&mut wanted)?;
            limits::check(&wanted)?;
            ensure!(
                wanted.restart_policy.name == "no" || !wanted.auto_remove,
                "Restart policy cannot be updated because AutoRemove is enabled for the container"
            );
            if runs && args.limits_anything() {
                let group = limits::open(&id).context("limits need cgroup v2, which this host has not mounted")?;
                set_all(&group, &settings(&record.host_config, &wanted, &group)?)?;
            }
            record.host_config = wanted;
            Ok(())
        });
        let record = record.with_context(|| format!("cannot update container {id}"))?;
        events::of_container(&record, "update", &[]);
        Ok(())
    })
}

impl Args {
    fn limits_anything(&self) -> bool {
        self.blkio_weight.is_some()
            || self.cpu_period.is_some()
            || self.cpu_quota.is_some()
            || self.cpu_shares.is_some()
            || self.cpus.is_some()
            || self.cpuset_cpus.is_some()
            || self.cpuset_mems.is_some()
            || self.memory.is_some()
            || self.memory_reservation.is_some()
            || self.memory_swap.is_some()
            || self.pids_limit.is_some()
    }

    fn changes_anything(&self) -> bool {
        self.limits_anything() || self.restart.is_some()
    }

    /// What is given replaces what was; then all must fit together, in Docker's words.
    fn apply(&self, host: &mut HostConfig) -> anyhow::Result<()> {
        fn set<T: Clone>(slot: &mut T, value: &Option<T>) {
            if let Some(value) = value {
                slot.clone_from(value);
            }
        }
        let quota = self.cpu_quota.is_some() || self.cpu_period.is_some();
        ensure!(
            host.nano_cpus == 0 || !quota || self.cpus == Some(0),
            "Conflicting options: CPU Quota cannot be updated as NanoCPUs has already been set"
        );
        ensure!(
            self.cpus.unwrap_or(0) == 0 || (!quota && host.cpu_quota <= 0 && host.cpu_period == 0),
            "Conflicting options: Nano CPUs cannot be updated as CPU Quota has already been set"
        );
        let memory = self.memory.unwrap_or(host.memory);
        ensure!(
            self.memory_swap.is_some() || host.memory_swap <= 0 || memory <= host.memory_swap.cast_unsigned(),
            "Memory limit should be smaller than already set memoryswap limit, update the memoryswap at the same time"
        );
        set(&mut host.blkio_weight, &self.blkio_weight);
        set(&mut host.cpu_period, &self.cpu_period);
        set(&mut host.cpu_quota, &self.cpu_quota);
        set(&mut host.cpu_shares, &self.cpu_shares);
        set(&mut host.nano_cpus, &self.cpus);
        set(&mut host.cpuset_cpus, &self.cpuset_cpus);
        set(&mut host.cpuset_mems, &self.cpuset_mems);
        set(&mut host.memory, &self.memory);
        set(&mut host.memory_reservation, &self.memory_reservation);
        set(&mut host.memory_swap, &self.memory_swap);
        set(&mut host.restart_policy, &self.restart);
        if let Some(limit) = self.pids_limit {
            host.pids_limit = u64::try_from(limit).unwrap_or(0);
        }
        let swap = host.memory_swap;
        ensure!(
            host.memory > 0 || swap <= 0,
            "You should always set the Memory limit when using Memoryswap limit, see usage"
        );
        ensure!(
            swap <= 0 || swap.cast_unsigned() >= host.memory,
            "Minimum memoryswap limit should be larger than memory limit, see usage"
        );
        ensure!(
            host.memory == 0 || host.memory_reservation <= host.memory,
            "Minimum memory limit can not be less than memory reservation limit, see usage"
        );
        Ok(())
    }
}

/// What is to be written to turn the limits into others. Those that are no longer there get the kernel's value.
fn settings(old: &HostConfig, new: &HostConfig, group: &Cgroup) -> anyhow::Result<Vec<Setting>> {
    let mut wanted = limits::limits(new);
    if new.memory_swap == 0 && group.read("memory.swap.max").is_err() {
        wanted.memory.swap_max = None;
    }
    if old.pids_limit > 0 && new.pids_limit == 0 {
        wanted.pids = pids::Limits { max: Some(pids::Max::Unlimited) };
    }
    let all = wanted.settings()?;
    let before = Limits::settings(&limits::limits(old))?;
    let mut changes: Vec<_> = all.iter().filter(|setting| !before.contains(setting)).cloned().collect();
    for gone in before.iter().filter(|setting| !all.iter().any(|other| other.file == setting.file)) {
        let value = match gone.file.as_str() {
            "memory.low" => "0",
            "cpu.weight" => "100",
            "cpuset.cpus" | "cpuset.mems" => "\n",
            _ => "max",
        };
        changes.push(Setting { file: gone.file.clone(), value: value.into() });
    }
    if old.blkio_weight != new.blkio_weight && new.blkio_weight > 0 {
        changes.push(limits::block_weight(group, new.blkio_weight));
    }
    Ok(changes)
}

/// Write all settings; after a refusal those that were written get their old values back.
fn set_all(group: &Cgroup, settings: &[Setting]) -> anyhow::Result<()> {
    let mut done: Vec<Setting> = Vec::new();
    for setting in settings {
        let written = group.read(&setting.file).and_then(|old| {
            group.write(&setting.file, &setting.value)?;
            let value = if old.trim().is_empty() { "\n".into() } else { old.trim().to_owned() };
            done.push(Setting { file: setting.file.clone(), value });
            Ok(())
        });
        if let Err(error) = written {
            for old in done.iter().rev() {
                if let Err(error) = group.write(&old.file, &old.value) {
                    eprintln!("ctr: cannot take a change back: {error}");
                }
            }
            return Err(error.into());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixture(files: &[(&str, &str)]) -> (tempfile::TempDir, Cgroup) {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let group = Cgroup::open(dir.path()).unwrap();
        (dir, group)
    }

    #[test]
    fn what_changes_is_written_and_what_goes_is_reset() {
        let (_dir, group) = fixture(&[("memory.swap.max", "max\n")]);
        let old = HostConfig { memory: 64 << 20, pids_limit: 10, cpu_shares: 512, ..Default::default() };
        let new = HostConfig { memory: 128 << 20, nano_cpus: 500_000_000, ..Default::default() };
        let written: Vec<_> =
            settings(&old, &new, &group).unwrap().into_iter().map(|set| (set.file, set.value)).collect();
        for (file, value) in [
            ("memory.max", "134217728"),
            ("memory.swap.max", "134217728"),
            ("cpu.max", "50000 100000"),
            ("pids.max", "max"),
            ("cpu.weight", "100"),
        ] {
            assert!(written.contains(&(file.to_owned(), value.to_owned())), "{file}: {written:?}");
        }
        assert!(settings(&new, &new, &group).unwrap().is_empty());
    }

    #[test]
    fn a_refusal_takes_all_back() {
        let (dir, group) = fixture(&[("memory.max", "67108864\n"), ("pids.max", "max\n")]);
        let set = |file: &str, value: &str| Setting { file: file.into(), value: value.into() };
        let text = |name: &str| std::fs::read_to_string(dir.path().join(name)).unwrap();
        let error = set_all(&group, &[set("memory.max", "1"), set("pids.max", "5"), set("no.such", "1")]).unwrap_err();
        assert!(error.to_string().contains("no.such"), "{error}");
        assert_eq!((text("memory.max").trim(), text("pids.max").trim()), ("67108864", "max"));
        set_all(&group, &[set("pids.max", "5")]).unwrap();
        assert_eq!(text("pids.max").trim(), "5");
    }
}
