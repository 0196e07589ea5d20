//! Which lines a command applies to.

use super::script::{Address, Command};

/// The state of a command with two addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// No line has begun it, or it has ended.
    Closed,
    /// Open up to that line.
    Until(u64),
    /// Open until the second address matches a line.
    UntilMatch,
    /// `0,/re/` that has ended: it cannot begin again.
    Done,
}

impl Range {
    /// The state before the first line.
    pub fn new(command: &Command) -> Self {
        match command.from {
            Some(Address::Line(0)) => Self::UntilMatch,
            _ => Self::Closed,
        }
    }

    /// Whether lines that follow belong to it.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Until(_) | Self::UntilMatch)
    }

    /// Whether `line` belongs to the range of `from` and `to`. `matches` tells whether the line matches an address.
    pub fn take<E>(
        &mut self,
        line: u64,
        from: &Address,
        to: &Address,
        mut matches: impl FnMut(&Address) -> Result<bool, E>,
    ) -> Result<bool, E> {
        match *self {
            Self::Until(last) => {
                if line >= last {
                    *self = Self::Closed;
                }
                // A line past the end (commands may have read on) is not looked at as a new beginning.
                Ok(line <= last)
            }
            Self::UntilMatch => {
                if matches(to)? {
                    *self = if matches!(from, Address::Line(0)) { Self::Done } else { Self::Closed };
                }
                Ok(true)
            }
            Self::Done => Ok(false),
            Self::Closed if matches(from)? => {
                *self = match end(line, to) {
                    None if matches!(to, Address::Last) && matches(to)? => Self::Closed,
                    None => Self::UntilMatch,
                    Some(last) if last > line => Self::Until(last),
                    Some(_) => Self::Closed,
                };
                Ok(true)
            }
            Self::Closed => Ok(false),
        }
    }
}

/// The line at which a range ends that begins at `line`, where that is known.
fn end(line: u64, to: &Address) -> Option<u64> {
    match to {
        Address::Line(last) => Some(*last),
        Address::Plus(count) => Some(line.saturating_add(*count)),
        Address::Multiple(0) => Some(line),
        Address::Multiple(step) => Some(line.checked_next_multiple_of(*step).unwrap_or(u64::MAX)),
        Address::Last | Address::Pattern(_) | Address::Step(..) => None,
    }
}
