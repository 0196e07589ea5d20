//! The parser of sed scripts (POSIX.1-2024 XCU `sed`, with GNU's additions).

use std::rc::Rc;

use anyhow::{Context, Result, anyhow, bail};

use super::script::{Action, Address, BranchWhen, Command, Script};
use super::source::Source;
use super::{BAD_USAGE, Failure, PANIC};
use crate::text::regex::{Flags, Regex, Syntax};

/// The GNU version whose scripts run here: what the command `v` may demand.
const VERSION: [u32; 2] = [4, 9];

/// How a script is to be read.
#[derive(Clone, Copy, Default)]
pub struct Dialect {
    /// Patterns are extended regular expressions.
    pub extended: bool,
    /// No command may read or write files.
    pub sandbox: bool,
    /// Lines end with a zero byte: a newline within one is no line's end, not for the flag M either.
    pub null_data: bool,
}

/// A parser and what it has found so far.
pub(super) struct Parser<'a> {
    pub text: &'a [u8],
    pub at: usize,
    dialect: Dialect,
    pub script: Script,
    blocks: Vec<usize>,
    labels: Vec<(Vec<u8>, usize)>,
    jumps: Vec<(usize, Vec<u8>)>,
}

/// Parse the script `source`.
///
/// # Errors
/// Where something is wrong and what, in GNU's words where it has some; as GNU does, a label that is not there ends with
/// another status.
pub fn parse(source: &Source, dialect: Dialect) -> Result<Script, Failure> {
    let text = source.text.as_slice();
    let script = Script { quiet: text == b"#n" || text.starts_with(b"#n\n"), ..Script::default() };
    let mut parser = Parser { text, at: 0, dialect, script, blocks: Vec::new(), labels: Vec::new(), jumps: Vec::new() };
    if let Err(error) = parser.commands() {
        return Err(Failure { status: BAD_USAGE, error: anyhow!("{}: {error}", source.place(parser.at)) });
    }
    if !parser.blocks.is_empty() {
        return Err(Failure { status: BAD_USAGE, error: anyhow!("{}: unmatched `{{'", source.place(0)) });
    }
    parser.link().map_err(|error| Failure { status: PANIC, error })
}

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    pub(super) fn take(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    pub(super) fn skip(&mut self, set: &[u8]) {
        while self.peek().is_some_and(|byte| set.contains(&byte)) {
            self.at += 1;
        }
    }

    pub(super) fn number(&mut self) -> Result<Option<u64>> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        let digits = String::from_utf8_lossy(&self.text[start..self.at]);
        if digits.is_empty() {
            return Ok(None);
        }
        digits.parse().map(Some).map_err(|_| anyhow!("number is too big"))
    }

    /// Point the branches at their labels.
    fn link(mut self) -> Result<Script> {
        let end = self.script.commands.len();
        for (command, label) in std::mem::take(&mut self.jumps) {
            let target = if label.is_empty() {
                end
            } else {
                let found = self.labels.iter().find(|(name, _)| *name == label);
                found.with_context(|| format!("can't find label for jump to `{}'", String::from_utf8_lossy(&label)))?.1
            };
            if let Action::Branch(_, to) = &mut self.script.commands[command].action {
                *to = target;
            }
        }
        Ok(self.script)
    }

    fn commands(&mut self) -> Result<()> {
        loop {
            self.skip(b" \t\n\r;");
            match self.peek() {
                None => return Ok(()),
                Some(b'#') => drop(self.line()),
                Some(_) => self.command()?,
            }
        }
    }

    fn command(&mut self) -> Result<()> {
        let (from, to) = self.addresses()?;
        let negated = self.negation()?;
        let Some(name) = self.take() else { bail!("missing command") };
        match name {
            b'}' => {
                if from.is_some() {
                    bail!("}} doesn't want any addresses");
                }
                let open = self.blocks.pop().context("unexpected `}'")?;
                self.script.commands[open].action = Action::Block(self.script.commands.len());
                self.end_of_command()
            }
            b':' => {
                if from.is_some() {
                    bail!(": doesn't want any addresses");
                }
                let label = self.label();
                if label.is_empty() {
                    bail!("\":\" lacks a label");
                }
                self.labels.push((label, self.script.commands.len()));
                Ok(())
            }
            b'q' | b'Q' if to.is_some() => bail!("command only uses one address"),
            name => {
                let action = self.action(name)?;
                self.script.commands.push(Command { from, to, negated, action });
                Ok(())
            }
        }
    }

    fn addresses(&mut self) -> Result<(Option<Address>, Option<Address>)> {
        let from = self.address(false)?;
        self.skip(b" \t");
        let mut to = None;
        if from.is_some() && self.peek() == Some(b',') {
            self.at += 1;
            self.skip(b" \t");
            to = Some(self.address(true)?.context("unexpected `,'")?);
            self.skip(b" \t");
        }
        if matches!(from, Some(Address::Line(0))) && !matches!(to, Some(Address::Pattern(_))) {
            bail!("invalid usage of line address 0");
        }
        Ok((from, to))
    }

    fn negation(&mut self) -> Result<bool> {
        if self.peek() != Some(b'!') {
            return Ok(false);
        }
        self.at += 1;
        self.skip(b" \t");
        if self.peek() == Some(b'!') {
            bail!("multiple `!'s");
        }
        Ok(true)
    }

    fn address(&mut self, second: bool) -> Result<Option<Address>> {
        Ok(Some(match self.peek() {
            Some(b'$') => {
                self.at += 1;
                Address::Last
            }
            Some(mark @ (b'+' | b'~')) if second => {
                self.at += 1;
                let count = self.number()?.context("expected a number")?;
                if mark == b'+' { Address::Plus(count) } else { Address::Multiple(count) }
            }
            Some(b'0'..=b'9') => {
                let line = self.number()?.unwrap_or(0);
                if self.peek() == Some(b'~') {
                    self.at += 1;
                    Address::Step(line, self.number()?.unwrap_or(0))
                } else {
                    Address::Line(line)
                }
            }
            Some(b'/' | b'\\') => self.pattern_address()?,
            _ => return Ok(None),
        }))
    }

    fn pattern_address(&mut self) -> Result<Address> {
        let mut mark = self.take();
        if mark == Some(b'\\') {
            mark = self.take();
        }
        let pattern = mark.map(|mark| self.delimited(mark, true)).transpose()?.flatten();
        let pattern = pattern.context("unterminated address regex")?;
        let mut flags = Flags { dot_newline: true, ..Flags::default() };
        loop {
            match self.peek() {
                Some(b'I') => flags.ignore_case = true,
                Some(b'M') => flags.multi_line = true,
                _ => break,
            }
            self.at += 1;
        }
        Ok(Address::Pattern(self.regex(&pattern, flags)?))
    }

    /// The pattern, or `None` for the empty one: the one used last.
    pub(super) fn regex(&self, pattern: &[u8], mut flags: Flags) -> Result<Option<Rc<Regex>>> {
        if pattern.is_empty() {
            return Ok(None);
        }
        flags.multi_line &= !self.dialect.null_data;
        let syntax = Syntax { extended: self.dialect.extended, escapes: true };
        Ok(Some(Rc::new(Regex::new(pattern, syntax, flags)?)))
    }

    /// The rest of the line.
    pub(super) fn line(&mut self) -> Vec<u8> {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
        self.at += length;
        rest[..length].to_vec()
    }

    fn label(&mut self) -> Vec<u8> {
        self.skip(b" \t");
        let start = self.at;
        while self.peek().is_some_and(|byte| !b" \t\r\n;}".contains(&byte)) {
            self.at += 1;
        }
        self.text[start..self.at].to_vec()
    }

    /// The name that `r R w W` are given.
    fn file_name(&mut self) -> Result<Vec<u8>> {
        if self.dialect.sandbox {
            bail!("e/r/w commands disabled in sandbox mode");
        }
        self.skip(b" \t");
        let name = self.line();
        if name.is_empty() {
            bail!("missing filename in r/R/w/W commands");
        }
        Ok(name)
    }

    pub(super) fn output_file(&mut self) -> Result<usize> {
        let name = self.file_name()?;
        Ok(index_of(&mut self.script.outputs, name))
    }

    fn end_of_command(&mut self) -> Result<()> {
        self.skip(b" \t\r");
        match self.peek() {
            None | Some(b'\n' | b';' | b'}' | b'#') => Ok(()),
            Some(_) => {
                self.at += 1;
                bail!("extra characters after command")
            }
        }
    }

    fn action(&mut self, name: u8) -> Result<Action> {
        let action = match name {
            b'{' => {
                self.blocks.push(self.script.commands.len());
                return Ok(Action::Block(0));
            }
            b'a' => return Ok(Action::Append(self.text_argument()?)),
            b'i' => return Ok(Action::Insert(self.text_argument()?)),
            b'c' => return Ok(Action::Change(self.text_argument()?)),
            b'r' => return Ok(Action::ReadFile(self.file_name()?)),
            b'R' => {
                let name = self.file_name()?;
                return Ok(Action::ReadLine(index_of(&mut self.script.inputs, name)));
            }
            b'w' => return Ok(Action::WriteFile(self.output_file()?)),
            b'W' => return Ok(Action::WriteFirstLine(self.output_file()?)),
            b'b' => return Ok(self.branch(BranchWhen::Always)),
            b't' => return Ok(self.branch(BranchWhen::Substituted)),
            b'T' => return Ok(self.branch(BranchWhen::NotSubstituted)),
            b's' => self.substitution()?,
            b'y' => self.translation()?,
            b'q' | b'Q' => {
                self.skip(b" \t");
                let status = self.number()?.unwrap_or(0);
                Action::Quit(i32::try_from(status).map_err(|_| anyhow!("number is too big"))?, name == b'q')
            }
            b'l' => {
                self.skip(b" \t");
                Action::List(self.number()?.map(|width| usize::try_from(width).unwrap_or(0)))
            }
            b'v' => self.demanded_version()?,
            b'e' => bail!("command `e' is not supported: a script runs no commands here"),
            name => simple_action(name).with_context(|| format!("unknown command: `{}'", char::from(name)))?,
        };
        self.end_of_command()?;
        Ok(action)
    }

    fn branch(&mut self, when: BranchWhen) -> Action {
        let label = self.label();
        self.jumps.push((self.script.commands.len(), label));
        Action::Branch(when, 0)
    }

    /// `v [VERSION]`: nothing, if GNU sed of that version is not newer than what is implemented.
    fn demanded_version(&mut self) -> Result<Action> {
        let label = self.label();
        let text = String::from_utf8_lossy(&label);
        let mut parts = text.split('.').filter(|part| !part.is_empty()).map(str::parse::<u32>);
        let mut next = || parts.next().transpose().map_err(|_| anyhow!("invalid version number"));
        let wanted = [next()?.unwrap_or(0), next()?.unwrap_or(0)];
        if wanted > VERSION {
            bail!("expected newer version of sed");
        }
        Ok(Action::Nothing)
    }
}

fn index_of(names: &mut Vec<Vec<u8>>, name: Vec<u8>) -> usize {
    names.iter().position(|known| *known == name).unwrap_or_else(|| {
        names.push(name);
        names.len() - 1
    })
}

/// The commands without an argument.
fn simple_action(name: u8) -> Option<Action> {
    Some(match name {
        b'd' => Action::Delete,
        b'D' => Action::DeleteFirstLine,
        b'F' => Action::FileName,
        b'g' => Action::Get,
        b'G' => Action::GetAppend,
        b'h' => Action::Hold,
        b'H' => Action::HoldAppend,
        b'n' => Action::Next,
        b'N' => Action::NextAppend,
        b'=' => Action::Number,
        b'p' => Action::Print,
        b'P' => Action::PrintFirstLine,
        b'x' => Action::Exchange,
        b'z' => Action::Zap,
        _ => return None,
    })
}
