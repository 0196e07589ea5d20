//! Attributes of the payload's process that the kernel keeps per task: scheduling, I/O priority, execution domain, CPU affinity,
//! security labels (runtime-spec config.md, "process"; config-linux.md, "personality").

use std::path::Path;

use coracle_abi::sched::{Scheduling, policy, set_io_priority, set_personality, set_scheduler};
use coracle_cgroups::cpuset::parse_list;
use oci_spec::runtime::{
    IOPriorityClass, Linux, LinuxIOPriority, LinuxPersonalityDomain, LinuxSchedulerFlag, LinuxSchedulerPolicy, Process,
    Scheduler,
};
use rustix::process::getpid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use super::Error;
use super::channel::{Doing, Step};
use super::procfs::PrivateProc;

/// `PER_LINUX` and `PER_LINUX32` of linux/personality.h.
const PER_LINUX: u32 = 0;
const PER_LINUX32: u32 = 8;
/// Whether the kernel runs AppArmor: `Y` then.
const APPARMOR: &str = "/sys/module/apparmor/parameters/enabled";
/// Is there with SELinux switched on.
const SELINUX: &str = "/sys/fs/selinux/enforce";

/// The attributes of a process, understood.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Attributes {
    scheduler: Option<Scheduling>,
    /// Class and level.
    io_priority: Option<(u32, u32)>,
    personality: Option<u32>,
    /// File below /proc/PID/attr and what to write to it.
    label: Option<(&'static str, String)>,
}

impl Attributes {
    pub(super) fn plan(process: &Process, linux: Option<&Linux>) -> Result<Self, Error> {
        let personality = linux.and_then(|linux| linux.personality().as_ref());
        if personality.is_some_and(|personality| personality.flags().as_ref().is_some_and(|flags| !flags.is_empty())) {
            return Err(Error::spec("linux.personality.flags", "the specification defines none"));
        }
        Ok(Self {
            scheduler: process.scheduler().as_ref().map(scheduler).transpose()?,
            io_priority: process.io_priority().as_ref().map(io_priority).transpose()?,
            personality: personality.map(|personality| match personality.domain() {
                LinuxPersonalityDomain::PerLinux => PER_LINUX,
                LinuxPersonalityDomain::PerLinux32 => PER_LINUX32,
            }),
            label: label(process)?,
        })
    }

    /// Give them to the calling process, which still has its privileges.
    pub(super) fn apply(&self) -> Step {
        if let Some(attr) = &self.scheduler {
            set_scheduler(attr).doing(|| "set the scheduler (process.scheduler)".into())?;
        }
        if let Some((class, level)) = self.io_priority {
            set_io_priority(class, level).doing(|| "set the I/O priority (process.ioPriority)".into())?;
        }
        if let Some(personality) = self.personality {
            set_personality(personality).doing(|| "set the personality (linux.personality)".into())?;
        }
        if let Some((file, value)) = &self.label {
            // By the thread's number and a private procfs, not by "self" and the container's own (CVE-2025-52881).
            PrivateProc::new()?.write(&format!("{}/attr/{file}", getpid()), value)?;
        }
        Ok(())
    }
}

