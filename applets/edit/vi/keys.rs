//! Keys of command mode to commands: `["x][count]command[count][motion]`.

use super::motion::{Find, Motion, Place};
use crate::terminal::keys::Key;

/// What a change does to what a motion or count takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operator {
    /// `d`
    Delete,
    /// `c`
    Change,
    /// `y`
    Yank,
    /// `>`
    ShiftRight,
    /// `<`
    ShiftLeft,
}

/// What an operator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// From the cursor to where a motion leads.
    Motion(Motion),
    /// As many lines as the count says.
    Lines,
}

/// Where insertion begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Insert {
    /// `i`
    Before,
    /// `a`
    After,
    /// `I`
    FirstText,
    /// `A`
    LineEnd,
    /// `o`
    LineBelow,
    /// `O`
    LineAbove,
    /// `R`: type over what is there.
    Over,
}

/// How the window moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scroll {
    /// Ctrl-F
    PageDown,
    /// Ctrl-B
    PageUp,
    /// Ctrl-D
    HalfDown,
    /// Ctrl-U
    HalfUp,
    /// Ctrl-E
    LineDown,
    /// Ctrl-Y
    LineUp,
    /// `z` and Return, `.` or `-` (or `t`, `z`, `b`): the cursor's line to a place of the window.
    CursorTo(Place),
}

/// One command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Go.
    Move(Motion),
    /// Change.
    Operate(Operator, Target),
    /// Type.
    Insert(Insert),
    /// `r`
    Replace(char),
    /// `J`
    Join,
    /// `~`
    ToggleCase,
    /// `p`, `P`
    Put { before: bool },
    /// `u`
    Undo,
    /// Ctrl-R
    Redo,
    /// `.`
    Repeat,
    /// `m`
    SetMark(char),
    /// The window.
    Scroll(Scroll),
    /// `:`, `/` or `?`
    CommandLine(char),
    /// `&`: the last substitution again.
    SubstituteAgain,
    /// `ZZ`
    SaveAndQuit,
    /// `ZQ`
    Quit,
    /// Ctrl-L
    Redraw,
    /// Ctrl-G
    FileInfo,
    /// Ctrl-Z
    Suspend,
    /// Escape: nothing, or an end to a command that was begun.
    Nothing,
}

/// A command with what stands before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Register.
    pub register: Option<char>,
    /// How often.
    pub count: Option<usize>,
    /// What.
    pub action: Action,
}

/// What keys are so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parse {
    /// The beginning of a command.
    Incomplete,
    /// No command begins so.
    Wrong,
    /// A command.
    Command(Command),
}

/// Largest count; more is a slip of the finger.
const MOST: usize = 99_999_999;

/// Read keys as a command.
pub fn parse(keys: &[Key]) -> Parse {
    if keys.last() == Some(&Key::Escape) {
        return Parse::Command(Command { register: None, count: None, action: Action::Nothing });
    }
    let mut reader = Reader { keys, at: 0 };
    match reader.command() {
        Ok(command) => Parse::Command(command),
        Err(stop) => stop,
    }
}

struct Reader<'a> {
    keys: &'a [Key],
    at: usize,
}

type Read<T> = Result<T, Parse>;

