//! The kernel command line, split as the kernel splits it (`next_arg` in lib/cmdline.c).

use std::path::PathBuf;

use crate::ipconfig::IpConfig;

/// What PID 1 takes from the command line. Parameters of the kernel itself and unknown ones are left alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cmdline {
    /// `coracle.run=COMMAND`: run it once the machine is ready, print its status, power off. The last one counts.
    pub run: Option<String>,
    /// `coracle.mount=TAG:/path`, any number of times.
    pub mounts: Vec<Share>,
    /// `ip=`, see nfsroot.rst. The last one counts.
    pub ip: IpConfig,
    /// `debug` or `ignore_loglevel`: kernel messages stay on the console.
    pub debug: bool,
    /// Parameters of ours that make no sense, in the words to show.
    pub mistakes: Vec<String>,
}

/// A 9p or virtiofs share of the hypervisor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The name that the hypervisor gave it (`mount_tag`).
    pub tag: String,
    /// Where it is mounted.
    pub target: PathBuf,
}

impl Cmdline {
    /// Read a command line, as in `/proc/cmdline`.
    #[must_use]
    pub fn parse(line: &str) -> Self {
        let mut cmdline = Self::default();
        for (name, value) in split(line) {
            // `--` ends the kernel's parameters; what follows is for init, and this init takes none.
            if name == "--" && value.is_none() {
                break;
            }
            cmdline.take(name, value);
        }
        cmdline
    }

    fn take(&mut self, name: &str, value: Option<&str>) {
        match (name, value) {
            ("coracle.run", Some(command)) if !command.trim().is_empty() => self.run = Some(command.into()),
            ("coracle.mount", Some(share)) => match parse_share(share) {
                Some(share) => self.mounts.push(share),
                None => self.mistakes.push(format!("coracle.mount={share}: want TAG:/path")),
            },
            ("ip", Some(value)) => match IpConfig::parse(value) {
                Ok(ip) => self.ip = ip,
                Err(why) => self.mistakes.push(format!("ip={value}: {why}")),
            },
            ("debug" | "ignore_loglevel", None) => self.debug = true,
            ("coracle.run" | "coracle.mount", _) => self.mistakes.push(format!("{name}: wants a value")),
            (other, _) if other.starts_with("coracle.") => self.mistakes.push(format!("{other}: no such parameter")),
            _ => {}
        }
    }
}

/// Split into parameters: words separated by white space, where white space in double quotes is part of the word. Quotes
/// around a value or a whole word are taken off; there is no escape character.
pub fn split(line: &str) -> impl Iterator<Item = (&str, Option<&str>)> {
    let mut rest = line;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        if rest.is_empty() {
            return None;
        }
        let word = next_word(rest);
        rest = rest.get(word.len()..).unwrap_or_default();
        Some(parameter(word))
    })
}

fn next_word(line: &str) -> &str {
    let mut in_quotes = false;
    let end = line.find(|c: char| {
        in_quotes ^= c == '"';
        c.is_whitespace() && !in_quotes
    });
    end.and_then(|end| line.get(..end)).unwrap_or(line)
}

fn parameter(word: &str) -> (&str, Option<&str>) {
    let (word, quoted) = match word.strip_prefix('"') {
        Some(inner) => (inner, true),
        None => (word, false),
    };
    let word = if quoted { word.strip_suffix('"').unwrap_or(word) } else { word };
    match word.split_once('=') {
        // The kernel takes a word that starts with '=' for one without a value.
        Some((name, value)) if !name.is_empty() => (name, Some(unquote(value))),
        _ => (word, None),
    }
}

fn unquote(value: &str) -> &str {
    value.strip_prefix('"').map_or(value, |inner| inner.strip_suffix('"').unwrap_or(inner))
}

fn parse_share(value: &str) -> Option<Share> {
    let (tag, path) = value.split_once(':')?;
    let sound = !tag.is_empty() && path.starts_with('/') && path.len() > 1 && !path.split('/').any(|part| part == "..");
    sound.then(|| Share { tag: tag.into(), target: path.into() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(line: &str) -> Vec<(&str, Option<&str>)> {
        split(line).collect()
    }

    #[test]
    fn splits_as_the_kernel_does() {
        assert_eq!(words("a b=c  d=\n"), [("a", None), ("b", Some("c")), ("d", Some(""))]);
        assert_eq!(words(r#"coracle.run="a b" c"#), [("coracle.run", Some("a b")), ("c", None)]);
        assert_eq!(words(r#""coracle.run=a b" c"#), [("coracle.run", Some("a b")), ("c", None)]);
        assert_eq!(words(r#"a="b=c d""#), [("a", Some("b=c d"))]);
        assert_eq!(words(r#"a=b" "c"#), [("a", Some(r#"b" "c"#))]);
        assert_eq!(words(r#"a="never closed b"#), [("a", Some("never closed b"))]);
        assert_eq!(words("=x"), [("=x", None)]);
    }

    #[test]
    fn takes_what_is_ours() {
        let line = r#"console=ttyS0 coracle.run="echo hi; false" coracle.mount=src:/mnt/src coracle.mount=a:/b debug"#;
        let cmdline = Cmdline::parse(line);
        assert_eq!(cmdline.run.as_deref(), Some("echo hi; false"));
        let targets: Vec<_> = cmdline.mounts.iter().map(|share| share.target.to_str().unwrap()).collect();
        assert_eq!(targets, ["/mnt/src", "/b"]);
        assert!(cmdline.debug && cmdline.mistakes.is_empty());
    }

    #[test]
    fn mistakes_are_said_and_change_nothing() {
        for line in [
            "coracle.mount=x",
            "coracle.mount=:/a",
            "coracle.mount=t:/a/../b",
            "coracle.run",
            "coracle.typo=1",
            "ip=1.2",
        ] {
            let cmdline = Cmdline::parse(line);
            assert_eq!(cmdline.mistakes.len(), 1, "{line}");
            assert_eq!(Cmdline { mistakes: vec![], ..cmdline }, Cmdline::default(), "{line}");
        }
    }

    #[test]
    fn what_follows_two_dashes_is_not_ours() {
        assert_eq!(Cmdline::parse("quiet -- coracle.run=x").run, None);
    }

    proptest! {
        #[test]
        fn never_panics(line in ".{0,200}") {
            let _ = Cmdline::parse(&line);
        }

        #[test]
        fn a_quoted_value_comes_back(value in "[^\"\\x00]{1,40}") {
            let line = format!("a=1 x=\"{value}\" b=2");
            prop_assert_eq!(words(&line), [("a", Some("1")), ("x", Some(value.as_str())), ("b", Some("2"))]);
        }
    }
}
