//! Limits of a container's cgroup from a specification (`linux.resources`; runtime-spec config-linux.md, "Control groups"), as cgroup v2
//! has them. What only cgroup v1 had is refused by name. Device rules are another matter: see [`super::create`].

use std::collections::BTreeSet;

use coracle_cgroups::io::{Device, Throttle};
use coracle_cgroups::{Ceiling, Cgroup, Limits, cpu, cpuset, io, memory, pids};
use oci_spec::runtime::{LinuxBlockIo, LinuxCpu, LinuxMemory, LinuxResources, LinuxThrottleDevice};

use super::Error;

/// The limits of a specification, understood.
#[derive(Debug, Default, PartialEq)]
pub struct Resources {
    limits: Limits,
    /// Weight of block I/O as cgroup v1 counted it, 10 to 1,000: for all devices, and for single ones.
    weight: Option<u16>,
    device_weights: Vec<(Device, u16)>,
    /// Refuse a memory limit below what is in use.
    check_memory: bool,
    /// Page sizes whose reservations are limited too, where the kernel counts them.
    reservations: Vec<(String, Ceiling)>,
    /// Writes to control files that are not of `limits`; those of `unified` come last, as they were asked for by file.
    files: Vec<(String, String)>,
}

impl Resources {
    /// Understand `linux.resources`, but for its device rules.
    ///
    /// # Errors
    /// A property that cgroup v2 does not have, or a value out of range.
    pub fn plan(resources: &LinuxResources) -> Result<Self, Error> {
        let mut plan = Self::default();
        if let Some(memory) = resources.memory() {
            plan.memory(memory)?;
        }
        if let Some(cpu) = resources.cpu() {
            plan.cpu(cpu)?;
        }
        if let Some(pids) = resources.pids() {
            plan.limits.pids.max = match pids.limit() {
                // As other runtimes have it: not set.
                0 => None,
                limit => Some(u64::try_from(limit).map_or(pids::Max::Unlimited, pids::Max::Count)),
            };
        }
        if let Some(block) = resources.block_io() {
            plan.block_io(block)?;
        }
        for limit in resources.hugepage_limits().iter().flatten() {
            let ceiling = u64::try_from(limit.limit()).map_or(Ceiling::Max, Ceiling::Value);
            plan.limits.hugetlb.max.push((limit.page_size().clone(), ceiling));
            plan.reservations.push((limit.page_size().clone(), ceiling));
        }
        let network = resources.network().as_ref();
        refuse(
            network.is_some_and(|network| network.class_id().is_some_and(|class| class != 0)),
            "linux.resources.network.classID",
            "cgroup v2 has no net_cls controller; match the cgroup's path in nf_tables instead",
        )?;
        refuse(
            network.is_some_and(|network| network.priorities().as_ref().is_some_and(|list| !list.is_empty())),
            "linux.resources.network.priorities",
            "cgroup v2 has no net_prio controller",
        )?;
        plan.rdma(resources)?;
        plan.unified(resources)?;
        // What is out of range is said before there is a cgroup.
        plan.limits.settings()?;
        Ok(plan)
    }

    /// What is asked for of a cgroup that is new: it has no limits, so "no limit" needs neither a write nor a controller. Nor does
    /// the share of CPU time that everyone has, which containerd writes into every specification, where nobody can have another.
    #[must_use]
    pub fn for_new_cgroup(mut self, controllers: &[String]) -> Self {
        const USUAL_SHARES: u64 = 1024;
        let finite = |ceiling: Option<Ceiling>| ceiling.filter(|ceiling| *ceiling != Ceiling::Max);
        let Limits { memory, pids, cpu, hugetlb, .. } = &mut self.limits;
        memory.max = finite(memory.max);
        memory.swap_max = finite(memory.swap_max);
        memory.low = finite(memory.low);
        pids.max = pids.max.filter(|max| *max != pids::Max::Unlimited);
        let is_usual = |weight: &u64| *weight == cpu::weight_from_shares(USUAL_SHARES);
        let has_weights = controllers.iter().any(|name| name == "cpu");
        cpu.weight = cpu.weight.filter(|weight| has_weights || !is_usual(weight));
        cpu.max = cpu.max.filter(|max| max.quota_us.is_some() || max.period_us != cpu::PERIOD_US);
        hugetlb.max.retain(|(_, ceiling)| *ceiling != Ceiling::Max);
        self.reservations.retain(|(_, ceiling)| *ceiling != Ceiling::Max);
        self
    }