impl Reader<'_> {
    fn next(&mut self) -> Read<Key> {
        let key = self.keys.get(self.at).copied().ok_or(Parse::Incomplete)?;
        self.at += 1;
        Ok(key)
    }

    fn next_char(&mut self) -> Read<char> {
        match self.next()? {
            Key::Char(character) => Ok(character),
            Key::Enter => Ok('\n'),
            Key::Tab => Ok('\t'),
            _ => Err(Parse::Wrong),
        }
    }

    fn count(&mut self) -> Option<usize> {
        let start = self.at;
        let mut count: usize = 0;
        while let Some(Key::Char(digit @ '0'..='9')) = self.keys.get(self.at) {
            // A zero at the front is a motion.
            if self.at == start && *digit == '0' {
                return None;
            }
            count = (count * 10 + digit.to_digit(10).unwrap_or(0) as usize).min(MOST);
            self.at += 1;
        }
        (self.at > start).then_some(count)
    }

    fn command(&mut self) -> Read<Command> {
        let mut register = None;
        let mut count = self.count();
        if self.keys.get(self.at) == Some(&Key::Char('"')) {
            self.at += 1;
            register = Some(self.next_char()?);
            count = self.count().or(count);
        }
        let key = self.next()?;
        if let Key::Char(letter) = key
            && let Some(operator) = operator(letter)
        {
            // 2d3w takes six words.
            let inner = self.count();
            let count = match (count, inner) {
                (Some(a), Some(b)) => Some((a * b).min(MOST)),
                (a, b) => a.or(b),
            };
            let key = self.next()?;
            let target = if key == Key::Char(letter) { Target::Lines } else { Target::Motion(self.motion(key)?) };
            return Ok(Command { register, count, action: Action::Operate(operator, target) });
        }
        let action = self.action(key)?;
        Ok(Command { register, count, action })
    }

    fn action(&mut self, key: Key) -> Read<Action> {
        use Operator::{Change, Delete, Yank};
        let operate = |operator, motion| Action::Operate(operator, Target::Motion(motion));
        Ok(match key {
            Key::Char('i') | Key::Insert => Action::Insert(Insert::Before),
            Key::Char('a') => Action::Insert(Insert::After),
            Key::Char('I') => Action::Insert(Insert::FirstText),
            Key::Char('A') => Action::Insert(Insert::LineEnd),
            Key::Char('o') => Action::Insert(Insert::LineBelow),
            Key::Char('O') => Action::Insert(Insert::LineAbove),
            Key::Char('R') => Action::Insert(Insert::Over),
            Key::Char('x') | Key::Delete => operate(Delete, Motion::Right),
            Key::Char('X') => operate(Delete, Motion::Left),
            Key::Char('D') => operate(Delete, Motion::LineEnd),
            Key::Char('C') => operate(Change, Motion::LineEnd),
            Key::Char('s') => operate(Change, Motion::Right),
            Key::Char('S') => Action::Operate(Change, Target::Lines),
            Key::Char('Y') => Action::Operate(Yank, Target::Lines),
            Key::Char('r') => Action::Replace(self.next_char()?),
            Key::Char('J') => Action::Join,
            Key::Char('~') => Action::ToggleCase,
            Key::Char('p') => Action::Put { before: false },
            Key::Char('P') => Action::Put { before: true },
            Key::Char('u') => Action::Undo,
            Key::Control('r') => Action::Redo,
            Key::Char('.') => Action::Repeat,
            Key::Char('&') => Action::SubstituteAgain,
            Key::Char('m') => Action::SetMark(self.next_char()?),
            Key::Char(line @ (':' | '/' | '?')) => Action::CommandLine(line),
            Key::Char('Z') => match self.next_char()? {
                'Z' => Action::SaveAndQuit,
                'Q' => Action::Quit,
                _ => return Err(Parse::Wrong),
            },
            Key::Char('z') => Action::Scroll(Scroll::CursorTo(match self.next_char()? {
                '\n' | 't' => Place::Top,
                '.' | 'z' => Place::Middle,
                '-' | 'b' => Place::Bottom,
                _ => return Err(Parse::Wrong),
            })),
            Key::Control('f') | Key::PageDown => Action::Scroll(Scroll::PageDown),
            Key::Control('b') | Key::PageUp => Action::Scroll(Scroll::PageUp),
            Key::Control('d') => Action::Scroll(Scroll::HalfDown),
            Key::Control('u') => Action::Scroll(Scroll::HalfUp),
            Key::Control('e') => Action::Scroll(Scroll::LineDown),
            Key::Control('y') => Action::Scroll(Scroll::LineUp),
            Key::Control('l') => Action::Redraw,
            Key::Control('g') => Action::FileInfo,
            Key::Control('z') => Action::Suspend,
            Key::Control('c') => Action::Nothing,
            other => Action::Move(self.motion(other)?),
        })
    }

    fn motion(&mut self, key: Key) -> Read<Motion> {
        let find = |target, till, back| Motion::Find(Find { target, till, back });
        Ok(match key {
            Key::Char('h') | Key::Left | Key::Backspace => Motion::Left,
            Key::Char('l' | ' ') | Key::Right => Motion::Right,
            Key::Char('k') | Key::Up | Key::Control('p') => Motion::Up,
            Key::Char('j') | Key::Down | Key::Control('n') => Motion::Down,
            Key::Char('w') | Key::WordRight => Motion::WordForward { big: false },
            Key::Char('W') => Motion::WordForward { big: true },
            Key::Char('b') | Key::WordLeft => Motion::WordBack { big: false },
            Key::Char('B') => Motion::WordBack { big: true },
            Key::Char('e') => Motion::WordEnd { big: false },
            Key::Char('E') => Motion::WordEnd { big: true },
            Key::Char('0') | Key::Home => Motion::LineStart,
            Key::Char('^' | '_') => Motion::FirstText,
            Key::Char('$') | Key::End => Motion::LineEnd,
            Key::Char('|') => Motion::Column,
            Key::Char('G') => Motion::Line,
            Key::Char('g') => match self.next_char()? {
                'g' => Motion::First,
                _ => return Err(Parse::Wrong),
            },
            Key::Char('+') | Key::Enter => Motion::NextLine,
            Key::Char('-') => Motion::PreviousLine,
            Key::Char('}') => Motion::ParagraphForward,
            Key::Char('{') => Motion::ParagraphBack,
            Key::Char('%') => Motion::Bracket,
            Key::Char('f') => find(self.next_char()?, false, false),
            Key::Char('t') => find(self.next_char()?, true, false),
            Key::Char('F') => find(self.next_char()?, false, true),
            Key::Char('T') => find(self.next_char()?, true, true),
            Key::Char(';') => Motion::FindAgain { reverse: false },
            Key::Char(',') => Motion::FindAgain { reverse: true },
            Key::Char('n') => Motion::SearchAgain { reverse: false },
            Key::Char('N') => Motion::SearchAgain { reverse: true },
            Key::Char('*') => Motion::WordUnderCursor { back: false },
            Key::Char('#') => Motion::WordUnderCursor { back: true },
            Key::Char('\'') => Motion::Mark { name: self.next_char()?, line: true },
            Key::Char('`') => Motion::Mark { name: self.next_char()?, line: false },
            Key::Char('H') => Motion::Window(Place::Top),
            Key::Char('M') => Motion::Window(Place::Middle),
            Key::Char('L') => Motion::Window(Place::Bottom),
            _ => return Err(Parse::Wrong),
        })
    }
}

