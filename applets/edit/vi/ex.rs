//! Commands of the line below the text (POSIX ex(1)).

use std::path::PathBuf;

use super::editor::{Editor, Register, Request};
use super::motion;
use super::pattern::{self, Substitution};
use super::text::at;

/// A line read as a command.
#[derive(Debug, PartialEq, Eq)]
struct Ex<'a> {
    /// First and last line, from 1; `None` if none was given.
    range: Option<(usize, usize)>,
    name: &'a str,
    bang: bool,
    rest: &'a str,
}

impl Editor {
    /// Run a command.
    pub(super) fn execute(&mut self, line: &str) -> Result<Option<Request>, String> {
        let line = line.trim_start_matches([':', ' ']);
        if line.is_empty() {
            return Ok(None);
        }
        let ex = self.parse(line)?;
        let path = (!ex.rest.trim().is_empty()).then(|| PathBuf::from(ex.rest.trim()));
        let is_write = matches!(ex.name, "w" | "write" | "wq" | "x" | "xit");
        // A line that is not there: only what reads a file may be below line 0.
        let below = ex.range.map_or(self.cursor.line + 1, |(_, last)| last);
        if ex.range.is_some_and(|(first, _)| first == 0) && !matches!(ex.name, "r" | "read" | "m" | "move" | "") {
            return Err("there is no line 0".into());
        }
        match ex.name {
            "" => {
                let line = below.clamp(1, self.text.count()) - 1;
                self.marks.insert('\'', self.cursor);
                self.cursor = at(line, motion::first_text(&self.text, line));
            }
            "q" | "quit" => return Ok(Some(Request::Quit { force: ex.bang })),
            "x" | "xit" if path.is_none() && ex.range.is_none() => return Ok(Some(self.save_and_quit())),
            _ if is_write => {
                let range = ex.range.map(|(first, last)| (first - 1, last - 1));
                let quit = matches!(ex.name, "wq" | "x" | "xit");
                return Ok(Some(Request::Write { path, range, force: ex.bang, quit }));
            }
            "e" | "edit" => return Ok(Some(Request::Edit { path, force: ex.bang })),
            "r" | "read" => return Ok(Some(Request::Read { path, below })),
            "n" | "next" => return Ok(Some(Request::Next { force: ex.bang, back: false })),
            "N" | "prev" | "previous" => return Ok(Some(Request::Next { force: ex.bang, back: true })),
            "f" | "file" => return Ok(Some(Request::Info)),
            "set" | "se" => self.set(ex.rest)?,
            "u" | "undo" => self.cursor = self.text.undo().ok_or("already at the oldest change")?,
            "red" | "redo" => self.cursor = self.text.redo().ok_or("already at the newest change")?,
            "g" | "global" | "v" => {
                let invert = ex.name == "v" || ex.bang;
                self.global(ex.range.unwrap_or((1, self.text.count())), ex.rest, invert)?;
            }
            _ => self.change_lines(&ex)?,
        }
        Ok(None)
    }

    /// Commands that change or take the lines of their range, by default the cursor's.
    fn change_lines(&mut self, ex: &Ex) -> Result<(), String> {
        let here = self.cursor.line + 1;
        let (first, last) = ex.range.unwrap_or((here, here));
        let (first, last) = (first.max(1) - 1, last.max(1) - 1);
        let lines = self.text.lines()[first..=last].to_vec();
        match ex.name {
            "d" | "delete" => self.delete_lines(first, last, register(ex.rest)?),
            "y" | "yank" => self.store(register(ex.rest)?, Register::Lines(lines)),
            "pu" | "put" => {
                self.cursor.line = last;
                let name = register(ex.rest)?;
                if let Some(Register::Chars(text)) = self.unnamed.clone().filter(|_| name.is_none()) {
                    self.text.splice(last + 1..last + 1, text.split('\n').map(str::to_owned).collect());
                    self.cursor = at(last + 1, 0);
                } else {
                    self.put(false, 1, name)?;
                }
            }
            "j" | "join" => {
                let last = if ex.range.is_some_and(|(a, b)| a < b) { last } else { first + 1 };
                self.join(first, last - first + 1)?;
            }
            "t" | "co" | "copy" => {
                let to = self.address_only(ex.rest)?;
                self.text.splice(to..to, lines);
                self.cursor = at(to + last - first, 0);
            }
            "m" | "move" => {
                let to = self.address_only(ex.rest)?;
                if to > first && to <= last {
                    return Err("lines cannot move into themselves".into());
                }
                let count = lines.len();
                self.text.splice(first..last + 1, Vec::new());
                // A text that was all moved left an empty line behind.
                let emptied =
                    self.text.count() == 1 && self.text.line(0).is_empty() && count > 0 && first == 0 && to == 0;
                let to = if to > last { to - count } else { to };
                self.text.splice(to..to + usize::from(emptied), lines);
                self.cursor = at(to + count - 1, 0);
            }
            "s" | "substitute" => {
                let last_pattern = self.search.as_ref().map(|(pattern, _)| pattern.as_str());
                let substitution = match ex.rest.trim() {
                    "" => self.substitution.clone().ok_or("no previous substitution")?,
                    _ => Substitution::parse(ex.rest, last_pattern)?,
                };
                self.substitute(substitution, first, last)?;
            }
            "&" => {
                let substitution = self.substitution.clone().ok_or("no previous substitution")?;
                self.substitute(substitution, first, last)?;
            }
            shifts if !shifts.is_empty() && shifts.chars().all(|c| c == '>') => {
                self.shift_lines(first, last, true, shifts.len())
            }
            shifts if !shifts.is_empty() && shifts.chars().all(|c| c == '<') => {
                self.shift_lines(first, last, false, shifts.len())
            }
            "p" | "print" => {
                self.message = self.text.line(last).to_owned();
                self.cursor = at(last, 0);
            }
            "k" | "ma" | "mark" => {
                let name = ex.rest.trim().chars().next().ok_or("a mark has a letter")?;
                self.marks.insert(name, at(last, 0));
            }
            other => return Err(format!("no such command: {other}")),
        }
        Ok(())
    }

