//! Options of Docker that are refused by name, with the reason.

use std::ffi::OsStr;

use clap::builder::{TypedValueParser, ValueParserFactory};
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// A parser that takes no value, for the reason that it is made of.
#[derive(Clone)]
pub struct Refused(pub &'static str);

impl Refused {
    /// One that takes `false` only.
    pub fn unless_false(reason: &'static str) -> UnlessFalse {
        UnlessFalse(Refused(reason))
    }

    fn refuse(&self, command: &clap::Command, arg: Option<&clap::Arg>) -> clap::Error {
        let name = arg.and_then(clap::Arg::get_long).unwrap_or_default();
        let mut error = clap::Error::new(ErrorKind::UnknownArgument).with_cmd(command);
        error.insert(ContextKind::InvalidArg, ContextValue::String(format!("--{name}")));
        let reason = format!("--{name} is not supported: {}", self.0);
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![reason.into()]));
        error
    }
}

impl TypedValueParser for Refused {
    type Value = String;

    fn parse_ref(&self, command: &clap::Command, arg: Option<&clap::Arg>, _: &OsStr) -> Result<String, clap::Error> {
        Err(self.refuse(command, arg))
    }
}

/// See [`Refused::unless_false`].
#[derive(Clone)]
pub struct UnlessFalse(Refused);

impl TypedValueParser for UnlessFalse {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &OsStr,
    ) -> Result<String, clap::Error> {
        if value == "false" { Ok(String::new()) } else { Err(self.0.refuse(command, arg)) }
    }
}

/// What cannot be had here.
#[derive(clap::Args)]
pub struct RefusedOptions {
    #[arg(long, hide = true, value_parser = Refused("give the device nodes with --device"))]
    gpus: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("containers on one --network find each other by name"))]
    link: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("link-local addresses are the kernel's to give"))]
    link_local_ip: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("there is one runtime, in this program"))]
    runtime: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("it is an option of Windows"))]
    isolation: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("a writable layer has the size of the file system that it is on"))]
    storage_opt: Option<String>,

    #[arg(long, hide = true, value_parser = Refused("there are local volumes only"))]
    volume_driver: Option<String>,

    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "true",
          value_parser = Refused::unless_false("there is no engine with a socket"))]
    use_api_socket: Option<String>,
}

impl ValueParserFactory for Refused {
    type Parser = Refused;

    fn value_parser() -> Refused {
        Refused("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_option_and_the_reason_are_named() {
        let command = <RefusedOptions as clap::Args>::augment_args(clap::Command::new("x"));
        let text = command.clone().try_get_matches_from(["x", "--gpus", "all"]).unwrap_err().to_string();
        assert!(text.contains("--gpus is not supported: give the device nodes with --device"), "{text}");
        assert!(command.clone().try_get_matches_from(["x", "--use-api-socket"]).is_err());
        assert!(command.try_get_matches_from(["x", "--use-api-socket=false"]).is_ok());
    }
}
