//! Which devices a container may use (`linux.resources.devices`): a list of rules, the last that matches decides. What no rule
//! allows is denied; the default devices and pseudo-terminals are always allowed.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;

use coracle_abi::bpf::{Instruction, attach_device_program, device_programs};
use oci_spec::runtime::{Capability, Linux, LinuxDeviceCgroup, LinuxDeviceType, Process};

use super::{Error, is_rootless};

// linux/bpf_common.h and linux/bpf.h.
const LDX_W: u8 = 0x61;
const MOV32_X: u8 = 0xbc;
const MOV32_K: u8 = 0xb4;
const AND32_K: u8 = 0x54;
const RSH32_K: u8 = 0x74;
const JEQ_K: u8 = 0x15;
const JNE_K: u8 = 0x55;
const JNE_X: u8 = 0x5d;
const EXIT: u8 = 0x95;

// struct bpf_cgroup_dev_ctx: kind and access share a word.
const CONTEXT_ACCESS: i16 = 0;
const CONTEXT_MAJOR: i16 = 4;
const CONTEXT_MINOR: i16 = 8;

const BLOCK: i32 = 1;
const CHARACTER: i32 = 2;
const MKNOD: i32 = 1;
const READ: i32 = 2;
const WRITE: i32 = 4;
const ALL: i32 = MKNOD | READ | WRITE;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Rule {
    allow: bool,
    kind: Option<i32>,
    major: Option<i32>,
    minor: Option<i32>,
    access: i32,
}

/// Docker's list: making any node, using the default devices, terminals.
const DEFAULT: [Rule; 11] = [
    allow(CHARACTER, None, None, MKNOD),
    allow(BLOCK, None, None, MKNOD),
    allow(CHARACTER, Some(1), Some(3), ALL),
    allow(CHARACTER, Some(1), Some(5), ALL),
    allow(CHARACTER, Some(1), Some(7), ALL),
    allow(CHARACTER, Some(1), Some(8), ALL),
    allow(CHARACTER, Some(1), Some(9), ALL),
    allow(CHARACTER, Some(5), Some(0), ALL),
    allow(CHARACTER, Some(5), Some(1), ALL),
    allow(CHARACTER, Some(5), Some(2), ALL),
    allow(CHARACTER, Some(136), None, ALL),
];

const fn allow(kind: i32, major: Option<i32>, minor: Option<i32>, access: i32) -> Rule {
    Rule { allow: true, kind: Some(kind), major, minor, access }
}

/// The device rules of a container, understood.
pub(super) struct DeviceRules {
    rules: Vec<Rule>,
    /// The payload can make nodes of any device.
    makes_nodes: bool,
    /// The caller is nobody whom rules could hold back: it has what files' modes allow, and so has the payload.
    rootless: bool,
}

impl DeviceRules {
    /// Understand the rules; a specification without any denies as much as one with an empty list.
    /// With other users than the first user namespace's no process can make a node of a device.
    pub(super) fn plan(linux: &Linux, process: &Process, has_users: bool) -> Result<Self, Error> {
        let rules = linux.resources().as_ref().and_then(|resources| resources.devices().as_deref()).unwrap_or_default();
        let rules = rules.iter().map(rule).collect::<Result<_, _>>()?;
        let rootless = is_rootless();
        Ok(Self { rules, makes_nodes: !has_users && !rootless && makes_nodes(process), rootless })
    }

    /// Put the processes of a cgroup under the rules. Where that cannot be done, only rules that hold without are accepted.
    pub(super) fn attach(&self, cgroup: Option<BorrowedFd<'_>>) -> Result<(), Error> {
        let refused = match cgroup {
            Some(cgroup) => {
                let mut all = self.rules.clone();
                all.extend(DEFAULT);
                match attach_device_program(cgroup, &assemble(&all)) {
                    Ok(()) => return Ok(()),
                    Err(source) => source,
                }
            }
            None => ErrorKind::Unsupported.into(),
        };
        let hold = self.rootless || !self.makes_nodes && self.rules.iter().all(Rule::holds_by_itself);
        if hold { Ok(()) } else { Err(Error::Devices(refused)) }
    }
}

