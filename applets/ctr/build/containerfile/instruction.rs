//! One instruction, understood.

use std::time::Duration;

use super::flags::Flags;
use super::lines::{Heredoc, Line};
use super::stages::Step;
use super::words::{json_strings, plain_words, quoted_words, take_flags};
use crate::duration::parse_go_duration;

type Result<T> = std::result::Result<T, String>;

/// Shortest interval of a health check.
const INTERVAL_MIN: Duration = Duration::from_millis(1);

/// Anything but FROM. Texts are as written: variables are expanded when it is carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// `ADD`.
    Add(Add),
    /// `ARG`: names, and defaults if there are.
    Arg(Vec<(String, Option<String>)>),
    /// `CMD`.
    Cmd(CommandLine),
    /// `COPY`.
    Copy(Copy),
    /// `ENTRYPOINT`.
    Entrypoint(CommandLine),
    /// `ENV`.
    Env(Vec<(String, String)>),
    /// `EXPOSE`.
    Expose(Vec<String>),
    /// `HEALTHCHECK`; `None` is `NONE`.
    Healthcheck(Option<Health>),
    /// `LABEL`.
    Label(Vec<(String, String)>),
    /// `MAINTAINER`.
    Maintainer(String),
    /// `ONBUILD`: the instruction's text, heredocs included.
    Onbuild(String),
    /// `RUN`.
    Run(Run),
    /// `SHELL`.
    Shell(Vec<String>),
    /// `STOPSIGNAL`.
    StopSignal(String),
    /// `USER`.
    User(String),
    /// `VOLUME`.
    Volume(Vec<String>),
    /// `WORKDIR`.
    Workdir(String),
}

/// A command, as a list or for the shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandLine {
    /// JSON form.
    Exec(Vec<String>),
    /// Shell form.
    Shell(String),
}

/// `RUN`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// The command, without its heredocs.
    pub command: CommandLine,
    /// They.
    pub heredocs: Vec<Heredoc>,
    /// `--mount`, each unread: values may name variables.
    pub mounts: Vec<String>,
    /// `--network`.
    pub network: Option<String>,
}

/// What is copied, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Paths, patterns or addresses.
    pub paths: Vec<String>,
    /// Files that the Containerfile holds itself.
    pub inline: Vec<Inline>,
    /// The last word.
    pub destination: String,
    /// `--chown`.
    pub chown: Option<String>,
    /// `--chmod`.
    pub chmod: Option<String>,
    /// `--link`.
    pub link: bool,
    /// `--exclude`.
    pub exclude: Vec<String>,
}

/// A file that a heredoc gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inline {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub text: String,
    /// Whether variables in it are expanded.
    pub expand: bool,
}

/// `COPY`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copy {
    /// What is copied.
    pub sources: Sources,
    /// `--from`.
    pub from: Option<String>,
    /// `--parents`.
    pub parents: bool,
}

/// `ADD`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Add {
    /// What is copied.
    pub sources: Sources,
    /// `--checksum` of an address.
    pub checksum: Option<String>,
    /// `--unpack`; by default archives of the context are, and those fetched are not.
    pub unpack: Option<bool>,
}

/// `HEALTHCHECK`; zero is what is not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// What is run.
    pub command: CommandLine,
    /// `--interval`.
    pub interval: Duration,
    /// `--timeout`.
    pub timeout: Duration,
    /// `--start-period`.
    pub start_period: Duration,
    /// `--start-interval`.
    pub start_interval: Duration,
    /// `--retries`.
    pub retries: u32,
}

/// An instruction's name in capitals, and the rest.
pub fn split_name(text: &str) -> (String, &str) {
    let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (name.to_ascii_uppercase(), rest.trim())
}

impl Instruction {
    /// Read one; what FROM is has been found before.
    pub fn parse(line: &Line, escape: char) -> Result<Self> {
        let (name, rest) = split_name(&line.text);
        let (flags, rest) = take_flags(rest);
        let mut flags = Flags::new(flags);
        let parsed = Self::parse_rest(&name, rest, line, escape, &mut flags)?;
        flags.finish()?;
        Ok(parsed)
    }