    fn memory(&mut self, wanted: &LinuxMemory) -> Result<(), Error> {
        const KEY: &str = "linux.resources.memory";
        refuse(
            wanted.kernel().is_some_and(set),
            &format!("{KEY}.kernel"),
            "cgroup v2 counts kernel memory in the limit",
        )?;
        refuse(wanted.kernel_tcp().is_some_and(set), &format!("{KEY}.kernelTCP"), "cgroup v2 counts it in the limit")?;
        refuse(wanted.swappiness().is_some(), &format!("{KEY}.swappiness"), "cgroup v2 does not have it per cgroup")?;
        refuse(
            wanted.disable_oom_killer().unwrap_or(false),
            &format!("{KEY}.disableOOMKiller"),
            "cgroup v2 cannot switch the OOM killer off; set process.oomScoreAdj to -1000 instead",
        )?;
        refuse(wanted.use_hierarchy() == Some(false), &format!("{KEY}.useHierarchy"), "cgroup v2 is hierarchical")?;
        self.check_memory = wanted.check_before_update().unwrap_or(false);
        let limit = wanted.limit().unwrap_or(0);
        self.limits.memory = memory::Limits {
            max: ceiling(limit),
            low: ceiling(wanted.reservation().unwrap_or(0)),
            swap_max: swap(limit, wanted.swap().unwrap_or(0))?,
            ..Default::default()
        };
        Ok(())
    }

    fn cpu(&mut self, wanted: &LinuxCpu) -> Result<(), Error> {
        const KEY: &str = "linux.resources.cpu";
        let why = "cgroup v2 has no real-time bandwidth per cgroup";
        refuse(wanted.realtime_runtime().is_some_and(set), &format!("{KEY}.realtimeRuntime"), why)?;
        refuse(wanted.realtime_period().is_some_and(|period| period != 0), &format!("{KEY}.realtimePeriod"), why)?;
        let quota = wanted.quota().filter(|&quota| quota != 0);
        let period = wanted.period().filter(|&period| period != 0);
        let max = (quota.is_some() || period.is_some()).then(|| cpu::Max {
            quota_us: quota.and_then(|quota| u64::try_from(quota).ok()),
            period_us: period.unwrap_or(cpu::PERIOD_US),
        });
        let idle = match wanted.idle() {
            None => None,
            Some(0) => Some(false),
            Some(1) => Some(true),
            Some(other) => return Err(Error::spec(format!("{KEY}.idle"), format!("{other} is neither 0 nor 1"))),
        };
        self.limits.cpu = cpu::Limits {
            max,
            max_burst_us: wanted.burst(),
            weight: wanted.shares().filter(|&shares| shares != 0).map(cpu::weight_from_shares),
            idle,
            ..Default::default()
        };
        let list = |list: &Option<String>| list.clone().filter(|list| !list.is_empty());
        self.limits.cpuset = cpuset::Limits { cpus: list(wanted.cpus()), mems: list(wanted.mems()), partition: None };
        Ok(())
    }

    fn block_io(&mut self, wanted: &LinuxBlockIo) -> Result<(), Error> {
        const KEY: &str = "linux.resources.blockIO";
        let leaf = "cgroup v2 has no leaf weight; make a cgroup for the leaf";
        refuse(wanted.leaf_weight().is_some_and(|weight| weight != 0), &format!("{KEY}.leafWeight"), leaf)?;
        self.weight =
            wanted.weight().filter(|&weight| weight != 0).map(|weight| block_weight(KEY, weight)).transpose()?;
        for device in wanted.weight_device().iter().flatten() {
            let key = format!("{KEY}.weightDevice");
            refuse(device.leaf_weight().is_some_and(|weight| weight != 0), &format!("{key}.leafWeight"), leaf)?;
            if let Some(weight) = device.weight().filter(|&weight| weight != 0) {
                let number = device_number(&key, device.major(), device.minor())?;
                self.device_weights.push((number, block_weight(&key, weight)?));
            }
        }
        self.throttle("throttleReadBpsDevice", wanted.throttle_read_bps_device(), |line| &mut line.rbps)?;
        self.throttle("throttleWriteBpsDevice", wanted.throttle_write_bps_device(), |line| &mut line.wbps)?;
        self.throttle("throttleReadIOPSDevice", wanted.throttle_read_iops_device(), |line| &mut line.riops)?;
        self.throttle("throttleWriteIOPSDevice", wanted.throttle_write_iops_device(), |line| &mut line.wiops)
    }

