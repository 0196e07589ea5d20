//! A whole file: global arguments and stages.

use super::flags::Flags;
use super::instruction::{Instruction, split_name};
use super::lines::{self, Line};
use super::words::{plain_words, take_flags};
use super::{Error, Result};

/// A file that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// The escape character.
    pub escape: char,
    /// `ARG` before the first FROM.
    pub args: Vec<(String, Option<String>)>,
    /// At least one.
    pub stages: Vec<Stage>,
}

/// From one FROM to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// The image or stage that it begins with, as written.
    pub base: String,
    /// `AS`, in small letters.
    pub name: Option<String>,
    /// `--platform`, as written.
    pub platform: Option<String>,
    /// FROM's text.
    pub text: String,
    /// FROM's first and last line.
    pub span: (usize, usize),
    /// What is done in it.
    pub steps: Vec<Step>,
}

/// An instruction in its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// First and last line.
    pub span: (usize, usize),
    /// Text of the instruction, continuations joined.
    pub text: String,
    /// What it means.
    pub instruction: Instruction,
}

impl File {
    /// Read a Containerfile.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn parse(text: &str) -> Result<Self> {
        let (directives, lines) = lines::read(text)?;
        let mut file = File { escape: directives.escape, args: Vec::new(), stages: Vec::new() };
        for line in &lines {
            file.add(line).map_err(|why| Error::at(line.span.0, why))?;
        }
        if file.stages.is_empty() {
            return Err(Error { line: None, message: "no build stage in current context".into() });
        }
        Ok(file)
    }

    fn add(&mut self, line: &Line) -> std::result::Result<(), String> {
        let (name, rest) = split_name(&line.text);
        if name == "FROM" {
            self.stages.push(stage(rest, line)?);
            return Ok(());
        }
        let step = step(line, self.escape)?;
        match (self.stages.last_mut(), step.instruction) {
            (Some(stage), instruction) => stage.steps.push(Step { instruction, ..step }),
            (None, Instruction::Arg(args)) => self.args.extend(args),
            (None, _) => return Err("no build stage in current context".into()),
        }
        Ok(())
    }
}

impl Step {
    /// Read what an image's ONBUILD holds.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse_trigger(text: &str, escape: char) -> Result<Self> {
        let line = one_line(text)?;
        let (name, _) = split_name(&line.text);
        if matches!(name.as_str(), "FROM" | "ONBUILD" | "MAINTAINER") {
            return Err(Error { line: None, message: format!("{name} isn't allowed as an ONBUILD trigger") });
        }
        step(&line, escape).map_err(|message| Error { line: None, message })
    }

    /// Read a text of one instruction that does not begin a stage.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str, escape: char) -> Result<Self> {
        step(&one_line(text)?, escape).map_err(|message| Error { line: None, message })
    }
}

fn one_line(text: &str) -> Result<Line> {
    let (_, lines) = lines::read(text)?;
    <[Line; 1]>::try_from(lines)
        .map(|[line]| line)
        .map_err(|_| Error { line: None, message: format!("{text:?} is not one instruction") })
}

fn step(line: &Line, escape: char) -> std::result::Result<Step, String> {
    Ok(Step { span: line.span, text: line.text.clone(), instruction: Instruction::parse(line, escape)? })
}

fn stage(rest: &str, line: &Line) -> std::result::Result<Stage, String> {
    let (flags, rest) = take_flags(rest);
    let mut flags = Flags::new(flags);
    let platform = flags.text("platform")?;
    flags.finish()?;
    let words = plain_words(rest);
    let (base, name) = match &words[..] {
        [base] => (base, None),
        [base, word, name] if word.eq_ignore_ascii_case("AS") => (base, Some(stage_name(name)?)),
        _ => return Err("FROM requires either one or three arguments".into()),
    };
    Ok(Stage { base: base.clone(), name, platform, text: line.text.clone(), span: line.span, steps: Vec::new() })
}

fn stage_name(text: &str) -> std::result::Result<String, String> {
    let name = text.to_ascii_lowercase();
    let valid = name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_.".contains(c));
    if valid {
        Ok(name)
    } else {
        Err(format!("invalid name for build stage: {text:?}, name can't start with a number or contain symbols"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn stages_and_global_args() {
        let file = File::parse(
            "ARG V=1\nFROM --platform=$BUILDPLATFORM a:$V as Build\nRUN x\nFROM scratch\nCOPY --from=0 / /\n",
        )
        .unwrap();
        assert_eq!(file.args, [("V".to_owned(), Some("1".to_owned()))]);
        assert_eq!(file.stages.len(), 2);
        assert_eq!(file.stages[0].name.as_deref(), Some("build"));
        assert_eq!(file.stages[0].platform.as_deref(), Some("$BUILDPLATFORM"));
        assert_eq!(file.stages[1].steps[0].span, (5, 5));
    }

    #[test]
    fn errors_have_lines() {
        for (text, expected) in [
            ("RUN x", "dockerfile parse error on line 1: no build stage in current context"),
            ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
            ("FROM a\n\nFOO", "dockerfile parse error on line 3: unknown instruction: FOO"),
            ("ARG x", "no build stage in current context"),
            ("", "file with no instructions"),
        ] {
            assert_eq!(File::parse(text).unwrap_err().to_string(), expected, "{text}");
        }
        assert!(File::parse("FROM a AS 1x").unwrap_err().to_string().contains("invalid name for build stage"));
    }

    #[test]
    fn triggers() {
        assert!(Step::parse_trigger("COPY . /app", '\\').is_ok());
        assert!(Step::parse_trigger("FROM x", '\\').is_err());
        assert!(Step::parse_trigger("RUN a\nRUN b", '\\').is_err());
    }

    proptest! {
        #[test]
        fn never_panics(text in "(?s)(FROM |AS |RUN |COPY |ARG |ENV |<<E\n|E\n|\n|=|--|[ -~]){0,24}") {
            let _ = File::parse(&text);
        }

        #[test]
        fn a_trigger_is_understood_again(text in "(?s)ONBUILD (RUN|COPY|ADD|ENV|CMD) (<<-?[\"']?E[\"']?|\nE\n|\\\\|\n|\t|#|[ -~]){0,12}") {
            let Ok(file) = File::parse(&format!("FROM a\n{text}")) else { return Ok(()) };
            for step in &file.stages[0].steps {
                if let Instruction::Onbuild(trigger) = &step.instruction {
                    prop_assert!(Step::parse_trigger(trigger, file.escape).is_ok(), "{:?}", trigger);
                }
            }
        }
    }
}