    fn parse_rest(name: &str, rest: &str, line: &Line, escape: char, flags: &mut Flags) -> Result<Self> {
        let one =
            || if rest.is_empty() { Err(format!("{name} requires exactly one argument")) } else { Ok(rest.to_owned()) };
        let some = |words: Vec<String>| {
            if words.is_empty() { Err(format!("{name} requires at least one argument")) } else { Ok(words) }
        };
        Ok(match name {
            "ADD" => Instruction::Add(add(rest, line, flags)?),
            "ARG" => Instruction::Arg(args(&some(quoted_words(rest, escape))?)?),
            "CMD" => Instruction::Cmd(command(rest)?),
            "COPY" => Instruction::Copy(copy(rest, line, flags)?),
            "ENTRYPOINT" => Instruction::Entrypoint(command(rest)?),
            "ENV" => Instruction::Env(pairs(name, rest, escape)?),
            "EXPOSE" => Instruction::Expose(some(plain_words(rest))?),
            "HEALTHCHECK" => Instruction::Healthcheck(healthcheck(rest, flags)?),
            "LABEL" => Instruction::Label(pairs(name, rest, escape)?),
            "MAINTAINER" => Instruction::Maintainer(one()?),
            "ONBUILD" => Instruction::Onbuild(onbuild(rest, line, escape)?),
            "RUN" => Instruction::Run(run(rest, line, flags)?),
            "SHELL" => match json_strings(rest)? {
                None => return Err("SHELL requires the arguments to be in JSON form".into()),
                Some(words) => Instruction::Shell(some(words)?),
            },
            "STOPSIGNAL" => Instruction::StopSignal(one()?),
            "USER" => Instruction::User(one()?),
            "VOLUME" => Instruction::Volume(volumes(some(list(rest)?)?)?),
            "WORKDIR" => Instruction::Workdir(one()?),
            other => return Err(format!("unknown instruction: {other}")),
        })
    }
}

fn command(rest: &str) -> Result<CommandLine> {
    Ok(json_strings(rest)?.map_or_else(|| CommandLine::Shell(rest.into()), CommandLine::Exec))
}

fn list(rest: &str) -> Result<Vec<String>> {
    Ok(json_strings(rest)?.unwrap_or_else(|| plain_words(rest)))
}

fn volumes(paths: Vec<String>) -> Result<Vec<String>> {
    if paths.iter().any(|path| path.trim().is_empty()) {
        return Err("VOLUME specified can not be an empty string".into());
    }
    Ok(paths)
}

fn args(words: &[String]) -> Result<Vec<(String, Option<String>)>> {
    let pair = |word: &String| match word.split_once('=') {
        Some(("", _)) => Err("ARG names can not be blank".to_owned()),
        Some((name, value)) => Ok((name.to_owned(), Some(value.to_owned()))),
        None => Ok((word.clone(), None)),
    };
    words.iter().map(pair).collect()
}

/// `NAME=VALUE ...`, or the old form `NAME VALUE`, whose value goes to the line's end.
fn pairs(name: &str, rest: &str, escape: char) -> Result<Vec<(String, String)>> {
    let words = quoted_words(rest, escape);
    let Some(first) = words.first() else { return Err(format!("{name} requires at least one argument")) };
    if !first.contains('=') {
        let (key, value) =
            rest.split_once(char::is_whitespace).ok_or_else(|| format!("{name} must have two arguments"))?;
        return Ok(vec![(key.into(), value.trim_start().into())]);
    }
    let pair = |word: &String| match word.split_once('=') {
        None => Err(format!("Syntax error - can't find = in {word:?}. Must be of the form: name=value")),
        Some(("", _)) => Err(format!("{name} names can not be blank")),
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
    };
    words.iter().map(pair).collect()
}

fn sources(name: &str, rest: &str, line: &Line, flags: &mut Flags) -> Result<Sources> {
    let mut words = list(rest)?;
    let destination = words.pop().filter(|_| !words.is_empty()).ok_or_else(|| {
        format!(
            "{name} requires at least two arguments, but only one was provided. Destination could not be determined"
        )
    })?;
    if Heredoc::parse(&destination).is_some_and(|heredoc| line.heredocs.iter().any(|one| one.name == heredoc.name)) {
        return Err(format!("{name} cannot accept a heredoc as a destination"));
    }
    let mut paths = Vec::new();
    let mut inline = Vec::new();
    for word in words {
        let heredoc = Heredoc::parse(&word).and_then(|found| line.heredocs.iter().find(|one| one.name == found.name));
        match heredoc {
            Some(heredoc) => {
                inline.push(Inline { name: heredoc.name.clone(), text: heredoc.text(), expand: heredoc.expand })
            }
            None => paths.push(word),
        }
    }
    Ok(Sources {
        paths,
        inline,
        destination,
        chown: flags.text("chown")?,
        chmod: flags.text("chmod")?,
        link: flags.boolean("link")?,
        exclude: flags.texts("exclude")?,
    })
}