/// Refuse a further process that could make nodes in a container without device rules.
pub(super) fn check_attached(cgroup: Option<BorrowedFd<'_>>, process: &Process) -> Result<(), Error> {
    if !makes_nodes(process) || is_rootless() {
        return Ok(());
    }
    match cgroup.map_or(Ok(0), device_programs) {
        Ok(0) => Err(Error::Devices(ErrorKind::NotFound.into())),
        Ok(_) => Ok(()),
        Err(source) => Err(Error::Devices(source)),
    }
}

fn makes_nodes(process: &Process) -> bool {
    let sets = process.capabilities().as_ref();
    let bounding = sets.and_then(|sets| sets.bounding().as_ref());
    bounding.is_some_and(|set| set.contains(&Capability::Mknod))
}

impl Rule {
    fn is_about_all(&self) -> bool {
        self.kind.is_none() && self.major.is_none() && self.minor.is_none() && self.access == ALL
    }

    /// Whether it needs no program in a container that has no device nodes but those it was given.
    fn holds_by_itself(&self) -> bool {
        if self.allow { self.access == ALL } else { self.is_about_all() }
    }
}

fn rule(rule: &LinuxDeviceCgroup) -> Result<Rule, Error> {
    let kind = match rule.typ() {
        None | Some(LinuxDeviceType::A) => None,
        Some(LinuxDeviceType::B) => Some(BLOCK),
        Some(LinuxDeviceType::C | LinuxDeviceType::U) => Some(CHARACTER),
        Some(LinuxDeviceType::P) => return Err(Error::spec("linux.resources.devices", "a FIFO is no device")),
    };
    let number = |number: Option<i64>| match number {
        // Docker writes -1 for any.
        None | Some(-1) => Ok(None),
        Some(number) => i32::try_from(number)
            .ok()
            .filter(|&number| number >= 0)
            .map(Some)
            .ok_or_else(|| Error::spec("linux.resources.devices", format!("{number} is no device number"))),
    };
    let access = match rule.access().as_deref() {
        None | Some("") => ALL,
        Some(letters) => letters.chars().try_fold(0, |all, letter| match letter {
            'r' => Ok(all | READ),
            'w' => Ok(all | WRITE),
            'm' => Ok(all | MKNOD),
            _ => Err(Error::spec("linux.resources.devices", format!("access {letters:?}: its letters are r, w, m"))),
        })?,
    };
    Ok(Rule { allow: rule.allow(), kind, major: number(rule.major())?, minor: number(rule.minor())?, access })
}

/// Registers: r2 kind, r3 access asked for, r4 major, r5 minor.
fn assemble(rules: &[Rule]) -> Vec<Instruction> {
    let load = |register: u8, offset| op(LDX_W, register | 1 << 4, offset, 0);
    let mut code = vec![
        load(2, CONTEXT_ACCESS),
        op(AND32_K, 2, 0, 0xffff),
        load(3, CONTEXT_ACCESS),
        op(RSH32_K, 3, 0, 16),
        load(4, CONTEXT_MAJOR),
        load(5, CONTEXT_MINOR),
    ];
    for rule in rules.iter().rev() {
        code.extend(one(rule));
        if rule.is_about_all() {
            // Nothing comes past a rule for everything, and the verifier refuses code that is never reached.
            return code;
        }
    }
    code.extend(verdict(false));
    code
}

fn one(rule: &Rule) -> Vec<Instruction> {
    let mut tests: Vec<Instruction> = Vec::new();
    let mut equals = |register, value: Option<i32>| tests.extend(value.map(|value| op(JNE_K, register, 0, value)));
    equals(2, rule.kind);
    equals(4, rule.major);
    equals(5, rule.minor);
    if rule.access != ALL {
        tests.extend([op(MOV32_X, 1 | 3 << 4, 0, 0), op(AND32_K, 1, 0, rule.access)]);
        // All that is asked for must be allowed; any of it may be denied.
        tests.push(if rule.allow { op(JNE_X, 1 | 3 << 4, 0, 0) } else { op(JEQ_K, 1, 0, 0) });
    }
    let count = tests.len();
    for (index, test) in tests.iter_mut().enumerate() {
        if matches!(test.code, JNE_K | JNE_X | JEQ_K) {
            // Over the tests that are left and the two instructions of the verdict.
            test.offset = i16::try_from(count - index - 1 + 2).unwrap_or(i16::MAX);
        }
    }
    tests.extend(verdict(rule.allow));
    tests
}

fn verdict(allow: bool) -> [Instruction; 2] {
    [op(MOV32_K, 0, 0, i32::from(allow)), op(EXIT, 0, 0, 0)]
}

