//! Which lines a command applies to.

use super::script::{Address, Command};

/// The state of a command with two addresses.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Range {
    /// No line has begun it, or it may begin again.
    Closed,
    /// Open up to that line.
    Until(u64),
    /// Open until the second address matches a line.
    UntilMatch,
    /// It has ended and began with a line number: it cannot begin again.
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
    ///
    /// Commands that read on may have skipped the line where a range begins or ends. As in GNU sed, one that begins with a line number
    /// then begins with the first line after it that is looked at, and one that ends by `+N` or `~N` ends with that line.
    pub fn take<E>(
        &mut self,
        line: u64,
        from: &Address,
        to: &Address,
        mut matches: impl FnMut(&Address) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let ended = if matches!(from, Address::Line(_)) { Self::Done } else { Self::Closed };
        match *self {
            Self::Until(last) => {
                if line >= last {
                    *self = ended;
                }
                Ok(line <= last || !matches!(to, Address::Line(_)))
            }
            Self::UntilMatch => {
                if matches(to)? {
                    *self = ended;
                }
                Ok(true)
            }
            Self::Done => Ok(false),
            Self::Closed => {
                let begins = match from {
                    Address::Line(first) => line >= *first,
                    from => matches(from)?,
                };
                if !begins {
                    return Ok(false);
                }
                *self = match end(line, to) {
                    None if matches!(to, Address::Last) && matches(to)? => ended,
                    None => Self::UntilMatch,
                    Some(last) if last > line => Self::Until(last),
                    Some(_) => ended,
                };
                // Both numbers may have been skipped.
                Ok(match (from, to) {
                    (Address::Line(first), Address::Line(last)) => line == *first || line <= *last,
                    _ => true,
                })
            }
        }
    }
}

/// The line at which a range ends that begins at `line`, where that is known.
fn end(line: u64, to: &Address) -> Option<u64> {
    match to {
        Address::Line(last) => Some(*last),
        Address::Plus(count) => Some(line.saturating_add(*count)),
        Address::Multiple(0) => Some(line),
        // GNU's next one: of a multiple, the one after it.
        Address::Multiple(step) => Some(line.saturating_add(step - line % step)),
        Address::Last | Address::Pattern(_) | Address::Step(..) => None,
    }
}
