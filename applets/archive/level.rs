//! The options `-1` to `-9`: the last one counts.

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

const IDS: [&str; 9] = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// How hard to compress, if it was said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Level(pub Option<u32>);

impl Args for Level {
    fn augment_args(command: Command) -> Command {
        IDS.iter().zip('1'..='9').fold(command, |command, (id, digit)| {
            let arg = Arg::new(*id).short(digit).action(ArgAction::SetTrue).overrides_with_all(IDS);
            command.arg(match digit {
                '1' => arg.long("fast").help("Compress faster; -2 to -8 lie between"),
                '9' => arg.long("best").help("Compress better"),
                _ => arg.hide(true),
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Level {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Ok(Self((1..=9).zip(IDS).find_map(|(level, id)| matches.get_flag(id).then_some(level))))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        level: Level,
        #[arg(short)]
        c: bool,
    }

    #[test]
    fn the_last_counts() {
        let level = |args: &[&str]| {
            let options = Options::parse_from(std::iter::once(&"x").chain(args));
            (options.level.0, options.c)
        };
        assert_eq!(level(&[]), (None, false));
        assert_eq!(level(&["-1c9"]), (Some(9), true));
        assert_eq!(level(&["--best", "-3", "-3"]), (Some(3), false));
    }
}
