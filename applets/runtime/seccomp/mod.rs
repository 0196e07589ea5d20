//! seccomp: from the specification's profile to a program for the kernel (seccomp(2), runtime-spec config-linux.md).
//!
//! The program looks the call's number up by binary search, so that it costs about ten instructions; a profile as a chain of
//! comparisons costs hundreds. One program serves all architectures that the profile names; a call of another one kills the
//! process.

mod bpf;
pub mod notify;
mod profile;
mod syscalls;

use std::collections::BTreeMap;

use oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSeccompOperator, LinuxSyscall,
};

use super::Error;
use bpf::{Comparison, Condition, Decision, Rule};
pub use profile::default_seccomp;
use syscalls::{Abi, Numbers};

pub use coracle_abi::seccomp::Filter;

/// Most rules with conditions, each counted once for each call and architecture that it is about: a program of 4096 instructions holds
/// fewer by far, and a short profile can name many calls and many conditions in one rule.
const CONDITIONAL_MAX: usize = 1 << 18;
const ENOSYS: u32 = 38;
/// Where arm keeps its private calls: no measure of how new a call is.
const ARM_PRIVATE: u32 = 0x0f_0000;
/// `SECCOMP_FILTER_FLAG_*` of linux/seccomp.h.
const FLAG_LOG: u32 = 1 << 1;
const FLAG_SPEC_ALLOW: u32 = 1 << 2;
const FLAG_WAIT_KILLABLE_RECV: u32 = 1 << 5;

/// Translate a profile. Names that no kernel of ours knows are skipped, as a profile lists calls of many kernels.
pub fn compile(profile: &LinuxSeccomp) -> Result<Filter, Error> {
    check_notify(profile)?;
    let default = code("linux.seccomp.defaultErrnoRet", profile.default_action(), profile.default_errno_ret())?;
    let mut tables = Vec::new();
    let abis = abis(profile)?;
    for (abi, rules) in std::iter::zip(abis.iter().copied(), rules(profile, &abis)?) {
        // A program that is newer than the profile must see ENOSYS for calls that the profile could not know, or it does not fall
        // back to older ones.
        let newest = rules.keys().copied().filter(|&nr| nr < ARM_PRIVATE).max().unwrap_or(0);
        let is_errno = profile.default_action() == LinuxSeccompAction::ScmpActErrno;
        let unknown = if is_errno { LinuxSeccompAction::ScmpActErrno.as_u32(Some(ENOSYS)) } else { default };
        tables.push(bpf::Table { abi, rules, default, newest, unknown });
    }
    let program = bpf::assemble(&tables);
    Filter::new(program, flags(profile))
        .map_err(|source| Error::setup("make a seccomp filter of the profile (too many rules?)", source))
}

/// Whether calls are notified to an agent.
pub fn notifies(profile: &LinuxSeccomp) -> bool {
    profile.syscalls().iter().flatten().any(|rule| rule.action() == LinuxSeccompAction::ScmpActNotify)
}

/// An agent decides on calls once it has the filter's descriptor: the calls that bring it there cannot wait for it.
fn check_notify(profile: &LinuxSeccomp) -> Result<(), Error> {
    const HANDING_OVER: &str = "sendmsg";
    if profile.default_action() == LinuxSeccompAction::ScmpActNotify {
        let why = "SCMP_ACT_NOTIFY cannot be used as default action";
        return Err(Error::spec("linux.seccomp.defaultAction", why));
    }
    if !notifies(profile) {
        return Ok(());
    }
    if profile.listener_path().is_none() {
        return Err(Error::spec("linux.seccomp.listenerPath", "SCMP_ACT_NOTIFY needs an agent that listens there"));
    }
    let notified = |rule: &&LinuxSyscall| rule.action() == LinuxSeccompAction::ScmpActNotify;
    let mut names = profile.syscalls().iter().flatten().filter(notified).flat_map(LinuxSyscall::names);
    if names.any(|name| name == HANDING_OVER) {
        let why =
            "SCMP_ACT_NOTIFY cannot be used for the sendmsg syscall, by which the agent gets the filter's descriptor";
        return Err(Error::spec("linux.seccomp.syscalls", why));
    }
    Ok(())
}