    fn shift_lines(&mut self, first: usize, last: usize, right: bool, times: usize) {
        self.shift(first, last, right, times);
        self.cursor = at(last, motion::first_text(&self.text, last));
    }

    pub(super) fn substitute_again(&mut self) -> Result<(), String> {
        let again = self.substitution.clone().ok_or("no previous substitution")?;
        // Only the first of the line, as vi has it.
        self.substitute(Substitution { all: false, ..again }, self.cursor.line, self.cursor.line)
    }

    fn substitute(&mut self, substitution: Substitution, first: usize, last: usize) -> Result<(), String> {
        let regex = pattern::compile(&substitution.pattern, substitution.ignore_case || self.options.ignore_case)?;
        let (mut line, mut end, mut total) = (first, last, 0);
        while line <= end {
            let mut step = 1;
            if let Some((text, count)) = substitution.apply(&regex, self.text.line(line))? {
                let new: Vec<String> = text.split('\n').map(str::to_owned).collect();
                step = new.len();
                end += step - 1;
                total += count;
                self.text.splice(line..line + 1, new);
                self.cursor = at(line + step - 1, 0);
            }
            line += step;
        }
        self.search = Some((substitution.pattern.clone(), false));
        self.substitution = Some(substitution);
        if total == 0 {
            return Err("pattern not found".into());
        }
        self.cursor.column = motion::first_text(&self.text, self.cursor.line);
        if total > 1 {
            self.message = format!("{total} substitutions");
        }
        Ok(())
    }

    /// Run a command on each line that matches, or does not.
    fn global(&mut self, range: (usize, usize), rest: &str, invert: bool) -> Result<(), String> {
        let delimiter = rest.chars().next().filter(|c| !c.is_alphanumeric()).ok_or("usage: g/pattern/command")?;
        let (text, command) = pattern::cut(&rest[delimiter.len_utf8()..], delimiter);
        let text = match (text.is_empty(), &self.search) {
            (false, _) => text,
            (true, Some((last, _))) => last.clone(),
            (true, None) => return Err("no previous pattern".into()),
        };
        let regex = pattern::compile(&text, self.options.ignore_case)?;
        self.search = Some((text, false));
        let command = if command.trim().is_empty() { "p" } else { command.trim() };
        if command.starts_with(['g', 'v', 'w', 'q', 'x', 'e', 'r', 'n', 'u', 'm']) {
            return Err(format!("{command}: not within a global command"));
        }
        let mut hits = Vec::new();
        for line in range.0.max(1) - 1..range.1 {
            let is_hit = regex.is_match(self.text.line(line).as_bytes()).map_err(|error| format!("{error:#}"))?;
            if is_hit != invert {
                hits.push(line);
            }
        }
        if hits.is_empty() {
            return Err("pattern not found".into());
        }
        let count = self.text.count();
        for line in hits {
            // Lines that were added or taken away before it.
            let line = (line + self.text.count()).saturating_sub(count);
            self.cursor = at(line.min(self.text.last()), 0);
            match self.execute(command) {
                Err(message) if message != "pattern not found" => return Err(message),
                _ => {}
            }
        }
        Ok(())
    }

    fn set(&mut self, rest: &str) -> Result<(), String> {
        for word in rest.split_whitespace() {
            let (name, on) = word.strip_prefix("no").map_or((word, true), |name| (name, false));
            match name {
                "nu" | "number" => self.options.number = on,
                "ic" | "ignorecase" => self.options.ignore_case = on,
                "ai" | "autoindent" => self.options.autoindent = on,
                _ => return Err(format!("set: no option {word:?} (number, ignorecase, autoindent)")),
            }
        }
        if rest.trim().is_empty() {
            let shown = |name: &str, on: bool| if on { name.to_owned() } else { format!("no{name}") };
            let options = self.options;
            self.message = [
                shown("number", options.number),
                shown("ignorecase", options.ignore_case),
                shown("autoindent", options.autoindent),
            ]
            .join(" ");
        }
        Ok(())
    }

