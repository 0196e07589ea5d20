//! Assembly of a seccomp filter: classic BPF over `struct seccomp_data` (Documentation/userspace-api/seccomp_filter.rst).

use std::collections::BTreeMap;

use coracle_abi::seccomp::Instruction;

use super::syscalls::Abi;

// linux/filter.h: class, size, mode and operation of an instruction.
const LD_W_ABS: u16 = 0x20;
const ALU_AND_K: u16 = 0x54;
const JMP_JA: u16 = 0x05;
const JMP_JEQ_K: u16 = 0x15;
const JMP_JGT_K: u16 = 0x25;
const JMP_JGE_K: u16 = 0x35;
const RET_K: u16 = 0x06;

// Offsets in struct seccomp_data.
const NR: u32 = 0;
const ARCH: u32 = 4;
const ARGS: u32 = 16;

/// `BPF_MAXINSNS`: the kernel takes no longer program.
const MAX_INSTRUCTIONS: usize = 4096;

const X32_BIT: u32 = 0x4000_0000;
const RET_KILL_PROCESS: u32 = 0x8000_0000;

/// What a filter does for one architecture.
pub struct Table {
    pub abi: Abi,
    pub rules: BTreeMap<u32, Decision>,
    /// For calls without a rule up to `newest`.
    pub default: u32,
    pub newest: u32,
    /// For calls beyond `newest`.
    pub unknown: u32,
}

/// What is done with one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// This action.
    Always(u32),
    /// The action of the first rule that holds, else the default.
    If(Vec<Rule>),
}

/// An action under conditions that must all hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    pub conditions: Vec<Condition>,
    pub action: u32,
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Condition {
    pub index: u32,
    pub comparison: Comparison,
}

/// Comparisons of a 64-bit argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    Eq(u64),
    Ne(u64),
    Lt(u64),
    Le(u64),
    Gt(u64),
    Ge(u64),
    MaskedEq { mask: u64, value: u64 },
}

/// One filter for all tables; a call of an architecture without a table kills the process.
pub fn assemble(tables: &[Table]) -> Vec<Instruction> {
    let mut program = vec![instruction(LD_W_ABS, ARCH)];
    for table in tables.iter().filter(|table| table.abi != Abi::X32) {
        let block = architecture(table, tables);
        program.extend(unless(JMP_JEQ_K, audit_arch(table.abi), &block));
        program.extend(block);
    }
    program.push(ret(RET_KILL_PROCESS));
    program
}

/// The block of one audit architecture, entered with the accumulator free. x32 shares that of x86_64.
fn architecture(table: &Table, tables: &[Table]) -> Vec<Instruction> {
    let mut block = vec![instruction(LD_W_ABS, NR)];
    if table.abi == Abi::X86_64 {
        let x32 = match tables.iter().find(|table| table.abi == Abi::X32) {
            Some(x32) => search(&ranges(x32, X32_BIT)),
            None => vec![ret(RET_KILL_PROCESS)],
        };
        block.extend(unless(JMP_JGE_K, X32_BIT, &x32));
        block.extend(x32);
    }
    block.extend(search(&ranges(table, 0)));
    block
}

/// Skip `block` unless the comparison of the accumulator holds. Conditional jumps reach 255 instructions, JA all.
fn unless(code: u16, k: u32, block: &[Instruction]) -> [Instruction; 2] {
    [jump(code, k, 1, 0), instruction(JMP_JA, length(block))]
}

/// Neighbouring numbers with the same decision, as (first number, decision), covering all numbers.
fn ranges(table: &Table, offset: u32) -> Vec<(u32, Vec<Instruction>)> {
    let mut ranges: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let mut add = |first: u32, code: Vec<Instruction>| match ranges.last() {
        Some((_, last)) if *last == code => {}
        _ => ranges.push((first + offset, code)),
    };
    let default = || vec![ret(table.default)];
    let mut next = 0;
    for (&nr, decision) in &table.rules {
        if nr > next {
            add(next, if next > table.newest { vec![ret(table.unknown)] } else { default() });
        }
        add(nr, decide(decision, table.default));
        next = nr + 1;
        if nr == table.newest {
            add(next, vec![ret(table.unknown)]);
        }
    }
    add(next, vec![ret(if next > table.newest { table.unknown } else { table.default })]);
    ranges
}

/// Ranges up to this number need no more than 239 instructions for their search, what they lead to aside: a short jump reaches over
/// them.
const COMPACT: usize = 120;

