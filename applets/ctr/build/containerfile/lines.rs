//! From a file's text to logical lines: parser directives, comments, continuations and heredocs.

use super::expand::Expander;
use super::words::{json_strings, take_flags};
use super::{Error, Result};

/// Longest line, as Docker has it.
const LINE_MAX: usize = 64 << 10;

/// One instruction's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// First and last line in the file, from 1.
    pub span: (usize, usize),
    /// Continuations joined; without heredocs.
    pub text: String,
    /// In the order of their names.
    pub heredocs: Vec<Heredoc>,
}

/// A here-document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    /// The word that ends it; the name of the file that COPY makes of it.
    pub name: String,
    /// Whether variables in it are expanded: its name was not quoted.
    pub expand: bool,
    /// `<<-`: tabs that begin a line do not count.
    pub chomp: bool,
    /// Lines, each with its end.
    pub content: String,
}

impl Heredoc {
    /// The content, without leading tabs if that was asked for.
    pub fn text(&self) -> String {
        if !self.chomp {
            return self.content.clone();
        }
        self.content.split_inclusive('\n').map(|line| line.trim_start_matches('\t')).collect()
    }

    /// `<<NAME`, `<<-NAME`, `<<"NAME"`, perhaps after the number of a descriptor; `None` if the word is something else.
    pub fn parse(word: &str) -> Option<Self> {
        let rest = word.trim_start_matches(|c: char| c.is_ascii_digit()).strip_prefix("<<")?;
        let (chomp, rest) = rest.strip_prefix('-').map_or((false, rest), |rest| (true, rest));
        if rest.is_empty() || rest.contains('<') {
            return None;
        }
        let nothing = |_: &str| None;
        let one = |raw_quotes| {
            let words = Expander { raw_quotes, ..Expander::new('\\', &nothing) }.words(rest).ok()?;
            <[String; 1]>::try_from(words).ok().map(|[word]| word)
        };
        let (raw, name) = (one(true)?, one(false)?);
        Some(Heredoc { expand: raw == name, name, chomp, content: String::new() })
    }
}

/// What the lines before the first instruction say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// `escape`, or a backslash.
    pub escape: char,
    /// `syntax`: a frontend that others would fetch; this one reads what it describes.
    pub syntax: Option<String>,
    /// `check`: options of a linter.
    pub check: Option<String>,
}

/// Cut a file into logical lines.
///
/// # Errors
/// A wrong directive, a heredoc without an end, a line that is too long, a file without instructions.
pub fn read(text: &str) -> Result<(Directives, Vec<Line>)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut source = Source { lines: text.split_inclusive('\n'), number: 0 };
    let directives = directives(text)?;
    let mut all = Vec::new();
    while let Some(first) = source.next()? {
        if is_comment(first) || first.trim().is_empty() {
            continue;
        }
        let start = source.number;
        let mut text = String::new();
        let mut piece = first.trim_start();
        loop {
            let (joined, goes_on) = continuation(piece, directives.escape);
            text.push_str(joined);
            if !goes_on {
                break;
            }
            match continued(&mut source)? {
                Some(next) => piece = next,
                None => break,
            }
        }
        let text = text.trim_end().to_owned();
        if text.is_empty() {
            continue;
        }
        let mut heredocs = heredocs(&text, directives.escape).map_err(|why| Error::at(start, why))?;
        for heredoc in &mut heredocs {
            read_heredoc(&mut source, heredoc, start)?;
        }
        all.push(Line { span: (start, source.number), text, heredocs });
    }
    if all.is_empty() {
        return Err(Error { line: None, message: "file with no instructions".into() });
    }
    Ok((directives, all))
}

struct Source<'a> {
    lines: std::str::SplitInclusive<'a, char>,
    number: usize,
}