    fn address_only(&self, text: &str) -> Result<usize, String> {
        let mut rest = text.trim();
        let line = self.address(&mut rest, self.cursor.line + 1)?.ok_or("an address is missing")?;
        if rest.trim().is_empty() { Ok(line) } else { Err(format!("{}: not an address", text.trim())) }
    }

    fn parse<'a>(&self, line: &'a str) -> Result<Ex<'a>, String> {
        let mut rest = line;
        let range = self.range(&mut rest)?;
        rest = rest.trim_start();
        let length = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let mut name = &rest[..length];
        // What follows a short name without a blank: s/a/b/, ka, g/x/d.
        if length == 0 && !rest.is_empty() {
            let run = rest.chars().take_while(|c| rest.starts_with(*c)).count();
            name = if rest.starts_with(['>', '<']) { &rest[..run] } else { rest.get(..1).unwrap_or(rest) };
        } else if name.len() == 2 && name.starts_with('k') {
            name = &name[..1];
        }
        rest = &rest[name.len()..];
        let bang = rest.starts_with('!');
        rest = rest.strip_prefix('!').unwrap_or(rest);
        Ok(Ex { range, name, bang, rest })
    }

    fn range(&self, rest: &mut &str) -> Result<Option<(usize, usize)>, String> {
        if let Some(after) = rest.strip_prefix('%') {
            *rest = after;
            return Ok(Some((1, self.text.count())));
        }
        let mut here = self.cursor.line + 1;
        let mut first = self.address(rest, here)?;
        let mut last = first;
        while let Some(separator @ (',' | ';')) = rest.trim_start().chars().next() {
            *rest = &rest.trim_start()[1..];
            first = Some(last.unwrap_or(self.cursor.line + 1));
            if separator == ';' {
                here = first.unwrap_or(here);
            }
            last = Some(self.address(rest, here)?.unwrap_or(here));
        }
        match (first, last) {
            (Some(first), Some(last)) if first > last => Err("the range is backwards".into()),
            (Some(_), Some(last)) if last > self.text.count() => Err(format!("there is no line {last}")),
            (Some(first), Some(last)) => Ok(Some((first, last))),
            _ => Ok(None),
        }
    }

    /// One address: a line from 1 (or 0); `None` if there is none.
    fn address(&self, rest: &mut &str, here: usize) -> Result<Option<usize>, String> {
        *rest = rest.trim_start();
        let base = match rest.chars().next() {
            Some('.') => {
                *rest = &rest[1..];
                Some(here)
            }
            Some('$') => {
                *rest = &rest[1..];
                Some(self.text.count())
            }
            Some('0'..='9') => Some(number(rest)),
            Some('\'') => {
                let name = rest[1..].chars().next().ok_or("a mark has a letter")?;
                *rest = &rest[1 + name.len_utf8()..];
                Some(self.marks.get(&name).ok_or_else(|| format!("mark {name} is not set"))?.line + 1)
            }
            Some(delimiter @ ('/' | '?')) => {
                let (text, after) = pattern::cut(&rest[1..], delimiter);
                *rest = after;
                let text = match (text.is_empty(), &self.search) {
                    (true, Some((last, _))) => last.clone(),
                    (true, None) => return Err("no previous pattern".into()),
                    (false, _) => text,
                };
                let regex = pattern::compile(&text, self.options.ignore_case)?;
                let back = delimiter == '?';
                // From the next line on, not from the rest of this one.
                let from = at(here - 1, if back { 0 } else { usize::MAX });
                let found = pattern::search(&self.text, &regex, from, back)?;
                Some(found.ok_or_else(|| format!("pattern not found: {text}"))?.line + 1)
            }
            Some('+' | '-') => Some(here),
            _ => None,
        };
        let Some(mut line) = base else { return Ok(None) };
        while let Some(sign @ ('+' | '-')) = rest.chars().next() {
            *rest = &rest[1..];
            let offset = if rest.starts_with(|c: char| c.is_ascii_digit()) { number(rest) } else { 1 };
            line = match sign {
                '+' => line.saturating_add(offset),
                _ => line.checked_sub(offset).ok_or("there is no such line")?,
            };
        }
        Ok(Some(line))
    }
}

fn number(rest: &mut &str) -> usize {
    let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let value = rest[..length].parse().unwrap_or(usize::MAX / 4);
    *rest = &rest[length..];
    value
}

fn register(rest: &str) -> Result<Option<char>, String> {
    let mut chars = rest.trim().chars();
    match (chars.next(), chars.next()) {
        (None, _) => Ok(None),
        (Some(name), None) if name.is_ascii_alphabetic() => Ok(Some(name)),
        _ => Err(format!("{}: not a register", rest.trim())),
    }
}