    fn throttle(
        &mut self,
        key: &str,
        wanted: &Option<Vec<LinuxThrottleDevice>>,
        field: impl Fn(&mut Throttle) -> &mut Option<Ceiling>,
    ) -> Result<(), Error> {
        for entry in wanted.iter().flatten() {
            let device = device_number(&format!("linux.resources.blockIO.{key}"), entry.major(), entry.minor())?;
            let mut line = Throttle { device, rbps: None, wbps: None, riops: None, wiops: None };
            // Zero takes a limit away, as in cgroup v1.
            *field(&mut line) = Some(if entry.rate() == 0 { Ceiling::Max } else { Ceiling::Value(entry.rate()) });
            self.limits.io.max.push(line);
        }
        Ok(())
    }

    fn rdma(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        let mut devices: Vec<_> = resources.rdma().iter().flatten().collect();
        devices.sort_by_key(|(name, _)| *name);
        for (name, limit) in devices {
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(Error::spec("linux.resources.rdma", format!("{name:?} is no name of a device")));
            }
            let part = |key: &str, value: Option<u32>| value.map_or(String::new(), |value| format!(" {key}={value}"));
            let parts = part("hca_handle", limit.hca_handles()) + &part("hca_object", limit.hca_objects());
            if !parts.is_empty() {
                self.files.push(("rdma.max".into(), format!("{name}{parts}")));
            }
        }
        Ok(())
    }

    fn unified(&mut self, resources: &LinuxResources) -> Result<(), Error> {
        let mut files: Vec<_> = resources.unified().iter().flatten().collect();
        files.sort();
        for (name, value) in files {
            let is_file = name.contains('.') && !name.starts_with('.') && !name.contains(['/', '\0']);
            if !is_file {
                let why = "a key is the name of a control file, such as memory.high";
                return Err(Error::spec(format!("linux.resources.unified: {name:?}"), why));
            }
            self.files.push((name.clone(), value.clone()));
        }
        Ok(())
    }

    /// The controllers that must be there.
    ///
    /// # Errors
    /// None that [`Resources::plan`] has not told.
    pub fn controllers(&self) -> Result<BTreeSet<String>, Error> {
        let mut all: BTreeSet<String> = self.limits.controllers()?.into_iter().map(str::to_owned).collect();
        if self.weight.is_some() || !self.device_weights.is_empty() {
            all.insert("io".into());
        }
        all.extend(self.files.iter().filter_map(|(name, _)| name.split('.').next()).map(str::to_owned));
        // Files of the core are there without a controller.
        all.remove("cgroup");
        Ok(all)
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Self { check_memory: self.check_memory, ..Self::default() }
    }

    /// Write the limits. What is not asked for is left as it is.
    ///
    /// # Errors
    /// The first write that the kernel refused, with file and value.
    pub fn apply(&self, cgroup: &Cgroup) -> Result<(), Error> {
        if let (true, Some(Ceiling::Value(limit))) = (self.check_memory, self.limits.memory.max) {
            let used = cgroup.memory_current()?;
            refuse(
                limit < used,
                "linux.resources.memory.limit",
                &format!("{limit} bytes are less than the {used} in use, and checkBeforeUpdate is set"),
            )?;
        }
        cgroup.set(&self.limits)?;
        self.apply_weights(cgroup)?;
        for (size, ceiling) in &self.reservations {
            let file = format!("hugetlb.{size}.rsvd.max");
            if cgroup.read(&file).is_ok() {
                cgroup.write(&file, &ceiling.to_string())?;
            }
        }
        self.files.iter().try_for_each(|(file, value)| Ok(cgroup.write(file, value)?))
    }

    /// The BFQ scheduler has a file of its own, with cgroup v1's range.
    fn apply_weights(&self, cgroup: &Cgroup) -> Result<(), Error> {
        if self.weight.is_none() && self.device_weights.is_empty() {
            return Ok(());
        }
        if cgroup.read("io.bfq.weight").is_ok() {
            if let Some(weight) = self.weight {
                cgroup.write("io.bfq.weight", &weight.to_string())?;
            }
            let mut devices = self.device_weights.iter();
            return devices
                .try_for_each(|(device, weight)| Ok(cgroup.write("io.bfq.weight", &format!("{device} {weight}"))?));
        }
        let io = io::Limits {
            weight: self.weight.map(weight_v2),
            device_weights: self.device_weights.iter().map(|&(device, weight)| (device, weight_v2(weight))).collect(),
            ..Default::default()
        };
        Ok(cgroup.set(&Limits { io, ..Limits::default() })?)
    }
}

