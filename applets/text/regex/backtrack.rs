//! A backtracking matcher for the patterns that no automaton can match: those with back-references.
//!
//! The pattern is compiled to a small program; the alternatives not yet tried stand on a stack of their own, so that neither
//! long input nor a nasty pattern can overflow the process's. The work per search is bounded.

use anyhow::{Result, bail};

use super::Flags;
use super::ast::{Assert, Class, Node};
use super::parse::word_class;

/// Most steps in one search. Back-references make matching NP-hard; this is seconds of work.
const STEPS_MAX: u64 = 20_000_000;
/// Longest program.
const PROGRAM_MAX: usize = 200_000;

enum Instruction {
    Char(char),
    Byte(u8),
    Any,
    Class(Class),
    Assert(Assert),
    BackReference(usize),
    Save(usize),
    /// When the position is what the slot holds, the repetition matched nothing: it fails, or is the last one, and what follows the loop is there.
    Progress(usize, usize),
    Jump(usize),
    /// Try the first, then the second.
    Split(usize, usize),
    Match,
}

/// A compiled pattern.
pub struct Program {
    code: Vec<Instruction>,
    /// Two slots for each group, group 0 being the match; loop positions follow.
    slots: usize,
    groups: usize,
    /// There are repetitions without an upper end.
    loops: bool,
    flags: Flags,
}

/// Two positions for each group, then those of loops.
type Slots = Vec<Option<usize>>;

/// Start and end of each group that took part; index 0 is the whole match.
pub type Spans = Vec<Option<(usize, usize)>>;

impl Program {
    /// Compile an expression with `groups` groups.
    pub fn new(node: &Node, groups: usize, flags: Flags) -> Result<Self> {
        let mut program = Program { code: Vec::new(), slots: 2 * (groups + 1), groups, loops: false, flags };
        program.emit(node)?;
        program.code.push(Instruction::Match);
        Ok(program)
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        self.groups
    }

    fn push(&mut self, instruction: Instruction) -> Result<usize> {
        if self.code.len() >= PROGRAM_MAX {
            bail!("Regular expression too big");
        }
        self.code.push(instruction);
        Ok(self.code.len() - 1)
    }

    fn emit(&mut self, node: &Node) -> Result<()> {
        match node {
            Node::Empty => {}
            Node::Char(c) => drop(self.push(Instruction::Char(*c))?),
            Node::Byte(byte) => drop(self.push(Instruction::Byte(*byte))?),
            Node::Any => drop(self.push(Instruction::Any)?),
            Node::Class(class) => drop(self.push(Instruction::Class(class.clone()))?),
            Node::Assert(assert) => drop(self.push(Instruction::Assert(*assert))?),
            Node::BackReference(group) => drop(self.push(Instruction::BackReference(*group))?),
            Node::Group(number, node) => {
                self.push(Instruction::Save(2 * number))?;
                self.emit(node)?;
                self.push(Instruction::Save(2 * number + 1))?;
            }
            Node::Concat(nodes) => nodes.iter().try_for_each(|node| self.emit(node))?,
            Node::Alternate(nodes) => self.emit_alternatives(nodes)?,
            Node::Repeat { node, min, max } => self.emit_repeat(node, *min, *max)?,
        }
        Ok(())
    }

    fn emit_alternatives(&mut self, nodes: &[Node]) -> Result<()> {
        let mut jumps = Vec::new();
        for (index, node) in nodes.iter().enumerate() {
            if index + 1 == nodes.len() {
                self.emit(node)?;
                break;
            }
            let split = self.push(Instruction::Split(0, 0))?;
            self.emit(node)?;
            jumps.push(self.push(Instruction::Jump(0))?);
            self.code[split] = Instruction::Split(split + 1, self.code.len());
        }
        let end = self.code.len();
        for jump in jumps {
            self.code[jump] = Instruction::Jump(end);
        }
        Ok(())
    }

    fn emit_repeat(&mut self, node: &Node, min: u32, max: Option<u32>) -> Result<()> {
        for _ in 0..min {
            self.emit(node)?;
        }
        let Some(max) = max else { return self.emit_star(node) };
        let mut splits = Vec::new();
        for _ in min..max {
            splits.push(self.push(Instruction::Split(0, 0))?);
            self.emit(node)?;
        }
        let end = self.code.len();
        for split in splits {
            self.code[split] = Instruction::Split(split + 1, end);
        }
        Ok(())
    }

