//! The parts of the parser for find's tests and actions.

use anyhow::{Result, anyhow, bail};
use nix::unistd::{Group, User};

use super::clock::{self, DAY, SECOND};
use super::entry::{device, quoted, stamp};
use super::expression::{Access, Action, BatchCommand, Command, Compare, Nanoseconds, Stamp, Test, When};
use super::format::Format;
use super::mode::ModeTest;
use super::parse::Parser;
use crate::text::glob::{Glob, GlobFlags};

impl Parser<'_> {
    /// The test `name`; `None` if there is none.
    pub(super) fn test(&mut self, name: &str) -> Result<Option<Test>> {
        Ok(Some(match name {
            "-true" => Test::Constant(true),
            "-false" => Test::Constant(false),
            "-name" => Test::Name(self.glob(name, false)?),
            "-iname" => Test::Name(self.glob(name, true)?),
            "-path" | "-wholename" => Test::Path(self.glob(name, false)?),
            "-ipath" | "-iwholename" => Test::Path(self.glob(name, true)?),
            "-lname" => Test::LinkName(self.glob(name, false)?),
            "-ilname" => Test::LinkName(self.glob(name, true)?),
            "-regex" | "-iregex" => {
                let pattern = self.argument(name)?;
                self.compile(&pattern, name == "-iregex")?
            }
            "-type" => Test::Type(self.types(name)?),
            "-xtype" => Test::OtherType(self.types(name)?),
            "-empty" => Test::Empty,
            "-size" => self.size()?,
            "-perm" => {
                let mode = self.argument(name)?;
                Test::Mode(ModeTest::parse(&mode).ok_or_else(|| anyhow!("invalid mode {}", quoted(&mode)))?)
            }
            "-readable" => Test::Access(Access::Read),
            "-writable" => Test::Access(Access::Write),
            "-executable" => Test::Access(Access::Execute),
            "-fstype" => Test::FileSystem(self.argument(name)?),
            _ => match self.identity_test(name)? {
                Some(test) => test,
                None => return self.time_test(name),
            },
        }))
    }

    /// Tests of owners, links and inodes.
    fn identity_test(&mut self, name: &str) -> Result<Option<Test>> {
        Ok(Some(match name {
            "-user" => Test::User(self.user()?),
            "-group" => Test::Group(self.group()?),
            "-uid" => Test::User(self.number(name)?),
            "-gid" => Test::Group(self.number(name)?),
            "-nouser" => Test::NoUser,
            "-nogroup" => Test::NoGroup,
            "-links" => Test::Links(self.number(name)?),
            "-inum" => Test::Inode(self.number(name)?),
            "-samefile" => {
                let stat = self.reference(name)?;
                Test::SameFile(device(&stat), stat.stx_ino)
            }
            _ => return Ok(None),
        }))
    }

    fn time_test(&mut self, name: &str) -> Result<Option<Test>> {
        Ok(Some(match name {
            "-amin" => self.age(name, Stamp::Access, 60 * SECOND)?,
            "-cmin" => self.age(name, Stamp::Change, 60 * SECOND)?,
            "-mmin" => self.age(name, Stamp::Modification, 60 * SECOND)?,
            "-atime" => self.age(name, Stamp::Access, DAY)?,
            "-ctime" => self.age(name, Stamp::Change, DAY)?,
            "-mtime" => self.age(name, Stamp::Modification, DAY)?,
            "-used" => Test::Used(self.number(name)?),
            "-newer" => self.newer(name, b'm', b'm')?,
            "-anewer" => self.newer(name, b'a', b'm')?,
            "-cnewer" => self.newer(name, b'c', b'm')?,
            name => match name.strip_prefix("-newer").map(str::as_bytes) {
                Some([which, reference]) => self.newer(name, *which, *reference)?,
                _ => return Ok(None),
            },
        }))
    }

    /// The action `name`; `None` if there is none.
    pub(super) fn action(&mut self, name: &str) -> Result<Option<Action>> {
        Ok(Some(match name {
            "-print" => Action::Print { output: 0, end: b'\n' },
            "-print0" => Action::Print { output: 0, end: 0 },
            "-fprint" => Action::Print { output: self.output(name)?, end: b'\n' },
            "-fprint0" => Action::Print { output: self.output(name)?, end: 0 },
            "-printf" => self.format(name, 0)?,
            "-fprintf" => {
                let output = self.output(name)?;
                self.format(name, output)?
            }
            "-ls" => Action::List { output: 0 },
            "-fls" => Action::List { output: self.output(name)? },
            "-exec" | "-execdir" => self.execute(name, name == "-execdir", false)?,
            "-ok" | "-okdir" => self.execute(name, name == "-okdir", true)?,
            "-delete" => {
                self.plan.contents_first = true;
                Action::Delete
            }
            "-prune" => Action::Prune,
            "-quit" => Action::Quit,
            _ => return Ok(None),
        }))
    }

    fn glob(&mut self, name: &str, ignore_case: bool) -> Result<Glob> {
        Ok(Glob::new(&self.argument(name)?, GlobFlags { ignore_case, pathname: false }))
    }

    fn types(&mut self, name: &str) -> Result<Vec<u8>> {
        let text = self.text_argument(name)?;
        let mut types = Vec::new();
        for part in text.split(',') {
            match part.as_bytes() {
                [letter @ (b'b' | b'c' | b'd' | b'p' | b'f' | b'l' | b's')] => types.push(*letter),
                [] if !types.is_empty() => {
                    bail!("Last file type in list argument to {name} is missing, i.e., list is ending on: ','")
                }
                [] => bail!("Arguments to {name} should contain at least one letter"),
                [letter] => bail!("Unknown argument to {name}: {}", char::from(*letter)),
                _ => bail!("Must separate multiple arguments to {name} using: ','"),
            }
        }
        Ok(types)
    }

    fn number(&mut self, name: &str) -> Result<Compare> {
        let text = self.text_argument(name)?;
        parse_compare(&text).ok_or_else(|| anyhow!("invalid argument `{text}' to `{name}'"))
    }

    fn size(&mut self) -> Result<Test> {
        let text = self.text_argument("-size")?;
        let (digits, unit) = match text.chars().next_back() {
            Some('b') => (&text[..text.len() - 1], 512),
            Some('c') => (&text[..text.len() - 1], 1),
            Some('w') => (&text[..text.len() - 1], 2),
            Some('k') => (&text[..text.len() - 1], 1 << 10),
            Some('M') => (&text[..text.len() - 1], 1 << 20),
            Some('G') => (&text[..text.len() - 1], 1 << 30),
            Some(c) if !c.is_ascii_digit() => bail!("invalid -size type `{c}'"),
            _ => (text.as_str(), 512),
        };
        let compare = parse_compare(digits).ok_or_else(|| anyhow!("Invalid argument `{text}' to -size"))?;
        Ok(Test::Size(compare, unit))
    }

    fn user(&mut self) -> Result<Compare> {
        let text = self.text_argument("-user")?;
        if let Ok(Some(user)) = User::from_name(&text) {
            return Ok(Compare::Equal(user.uid.as_raw().into()));
        }
        parse_compare(&text).ok_or_else(|| anyhow!("‘{text}’ is not the name of a known user"))
    }

    fn group(&mut self) -> Result<Compare> {
        let text = self.text_argument("-group")?;
        if let Ok(Some(group)) = Group::from_name(&text) {
            return Ok(Compare::Equal(group.gid.as_raw().into()));
        }
        parse_compare(&text).ok_or_else(|| anyhow!("‘{text}’ is not the name of an existing group"))
    }

    /// `-mtime N` and the like: the age in days, of which one that has begun is not counted, or in minutes, of which it is.
    fn age(&mut self, name: &str, which: Stamp, unit: Nanoseconds) -> Result<Test> {
        let text = self.text_argument(name)?;
        let invalid = || anyhow!("invalid argument `{text}' to `{name}'");
        let sign = text.chars().next().filter(|c| "+-".contains(*c));
        let number = parse_fraction(text.trim_start_matches(['+', '-'])).ok_or_else(invalid)?;
        let back = number.checked_mul(unit).ok_or_else(invalid)? / SECOND;
        let (now, start) = (self.plan.now, self.day_start);
        // With -daystart, days end at midnight.
        let (origin, slack) = match (unit == DAY, start) {
            (true, Some(midnight)) => (midnight, DAY - SECOND),
            (true, None) => (now - DAY, DAY - SECOND),
            (false, Some(midnight)) => (midnight + DAY, 0),
            (false, None) => (now, 0),
        };
        Ok(Test::Time(
            which,
            match sign {
                Some('+') => When::Before(origin - back),
                Some(_) => When::After(origin + slack - back),
                None => When::Within(origin - back, unit),
            },
        ))
    }

    /// `-newerXY`: the time X is after the time Y of a file, or after a date if Y is `t`.
    fn newer(&mut self, name: &str, which: u8, reference: u8) -> Result<Test> {
        let letter = |letter| match letter {
            b'a' => Some(Stamp::Access),
            b'B' => Some(Stamp::Birth),
            b'c' => Some(Stamp::Change),
            b'm' => Some(Stamp::Modification),
            _ => None,
        };
        let which = letter(which).ok_or_else(|| anyhow!("invalid predicate `{name}'"))?;
        let limit = if reference == b't' {
            let text = self.text_argument(name)?;
            clock::parse(&text, self.plan.now)
                .ok_or_else(|| anyhow!("I cannot figure out how to interpret ‘{text}’ as a date or time"))?
        } else {
            let reference = letter(reference).ok_or_else(|| anyhow!("invalid predicate `{name}'"))?;
            let stat = self.reference(name)?;
            stamp(&stat, reference).ok_or_else(|| anyhow!("cannot obtain the birth time of the file of `{name}'"))?
        };
        Ok(Test::Time(which, When::After(limit)))
    }

    fn format(&mut self, name: &str, output: usize) -> Result<Action> {
        let text = self.argument(name)?;
        let format = Format::parse(&text).map_err(|message| anyhow!("error: {message}"))?;
        Ok(Action::Format { output, format })
    }

    fn execute(&mut self, name: &str, in_folder: bool, ask: bool) -> Result<Action> {
        let (words, batched) = self.command(name, !ask)?;
        if in_folder {
            check_path(name)?;
        }
        if !batched {
            return Ok(Action::Execute(Command { words, in_folder, ask }));
        }
        self.plan.batches.push(BatchCommand { words, in_folder });
        Ok(Action::Batch(self.plan.batches.len() - 1))
    }
}