/// A binary search over the ranges; the accumulator holds the number.
fn search(ranges: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    match ranges {
        [] => vec![ret(RET_KILL_PROCESS)],
        [(_, code)] => code.clone(),
        _ if ranges.len() <= COMPACT => compact(ranges),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (pivot, low, high) = (high[0].0, search(low), search(high));
            let mut code = vec![jump(JMP_JGE_K, pivot, 0, 1), instruction(JMP_JA, length(&low))];
            code.extend(low);
            code.extend(high);
            code
        }
    }
}

/// A search tree whose leaves share what they lead to: the comparisons, then each return once, then a jump to each longer piece, then
/// the pieces.
fn compact(ranges: &[(u32, Vec<Instruction>)]) -> Vec<Instruction> {
    let mut landings: Vec<&[Instruction]> = Vec::new();
    let leaves: Vec<usize> = ranges
        .iter()
        .map(|(_, code)| {
            landings.iter().position(|other| *other == code.as_slice()).unwrap_or_else(|| {
                landings.push(code);
                landings.len() - 1
            })
        })
        .collect();
    let comparisons = ranges.len() - 1;
    let mut code = Vec::with_capacity(comparisons + landings.len());
    compare(ranges, &leaves, comparisons, &mut code);
    // Each landing is one instruction.
    let mut pieces: Vec<Instruction> = Vec::new();
    for (index, landing) in landings.iter().enumerate() {
        if let [only] = landing {
            code.push(*only);
        } else {
            let left = landings.len() - index - 1;
            code.push(instruction(JMP_JA, u32::try_from(left + pieces.len()).unwrap_or(u32::MAX)));
            pieces.extend_from_slice(landing);
        }
    }
    code.extend(pieces);
    code
}

/// The comparisons of a subtree. `landings`: where the first landing is.
fn compare(ranges: &[(u32, Vec<Instruction>)], leaves: &[usize], landings: usize, code: &mut Vec<Instruction>) {
    if ranges.len() < 2 {
        return;
    }
    let at = code.len();
    let middle = ranges.len() / 2;
    code.push(jump(JMP_JGE_K, ranges[middle].0, 0, 0));
    // Where a half begins: its own comparison, or its leaf's landing. COMPACT keeps all within reach.
    let reach = |half: &[usize], next: usize| {
        let target = if let [leaf] = half { landings + leaf } else { next };
        u8::try_from(target - at - 1).unwrap_or(u8::MAX)
    };
    let below = reach(&leaves[..middle], at + 1);
    compare(&ranges[..middle], &leaves[..middle], landings, code);
    let above = reach(&leaves[middle..], code.len());
    compare(&ranges[middle..], &leaves[middle..], landings, code);
    (code[at].jt, code[at].jf) = (above, below);
}

fn decide(decision: &Decision, default: u32) -> Vec<Instruction> {
    match decision {
        Decision::Always(action) => vec![ret(*action)],
        Decision::If(rules) => rules_code(rules, default),
    }
}

/// The action of the first rule that holds, else the default. Neighbouring rules about the same argument that lead to the same action
/// (the address families of socket) are one search.
fn rules_code(rules: &[Rule], default: u32) -> Vec<Instruction> {
    let mut code = vec![ret(default)];
    // From the last to the first: what a rule falls through to is there already.
    for run in rules.chunk_by(|a, b| is_range(a) && is_range(b) && is_alike(a, b)).rev() {
        let (mut single, set) = run.split_at(run.len() - longest_set(run));
        if let [first, ..] = set {
            let wanted = merge(set.iter().filter_map(interval).collect());
            match one_of(first.conditions[0].index, &wanted, first.action, &code) {
                Some(search) => code = search,
                None => single = run,
            }
        }
        for rule in single.iter().rev() {
            // Too long for the kernel, whatever comes before.
            if code.len() > MAX_INSTRUCTIONS {
                return code;
            }
            code = [rule_code(rule), code].concat();
        }
    }
    code
}

/// How many of the last of these rules are a set that [`one_of`] takes: the most that are, if it is more than one.
fn longest_set(rules: &[Rule]) -> usize {
    let (mut longest, mut set) = (0, Intervals::default());
    for (count, rule) in (1..).zip(rules.iter().rev()) {
        if let Some((first, last)) = interval(rule) {
            if last > u64::from(u32::MAX) {
                break;
            }
            set.add(first, last);
        }
        if count > 1 && (2..=COMPACT).contains(&set.ranges()) {
            longest = count;
        }
    }
    longest
}

/// A set of numbers of 32 bits, as first and last of intervals that do not touch.
#[derive(Default)]
struct Intervals(BTreeMap<u64, u64>);