    fn emit_star(&mut self, node: &Node) -> Result<()> {
        let slot = self.slots;
        self.slots += 1;
        self.loops = true;
        let split = self.push(Instruction::Split(0, 0))?;
        self.push(Instruction::Save(slot))?;
        self.emit(node)?;
        let progress = self.push(Instruction::Progress(slot, 0))?;
        self.push(Instruction::Jump(split))?;
        let end = self.code.len();
        self.code[progress] = Instruction::Progress(slot, end);
        self.code[split] = Instruction::Split(split + 1, end);
        Ok(())
    }

    /// Whether there is a match.
    ///
    /// # Errors
    /// When the search takes too long.
    pub fn is_match(&self, text: &[u8]) -> Result<bool> {
        Ok(self.search(text, 0, false)?.is_some())
    }

    /// The leftmost match that begins at `start` or later; of those that begin there, the longest. If looking for a longer one takes too long,
    /// the longest that has been found.
    ///
    /// # Errors
    /// When the search takes too long, and nothing has been found.
    pub fn find_at(&self, text: &[u8], start: usize) -> Result<Option<Spans>> {
        let slots = self.search(text, start, true)?;
        Ok(slots.map(|slots| (0..=self.groups).map(|group| slots[2 * group].zip(slots[2 * group + 1])).collect()))
    }

    fn search(&self, text: &[u8], start: usize, longest: bool) -> Result<Option<Slots>> {
        let mut steps = 0;
        let mut at = start;
        while at <= text.len() {
            let found = self.run(text, at, Way { longest, empty: false }, &mut steps)?;
            if found.as_ref().is_some_and(|found| !longest || found[1] == Some(text.len())) {
                return Ok(found);
            }
            // POSIX lets a repetition match nothing only where that is needed.
            let with_empty = if self.loops && (found.is_none() || steps <= STEPS_MAX) {
                match self.run(text, at, Way { longest, empty: true }, &mut steps) {
                    Err(_) if found.is_some() => None,
                    result => result?,
                }
            } else {
                None
            };
            let end = |slots: &Option<Slots>| slots.as_ref().and_then(|slots| slots[1]);
            let best = if end(&with_empty) > end(&found) { with_empty } else { found };
            if best.is_some() {
                return Ok(best);
            }
            at += char_at(text, at).map_or(1, |(_, length)| length);
        }
        Ok(None)
    }

    /// Match at `start`: the first way found, or the first of the longest.
    fn run(&self, text: &[u8], start: usize, way: Way, steps: &mut u64) -> Result<Option<Slots>> {
        let mut slots = vec![None; self.slots];
        slots[0] = Some(start);
        let mut stack = Vec::new();
        let mut best: Option<Slots> = None;
        let (mut pc, mut at) = (0, start);
        loop {
            *steps += 1;
            if *steps > STEPS_MAX {
                if best.is_some() {
                    return Ok(best);
                }
                bail!("a pattern with back-references takes too long to match");
            }
            match self.step(text, (pc, at), way, &mut slots, &mut stack) {
                Step::Go(next_pc, next_at) => {
                    (pc, at) = (next_pc, next_at);
                    continue;
                }
                Step::Matched => {
                    if best.as_ref().is_none_or(|best| best[1] < Some(at)) {
                        slots[1] = Some(at);
                        best = Some(slots.clone());
                    }
                    if !way.longest || at == text.len() {
                        return Ok(best);
                    }
                }
                Step::Failed => {}
            }
            match resume(&mut slots, &mut stack) {
                Some(next) => (pc, at) = next,
                None => return Ok(best),
            }
        }
    }