fn flags(profile: &LinuxSeccomp) -> u32 {
    profile.flags().iter().flatten().fold(0, |flags, flag| match flag {
        LinuxSeccompFilterFlag::SeccompFilterFlagLog => flags | FLAG_LOG,
        LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => flags | FLAG_SPEC_ALLOW,
        // With one thread there is nothing to synchronise.
        LinuxSeccompFilterFlag::SeccompFilterFlagTsync => flags,
        // Without notification the kernel refuses it, and there is nothing to wait for.
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv if notifies(profile) => {
            flags | FLAG_WAIT_KILLABLE_RECV
        }
        LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => flags,
    })
}

/// The architectures of the profile that this machine can run; the native one always.
fn abis(profile: &LinuxSeccomp) -> Result<Vec<Abi>, Error> {
    let native = if cfg!(target_arch = "x86_64") { Abi::X86_64 } else { Abi::Aarch64 };
    let mut abis = vec![native];
    for arch in profile.architectures().iter().flatten() {
        let abi = match arch {
            Arch::ScmpArchNative => native,
            Arch::ScmpArchX86_64 => Abi::X86_64,
            Arch::ScmpArchX86 => Abi::I386,
            Arch::ScmpArchX32 => Abi::X32,
            Arch::ScmpArchAarch64 => Abi::Aarch64,
            Arch::ScmpArchArm => Abi::Arm,
            _ => continue,
        };
        let runs_here = matches!(abi, Abi::X86_64 | Abi::I386 | Abi::X32) == (native == Abi::X86_64);
        if runs_here && !abis.contains(&abi) {
            abis.push(abi);
        }
    }
    Ok(abis)
}

/// The rules for each architecture.
fn rules(profile: &LinuxSeccomp, abis: &[Abi]) -> Result<Vec<BTreeMap<u32, Decision>>, Error> {
    let mut all = vec![BTreeMap::new(); abis.len()];
    let mut conditional = 0;
    for rule in profile.syscalls().iter().flatten() {
        if rule.names().is_empty() {
            return Err(Error::spec("linux.seccomp.syscalls.names", "a rule is for at least one call"));
        }
        let action = code("linux.seccomp.syscalls.errnoRet", rule.action(), rule.errno_ret())?;
        let conditions = rule.args().iter().flatten().map(condition).collect::<Result<Vec<_>, _>>()?;
        let alternatives = alternatives(conditions);
        for numbers in rule.names().iter().filter_map(|name| Numbers::of(name)) {
            for (decisions, &abi) in all.iter_mut().zip(abis) {
                if let Some(nr) = numbers.on(abi) {
                    conditional += if rule.args().is_some() { alternatives.len() } else { 0 };
                    if conditional > CONDITIONAL_MAX {
                        let why = format!(
                            "there are more than {CONDITIONAL_MAX} conditions for calls, which no filter holds"
                        );
                        return Err(Error::spec("linux.seccomp.syscalls", why));
                    }
                    let decision = decisions.entry(nr).or_insert_with(|| Decision::If(Vec::new()));
                    alternatives.iter().for_each(|conditions| add(decision, conditions, action));
                }
            }
        }
    }
    Ok(all)
}

/// Conditions that must all hold, as a list of such sets. Two conditions on one argument are two sets of one, as runc has always
/// read profiles that were written before one rule could have several.
fn alternatives(conditions: Vec<Condition>) -> Vec<Vec<Condition>> {
    let is_twice = |index: usize| conditions[..index].iter().any(|other| other.index == conditions[index].index);
    if (0..conditions.len()).any(is_twice) {
        return conditions.into_iter().map(|condition| vec![condition]).collect();
    }
    vec![conditions]
}

