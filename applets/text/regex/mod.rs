//! POSIX regular expressions, for grep, sed, find, less and vi.
//!
//! A pattern is parsed by POSIX's grammar. Without back-references it is translated for the `regex` crate (linear time); with
//! them it runs on a backtracking matcher whose work is bounded: a search that takes too long ends with an error. Matches are
//! POSIX's leftmost-longest with both; groups within a match are those of the first way to match that long.

pub mod ast;
mod backtrack;
pub mod parse;
mod translate;

use std::cell::{OnceCell, RefCell};

use anyhow::{Context, Result};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::{Anchored, Input, MatchKind, meta, nfa::thompson, util::syntax};

use ast::{Assert, Node};
pub use backtrack::Spans;
pub use parse::Syntax;

/// Greatest size of a compiled pattern, in bytes.
const SIZE_LIMIT: usize = 64 << 20;

/// How text is matched.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flags {
    /// Upper and lower case are the same.
    pub ignore_case: bool,
    /// `^` and `$` match at every line of the text.
    pub multi_line: bool,
    /// `.` matches a newline.
    pub dot_newline: bool,
}

/// A compiled pattern.
pub struct Regex {
    engine: Engine,
}

enum Engine {
    Automaton(Box<Automaton>),
    Backtrack(backtrack::Program),
}

struct Automaton {
    regex: meta::Regex,
    pattern: String,
    flags: Flags,
    /// Finds the longest end, where the first one found may not be it.
    longest: Option<(DFA, RefCell<Cache>)>,
    /// The pattern that must end where the text does: gives the groups of a longest match.
    to_end: OnceCell<Option<meta::Regex>>,
}

/// Parse patterns of which any may match, and translate them if they can be: for engines of others.
pub struct Parsed {
    node: Node,
    groups: usize,
}

impl Parsed {
    /// Parse `patterns`.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(patterns: &[Vec<u8>], syntax: Syntax) -> Result<Self> {
        let mut groups = 0;
        let mut nodes = Vec::new();
        for pattern in patterns {
            let (node, count) = parse::parse(pattern, syntax, groups + 1)?;
            groups += count;
            nodes.push(node);
        }
        let node = if nodes.len() == 1 { nodes.swap_remove(0) } else { Node::Alternate(nodes) };
        Ok(Self { node, groups })
    }

    /// Patterns that are plain strings.
    pub fn literal(strings: &[Vec<u8>]) -> Self {
        let chars = |text: &[u8]| {
            let mut nodes = Vec::new();
            for chunk in text.utf8_chunks() {
                nodes.extend(chunk.valid().chars().map(Node::Char));
                nodes.extend(chunk.invalid().iter().copied().map(Node::Byte));
            }
            Node::Concat(nodes)
        };
        Self { node: Node::Alternate(strings.iter().map(|text| chars(text)).collect()), groups: 0 }
    }

    /// Demand that a whole line matches.
    #[must_use]
    pub fn whole_line(self) -> Self {
        self.between(Assert::LineStart, Assert::LineEnd)
    }

    /// Demand that no word character stands beside a match.
    #[must_use]
    pub fn whole_word(self) -> Self {
        self.between(Assert::NoWordBefore, Assert::NoWordAfter)
    }

    fn between(self, start: Assert, end: Assert) -> Self {
        Self { node: Node::Concat(vec![Node::Assert(start), self.node, Node::Assert(end)]), groups: self.groups }
    }

    /// The notation of the `regex` crate, unless there are back-references.
    pub fn translated(&self) -> Option<String> {
        (!self.node.has_back_reference()).then(|| translate::translate(&self.node))
    }

    /// Compile for searching.
    ///
    /// # Errors
    /// When the pattern is too big.
    pub fn compile(&self, flags: Flags) -> Result<Regex> {
        let engine = match self.translated() {
            None => Engine::Backtrack(backtrack::Program::new(&self.node, self.groups, flags)?),
            Some(pattern) => {
                let longest = self.node.may_prefer_shorter().then(|| longest_dfa(&pattern, flags)).flatten();
                Engine::Automaton(Box::new(Automaton {
                    regex: build(&pattern, flags)?,
                    pattern,
                    flags,
                    longest,
                    to_end: OnceCell::new(),
                }))
            }
        };
        Ok(Regex { engine })
    }
}