fn copy(rest: &str, line: &Line, flags: &mut Flags) -> Result<Copy> {
    let sources = sources("COPY", rest, line, flags)?;
    Ok(Copy { sources, from: flags.text("from")?, parents: flags.boolean("parents")? })
}

fn add(rest: &str, line: &Line, flags: &mut Flags) -> Result<Add> {
    let sources = sources("ADD", rest, line, flags)?;
    if flags.boolean("keep-git-dir")? {
        return Err("ADD of a git repository is not supported; copy a clone of it".into());
    }
    let unpack = match flags.texts("unpack").as_deref() {
        Ok([]) => None,
        Ok([value]) => {
            Some(value.parse().map_err(|_| format!("expecting boolean value for flag --unpack, not: {value}"))?)
        }
        Ok(_) => return Err("duplicate flag specified: --unpack".into()),
        // Just there.
        Err(_) => Some(true),
    };
    Ok(Add { sources, checksum: flags.text("checksum")?, unpack })
}

fn run(rest: &str, line: &Line, flags: &mut Flags) -> Result<Run> {
    let command = command(rest)?;
    let is_empty = match &command {
        CommandLine::Exec(words) => words.is_empty(),
        CommandLine::Shell(text) => text.is_empty(),
    };
    if is_empty {
        return Err("RUN requires at least one argument".into());
    }
    let network = flags.text("network")?;
    if let Some(network) = &network
        && !matches!(network.as_str(), "none" | "host" | "default")
    {
        return Err(format!("invalid network mode {network:?}"));
    }
    match flags.text("security")?.as_deref() {
        None | Some("sandbox") => {}
        Some("insecure") => {
            return Err("RUN --security=insecure is not supported: a build has no more rights than a container".into());
        }
        Some(other) => return Err(format!("security {other:?} is not valid")),
    }
    Ok(Run { command, heredocs: line.heredocs.clone(), mounts: flags.texts("mount")?, network })
}

fn healthcheck(rest: &str, flags: &mut Flags) -> Result<Option<Health>> {
    let (kind, rest) = split_name(rest);
    let mut duration = |name: &str| flags.text(name)?.map_or(Ok(Duration::ZERO), |text| interval(name, &text));
    let health = Health {
        interval: duration("interval")?,
        timeout: duration("timeout")?,
        start_period: duration("start-period")?,
        start_interval: duration("start-interval")?,
        retries: match flags.text("retries")? {
            None => 0,
            Some(text) if text.starts_with('-') => return Err(format!("--retries cannot be negative ({text})")),
            Some(text) => text.parse().map_err(|_| format!("invalid value {text:?} for --retries"))?,
        },
        command: command(rest)?,
    };
    match kind.as_str() {
        "" => Err("HEALTHCHECK requires at least one argument".into()),
        "NONE" if rest.is_empty() => Ok(None),
        "NONE" => Err("HEALTHCHECK NONE takes no arguments".into()),
        "CMD" if rest.is_empty() || health.command == CommandLine::Exec(Vec::new()) => {
            Err("Missing command after HEALTHCHECK CMD".into())
        }
        "CMD" => Ok(Some(health)),
        other => Err(format!("Unknown type {other:?} in HEALTHCHECK (try CMD)")),
    }
}

fn interval(name: &str, text: &str) -> Result<Duration> {
    let duration = parse_go_duration(text).ok_or_else(|| format!("time: invalid duration {text:?}"))?;
    if duration > Duration::ZERO && duration < INTERVAL_MIN {
        return Err(format!("Interval {name:?} cannot be less than 1ms"));
    }
    Ok(duration)
}