fn refuse(asked: bool, what: &str, why: &str) -> Result<(), Error> {
    if asked { Err(Error::spec(what, why)) } else { Ok(()) }
}

/// Zero and below mean: no limit asked for.
fn set(value: i64) -> bool {
    value > 0
}

/// Bytes; 0 is not set, -1 no limit.
fn ceiling(bytes: i64) -> Option<Ceiling> {
    (bytes != 0).then(|| u64::try_from(bytes).map_or(Ceiling::Max, Ceiling::Value))
}

/// The specification counts memory and swap together, cgroup v2 apart.
fn swap(memory: i64, total: i64) -> Result<Option<Ceiling>, Error> {
    let what = "linux.resources.memory.swap";
    match (memory, total) {
        // Memory without limit and nothing said: swap without limit, as in cgroup v1.
        (-1, 0) | (_, ..=-1) => Ok(Some(Ceiling::Max)),
        (_, 0) => Ok(None),
        (..=0, _) => Err(Error::spec(what, "unable to set swap limit without memory limit")),
        _ if total < memory => Err(Error::spec(what, "memory+swap limit should be >= memory limit")),
        _ => Ok(Some(Ceiling::Value((total - memory).unsigned_abs()))),
    }
}

fn device_number(key: &str, major: i64, minor: i64) -> Result<Device, Error> {
    let number =
        |value: i64| u32::try_from(value).map_err(|_| Error::spec(key, format!("{value} is no device number")));
    Ok(Device { major: number(major)?, minor: number(minor)? })
}

fn block_weight(key: &str, weight: u16) -> Result<u16, Error> {
    let range = || Error::spec(key, format!("the weight {weight} is not in 10 to 1000"));
    Some(weight).filter(|weight| (10..=1000).contains(weight)).ok_or_else(range)
}