fn add(decision: &mut Decision, conditions: &[Condition], action: u32) {
    match decision {
        _ if conditions.is_empty() => *decision = Decision::Always(action),
        Decision::If(rules) => rules.push(Rule { conditions: conditions.to_vec(), action }),
        // What holds always holds also under a condition.
        Decision::Always(_) => {}
    }
}

fn condition(arg: &oci_spec::runtime::LinuxSeccompArg) -> Result<Condition, Error> {
    let index = u32::try_from(arg.index()).ok().filter(|&index| index < 6);
    let index =
        index.ok_or_else(|| Error::spec("linux.seccomp.syscalls.args.index", "a system call has arguments 0 to 5"))?;
    let comparison = match arg.op() {
        LinuxSeccompOperator::ScmpCmpNe => Comparison::Ne(arg.value()),
        LinuxSeccompOperator::ScmpCmpLt => Comparison::Lt(arg.value()),
        LinuxSeccompOperator::ScmpCmpLe => Comparison::Le(arg.value()),
        LinuxSeccompOperator::ScmpCmpEq => Comparison::Eq(arg.value()),
        LinuxSeccompOperator::ScmpCmpGe => Comparison::Ge(arg.value()),
        LinuxSeccompOperator::ScmpCmpGt => Comparison::Gt(arg.value()),
        LinuxSeccompOperator::ScmpCmpMaskedEq => {
            Comparison::MaskedEq { mask: arg.value(), value: arg.value_two().unwrap_or(0) }
        }
    };
    Ok(Condition { index, comparison })
}

fn code(what: &str, action: LinuxSeccompAction, errno: Option<u32>) -> Result<u32, Error> {
    let takes_errno = matches!(action, LinuxSeccompAction::ScmpActErrno | LinuxSeccompAction::ScmpActTrace);
    match errno {
        Some(_) if !takes_errno => Err(Error::spec(what, format!("{action} takes none"))),
        Some(errno) if errno > 0xfff => Err(Error::spec(what, "an errno is at most 4095")),
        errno => Ok(action.as_u32(errno)),
    }
}

#[cfg(test)]
mod agreement;

#[cfg(test)]
mod tests {
    use super::bpf::run;
    use super::*;
    use std::collections::HashSet;

    const ALLOW: u32 = 0x7fff_0000;
    const EPERM: u32 = 0x0005_0001;
    const NO_SUCH_CALL: u32 = 0x0005_0026;
    const KILL_PROCESS: u32 = 0x8000_0000;

    fn native() -> Abi {
        if cfg!(target_arch = "x86_64") { Abi::X86_64 } else { Abi::Aarch64 }
    }

    fn ask(filter: &Filter, abi: Abi, name: &str, args: [u64; 6]) -> u32 {
        let (arch, bit) = match abi {
            Abi::X86_64 => (0xc000_003e, 0),
            Abi::X32 => (0xc000_003e, 0x4000_0000),
            Abi::I386 => (0x4000_0003, 0),
            Abi::Aarch64 => (0xc000_00b7, 0),
            Abi::Arm => (0x4000_0028, 0),
        };
        run(filter.program(), arch, Numbers::of(name).unwrap().on(abi).unwrap() | bit, args)
    }

    #[test]
    fn docker_profile() {
        let filter = compile(&default_seccomp(&HashSet::from([Capability::Chown, Capability::SysChroot]))).unwrap();
        let ask = |name, first| ask(&filter, native(), name, [first, 0, 0, 0, 0, 0]);
        for name in ["read", "execve", "openat2", "chroot", "ptrace", "ioctl", "setxattr"] {
            assert_eq!(ask(name, 0), ALLOW, "{name}");
        }
        for name in
            ["keyctl", "add_key", "mount", "unshare", "setns", "bpf", "io_uring_setup", "reboot", "open_by_handle_at"]
        {
            assert_eq!(ask(name, 0), EPERM, "{name}");
        }
        assert_eq!(ask("clone3", 0), NO_SUCH_CALL);
        assert_eq!(ask("clone", 0x0120_0011), ALLOW);
        assert_eq!(ask("clone", 0x1000_0011), EPERM, "new user namespace");
        for (family, expected) in
            [(1, ALLOW), (10, ALLOW), (16, ALLOW), (17, ALLOW), (38, EPERM), (40, EPERM), (1 << 32 | 1, EPERM)]
        {
            assert_eq!(ask("socket", family), expected, "family {family}");
        }
        assert_eq!(ask("personality", 8), ALLOW);
        assert_eq!(ask("personality", 0x40000), EPERM);
        assert_eq!(run(filter.program(), 0x1234, 0, [0; 6]), KILL_PROCESS);
        assert!(filter.program().len() < 600, "{} instructions", filter.program().len());
    }