impl Intervals {
    fn add(&mut self, mut first: u64, mut last: u64) {
        while let Some((&start, &end)) = self.0.range(..=last + 1).next_back()
            && end + 1 >= first
        {
            (first, last) = (first.min(start), last.max(end));
            self.0.remove(&start);
        }
        self.0.insert(first, last);
    }

    /// How many ranges of numbers there are, those between the intervals included.
    fn ranges(&self) -> usize {
        let from_first = self.0.first_key_value().is_some_and(|(&first, _)| first == 0);
        let to_last = self.0.last_key_value().is_some_and(|(_, &last)| last == u64::from(u32::MAX));
        2 * self.0.len() + 1 - usize::from(from_first) - usize::from(to_last)
    }
}

fn is_alike(a: &Rule, b: &Rule) -> bool {
    a.action == b.action && a.conditions[0].index == b.conditions[0].index
}

/// Whether a rule holds for an interval of one argument's values, an empty one included.
fn is_range(rule: &Rule) -> bool {
    let [condition] = rule.conditions[..] else { return false };
    matches!(condition.comparison, Comparison::Eq(_) | Comparison::Le(_) | Comparison::Lt(_))
}

/// First and last of the values for which such a rule holds; `None` if there are none.
fn interval(rule: &Rule) -> Option<(u64, u64)> {
    match rule.conditions.first()?.comparison {
        Comparison::Eq(value) => Some((value, value)),
        Comparison::Le(value) => Some((0, value)),
        Comparison::Lt(value) => Some((0, value.checked_sub(1)?)),
        _ => None,
    }
}