/// 10 to 1,000 as 1 to 10,000.
fn weight_v2(weight: u16) -> u64 {
    1 + (u64::from(weight.clamp(10, 1000)) - 10) * 9_999 / 990
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(resources: Value) -> Result<Resources, Error> {
        Resources::plan(&serde_json::from_value(resources).unwrap())
    }

    /// What is written to a cgroup that has these files.
    fn writes(resources: Value, files: &[&str]) -> Vec<String> {
        let dir = tempfile::tempdir().unwrap();
        for file in files {
            std::fs::write(dir.path().join(file), "7\n").unwrap();
        }
        plan(resources).unwrap().apply(&Cgroup::open(dir.path()).unwrap()).unwrap();
        let text = |file: &&str| format!("{file}={}", std::fs::read_to_string(dir.path().join(file)).unwrap());
        files.iter().map(text).collect()
    }

    #[test]
    fn memory_and_swap_are_counted_apart() {
        let files = ["memory.max", "memory.low", "memory.swap.max"];
        let wanted = json!({"memory": {"limit": 100, "reservation": 50, "swap": 150, "disableOOMKiller": false}});
        assert_eq!(writes(wanted, &files), ["memory.max=100", "memory.low=50", "memory.swap.max=50"]);
        assert_eq!(
            writes(json!({"memory": {"limit": -1}}), &files),
            ["memory.max=max", "memory.low=7\n", "memory.swap.max=max"]
        );
        assert!(plan(json!({"memory": {"swap": 150}})).is_err());
        assert!(plan(json!({"memory": {"limit": 200, "swap": 150}})).is_err());
    }

    #[test]
    fn cpu_and_processes() {
        let wanted = json!({"cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 1000, "idle": 1,
            "cpus": "0-1", "mems": "0", "realtimeRuntime": 0}, "pids": {"limit": 10}});
        let files = ["cpu.weight", "cpu.max", "cpu.max.burst", "cpu.idle", "cpuset.cpus", "cpuset.mems", "pids.max"];
        let expected = [
            "cpu.weight=39",
            "cpu.max=20000 50000",
            "cpu.max.burst=1000",
            "cpu.idle=1",
            "cpuset.cpus=0-1",
            "cpuset.mems=0",
            "pids.max=10",
        ];
        assert_eq!(writes(wanted.clone(), &files), expected);
        assert_eq!(
            plan(wanted).unwrap().controllers().unwrap().into_iter().collect::<Vec<_>>(),
            ["cpu", "cpuset", "pids"]
        );
        let unlimited = json!({"cpu": {"quota": -1}, "pids": {"limit": -1}});
        assert_eq!(writes(unlimited, &["cpu.max", "pids.max"]), ["cpu.max=max 100000", "pids.max=max"]);
        assert!(
            plan(json!({"cpu": {}, "memory": {}, "pids": {"limit": 0}, "network": {"priorities": []}}))
                .unwrap()
                .is_empty()
        );
    }

    #[test]
    fn no_limit_is_what_a_new_cgroup_has() {
        let wanted = json!({"memory": {"limit": -1, "swap": -1, "reservation": -1}, "cpu": {"quota": -1, "shares": 1024}, "pids": {"limit": -1},
            "hugepageLimits": [{"pageSize": "2MB", "limit": u64::MAX >> 1}]});
        let mut plan = plan(wanted.clone()).unwrap().for_new_cgroup(&[]);
        assert_eq!(plan.controllers().unwrap().into_iter().collect::<Vec<_>>(), ["hugetlb"]);
        plan.limits.hugetlb.max.clear();
        plan.reservations.clear();
        assert!(plan.is_empty());
        let weighted = self::plan(wanted).unwrap().for_new_cgroup(&["cpu".into()]);
        assert_eq!(weighted.limits.cpu.weight, Some(39));
        let limit = self::plan(json!({"memory": {"limit": 5}, "pids": {"limit": 3}})).unwrap();
        assert_eq!(limit.controllers().unwrap().len(), 2);
    }

    #[test]
    fn block_devices() {
        let device = json!({"major": 8, "minor": 0, "weight": 1000});
        let wanted = json!({"blockIO": {"weight": 100, "weightDevice": [device]}});
        assert_eq!(writes(wanted.clone(), &["io.weight"]), ["io.weight=8:0 10000"]);
        assert_eq!(writes(wanted, &["io.bfq.weight"]), ["io.bfq.weight=8:0 1000"]);
        let wanted = json!({"blockIO": {"throttleWriteIOPSDevice": [{"major": 8, "minor": 0, "rate": 5}]}});
        assert_eq!(writes(wanted, &["io.max"]), ["io.max=8:0 wiops=5"]);
        assert!(plan(json!({"blockIO": {"weight": 5}})).is_err());
        assert!(plan(json!({"blockIO": {"throttleReadBpsDevice": [{"major": -1, "minor": 0, "rate": 5}]}})).is_err());
    }

    #[test]
    fn unified_comes_last_and_names_files() {
        let wanted = json!({"memory": {"limit": 5}, "unified": {"memory.max": "6", "memory.high": "4"},
            "hugepageLimits": [{"pageSize": "2MB", "limit": 9}], "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 4}}});
        let files = ["memory.max", "memory.high", "hugetlb.2MB.max", "hugetlb.2MB.rsvd.max", "rdma.max"];
        let expected = [
            "memory.max=6",
            "memory.high=4",
            "hugetlb.2MB.max=9",
            "hugetlb.2MB.rsvd.max=9",
            "rdma.max=mlx5_0 hca_handle=3 hca_object=4",
        ];
        assert_eq!(writes(wanted, &files), expected);
        for key in ["", "memory", "../memory.max", "a/memory.max", ".x"] {
            assert!(plan(json!({"unified": {key: "1"}})).is_err(), "{key:?}");
        }
    }

    #[test]
    fn what_only_cgroup_v1_has_is_refused_by_name() {
        for (wanted, name) in [
            (json!({"memory": {"kernel": 1}}), "memory.kernel"),
            (json!({"memory": {"kernelTCP": 1}}), "memory.kernelTCP"),
            (json!({"memory": {"swappiness": 60}}), "memory.swappiness"),
            (json!({"memory": {"disableOOMKiller": true}}), "memory.disableOOMKiller"),
            (json!({"cpu": {"realtimePeriod": 1}}), "cpu.realtimePeriod"),
            (json!({"blockIO": {"leafWeight": 10}}), "blockIO.leafWeight"),
            (json!({"network": {"classID": 1}}), "network.classID"),
            (json!({"network": {"priorities": [{"name": "eth0", "priority": 1}]}}), "network.priorities"),
        ] {
            let error = plan(wanted).unwrap_err().to_string();
            assert!(error.starts_with(&format!("linux.resources.{name}: ")), "{error}");
        }
    }

    #[test]
    fn a_limit_below_what_is_in_use_is_refused_if_asked() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("memory.current"), "1000\n").unwrap();
        let cgroup = Cgroup::open(dir.path()).unwrap();
        let wanted = plan(json!({"memory": {"limit": 999, "checkBeforeUpdate": true}})).unwrap();
        assert!(matches!(wanted.apply(&cgroup), Err(Error::Spec { .. })));
    }
}