fn onbuild(rest: &str, line: &Line, escape: char) -> Result<String> {
    if rest.is_empty() {
        return Err("ONBUILD requires at least one argument".into());
    }
    match split_name(rest).0.as_str() {
        "ONBUILD" => return Err("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed".into()),
        name @ ("MAINTAINER" | "FROM") => return Err(format!("{name} isn't allowed as an ONBUILD trigger")),
        _ => {}
    }
    let heredocs = line.heredocs.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name));
    let text: String = std::iter::once(rest.to_owned()).chain(heredocs).collect();
    // What is wrong with it is said here, not to those who build on it.
    Step::parse_trigger(&text, escape).map_err(|error| error.message)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Instruction> {
        let (_, lines) = super::super::lines::read(text).map_err(|error| error.message)?;
        Instruction::parse(&lines[0], '\\')
    }

    fn pairs_of(list: &[(&str, &str)]) -> Vec<(String, String)> {
        list.iter().map(|&(key, value)| (key.into(), value.into())).collect()
    }

    #[test]
    fn forms() {
        assert_eq!(parse("env a=1 b='2 3'").unwrap(), Instruction::Env(pairs_of(&[("a", "1"), ("b", "'2 3'")])));
        assert_eq!(parse("ENV a  b c").unwrap(), Instruction::Env(pairs_of(&[("a", "b c")])));
        assert_eq!(
            parse("ARG a b=\"x y\"").unwrap(),
            Instruction::Arg(vec![("a".into(), None), ("b".into(), Some("\"x y\"".into()))])
        );
        assert_eq!(parse("CMD [\"a\"]").unwrap(), Instruction::Cmd(CommandLine::Exec(vec!["a".into()])));
        assert_eq!(parse("CMD a  b").unwrap(), Instruction::Cmd(CommandLine::Shell("a  b".into())));
        assert_eq!(parse("CMD []").unwrap(), Instruction::Cmd(CommandLine::Exec(vec![])));
        let Instruction::Copy(copy) = parse("COPY --from=a --chown=1:2 --link --exclude=*.o x y /z/").unwrap() else {
            panic!()
        };
        assert_eq!((copy.from.as_deref(), copy.sources.paths.len(), copy.sources.link), (Some("a"), 2, true));
        let Instruction::Copy(copy) = parse("COPY <<a <<'b' x /z/\n$1\na\n$2\nb").unwrap() else { panic!() };
        assert_eq!(copy.sources.inline.iter().map(|file| file.expand).collect::<Vec<_>>(), [true, false]);
        let Instruction::Run(run) = parse("RUN --mount=type=cache,target=/x --network=none a").unwrap() else {
            panic!()
        };
        assert_eq!((run.mounts.len(), run.network.as_deref()), (1, Some("none")));
        let Instruction::Healthcheck(Some(health)) = parse("HEALTHCHECK --interval=1m30s --retries=3 CMD x").unwrap()
        else {
            panic!()
        };
        assert_eq!((health.interval, health.retries), (Duration::from_secs(90), 3));
        assert_eq!(parse("HEALTHCHECK NONE").unwrap(), Instruction::Healthcheck(None));
        assert_eq!(parse("ONBUILD RUN <<E\nx\nE").unwrap(), Instruction::Onbuild("RUN <<E\nx\nE".into()));
    }

    #[test]
    fn errors_are_dockers() {
        for (text, part) in [
            ("FOO x", "unknown instruction: FOO"),
            ("COPY a", "requires at least two arguments"),
            ("COPY --frm=a b c", "unknown flag: --frm"),
            ("COPY --from=a --from=b c d", "duplicate flag"),
            ("COPY --link=maybe c d", "boolean"),
            ("ENV a", "must have two arguments"),
            ("ENV a=b c", "can't find = in"),
            ("ENV =b", "can not be blank"),
            ("SHELL sh", "JSON form"),
            ("RUN", "at least one argument"),
            ("RUN --security=insecure x", "not supported"),
            ("RUN --network=x y", "invalid network mode"),
            ("HEALTHCHECK CMD", "Missing command"),
            ("HEALTHCHECK FOO x", "Unknown type \"FOO\""),
            ("HEALTHCHECK --interval=5 CMD x", "invalid duration"),
            ("HEALTHCHECK --interval=1us CMD x", "cannot be less"),
            ("ONBUILD ONBUILD RUN x", "Chaining ONBUILD"),
            ("ONBUILD FROM x", "isn't allowed"),
            ("ONBUILD FOO x", "unknown instruction"),
            ("VOLUME [\"\"]", "empty string"),
            ("CMD [1]", "strings only"),
            ("USER", "exactly one"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }

    #[test]
    fn durations() {
        assert_eq!(parse_go_duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(parse_go_duration("0"), Some(Duration::ZERO));
        for wrong in ["", "5", "s", "1x", "-1s", "1e400s", "."] {
            assert_eq!(parse_go_duration(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "(ADD|COPY|RUN|ENV|ARG|HEALTHCHECK|ONBUILD|VOLUME) [ -~]{0,40}", duration in "[0-9.hmsn]{0,12}") {
            let _ = parse(&text);
            let _ = parse_go_duration(&duration);
        }
    }
}