impl<'a> Source<'a> {
    /// The next line with its end.
    fn next_raw(&mut self) -> Result<Option<&'a str>> {
        let Some(line) = self.lines.next() else { return Ok(None) };
        self.number += 1;
        if line.len() > LINE_MAX {
            let why = format!("dockerfile line greater than max allowed size of {LINE_MAX}");
            return Err(Error::at(self.number, why));
        }
        Ok(Some(line))
    }

    fn next(&mut self) -> Result<Option<&'a str>> {
        Ok(self.next_raw()?.map(without_end))
    }
}

fn without_end(line: &str) -> &str {
    let line = line.strip_suffix('\n').unwrap_or(line);
    line.strip_suffix('\r').unwrap_or(line)
}

fn is_comment(line: &str) -> bool {
    line.trim_start().starts_with('#')
}

/// The line that goes on with an instruction: comments and, as ever, empty lines between are passed over.
fn continued<'a>(source: &mut Source<'a>) -> Result<Option<&'a str>> {
    while let Some(line) = source.next()? {
        if !is_comment(line) && !line.trim().is_empty() {
            return Ok(Some(line));
        }
    }
    Ok(None)
}

/// A line without the escape that ends it, and whether there was one. Two of them are an escaped escape.
fn continuation(line: &str, escape: char) -> (&str, bool) {
    match line.trim_end_matches([' ', '\t']).strip_suffix(escape) {
        Some(rest) if !rest.ends_with(escape) => (rest, true),
        _ => (line, false),
    }
}

fn directives(text: &str) -> Result<Directives> {
    let mut found = Directives { escape: '\\', syntax: None, check: None };
    let mut has_escape = false;
    for (index, line) in text.lines().enumerate() {
        let Some((key, value)) = directive(line) else { break };
        let twice = match key.as_str() {
            "escape" => {
                let twice = std::mem::replace(&mut has_escape, true);
                found.escape = match value {
                    "\\" => '\\',
                    "`" => '`',
                    other => {
                        let why = format!("invalid escape token '{other}' does not match ` or \\");
                        return Err(Error::at(index + 1, why));
                    }
                };
                twice
            }
            "syntax" => found.syntax.replace(value.into()).is_some(),
            "check" => found.check.replace(value.into()).is_some(),
            _ => break,
        };
        if twice {
            return Err(Error::at(index + 1, format!("only one {key} parser directive can be used")));
        }
    }
    Ok(found)
}

/// `# key = value`.
fn directive(line: &str) -> Option<(String, &str)> {
    let (key, value) = line.trim_start().strip_prefix('#')?.split_once('=')?;
    let (key, value) = (key.trim(), value.trim());
    let is_name = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(|c| c.is_ascii_alphanumeric());
    (is_name && !value.is_empty()).then(|| (key.to_ascii_lowercase(), value))
}