fn scheduler(wanted: &Scheduler) -> Result<Scheduling, Error> {
    const KEY: &str = "process.scheduler";
    let policy = match wanted.policy() {
        LinuxSchedulerPolicy::SchedOther => policy::OTHER,
        LinuxSchedulerPolicy::SchedFifo => policy::FIFO,
        LinuxSchedulerPolicy::SchedRr => policy::RR,
        LinuxSchedulerPolicy::SchedBatch => policy::BATCH,
        LinuxSchedulerPolicy::SchedIdle => policy::IDLE,
        LinuxSchedulerPolicy::SchedDeadline => policy::DEADLINE,
        LinuxSchedulerPolicy::SchedIso => {
            return Err(Error::spec(format!("{KEY}.policy"), "the kernel does not have SCHED_ISO"));
        }
    };
    let flags = wanted.flags().iter().flatten().fold(0, |flags, flag| flags | scheduler_flag(*flag));
    let is_realtime = matches!(policy, policy::FIFO | policy::RR);
    let is_shared = matches!(policy, policy::OTHER | policy::BATCH);
    let is_deadline = policy == policy::DEADLINE;
    let nice = wanted.nice().unwrap_or(0);
    let priority = wanted.priority().unwrap_or(0);
    let [runtime, deadline, period] =
        [wanted.runtime(), wanted.deadline(), wanted.period()].map(|time| time.unwrap_or(0));
    let check = |holds: bool, field: &str, why: &str| {
        if holds { Ok(()) } else { Err(Error::spec(format!("{KEY}.{field}"), why)) }
    };
    check(nice == 0 || is_shared, "nice", "only SCHED_OTHER and SCHED_BATCH have a nice value")?;
    check((-20..=19).contains(&nice), "nice", "a nice value is in -20 to 19")?;
    check(priority == 0 || is_realtime, "priority", "only SCHED_FIFO and SCHED_RR have a priority")?;
    check(!is_realtime || (1..=99).contains(&priority), "priority", "a real-time priority is in 1 to 99")?;
    let has_times = runtime != 0 || deadline != 0 || period != 0;
    check(!has_times || is_deadline, "runtime", "runtime, deadline and period belong to SCHED_DEADLINE")?;
    check(!is_deadline || runtime != 0, "runtime", "SCHED_DEADLINE needs it, in nanoseconds")?;
    check(
        !is_deadline || deadline == 0 || (runtime <= deadline && (period == 0 || deadline <= period)),
        "deadline",
        "runtime <= deadline <= period must hold",
    )?;
    // In range by the checks above.
    let priority = priority.unsigned_abs();
    Ok(Scheduling { policy, flags, nice, priority, runtime, deadline, period })
}

/// `SCHED_FLAG_*` of linux/sched.h.
fn scheduler_flag(flag: LinuxSchedulerFlag) -> u64 {
    match flag {
        LinuxSchedulerFlag::SchedResetOnFork => 0x01,
        LinuxSchedulerFlag::SchedFlagReclaim => 0x02,
        LinuxSchedulerFlag::SchedFlagDLOverrun => 0x04,
        LinuxSchedulerFlag::SchedFlagKeepPolicy => 0x08,
        LinuxSchedulerFlag::SchedFlagKeepParams => 0x10,
        LinuxSchedulerFlag::SchedFlagUtilClampMin => 0x20,
        LinuxSchedulerFlag::SchedFlagUtilClampMax => 0x40,
    }
}

fn io_priority(wanted: &LinuxIOPriority) -> Result<(u32, u32), Error> {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    let level = u32::try_from(wanted.priority()).ok().filter(|level| *level <= 7);
    let level = level.ok_or_else(|| Error::spec("process.ioPriority.priority", "a level is in 0 to 7"))?;
    Ok((class, level))
}

fn label(process: &Process) -> Result<Option<(&'static str, String)>, Error> {
    let wanted = |label: &Option<String>| label.clone().filter(|label| !label.is_empty());
    match (wanted(process.apparmor_profile()), wanted(process.selinux_label())) {
        (None, None) => Ok(None),
        (Some(profile), None) if std::fs::read(APPARMOR).is_ok_and(|text| text.starts_with(b"Y")) => {
            Ok(Some(("apparmor/exec", format!("exec {profile}"))))
        }
        (Some(_), None) => {
            Err(Error::spec("process.apparmorProfile", "this kernel does not run AppArmor; leave it out"))
        }
        (None, Some(label)) if Path::new(SELINUX).exists() => Ok(Some(("exec", label))),
        (None, Some(_)) => Err(Error::spec("process.selinuxLabel", "this kernel does not run SELinux; leave it out")),
        (Some(_), Some(_)) => Err(Error::spec("process.selinuxLabel", "there is an apparmorProfile as well; use one")),
    }
}

/// `process.execCPUAffinity`: the CPUs of a further process, before it is in the container's cgroup and then.
#[derive(Default)]
pub(super) struct Affinity {
    pub initial: Option<CpuSet>,
    last: Option<CpuSet>,
}

impl Affinity {
    pub(super) fn plan(process: &Process) -> Result<Self, Error> {
        let Some(wanted) = process.exec_cpu_affinity() else { return Ok(Self::default()) };
        let list = |text: &Option<String>, which: &str| {
            let text = text.as_ref().filter(|text| !text.is_empty());
            text.map(|text| cpu_list(&format!("process.execCPUAffinity.{which}"), text)).transpose()
        };
        Ok(Self { initial: list(wanted.initial(), "initial")?, last: list(wanted.cpu_affinity_final(), "final")? })
    }