    fn step(
        &self,
        text: &[u8],
        (pc, at): (usize, usize),
        way: Way,
        slots: &mut [Option<usize>],
        stack: &mut Vec<Saved>,
    ) -> Step {
        let advance = |length: Option<usize>| length.map_or(Step::Failed, |length| Step::Go(pc + 1, at + length));
        let matching =
            |test: &dyn Fn(char) -> bool| char_at(text, at).filter(|(c, _)| test(*c)).map(|(_, length)| length);
        match &self.code[pc] {
            Instruction::Char(c) => advance(matching(&|found| self.same(*c, found))),
            Instruction::Byte(byte) => advance((text.get(at) == Some(byte)).then_some(1)),
            Instruction::Any => advance(matching(&|found| self.flags.dot_newline || found != '\n')),
            Instruction::Class(class) => advance(matching(&|found| class.contains(found, self.flags.ignore_case))),
            Instruction::Assert(assert) => advance(self.holds(*assert, text, at).then_some(0)),
            Instruction::BackReference(group) => {
                let group = slots[2 * group].zip(slots[2 * group + 1]).and_then(|(from, to)| text.get(from..to));
                advance(group.and_then(|group| self.repeated(group, &text[at..])))
            }
            Instruction::Save(slot) => {
                stack.push(Saved::Slot(*slot, slots[*slot]));
                slots[*slot] = Some(at);
                Step::Go(pc + 1, at)
            }
            Instruction::Progress(slot, end) => match (slots[*slot] == Some(at), way.empty) {
                (false, _) => Step::Go(pc + 1, at),
                (true, true) => Step::Go(*end, at),
                (true, false) => Step::Failed,
            },
            Instruction::Jump(to) => Step::Go(*to, at),
            Instruction::Split(first, second) => {
                stack.push(Saved::Branch(*second, at));
                Step::Go(*first, at)
            }
            Instruction::Match => Step::Matched,
        }
    }

    fn same(&self, a: char, b: char) -> bool {
        a == b
            || self.flags.ignore_case
                && (a.to_lowercase().eq(b.to_lowercase()) || a.to_uppercase().eq(b.to_uppercase()))
    }

    /// How many bytes of `text` repeat `group`, if they do.
    fn repeated(&self, group: &[u8], text: &[u8]) -> Option<usize> {
        if !self.flags.ignore_case {
            return text.starts_with(group).then_some(group.len());
        }
        let (mut from, mut to) = (0, 0);
        while from < group.len() {
            match (char_at(group, from), char_at(text, to)) {
                (Some((a, a_length)), Some((b, b_length))) if self.same(a, b) => {
                    from += a_length;
                    to += b_length;
                }
                (None, None) if group.get(from) == text.get(to) => {
                    from += 1;
                    to += 1;
                }
                _ => return None,
            }
        }
        Some(to)
    }

    fn holds(&self, assert: Assert, text: &[u8], at: usize) -> bool {
        let multi_line = self.flags.multi_line;
        let word = |c: Option<char>| c.is_some_and(|c| word_class(false).contains(c, false));
        let before = || word(char_before(text, at));
        let after = || word(char_at(text, at).map(|(c, _)| c));
        match assert {
            Assert::LineStart => at == 0 || multi_line && text[at - 1] == b'\n',
            Assert::LineEnd => at == text.len() || multi_line && text[at] == b'\n',
            Assert::TextStart => at == 0,
            Assert::TextEnd => at == text.len(),
            Assert::WordStart => !before() && after(),
            Assert::WordEnd => before() && !after(),
            Assert::NoWordBefore => !before(),
            Assert::NoWordAfter => !after(),
            Assert::WordEdge => before() != after(),
            Assert::NoWordEdge => before() == after(),
        }
    }
}

/// How a match is looked for.
#[derive(Clone, Copy)]
struct Way {
    /// All ways are tried, for the longest.
    longest: bool,
    /// The last repetition of a loop may match nothing.
    empty: bool,
}

enum Step {
    Go(usize, usize),
    Matched,
    Failed,
}

/// What to go back to.
enum Saved {
    Slot(usize, Option<usize>),
    Branch(usize, usize),
}

/// Undo up to the last untried branch.
fn resume(slots: &mut [Option<usize>], stack: &mut Vec<Saved>) -> Option<(usize, usize)> {
    while let Some(saved) = stack.pop() {
        match saved {
            Saved::Slot(slot, value) => slots[slot] = value,
            Saved::Branch(pc, at) => return Some((pc, at)),
        }
    }
    None
}

/// The character at `at` and its length in bytes; `None` at the end and at a byte that is no UTF-8.
fn char_at(text: &[u8], at: usize) -> Option<(char, usize)> {
    let rest = text.get(at..)?;
    let first = *rest.first()?;
    if first.is_ascii() {
        return Some((char::from(first), 1));
    }
    let valid = rest.get(..rest.len().min(4))?.utf8_chunks().next()?.valid();
    valid.chars().next().map(|c| (c, c.len_utf8()))
}

fn char_before(text: &[u8], at: usize) -> Option<char> {
    (1..=at.min(4)).find_map(|back| char_at(text, at - back).filter(|(_, length)| *length == back).map(|(c, _)| c))
}