fn op(code: u8, registers: u8, offset: i16, immediate: i32) -> Instruction {
    Instruction { code, registers, offset, immediate }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the kernel would answer.
    fn ask(rules: &[Rule], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let code = assemble(rules);
        let context = [access << 16 | kind, major, minor];
        let (mut r, mut pc) = ([0i32; 16], 0i16);
        loop {
            let i = code[usize::try_from(pc).unwrap()];
            let (dst, src) = (usize::from(i.registers & 15), usize::from(i.registers >> 4));
            pc += 1;
            match i.code {
                LDX_W => r[dst] = context[usize::try_from(i.offset).unwrap() / 4],
                MOV32_X => r[dst] = r[src],
                MOV32_K => r[dst] = i.immediate,
                AND32_K => r[dst] &= i.immediate,
                RSH32_K => r[dst] >>= i.immediate,
                JEQ_K if r[dst] == i.immediate => pc += i.offset,
                JNE_K if r[dst] != i.immediate => pc += i.offset,
                JNE_X if r[dst] != r[src] => pc += i.offset,
                JEQ_K | JNE_K | JNE_X => {}
                EXIT => return r[0] != 0,
                other => panic!("{other:#x}"),
            }
        }
    }

    #[test]
    fn an_empty_list_denies() {
        assert!(!ask(&[], CHARACTER, READ, 1, 3));
        assert!(ask(&DEFAULT, CHARACTER, READ | WRITE, 1, 3));
        assert!(ask(&DEFAULT, BLOCK, MKNOD, 8, 0));
        assert!(!ask(&DEFAULT, BLOCK, READ, 8, 0));
        assert!(!ask(&DEFAULT, CHARACTER, READ, 1, 1), "/dev/mem");
    }

    /// The meaning of a list of rules, without a program.
    fn expect(rules: &[Rule], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let meets = |wanted: Option<i32>, actual| wanted.is_none_or(|wanted| wanted == actual);
        let last = rules.iter().rev().find(|rule| {
            let covers = if rule.allow { access & !rule.access == 0 } else { access & rule.access != 0 };
            meets(rule.kind, kind) && meets(rule.major, major) && meets(rule.minor, minor) && covers
        });
        last.is_some_and(|rule| rule.allow)
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let number = || prop_oneof![Just(None), (0..3).prop_map(Some)];
        let kind = prop_oneof![Just(None), Just(Some(BLOCK)), Just(Some(CHARACTER))];
        let rule = (any::<bool>(), kind, number(), number(), 1..=ALL);
        rule.prop_map(|(allow, kind, major, minor, access)| Rule { allow, kind, major, minor, access })
    }

    proptest! {
        #[test]
        fn program_means_what_the_rules_say(
            rules in prop::collection::vec(any_rule(), 0..8), kind in BLOCK..=CHARACTER, access in 1..=ALL,
            major in 0..3, minor in 0..3,
        ) {
            prop_assert_eq!(ask(&rules, kind, access, major, minor), expect(&rules, kind, access, major, minor));
        }
    }

    #[test]
    fn without_a_program_only_what_holds_by_itself_is_accepted() {
        let deny_all = Rule { allow: false, kind: None, major: None, minor: None, access: ALL };
        let tun = allow(CHARACTER, Some(10), Some(200), ALL);
        let attach = |rules: &[Rule], makes_nodes| {
            DeviceRules { rules: rules.to_vec(), makes_nodes, rootless: false }.attach(None)
        };
        assert!(attach(&[], true).is_err());
        assert!(attach(&[deny_all, tun], false).is_ok());
        assert!(attach(&[deny_all, Rule { access: READ, ..tun }], false).is_err());
        assert!(attach(&[Rule { allow: false, ..tun }], false).is_err());
    }

    #[test]
    fn the_last_match_decides() {
        let everything = Rule { allow: true, kind: None, major: None, minor: None, access: ALL };
        let no_writes = Rule { allow: false, kind: Some(BLOCK), major: Some(8), minor: None, access: WRITE };
        let rules = [everything, no_writes];
        assert!(ask(&rules, BLOCK, READ, 8, 1));
        assert!(!ask(&rules, BLOCK, READ | WRITE, 8, 1));
        assert!(ask(&rules, BLOCK, WRITE, 9, 1));
        assert!(ask(&[no_writes, everything], BLOCK, WRITE, 8, 1));
    }
}