    #[test]
    fn capabilities_open_calls() {
        let filter = compile(&default_seccomp(&HashSet::from([Capability::SysAdmin, Capability::SysTime]))).unwrap();
        for name in ["mount", "unshare", "clone3", "clone", "setns", "clock_settime"] {
            assert_eq!(ask(&filter, native(), name, [0x1000_0011, 0, 0, 0, 0, 0]), ALLOW, "{name}");
        }
    }

    #[test]
    fn newer_than_the_profile_is_enosys() {
        let filter = compile(&default_seccomp(&HashSet::new())).unwrap();
        let arch = if cfg!(target_arch = "x86_64") { 0xc000_003e } else { 0xc000_00b7 };
        assert_eq!(run(filter.program(), arch, 1000, [0; 6]), NO_SUCH_CALL);
    }

    /// Found by `program_and_list_decide_alike`.
    #[test]
    fn without_rules_all_calls_get_the_default() {
        let architectures =
            ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
        let profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": architectures, "syscalls": [],
        });
        let filter = compile(&serde_json::from_value(profile).unwrap()).unwrap();
        let calls: &[(u32, u32)] = if cfg!(target_arch = "x86_64") {
            &[(0xc000_003e, 0), (0xc000_003e, 0x4000_0000), (0x4000_0003, 0)]
        } else {
            &[(0xc000_00b7, 0), (0x4000_0028, 0)]
        };
        for &(arch, bit) in calls {
            for nr in [0, 1, 599] {
                assert_eq!(run(filter.program(), arch, nr | bit, [0; 6]), EPERM, "{arch:#x} {nr}");
            }
        }
    }

    #[test]
    fn many_calls_times_many_conditions_are_refused() {
        let args: Vec<_> =
            (0..1000).map(|n| serde_json::json!({"index": 0, "value": n, "op": "SCMP_CMP_NE"})).collect();
        let rule = serde_json::json!({"names": vec!["read"; 1000], "action": "SCMP_ACT_ALLOW", "args": args});
        let profile = serde_json::json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]});
        let error = compile(&serde_json::from_value(profile).unwrap()).unwrap_err().to_string();
        assert!(error.contains("linux.seccomp.syscalls: there are more than"), "{error}");
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn other_architectures_of_x86() {
        let filter = compile(&default_seccomp(&HashSet::new())).unwrap();
        assert_eq!(ask(&filter, Abi::I386, "socketcall", [0; 6]), ALLOW);
        assert_eq!(ask(&filter, Abi::I386, "mount", [0; 6]), EPERM);
        assert_eq!(ask(&filter, Abi::I386, "open", [0; 6]), ALLOW);
        assert_eq!(ask(&filter, Abi::X32, "rt_sigaction", [0; 6]), ALLOW);
        assert_eq!(ask(&filter, Abi::X32, "keyctl", [0; 6]), EPERM);
        let mut only_native = default_seccomp(&HashSet::new());
        only_native.set_architectures(None);
        let filter = compile(&only_native).unwrap();
        assert_eq!(ask(&filter, Abi::I386, "open", [0; 6]), KILL_PROCESS);
        assert_eq!(ask(&filter, Abi::X32, "read", [0; 6]), KILL_PROCESS);
    }

    use oci_spec::runtime::Capability;
}