    pub(super) fn apply_last(&self) -> Step {
        let words = || "use the CPUs of process.execCPUAffinity.final".into();
        self.last.as_ref().map_or(Ok(()), |cpus| sched_setaffinity(None, cpus).doing(words))
    }
}

/// A list of CPUs such as `0-3,7`.
fn cpu_list(what: &str, text: &str) -> Result<CpuSet, Error> {
    let bad = || Error::spec(what, format!("{text:?} is no list of CPUs such as 0-3,7"));
    let mut set = CpuSet::new();
    for cpu in parse_list(text).ok_or_else(bad)? {
        let cpu = usize::try_from(cpu).ok().filter(|&cpu| cpu < CpuSet::MAX_CPU).ok_or_else(bad)?;
        set.set(cpu);
    }
    Ok(set)
}

/// While this lives, the calling thread, and what it forks, runs on other CPUs.
pub(super) struct OnCpus {
    own: CpuSet,
}

impl OnCpus {
    pub(super) fn new(cpus: &CpuSet) -> Result<Self, Error> {
        let doing = "use the CPUs of process.execCPUAffinity.initial";
        let own = sched_getaffinity(None).map_err(|errno| Error::setup(doing, errno))?;
        sched_setaffinity(None, cpus).map_err(|errno| Error::setup(doing, errno))?;
        Ok(Self { own })
    }
}

impl Drop for OnCpus {
    fn drop(&mut self) {
        // What was allowed before is not refused.
        let _ = sched_setaffinity(None, &self.own);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn plan(extra: Value) -> Result<Attributes, Error> {
        let mut process = json!({"user": {"uid": 0, "gid": 0}, "cwd": "/", "args": ["sh"]});
        process.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        Attributes::plan(&serde_json::from_value(process).unwrap(), None)
    }

    #[test]
    fn schedulers() {
        let fifo =
            plan(json!({"scheduler": {"policy": "SCHED_FIFO", "priority": 10, "flags": ["SCHED_RESET_ON_FORK"]}}));
        let attr = fifo.unwrap().scheduler.unwrap();
        assert_eq!((attr.policy, attr.priority, attr.flags), (policy::FIFO, 10, 1));
        let deadline = json!({"policy": "SCHED_DEADLINE", "runtime": 10_000, "deadline": 20_000, "period": 30_000});
        assert_eq!(plan(json!({"scheduler": deadline})).unwrap().scheduler.unwrap().policy, policy::DEADLINE);
        for bad in [
            json!({"policy": "SCHED_FIFO"}),
            json!({"policy": "SCHED_FIFO", "priority": 100}),
            json!({"policy": "SCHED_OTHER", "priority": 1}),
            json!({"policy": "SCHED_OTHER", "nice": 20}),
            json!({"policy": "SCHED_IDLE", "nice": 5}),
            json!({"policy": "SCHED_ISO"}),
            json!({"policy": "SCHED_DEADLINE"}),
            json!({"policy": "SCHED_DEADLINE", "runtime": 3, "deadline": 2, "period": 4}),
            json!({"policy": "SCHED_BATCH", "runtime": 3}),
        ] {
            assert!(plan(json!({"scheduler": bad})).is_err(), "{bad}");
        }
    }

    #[test]
    fn io_priorities() {
        let idle = plan(json!({"ioPriority": {"class": "IOPRIO_CLASS_IDLE", "priority": 3}})).unwrap();
        assert_eq!(idle.io_priority, Some((3, 3)));
        for level in [-1, 8] {
            assert!(plan(json!({"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": level}})).is_err());
        }
    }

    #[test]
    fn labels_without_a_module_are_refused_and_empty_ones_are_none() {
        assert_eq!(plan(json!({"apparmorProfile": "", "selinuxLabel": ""})).unwrap(), Attributes::default());
        if !Path::new(SELINUX).exists() {
            assert!(plan(json!({"selinuxLabel": "system_u:system_r:x_t:s0"})).is_err());
        }
        if !Path::new(APPARMOR).exists() {
            assert!(plan(json!({"apparmorProfile": "x"})).is_err());
        }
    }

    #[test]
    fn lists_of_cpus() {
        let set = cpu_list("x", "0-1,3").unwrap();
        assert_eq!((set.count(), set.is_set(2), set.is_set(3)), (3, false, true));
        for bad in ["", "x", "1-", "3-1", "99999"] {
            assert!(cpu_list("x", bad).is_err(), "{bad:?}");
        }
    }
}
