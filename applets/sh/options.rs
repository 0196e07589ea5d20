//! The shell's own command line (POSIX sh(1), with bash's long words).

use super::engine::Settings;

/// Where the commands come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// `-c TEXT`.
    Command(String),
    /// A script file.
    File(String),
    /// Standard input.
    Stdin,
    /// Nothing to run: `--help` or `--version`.
    Say(String),
}

/// What `sh --help` prints.
pub const USAGE: &str = "\
usage: sh [-abCefhilmnuvx] [-o OPTION]... [FILE [ARGS]]
       sh [OPTIONS] -c COMMANDS [NAME [ARGS]]
       sh [OPTIONS] -s [ARGS]

Run commands from FILE, from the argument of -c, or from standard input.

  -c           take the commands from the first argument
  -s           take them from standard input; all arguments are for the commands
  -i           interactive: prompts, history and job control
  -l, --login  read /etc/profile and ~/.profile first
  -e           end at the first command that fails
  -u           an unset variable is an error
  -x           print each command before it runs
  -f -n -v -a -b -m -h -C, -o OPTION
               as for the builtin `set`; +X switches off
  --posix      stay close to POSIX
  --norc, --noprofile
               do not read $ENV or the profiles
  --help, --version
";

/// The parsed command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Behaviour of the engine.
    pub settings: Settings,
    /// What to run.
    pub source: Source,
    /// `-i` was given.
    pub forced_interactive: bool,
    /// Read the profiles and `$ENV`.
    pub profiles: bool,
}

/// The long name of a one-letter option of `set`.
fn long_name(letter: char) -> Option<&'static str> {
    Some(match letter {
        'a' => "allexport",
        'b' => "notify",
        'C' => "noclobber",
        'e' => "errexit",
        'f' => "noglob",
        'h' => "hashall",
        'm' => "monitor",
        'n' => "noexec",
        'u' => "nounset",
        'v' => "verbose",
        'x' => "xtrace",
        _ => return None,
    })
}

/// Parse the arguments; the first is the name that the shell was called by, with a leading dash for a login shell.
///
/// # Errors
/// A message that says what is wrong with the command line.
pub fn parse(args: &[String]) -> Result<Options, String> {
    let called = args.first().map_or("sh", String::as_str);
    let mut options = Options {
        settings: Settings { login: called.starts_with('-'), ..Settings::default() },
        source: Source::Stdin,
        forced_interactive: false,
        profiles: true,
    };
    let (mut command, mut stdin) = (false, false);
    let mut rest = args.get(1..).unwrap_or_default().iter();
    let mut operands: Vec<String> = Vec::new();
    while let Some(arg) = rest.next() {
        let on = !arg.starts_with('+');
        match arg.as_str() {
            "--" | "-" => break,
            "--help" => return Ok(Options { source: Source::Say(USAGE.into()), ..options }),
            "--version" => {
                let version = format!("sh of coracle {}\n", env!("CARGO_PKG_VERSION"));
                return Ok(Options { source: Source::Say(version), ..options });
            }
            "--login" => options.settings.login = true,
            "--posix" => options.settings.enabled.push("posix".into()),
            "--norc" | "--noprofile" => options.profiles = false,
            "--noediting" => {}
            long if long.starts_with("--") => return Err(format!("{long}: no such option; see sh --help")),
            letters if letters.len() > 1 && letters.starts_with(['-', '+']) => {
                for letter in letters.chars().skip(1) {
                    let list = if on { &mut options.settings.enabled } else { &mut options.settings.disabled };
                    match letter {
                        'c' if on => command = true,
                        's' if on => stdin = true,
                        'i' if on => options.forced_interactive = true,
                        'l' if on => options.settings.login = true,
                        'o' => {
                            let name = rest.next().ok_or("-o: the option's name is missing")?;
                            list.push(name.clone());
                        }
                        _ => match long_name(letter) {
                            Some(name) => list.push(name.into()),
                            None => return Err(format!("-{letter}: no such option; see sh --help")),
                        },
                    }
                }
            }
            _ => {
                operands.push(arg.clone());
                break;
            }
        }
    }
    operands.extend(rest.cloned());
    let mut operands = operands.into_iter();
    options.settings.name = called.into();
    if command {
        let text = operands.next().ok_or("-c: the commands are missing")?;
        if let Some(name) = operands.next() {
            options.settings.name = name;
        }
        options.source = Source::Command(text);
        options.settings.from_command = true;
    } else if stdin {
        options.settings.from_stdin = true;
    } else if let Some(file) = operands.next() {
        options.settings.name.clone_from(&file);
        options.source = Source::File(file);
    } else {
        options.settings.from_stdin = true;
    }
    options.settings.args = operands.collect();
    Ok(options)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Options {
        parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn command_takes_name_and_arguments() {
        let options = parsed(&["sh", "-ec", "echo $0 $1", "name", "one"]);
        assert_eq!(options.source, Source::Command("echo $0 $1".into()));
        assert_eq!(options.settings.name, "name");
        assert_eq!(options.settings.args, ["one"]);
        assert_eq!(options.settings.enabled, ["errexit"]);
    }

    #[test]
    fn options_end_at_the_script() {
        let options = parsed(&["sh", "-x", "script", "-e"]);
        assert_eq!(options.source, Source::File("script".into()));
        assert_eq!(options.settings.args, ["-e"]);
        assert_eq!(options.settings.enabled, ["xtrace"]);
        assert_eq!(parsed(&["sh", "-c", "--", "true"]).source, Source::Command("true".into()));
    }

    #[test]
    fn login_shells_are_known_by_their_dash() {
        assert!(parsed(&["-sh"]).settings.login);
        assert!(parsed(&["sh", "-l"]).settings.login);
        assert!(!parsed(&["sh"]).settings.login);
    }

    #[test]
    fn plus_switches_off_and_o_takes_a_name() {
        let options = parsed(&["sh", "+e", "-o", "pipefail", "-s", "a"]);
        assert_eq!(options.settings.disabled, ["errexit"]);
        assert_eq!(options.settings.enabled, ["pipefail"]);
        assert!(options.settings.from_stdin);
        assert_eq!(options.settings.args, ["a"]);
    }

    #[test]
    fn unknown_options_are_refused() {
        for words in [&["sh", "-Z"][..], &["sh", "--frobnicate"], &["sh", "-c"], &["sh", "-o"]] {
            assert!(parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).is_err(), "{words:?}");
        }
    }
}