/// A command that is looked for in the files' folders could be anyone's.
fn check_path(name: &str) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    match std::env::split_paths(&path).find(|folder| !folder.is_absolute()) {
        Some(folder) if path.is_empty() || folder.as_os_str().is_empty() => bail!(
            "The current directory is included in the PATH environment variable, which is insecure in combination \
             with the {name} action of find.  Please remove the current directory from your $PATH (that is, remove \
             \".\", doubled colons, or leading or trailing colons)"
        ),
        Some(folder) => bail!(
            "The relative path ‘{}’ is included in the PATH environment variable, which is insecure in combination \
             with the {name} action of find.  Please remove that entry from $PATH",
            folder.display()
        ),
        None => Ok(()),
    }
}

/// `N`, `+N` or `-N`.
fn parse_compare(text: &str) -> Option<Compare> {
    let make = match text.chars().next()? {
        '+' => Compare::More,
        '-' => Compare::Less,
        _ => Compare::Equal,
    };
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(make)
}

/// A decimal number, in billionths.
fn parse_fraction(text: &str) -> Option<Nanoseconds> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() && fraction.is_empty() || !digits(whole) || !digits(fraction) || whole.len() > 12 {
        return None;
    }
    let whole: Nanoseconds = format!("0{whole}").parse().ok()?;
    let fraction: Nanoseconds = format!("{:0<9.9}", fraction).parse().ok()?;
    Some(whole * SECOND + fraction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(parse_compare("+5"), Some(Compare::More(5)));
        assert_eq!(parse_compare("-5"), Some(Compare::Less(5)));
        assert_eq!(parse_compare("5"), Some(Compare::Equal(5)));
        for text in ["", "+", "x", "5x", "++5", "99999999999999999999"] {
            assert_eq!(parse_compare(text), None, "{text}");
        }
        assert_eq!(parse_fraction("1.5"), Some(SECOND * 3 / 2));
        assert_eq!(parse_fraction(".25"), Some(SECOND / 4));
        for text in ["", ".", "x", "1e5", "-1", "9999999999999"] {
            assert_eq!(parse_fraction(text), None, "{text}");
        }
    }
}