/// Sorted, and joined where they touch.
fn merge(mut all: Vec<(u64, u64)>) -> Vec<(u64, u64)> {
    all.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::new();
    for (first, last) in all {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

/// `action` if an argument is in one of the intervals, else `rest`; `None` if they do not fit 32 bits or are too many.
fn one_of(index: u32, intervals: &[(u64, u64)], action: u32, rest: &[Instruction]) -> Option<Vec<Instruction>> {
    let mut ranges: Vec<(u32, Vec<Instruction>)> = Vec::new();
    let mut next = Some(0);
    for &(first, last) in intervals {
        let (first, last) = (u32::try_from(first).ok()?, u32::try_from(last).ok()?);
        if next.is_some_and(|next| next < first) {
            ranges.push((next?, rest.to_vec()));
        }
        ranges.push((first, vec![ret(action)]));
        next = last.checked_add(1);
    }
    ranges.extend(next.map(|next| (next, rest.to_vec())));
    if ranges.len() > COMPACT || ranges.len() < 2 {
        return None;
    }
    let tree = compact(&ranges);
    // The only longer piece there can be, and so the last.
    let otherwise = match rest {
        [only] => *only,
        _ => instruction(JMP_JA, u32::try_from(1 + tree.len() - rest.len()).ok()?),
    };
    let low = ARGS + 8 * index;
    let mut code =
        vec![instruction(LD_W_ABS, low + 4), jump(JMP_JEQ_K, 0, 1, 0), otherwise, instruction(LD_W_ABS, low)];
    code.extend(tree);
    Some(code)
}

/// `action` if all conditions hold, else fall through to what comes after.
fn rule_code(rule: &Rule) -> Vec<Instruction> {
    let mut code = vec![ret(rule.action)];
    // From the last to the first: each condition jumps over what is already there.
    for condition in rule.conditions.iter().rev() {
        let mut block = condition_code(condition, code.len());
        block.append(&mut code);
        code = block;
    }
    code
}

/// Fall through if the condition holds, else skip `rest` instructions more. Six conditions are at most 36 instructions: a short
/// jump reaches over them.
fn condition_code(condition: &Condition, rest: usize) -> Vec<Instruction> {
    let low = ARGS + 8 * condition.index;
    let high = low + 4;
    let load = |offset| instruction(LD_W_ABS, offset);
    let fail = u8::try_from(rest).unwrap_or(u8::MAX);
    let (high_of, low_of) = (|value: u64| (value >> 32) as u32, |value: u64| value as u32);
    match condition.comparison {
        Comparison::Eq(value) => vec![
            load(high),
            jump(JMP_JEQ_K, high_of(value), 0, fail + 2),
            load(low),
            jump(JMP_JEQ_K, low_of(value), 0, fail),
        ],
        Comparison::Ne(value) => {
            vec![load(high), jump(JMP_JEQ_K, high_of(value), 0, 2), load(low), jump(JMP_JEQ_K, low_of(value), fail, 0)]
        }
        Comparison::MaskedEq { mask, value } => vec![
            load(high),
            instruction(ALU_AND_K, high_of(mask)),
            jump(JMP_JEQ_K, high_of(value), 0, fail + 3),
            load(low),
            instruction(ALU_AND_K, low_of(mask)),
            jump(JMP_JEQ_K, low_of(value), 0, fail),
        ],
        // The high words decide if they differ.
        Comparison::Gt(value) => ordered(high, low, value, JMP_JGT_K, false, fail),
        Comparison::Ge(value) => ordered(high, low, value, JMP_JGE_K, false, fail),
        Comparison::Le(value) => ordered(high, low, value, JMP_JGT_K, true, fail),
        Comparison::Lt(value) => ordered(high, low, value, JMP_JGE_K, true, fail),
    }
}

/// `>` or `>=` by `code`; `negated`: the opposite.
fn ordered(high: u32, low: u32, value: u64, code: u16, negated: bool, fail: u8) -> Vec<Instruction> {
    let (above, below) = if negated { (fail, 0) } else { (0, fail) };
    vec![
        instruction(LD_W_ABS, high),
        jump(JMP_JGT_K, (value >> 32) as u32, above + 3, 0),
        jump(JMP_JEQ_K, (value >> 32) as u32, 0, below + 2),
        instruction(LD_W_ABS, low),
        jump(code, value as u32, above, below),
    ]
}

fn audit_arch(abi: Abi) -> u32 {
    match abi {
        Abi::X86_64 | Abi::X32 => 0xc000_003e,
        Abi::I386 => 0x4000_0003,
        Abi::Aarch64 => 0xc000_00b7,
        Abi::Arm => 0x4000_0028,
    }
}

fn instruction(code: u16, k: u32) -> Instruction {
    Instruction { code, jt: 0, jf: 0, k }
}

fn jump(code: u16, k: u32, jt: u8, jf: u8) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn ret(action: u32) -> Instruction {
    instruction(RET_K, action)
}

fn length(block: &[Instruction]) -> u32 {
    // A program has at most 4096 instructions.
    u32::try_from(block.len()).unwrap_or(u32::MAX)
}

/// What the kernel's interpreter would do.
#[cfg(test)]
pub fn run(program: &[Instruction], arch: u32, nr: u32, args: [u64; 6]) -> u32 {
    let mut data = vec![nr, arch, 0, 0];
    data.extend(args.iter().flat_map(|arg| [*arg as u32, (arg >> 32) as u32]));
    let (mut pc, mut a) = (0, 0u32);
    loop {
        let i = program[pc];
        pc += 1;
        let holds = match i.code {
            LD_W_ABS => {
                a = data[i.k as usize / 4];
                continue;
            }
            ALU_AND_K => {
                a &= i.k;
                continue;
            }
            JMP_JA => {
                pc += i.k as usize;
                continue;
            }
            RET_K => return i.k,
            JMP_JEQ_K => a == i.k,
            JMP_JGT_K => a > i.k,
            JMP_JGE_K => a >= i.k,
            other => panic!("instruction {other:#x}"),
        };
        pc += usize::from(if holds { i.jt } else { i.jf });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn holds(comparison: Comparison, arg: u64) -> bool {
        match comparison {
            Comparison::Eq(value) => arg == value,
            Comparison::Ne(value) => arg != value,
            Comparison::Lt(value) => arg < value,
            Comparison::Le(value) => arg <= value,
            Comparison::Gt(value) => arg > value,
            Comparison::Ge(value) => arg >= value,
            Comparison::MaskedEq { mask, value } => arg & mask == value,
        }
    }

    /// Values whose halves collide often.
    fn word() -> impl Strategy<Value = u64> {
        (0u64..4, 0u64..4).prop_map(|(high, low)| high << 32 | low)
    }

    fn comparison() -> impl Strategy<Value = Comparison> {
        prop_oneof![
            word().prop_map(Comparison::Eq),
            word().prop_map(Comparison::Ne),
            word().prop_map(Comparison::Lt),
            word().prop_map(Comparison::Le),
            word().prop_map(Comparison::Gt),
            word().prop_map(Comparison::Ge),
            (word(), word()).prop_map(|(mask, value)| Comparison::MaskedEq { mask, value }),
        ]
    }

    /// Two rules that would be a set if they fitted 32 bits, about one argument and then about the other.
    fn pairs(count: usize) -> Vec<Rule> {
        let rule = |number: usize| {
            let comparison = Comparison::Eq(1 << 32 | number as u64);
            Rule { conditions: vec![Condition { index: (number / 2 % 2) as u32, comparison }], action: 1 }
        };
        (0..count).map(rule).collect()
    }

    #[test]
    fn rules_that_are_no_set_cost_no_more_than_their_number() {
        let rules = pairs(200);
        let code = rules_code(&rules, 2);
        assert_eq!(code.len(), 200 * 5 + 1);
        let table = |rules| Table {
            abi: Abi::X86_64,
            rules: BTreeMap::from([(7, Decision::If(rules))]),
            default: 2,
            newest: 7,
            unknown: 3,
        };
        let program = assemble(&[table(rules)]);
        for (a, b, expected) in [(1 << 32, 0, 1), (1 << 32 | 197, 0, 1), (1 << 32 | 2, 0, 2), (0, 1 << 32 | 199, 1)] {
            assert_eq!(run(&program, 0xc000_003e, 7, [a, b, 0, 0, 0, 0]), expected, "{a:#x} {b:#x}");
        }
        // More than any stack holds as recursion, and more than the kernel takes.
        assert!(assemble(&[table(pairs(200_000))]).len() > MAX_INSTRUCTIONS);
        let alike = (0..200_000u64).map(|number| Rule {
            conditions: vec![Condition { index: 0, comparison: Comparison::Eq(number * 2) }],
            action: 1,
        });
        assert!(assemble(&[table(alike.collect())]).len() > MAX_INSTRUCTIONS);
    }

    proptest! {
        #[test]
        fn conditions_compare_64_bits(first in comparison(), second in comparison(), a in word(), b in word()) {
            let conditions =
                vec![Condition { index: 0, comparison: first }, Condition { index: 3, comparison: second }];
            let rules = BTreeMap::from([(7, Decision::If(vec![Rule { conditions, action: 1 }]))]);
            let table = Table { abi: Abi::X86_64, rules, default: 2, newest: 7, unknown: 3 };
            let expected = if holds(first, a) && holds(second, b) { 1 } else { 2 };
            prop_assert_eq!(run(&assemble(&[table]), 0xc000_003e, 7, [a, 0, 0, b, 0, 0]), expected);
        }

        #[test]
        fn rules_about_one_argument_are_a_list(
            rules in proptest::collection::vec((comparison(), 0u32..2, 10u32..12), 0..40), a in word(), b in word(),
        ) {
            let expected = rules.iter().find(|(comparison, index, _)| holds(*comparison, [a, b][*index as usize]));
            let expected = expected.map_or(2, |(_, _, action)| *action);
            let rules = rules.iter().map(|&(comparison, index, action)| {
                Rule { conditions: vec![Condition { index, comparison }], action }
            });
            let rules = BTreeMap::from([(7, Decision::If(rules.collect()))]);
            let table = Table { abi: Abi::X86_64, rules, default: 2, newest: 7, unknown: 3 };
            prop_assert_eq!(run(&assemble(&[table]), 0xc000_003e, 7, [a, b, 0, 0, 0, 0]), expected);
        }

        #[test]
        fn sets_of_values_are_a_list(values in proptest::collection::vec(0u64..300, 2..200), a in 0u64..310) {
            let rules = values.iter().map(|&value| {
                Rule { conditions: vec![Condition { index: 1, comparison: Comparison::Eq(value) }], action: 1 }
            });
            let rules = BTreeMap::from([(7, Decision::If(rules.collect()))]);
            let table = Table { abi: Abi::X86_64, rules, default: 2, newest: 7, unknown: 3 };
            let program = assemble(&[table]);
            for (high, expected) in [(0, if values.contains(&a) { 1 } else { 2 }), (1 << 32, 2)] {
                prop_assert_eq!(run(&program, 0xc000_003e, 7, [0, high | a, 0, 0, 0, 0]), expected);
            }
        }

        #[test]
        fn search_finds_every_number(numbers in proptest::collection::btree_map(0u32..500, 10u32..14, 1..400)) {
            let newest = *numbers.keys().max().unwrap();
            let rules = numbers.iter().map(|(&nr, &action)| (nr, Decision::Always(action))).collect();
            let table = Table { abi: Abi::Aarch64, rules, default: 2, newest, unknown: 3 };
            let program = assemble(&[table]);
            for nr in 0..600 {
                let expected = numbers.get(&nr).copied().unwrap_or(if nr > newest { 3 } else { 2 });
                prop_assert_eq!(run(&program, 0xc000_00b7, nr, [0; 6]), expected, "number {}", nr);
            }
        }
    }
}