impl Regex {
    /// Compile one pattern.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn new(pattern: &[u8], syntax: Syntax, flags: Flags) -> Result<Self> {
        Parsed::new(&[pattern.to_vec()], syntax)?.compile(flags)
    }

    /// The number of groups.
    pub fn groups(&self) -> usize {
        match &self.engine {
            Engine::Automaton(automaton) => automaton.regex.captures_len() - 1,
            Engine::Backtrack(program) => program.groups(),
        }
    }

    /// Whether `text` matches anywhere.
    ///
    /// # Errors
    /// When a pattern with back-references takes too long.
    pub fn is_match(&self, text: &[u8]) -> Result<bool> {
        match &self.engine {
            Engine::Automaton(automaton) => Ok(automaton.regex.is_match(text)),
            Engine::Backtrack(program) => program.is_match(text),
        }
    }

    /// The leftmost match from `start` on: the spans of the match and its groups.
    ///
    /// # Errors
    /// When a pattern with back-references takes too long.
    pub fn captures_at(&self, text: &[u8], start: usize) -> Result<Option<Spans>> {
        match &self.engine {
            Engine::Automaton(automaton) => Ok(automaton.captures_at(text, start)),
            Engine::Backtrack(program) => program.find_at(text, start),
        }
    }

    /// The leftmost match from `start` on.
    ///
    /// # Errors
    /// When a pattern with back-references takes too long.
    pub fn find_at(&self, text: &[u8], start: usize) -> Result<Option<(usize, usize)>> {
        match &self.engine {
            Engine::Automaton(automaton) => Ok(automaton.find_at(text, start)),
            Engine::Backtrack(program) => Ok(program.find_at(text, start)?.and_then(|spans| spans[0])),
        }
    }
}

impl Automaton {
    fn find_at(&self, text: &[u8], start: usize) -> Option<(usize, usize)> {
        let found = self.regex.search(&Input::new(text).span(start..text.len()))?;
        Some((found.start(), self.longest_end(text, found.start()).unwrap_or(found.end())))
    }

    fn captures_at(&self, text: &[u8], start: usize) -> Option<Spans> {
        let spans = captures(&self.regex, &Input::new(text).span(start..text.len()))?;
        let (from, to) = spans[0]?;
        match self.longest_end(text, from) {
            Some(end) if end != to => {
                let input = Input::new(&text[..end]).span(from..end).anchored(Anchored::Yes);
                Some(self.to_end().and_then(|regex| captures(regex, &input)).unwrap_or(spans))
            }
            _ => Some(spans),
        }
    }

    /// Where the longest match that begins at `from` ends; `None` if there is nothing to ask, or the automaton gave up.
    fn longest_end(&self, text: &[u8], from: usize) -> Option<usize> {
        let (dfa, cache) = self.longest.as_ref()?;
        let input = Input::new(text).span(from..text.len()).anchored(Anchored::Yes);
        let found = dfa.try_search_fwd(&mut cache.borrow_mut(), &input).ok()??;
        Some(found.offset())
    }

    fn to_end(&self) -> Option<&meta::Regex> {
        self.to_end.get_or_init(|| build(&format!("(?:{})\\z", self.pattern), self.flags).ok()).as_ref()
    }
}

fn captures(regex: &meta::Regex, input: &Input<'_>) -> Option<Spans> {
    let mut found = regex.create_captures();
    regex.search_captures(input, &mut found);
    found.is_match().then(|| {
        (0..found.group_len()).map(|group| found.get_group(group).map(|span| (span.start, span.end))).collect()
    })
}

fn syntax_config(flags: Flags) -> syntax::Config {
    syntax::Config::new()
        .utf8(false)
        .case_insensitive(flags.ignore_case)
        .multi_line(flags.multi_line)
        .dot_matches_new_line(flags.dot_newline)
}

fn build(pattern: &str, flags: Flags) -> Result<meta::Regex> {
    meta::Builder::new()
        .configure(meta::Config::new().utf8_empty(false).nfa_size_limit(Some(SIZE_LIMIT)))
        .syntax(syntax_config(flags))
        .build(pattern)
        .context("compile the regular expression")
}

fn longest_dfa(pattern: &str, flags: Flags) -> Option<(DFA, RefCell<Cache>)> {
    let dfa = DFA::builder()
        .configure(DFA::config().match_kind(MatchKind::All).unicode_word_boundary(true))
        .thompson(thompson::Config::new().utf8(false).nfa_size_limit(Some(SIZE_LIMIT)))
        .syntax(syntax_config(flags))
        .build(pattern)
        .ok()?;
    let cache = RefCell::new(dfa.create_cache());
    Some((dfa, cache))
}

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod tests;
