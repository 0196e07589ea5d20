//! The pager without a terminal: keys in, rows out.

use std::io;

use super::line::Line;
use super::source::Source;
use crate::terminal::keys::Key;
use crate::text::regex::{Flags, Regex, Syntax};

/// How text is shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct View {
    /// `-N`: lines have numbers.
    pub numbers: bool,
    /// `-S`: long lines are chopped.
    pub chop: bool,
    /// `-R`: colours are obeyed.
    pub raw: bool,
    /// `-i`: searches do not tell upper from lower case, unless the pattern has an upper one.
    pub ignore_case: bool,
    /// `-e`: going on at the end leaves.
    pub quit_at_end: bool,
}

/// What the pager wants of its surroundings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Leave.
    Quit,
    /// The next file.
    Next,
    /// The one before.
    Previous,
    /// Draw everything anew.
    Redraw,
    /// Stop, as Ctrl-Z asks.
    Suspend,
}

/// What is being typed below the text.
enum Input {
    /// `/`, `?`, `:` or `-` and what follows.
    Line(char, String),
    /// A count before a command.
    Count(usize),
    None,
}

/// The last search.
struct Search {
    regex: Regex,
    back: bool,
}

/// What is seen of a source, and how it moves.
pub struct Pager {
    /// How it is shown.
    pub view: View,
    /// First line.
    top: usize,
    /// Rows of it that are above the screen.
    skip: usize,
    /// Columns that are left of the screen, when lines are chopped.
    left: usize,
    rows: usize,
    columns: usize,
    input: Input,
    search: Option<Search>,
    message: Option<String>,
    name: String,
}

const HELP: &str = "SPACE f next screen  b back  j k line  d u half  g G start end  /pat ?pat n N search  -N -S -R -i options  :n :p file  q quit";

impl Pager {
    /// Show a source; `name` is what the last row says.
    pub fn new(view: View, name: String) -> Self {
        Self {
            view,
            top: 0,
            skip: 0,
            left: 0,
            rows: 23,
            columns: 80,
            input: Input::None,
            search: None,
            message: None,
            name,
        }
    }

    /// Another source; options and the search stay.
    pub fn restart(&mut self, name: String) {
        (self.top, self.skip, self.left) = (0, 0, 0);
        self.name = name;
    }

    /// Say something in the last row.
    pub fn say(&mut self, message: &str) {
        self.message = Some(message.to_owned());
    }

    /// Set the size of the whole screen.
    pub fn resize(&mut self, rows: usize, columns: usize) {
        self.rows = rows.saturating_sub(1).max(1);
        self.columns = columns.max(2);
    }