/// The heredocs that a line of RUN, COPY or ADD names, perhaps behind ONBUILD.
fn heredocs(text: &str, escape: char) -> std::result::Result<Vec<Heredoc>, String> {
    let mut rest = text;
    let instruction = loop {
        let (word, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        rest = after.trim_start();
        if !word.eq_ignore_ascii_case("ONBUILD") {
            break word.to_ascii_uppercase();
        }
    };
    let may = matches!(instruction.as_str(), "RUN" | "COPY" | "ADD");
    if !may || !rest.contains("<<") || json_strings(take_flags(rest).1)?.is_some() {
        return Ok(Vec::new());
    }
    // Variables stay as they are: it is about words only.
    let same = |name: &str| Some(format!("${name}"));
    let expander = Expander { raw_quotes: true, raw_escapes: true, ..Expander::new(escape, &same) };
    // What is no word of ours may be one of the shell's.
    let words = expander.words(rest).unwrap_or_default();
    Ok(words.iter().filter_map(|word| Heredoc::parse(word)).collect())
}

fn read_heredoc(source: &mut Source<'_>, heredoc: &mut Heredoc, start: usize) -> Result<()> {
    while let Some(line) = source.next_raw()? {
        let end = without_end(line);
        let end = if heredoc.chomp { end.trim_start_matches('\t') } else { end };
        if end == heredoc.name {
            return Ok(());
        }
        heredoc.content.push_str(line);
    }
    Err(Error::at(start, "unterminated heredoc"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn texts(text: &str) -> Vec<String> {
        read(text).unwrap().1.into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn continuations_and_comments() {
        let text = "# a comment\n\n  FROM x\nRUN a \\\n  # in between\n\n  b \\  \n  c\nRUN d # no comment\nCMD e \\";
        assert_eq!(texts(text), ["FROM x", "RUN a   b   c", "RUN d # no comment", "CMD e"]);
        let lines = read(text).unwrap().1;
        assert_eq!(lines[1].span, (4, 8));
        assert_eq!(texts("\u{feff}FROM a\r\nRUN b \\\r\n c\r\n"), ["FROM a", "RUN b  c"]);
        assert_eq!(texts("RUN a \\\\\nRUN b"), ["RUN a \\\\", "RUN b"]);
    }

    #[test]
    fn directives_come_first() {
        let (found, lines) = read("# syntax=docker/dockerfile:1\n# Escape = `\nFROM x\nRUN a `\n b\\\nCMD c").unwrap();
        assert_eq!((found.escape, found.syntax.as_deref()), ('`', Some("docker/dockerfile:1")));
        assert_eq!(lines.iter().map(|line| line.text.as_str()).collect::<Vec<_>>(), ["FROM x", "RUN a  b\\", "CMD c"]);
        assert_eq!(read("# first\n# escape=`\nFROM x").unwrap().0.escape, '\\');
        assert_eq!(read("#check=skip=all\nFROM x").unwrap().0.check.as_deref(), Some("skip=all"));
        assert!(read("# escape=x\nFROM x").unwrap_err().to_string().contains("line 1"));
        assert!(read("# escape=`\n# escape=`\nFROM x").unwrap_err().to_string().contains("only one escape"));
    }

    #[test]
    fn heredocs_are_read() {
        let text = "FROM x\nRUN <<EOF\na\n  b\nEOF\nCOPY <<-'one' <<two /dest/\n\tx\n\t$y\n\tone\nz\ntwo\nRUN cat <<A 3<<-\"B C\" <<<x\n1\nA\n2\nB C\nCMD y";
        let lines = read(text).unwrap().1;
        assert_eq!(lines[1].heredocs[0].content, "a\n  b\n");
        assert!(lines[1].heredocs[0].expand);
        let [one, two] = &lines[2].heredocs[..] else { panic!("{:?}", lines[2]) };
        assert_eq!((one.name.as_str(), one.expand, one.text().as_str()), ("one", false, "x\n$y\n"));
        assert_eq!((two.name.as_str(), two.content.as_str()), ("two", "z\n"));
        assert_eq!(lines[3].heredocs.iter().map(|doc| doc.name.as_str()).collect::<Vec<_>>(), ["A", "B C"]);
        assert_eq!(lines[4].span, (17, 17));
        assert!(read("FROM x\nRUN <<EOF\na").unwrap_err().to_string().contains("unterminated heredoc"));
        assert_eq!(read("FROM x\nRUN [\"a\", \"<<EOF\"]").unwrap().1[1].heredocs, []);
        assert_eq!(read("FROM x\nRUN echo $((1 << 2))\nRUN a '<<EOF'").unwrap().1.len(), 3);
    }

    #[test]
    fn nothing_is_an_error() {
        assert_eq!(read("# x\n\n").unwrap_err().to_string(), "file with no instructions");
        assert!(read(&format!("FROM {}", "x".repeat(LINE_MAX))).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s)(FROM |RUN |COPY |ONBUILD |<<-?|EOF|\n|\\\\|#|escape=|[ -~]){0,20}") {
            let _ = read(&text);
        }
    }
}
