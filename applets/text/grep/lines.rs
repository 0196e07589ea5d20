//! Finding lines that match: ripgrep's matcher where an automaton serves, ours otherwise.

use anyhow::{Context, Result};
use grep_matcher::{LineMatchKind, LineTerminator, Match, Matcher, NoCaptures};
use grep_regex::{RegexMatcher, RegexMatcherBuilder};

use super::Options;
use crate::text::regex::{Flags, Parsed, Regex, Syntax};

/// The patterns of one run.
pub struct LineMatcher {
    /// Finds candidate lines in whole buffers; none for back-references and for lines that end with a zero byte.
    fast: Option<RegexMatcher>,
    /// Matches within one line.
    exact: Regex,
}

impl LineMatcher {
    /// Compile the patterns as the options tell.
    pub fn new(patterns: &[Vec<u8>], options: &Options) -> Result<Self> {
        let syntax = Syntax { extended: options.extended_regexp, escapes: false };
        let mut parsed = if options.fixed_strings { Parsed::literal(patterns) } else { Parsed::new(patterns, syntax)? };
        if options.line_regexp {
            parsed = parsed.whole_line();
        } else if options.word_regexp {
            parsed = parsed.whole_word();
        }
        let flags =
            Flags { ignore_case: options.ignore_case, multi_line: !options.null_data, dot_newline: options.null_data };
        let exact = parsed.compile(flags)?;
        let fast = match parsed.translated() {
            Some(pattern) if !options.null_data => Some(
                RegexMatcherBuilder::new()
                    .case_insensitive(options.ignore_case)
                    .multi_line(true)
                    .line_terminator(Some(b'\n'))
                    .size_limit(64 << 20)
                    .build(&pattern)
                    .context("compile the regular expression")?,
            ),
            _ => None,
        };
        Ok(Self { fast, exact })
    }

    /// The matches in one line that are not empty.
    pub fn spans(&self, line: &[u8]) -> Result<Vec<(usize, usize)>> {
        let mut spans = Vec::new();
        let mut at = 0;
        while at <= line.len() {
            let Some((from, to)) = self.exact.find_at(line, at)? else { break };
            if from < to {
                spans.push((from, to));
                at = to;
            } else {
                at = to + 1;
            }
        }
        Ok(spans)
    }
}

impl Matcher for LineMatcher {
    type Captures = NoCaptures;
    type Error = String;

    fn find_at(&self, haystack: &[u8], at: usize) -> Result<Option<Match>, String> {
        match &self.fast {
            Some(fast) => fast.find_at(haystack, at).map_err(|error| error.to_string()),
            None => match self.exact.find_at(haystack, at) {
                Ok(found) => Ok(found.map(|(from, to)| Match::new(from, to))),
                Err(error) => Err(format!("{error:#}")),
            },
        }
    }

    fn new_captures(&self) -> Result<NoCaptures, String> {
        Ok(NoCaptures::new())
    }

    fn non_matching_bytes(&self) -> Option<&grep_matcher::ByteSet> {
        self.fast.as_ref().and_then(Matcher::non_matching_bytes)
    }

    fn line_terminator(&self) -> Option<LineTerminator> {
        self.fast.as_ref().and_then(Matcher::line_terminator)
    }

    fn find_candidate_line(&self, haystack: &[u8]) -> Result<Option<LineMatchKind>, String> {
        match &self.fast {
            Some(fast) => fast.find_candidate_line(haystack).map_err(|error| error.to_string()),
            None => Ok(self.find_at(haystack, 0)?.map(|found| LineMatchKind::Confirmed(found.end()))),
        }
    }
}