    /// Take a key.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn key(&mut self, key: Key, source: &mut Source) -> io::Result<Option<Request>> {
        self.message = None;
        match std::mem::replace(&mut self.input, Input::None) {
            Input::Line(kind, text) => self.line_key(kind, text, key, source),
            Input::Count(count) => match key {
                Key::Char(digit @ '0'..='9') => {
                    let digit = digit.to_digit(10).unwrap_or(0) as usize;
                    self.input = Input::Count(count.saturating_mul(10).saturating_add(digit).min(usize::MAX >> 8));
                    Ok(None)
                }
                key => self.command(key, Some(count), source),
            },
            Input::None => match key {
                Key::Char(digit @ '1'..='9') => {
                    self.input = Input::Count(digit.to_digit(10).unwrap_or(0) as usize);
                    Ok(None)
                }
                key => self.command(key, None, source),
            },
        }
    }

    fn command(&mut self, key: Key, count: Option<usize>, source: &mut Source) -> io::Result<Option<Request>> {
        let times = count.unwrap_or(1);
        match key {
            Key::Char('q' | 'Q') => return Ok(Some(Request::Quit)),
            Key::Char(' ' | 'f') | Key::Control('f' | 'v') | Key::PageDown => {
                return self.forward(count.unwrap_or(self.rows), source);
            }
            Key::Char('b') | Key::Control('b') | Key::PageUp | Key::Meta('v') => {
                self.backward(count.unwrap_or(self.rows), source)?
            }
            Key::Char('j' | 'e') | Key::Enter | Key::Down | Key::Control('n' | 'e') => {
                return self.forward(times, source);
            }
            Key::Char('k' | 'y') | Key::Up | Key::Control('p' | 'y' | 'k') => self.backward(times, source)?,
            Key::Char('d') | Key::Control('d') => return self.forward(count.unwrap_or(self.rows / 2), source),
            Key::Char('u') | Key::Control('u') => self.backward(count.unwrap_or(self.rows / 2), source)?,
            Key::Char('g' | '<') | Key::Home => self.go(count.unwrap_or(1).saturating_sub(1), source)?,
            Key::Char('G' | '>') | Key::End => match count {
                Some(line) => self.go(line.saturating_sub(1), source)?,
                None => self.end(source)?,
            },
            Key::Char('p' | '%') => self.percent(count.unwrap_or(0), source)?,
            Key::Right => self.left += self.columns / 2,
            Key::Left => self.left = self.left.saturating_sub(self.columns / 2),
            Key::Char(kind @ ('/' | '?' | ':' | '-')) => self.input = Input::Line(kind, String::new()),
            Key::Char('n') => self.search_again(false, times, source)?,
            Key::Char('N') => self.search_again(true, times, source)?,
            Key::Char('h' | 'H') => self.message = Some(HELP.into()),
            Key::Char('=') | Key::Control('g') => self.message = Some(self.position(source)),
            Key::Char('v') => self.message = Some("there is no editor to start from here".into()),
            Key::Char('r') | Key::Control('l' | 'r') => return Ok(Some(Request::Redraw)),
            Key::Control('z') => return Ok(Some(Request::Suspend)),
            Key::Control('c') | Key::Escape => {}
            _ => self.message = Some("no such command; h for help".into()),
        }
        Ok(None)
    }

    fn line_key(&mut self, kind: char, mut text: String, key: Key, source: &mut Source) -> io::Result<Option<Request>> {
        match key {
            Key::Enter => return self.finish_line(kind, &text, source),
            Key::Escape | Key::Control('c') => return Ok(None),
            Key::Backspace if text.pop().is_none() => return Ok(None),
            Key::Backspace => {}
            Key::Control('u') => text.clear(),
            Key::Tab => text.push('\t'),
            Key::Char(character) => text.push(character),
            _ => {}
        }
        // One letter says it all.
        if matches!(kind, ':' | '-') && !text.is_empty() {
            return self.finish_line(kind, &text, source);
        }
        self.input = Input::Line(kind, text);
        Ok(None)
    }

    fn finish_line(&mut self, kind: char, text: &str, source: &mut Source) -> io::Result<Option<Request>> {
        let view = &mut self.view;
        match (kind, text) {
            (':', "n") => return Ok(Some(Request::Next)),
            (':', "p") => return Ok(Some(Request::Previous)),
            (':', "q" | "Q") => return Ok(Some(Request::Quit)),
            (':', "f") => self.message = Some(self.position(source)),
            ('-', "N") => view.numbers = !view.numbers,
            ('-', "S") => (view.chop, self.skip, self.left) = (!view.chop, 0, 0),
            ('-', "R") => view.raw = !view.raw,
            ('-', "i") => view.ignore_case = !view.ignore_case,
            ('/' | '?', text) => self.search(text, kind == '?', source)?,
            (_, "") => {}
            _ => self.message = Some(format!("no such command: {kind}{text}")),
        }
        Ok(None)
    }

    /// Search for a pattern, or, if there is none, for the last one.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn search(&mut self, pattern: &str, back: bool, source: &mut Source) -> io::Result<()> {
        if !pattern.is_empty() {
            let ignore_case = self.view.ignore_case && !pattern.chars().any(char::is_uppercase);
            let flags = Flags { ignore_case, ..Flags::default() };
            match Regex::new(pattern.as_bytes(), Syntax { extended: true, escapes: false }, flags) {
                Ok(regex) => self.search = Some(Search { regex, back }),
                Err(error) => {
                    self.message = Some(format!("{error:#}"));
                    return Ok(());
                }
            }
        } else if let Some(search) = &mut self.search {
            search.back = back;
        }
        self.search_again(false, 1, source)
    }

    /// Search from the first line on, that one included.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn search_from_start(&mut self, pattern: &str, source: &mut Source) -> io::Result<()> {
        self.search(pattern, false, source)?;
        let Some(search) = &self.search else { return Ok(()) };
        if let Some(first) = source.line(0)?
            && Line::new(&first, self.view.raw).matches(&search.regex)
        {
            (self.top, self.skip, self.message) = (0, 0, None);
        }
        Ok(())
    }

    fn search_again(&mut self, reverse: bool, times: usize, source: &mut Source) -> io::Result<()> {
        let Some(search) = &self.search else {
            self.message = Some("no previous pattern".into());
            return Ok(());
        };
        let back = search.back != reverse;
        let mut line = self.top;
        for _ in 0..times {
            let found = loop {
                let Some(next) = (if back { line.checked_sub(1) } else { line.checked_add(1) }) else { break None };
                line = next;
                match source.patiently(|source| source.line(line))? {
                    Some(bytes) if Line::new(&bytes, self.view.raw).matches(&search.regex) => break Some(line),
                    Some(_) => {}
                    None => break None,
                }
            };
            let Some(found) = found else {
                self.message =
                    Some(if source.is_complete() || back { "pattern not found" } else { "search interrupted" }.into());
                return Ok(());
            };
            (self.top, self.skip) = (found, 0);
        }
        Ok(())
    }

    fn forward(&mut self, rows: usize, source: &mut Source) -> io::Result<Option<Request>> {
        if self.view.quit_at_end && self.at_end(source)? {
            return Ok(Some(Request::Quit));
        }
        for _ in 0..rows {
            if self.at_end(source)? {
                break;
            }
            let height = self.height(self.top, source)?;
            if self.skip + 1 < height { self.skip += 1 } else { (self.top, self.skip) = (self.top + 1, 0) }
        }
        Ok(None)
    }

    fn backward(&mut self, rows: usize, source: &mut Source) -> io::Result<()> {
        for _ in 0..rows {
            if self.skip > 0 {
                self.skip -= 1;
            } else if self.top > 0 {
                self.top -= 1;
                self.skip = self.height(self.top, source)?.saturating_sub(1);
            } else {
                break;
            }
        }
        Ok(())
    }

    fn go(&mut self, line: usize, source: &mut Source) -> io::Result<()> {
        source.patiently(|source| source.reach(line))?;
        if line >= source.known() {
            self.end(source)?;
            if line > 0 {
                self.message = Some(format!("there is no line {}", line + 1));
            }
            return Ok(());
        }
        (self.top, self.skip) = (line, 0);
        Ok(())
    }

    /// The last line in the last row.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn end(&mut self, source: &mut Source) -> io::Result<()> {
        source.patiently(|source| source.reach(usize::MAX))?;
        (self.top, self.skip) = (source.known(), 0);
        self.backward(self.rows, source)
    }

    fn percent(&mut self, percent: usize, source: &mut Source) -> io::Result<()> {
        source.patiently(|source| source.reach(usize::MAX))?;
        self.go(source.known().saturating_sub(1) * percent.min(100) / 100, source)
    }

    fn text_columns(&self) -> usize {
        self.columns.saturating_sub(if self.view.numbers { 8 } else { 0 }).max(1)
    }

    /// Rows that a line takes; none beyond the end.
    fn height(&self, line: usize, source: &mut Source) -> io::Result<usize> {
        let Some(bytes) = source.line(line)? else { return Ok(0) };
        if self.view.chop || self.left > 0 {
            return Ok(1);
        }
        Ok(Line::new(&bytes, self.view.raw).rows(self.text_columns()).len())
    }

    /// Is the last row of the text on the screen?
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn at_end(&self, source: &mut Source) -> io::Result<bool> {
        let mut left = self.rows + self.skip;
        let mut line = self.top;
        loop {
            let height = self.height(line, source)?;
            if height == 0 {
                return Ok(true);
            }
            if height > left {
                return Ok(false);
            }
            left -= height;
            line += 1;
        }
    }

    /// The rows of the screen; the last one tells where one is.
    ///
    /// # Errors
    /// If the source cannot be read.
    pub fn frame(&mut self, source: &mut Source) -> io::Result<Vec<String>> {
        let mut rows = Vec::new();
        let (mut line, mut skip) = (self.top, self.skip);
        while rows.len() < self.rows {
            let Some(bytes) = source.line(line)? else { break };
            let mut shown = Line::new(&bytes, self.view.raw);
            if let Some(search) = &self.search {
                shown.highlight(&search.regex);
            }
            let parts = match self.view.chop || self.left > 0 {
                true => vec![shown.chopped(self.left, self.text_columns())],
                false => shown.rows(self.text_columns()),
            };
            for (index, part) in parts.into_iter().enumerate().skip(skip) {
                if rows.len() == self.rows {
                    break;
                }
                let label = match (self.view.numbers, index) {
                    (true, 0) => format!("{:>7} ", line + 1),
                    (true, _) => " ".repeat(8),
                    (false, _) => String::new(),
                };
                rows.push(label + &part);
            }
            skip = 0;
            line += 1;
        }
        rows.resize(self.rows, "~".into());
        rows.push(self.last_row(source)?);
        Ok(rows)
    }

    fn last_row(&self, source: &mut Source) -> io::Result<String> {
        let fit = |text: &str| Line::new(text.as_bytes(), false).chopped(0, self.columns - 1);
        Ok(match (&self.input, &self.message) {
            (Input::Line(kind, text), _) => fit(&format!("{kind}{text}")),
            (Input::Count(count), _) => format!(":{count}"),
            (_, Some(message)) => format!("\x1b[7m{}\x1b[m", fit(message)),
            _ if self.at_end(source)? && source.is_complete() => "\x1b[7m(END)\x1b[m".into(),
            _ if self.top == 0 && self.skip == 0 => format!("\x1b[7m{}\x1b[m", fit(&self.name)),
            _ => ":".into(),
        })
    }

    fn position(&self, source: &Source) -> String {
        let lines = if source.is_complete() { source.known().to_string() } else { "?".into() };
        let size = source.size().map_or(String::new(), |size| format!(", {size} bytes"));
        format!("{}: line {} of {lines}{size}", self.name, self.top + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::terminal::keys::tests::keys_typed;
    use std::io::Write;

    fn source(text: &str) -> Source {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        Source::file(file)
    }

    /// The first row and the last after some keys, on a screen of 5 rows and 10 columns.
    fn after(text: &str, view: View, typed: &str) -> (String, String, Option<Request>) {
        let mut source = source(text);
        let mut pager = Pager::new(view, "name".into());
        pager.resize(5, 10);
        let mut request = None;
        for key in keys_typed(typed.as_bytes()) {
            request = pager.key(key, &mut source).unwrap().or(request);
        }
        let rows = pager.frame(&mut source).unwrap();
        assert_eq!(rows.len(), 5);
        (rows[0].clone(), rows[4].replace("\x1b[7m", "").replace("\x1b[m", ""), request)
    }

    fn numbers() -> String {
        (1..=20).map(|n| format!("{n}\n")).collect()
    }

    #[test]
    fn moving() {
        for (typed, first, last) in [
            ("", "1", "name"),
            (" ", "5", ":"),
            (" b", "1", "name"),
            ("jj", "3", ":"),
            ("5j2k", "4", ":"),
            ("G", "17", "(END)"),
            ("Gg", "1", "name"),
            ("7g", "7", ":"),
            ("99g", "17", "there is \x08>"),
            ("50p", "10", ":"),
            ("d", "3", ":"),
            ("9999 ", "17", "(END)"),
            ("/1.\r", "10", ":"),
            ("/1.\rn", "11", ":"),
            ("/1.\rnN", "10", ":"),
            ("G?9\r", "9", ":"),
            ("/x\r", "1", "pattern n\x08>"),
            ("/(\r", "1", "Unmatched\x08>"),
            ("12", "1", ":12"),
            ("/ab", "1", "/ab"),
            ("/ab\x1b", "1", "name"),
        ] {
            let (row, bottom, request) = after(&numbers(), View::default(), typed);
            let plain = row.replace("\x1b[7m", "").replace("\x1b[m", "");
            assert_eq!((plain.as_str(), bottom.as_str(), request), (first, last, None), "{typed:?}");
        }
    }

    #[test]
    fn long_lines() {
        let text = "abcdefghijklmno\nxyz\n";
        assert_eq!(after(text, View::default(), "").0, "abcdefghij");
        assert_eq!(after("1\n2\n3\nabcdefghijklmno\n4\n", View::default(), "4jj").0, "3");
        let chop = View { chop: true, ..View::default() };
        assert_eq!(after(text, chop, "\x1b[C").0, "fghijklmno");
        assert_eq!(after(text, View::default(), "-S\x1b[C\x1b[C\x1b[D").0, "fghijklmno");
        let numbered = View { numbers: true, ..View::default() };
        assert_eq!(after(text, numbered, "").0, "      1 ab");
    }

    #[test]
    fn requests() {
        let request = |typed| after(&numbers(), View::default(), typed).2;
        assert_eq!(request("q"), Some(Request::Quit));
        assert_eq!(request(":n"), Some(Request::Next));
        assert_eq!(request(":p"), Some(Request::Previous));
        assert_eq!(request("/q\x1bG"), None);
        let more = View { quit_at_end: true, ..View::default() };
        assert_eq!(after(&numbers(), more, "     ").2, Some(Request::Quit));
        assert_eq!(after("", View::default(), " jkGg/x\r").2, None);
    }
}