fn operator(letter: char) -> Option<Operator> {
    Some(match letter {
        'd' => Operator::Delete,
        'c' => Operator::Change,
        'y' => Operator::Yank,
        '>' => Operator::ShiftRight,
        '<' => Operator::ShiftLeft,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::keys::tests::keys_typed as keys;

    fn parsed(typed: &str) -> Parse {
        parse(&keys(typed.as_bytes()))
    }

    fn command(register: Option<char>, count: Option<usize>, action: Action) -> Parse {
        Parse::Command(Command { register, count, action })
    }

    #[test]
    fn counts_registers_and_motions() {
        let words = Action::Operate(Operator::Delete, Target::Motion(Motion::WordForward { big: false }));
        assert_eq!(parsed("2d3w"), command(None, Some(6), words));
        assert_eq!(parsed("\"adw"), command(Some('a'), None, words));
        assert_eq!(parsed("0"), command(None, None, Action::Move(Motion::LineStart)));
        assert_eq!(parsed("10G"), command(None, Some(10), Action::Move(Motion::Line)));
        assert_eq!(parsed("dd"), command(None, None, Action::Operate(Operator::Delete, Target::Lines)));
        assert_eq!(parsed("ZZ"), command(None, None, Action::SaveAndQuit));
        assert_eq!(parsed("r\r"), command(None, None, Action::Replace('\n')));
        assert_eq!(parsed("3d\x1b"), command(None, None, Action::Nothing));
    }

    #[test]
    fn beginnings_and_nonsense() {
        for begun in ["", "3", "\"", "\"a", "d", "d3", "f", "df", "g", "Z", "r", "m", "'", "dg"] {
            assert_eq!(parsed(begun), Parse::Incomplete, "{begun:?}");
        }
        for wrong in ["gx", "dq", "Zx", "Q", "d:", "\x0b"] {
            assert_eq!(parsed(wrong), Parse::Wrong, "{wrong:?}");
        }
        assert!(matches!(parsed("99999999999999999999j"), Parse::Command(Command { count: Some(MOST), .. })));
    }
}
