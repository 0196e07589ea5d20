//! The program decides like the profile read as a list, from its first rule to its last.

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompOperator as Op};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::bpf::run;
use super::syscalls::{Abi, Numbers};
use super::{Arch, compile};

const NAMES: [&str; 16] = [
    "read",
    "write",
    "open",
    "close",
    "mkdir",
    "mkdirat",
    "socket",
    "clone",
    "clone3",
    "personality",
    "kill",
    "execve",
    "mseal",
    "fchmodat2",
    "ptrace",
    "no_such_call",
];
const OPERATORS: [&str; 7] =
    ["SCMP_CMP_NE", "SCMP_CMP_LT", "SCMP_CMP_LE", "SCMP_CMP_EQ", "SCMP_CMP_GE", "SCMP_CMP_GT", "SCMP_CMP_MASKED_EQ"];
const ACTIONS: [&str; 6] = [
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_KILL_PROCESS",
    "SCMP_ACT_KILL_THREAD",
    "SCMP_ACT_LOG",
    "SCMP_ACT_TRACE",
];
const ENOSYS: u32 = 0x0005_0026;

/// Values that meet often, also in one half only.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..5, (0u64..3, 0u64..3).prop_map(|(high, low)| high << 32 | low), Just(u64::MAX)]
}

fn arg() -> impl Strategy<Value = Value> {
    (0usize..3, value(), value(), prop::sample::select(&OPERATORS[..]))
        .prop_map(|(index, value, two, op)| json!({"index": index, "value": value, "valueTwo": two, "op": op}))
}

fn rule() -> impl Strategy<Value = Value> {
    let names = prop::collection::vec(prop::sample::select(&NAMES[..]), 1..4);
    (names, prop::sample::select(&ACTIONS[..]), prop::collection::vec(arg(), 0..3), 1u32..5).prop_map(
        |(names, action, args, errno)| {
            let takes_errno = matches!(action, "SCMP_ACT_ERRNO" | "SCMP_ACT_TRACE");
            json!({"names": names, "action": action, "args": args, "errnoRet": takes_errno.then_some(errno)})
        },
    )
}

fn profile() -> impl Strategy<Value = LinuxSeccomp> {
    (prop::sample::select(&ACTIONS[..3]), prop::collection::vec(rule(), 0..25)).prop_map(|(default, rules)| {
        let architectures =
            ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"];
        let profile = json!({"defaultAction": default, "architectures": architectures, "syscalls": rules});
        serde_json::from_value(profile).unwrap()
    })
}

fn holds(arg: &LinuxSeccompArg, args: [u64; 6]) -> bool {
    let (is, value) = (args[arg.index()], arg.value());
    match arg.op() {
        Op::ScmpCmpNe => is != value,
        Op::ScmpCmpLt => is < value,
        Op::ScmpCmpLe => is <= value,
        Op::ScmpCmpEq => is == value,
        Op::ScmpCmpGe => is >= value,
        Op::ScmpCmpGt => is > value,
        Op::ScmpCmpMaskedEq => is & value == arg.value_two().unwrap_or(0),
    }
}

/// Conditions on one argument twice are alternatives; else all must hold.
fn applies(args: &[LinuxSeccompArg], call: [u64; 6]) -> bool {
    let twice = args.iter().enumerate().any(|(at, arg)| args[..at].iter().any(|other| other.index() == arg.index()));
    if twice { args.iter().any(|arg| holds(arg, call)) } else { args.iter().all(|arg| holds(arg, call)) }
}

/// What the profile says to a call.
fn list(profile: &LinuxSeccomp, abi: Abi, nr: u32, call: [u64; 6]) -> u32 {
    let rules = profile.syscalls().as_deref().unwrap_or_default();
    let numbers = |rule: &oci_spec::runtime::LinuxSyscall| -> Vec<u32> {
        rule.names().iter().filter_map(|name| Numbers::of(name)?.on(abi)).collect()
    };
    let about: Vec<_> = rules.iter().filter(|rule| numbers(rule).contains(&nr)).collect();
    let args = |rule: &oci_spec::runtime::LinuxSyscall| rule.args().clone().unwrap_or_default();
    // A rule without conditions stands above all with some, the last of them above the others.
    let always = about.iter().rev().find(|rule| args(rule).is_empty());
    if let Some(rule) = always.or_else(|| about.iter().find(|rule| applies(&args(rule), call))) {
        return rule.action().as_u32(rule.errno_ret());
    }
    // A profile that knows no call of this ABI does not tell newer ones from older ones.
    let newest = rules.iter().flat_map(numbers).max();
    if newest.is_some_and(|newest| nr > newest) && profile.default_action() == LinuxSeccompAction::ScmpActErrno {
        return ENOSYS;
    }
    profile.default_action().as_u32(profile.default_errno_ret())
}

proptest! {
    #[test]
    fn program_and_list_decide_alike(profile in profile(), args in prop::array::uniform6(value())) {
        let filter = compile(&profile).unwrap();
        let abis: &[(Abi, u32, u32)] = if cfg!(target_arch = "x86_64") {
            &[(Abi::X86_64, 0xc000_003e, 0), (Abi::X32, 0xc000_003e, 0x4000_0000), (Abi::I386, 0x4000_0003, 0)]
        } else {
            &[(Abi::Aarch64, 0xc000_00b7, 0), (Abi::Arm, 0x4000_0028, 0)]
        };
        for &(abi, arch, bit) in abis {
            for nr in 0..600 {
                let expected = list(&profile, abi, nr, args);
                prop_assert_eq!(run(filter.program(), arch, nr | bit, args), expected, "{:?} {}", abi, nr);
            }
        }
    }

    #[test]
    fn an_architecture_that_is_not_named_is_none(nr in 0u32..600, args in prop::array::uniform6(value())) {
        let native: LinuxSeccomp = serde_json::from_value(json!({"defaultAction": "SCMP_ACT_ALLOW"})).unwrap();
        let program = compile(&native).unwrap();
        prop_assert!(native.architectures().as_ref().is_none_or(|list| !list.contains(&Arch::ScmpArchX86)));
        let other = if cfg!(target_arch = "x86_64") { 0x4000_0003 } else { 0x4000_0028 };
        prop_assert_eq!(run(program.program(), other, nr, args), 0x8000_0000);
    }
}
