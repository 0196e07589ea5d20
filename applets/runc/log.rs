//! The log that callers read errors from (`--log`, `--log-format`): lines as logrus writes them.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use anyhow::Context;

use super::words;

/// Form of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Text,
    Json,
}

/// Where lines go.
#[derive(Debug)]
pub struct Log {
    format: Format,
    /// `None`: standard error.
    file: Option<File>,
    debug: bool,
}

impl Log {
    /// The same log once more.
    pub fn try_clone(&self) -> io::Result<Self> {
        let file = self.file.as_ref().map(File::try_clone).transpose()?;
        Ok(Self { file, format: self.format, debug: self.debug })
    }

    /// Open the log. An empty path is standard error.
    pub fn open(path: Option<&Path>, format: &str, debug: bool) -> anyhow::Result<Self> {
        let format = match format {
            "text" => Format::Text,
            "json" => Format::Json,
            other => anyhow::bail!("invalid log-format: {other}"),
        };
        let file = match path {
            Some(path) if !path.as_os_str().is_empty() => {
                let open = File::options().create(true).append(true).open(path);
                Some(open.with_context(|| format!("cannot open the log {}", path.display()))?)
            }
            _ => None,
        };
        Ok(Self { format, file, debug })
    }

    /// Text on standard error.
    pub fn stderr() -> Self {
        Self { format: Format::Text, file: None, debug: false }
    }

    /// The log that a command line names which is wrong otherwise.
    pub fn of_args(args: &[OsString]) -> Self {
        let value = |name: &str| {
            let at = args.iter().position(|arg| arg.to_str().is_some_and(|arg| arg.split('=').next() == Some(name)))?;
            let inline = args[at].to_str()?.split_once('=').map(|(_, value)| value.to_owned());
            inline.or_else(|| args.get(at + 1)?.to_str().map(str::to_owned))
        };
        let format = value("--log-format").unwrap_or_else(|| "text".into());
        Self::open(value("--log").as_deref().map(Path::new), &format, false).unwrap_or_else(|_| Self::stderr())
    }

    /// Write an error, also to standard error; gives `status`.
    pub fn fail(&self, error: &anyhow::Error, status: i32) -> i32 {
        self.error(error);
        if self.file.is_some() {
            let _ = writeln!(io::stderr(), "{}", words::chain(error));
        }
        status
    }

    /// Write an error.
    pub fn error(&self, error: &anyhow::Error) {
        self.write("error", &words::chain(error));
    }

    /// Write what went wrong and is not to stop what is being done.
    pub fn warn(&self, error: &anyhow::Error) {
        self.write("warning", &words::chain(error));
    }

    /// Write a line if `--debug` was given.
    pub fn debug(&self, message: &str) {
        if self.debug {
            self.write("debug", message);
        }
    }

    fn write(&self, level: &str, message: &str) {
        let time = jiff::Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%:z").to_string();
        let time = time.strip_suffix("+00:00").map_or(time.clone(), |utc| format!("{utc}Z"));
        let line = line(self.format, level, message, &time);
        // There is nobody left to tell that the log is full.
        let _ = match &self.file {
            Some(file) => {
                let mut file = file;
                file.write_all(line.as_bytes())
            }
            None => io::stderr().write_all(line.as_bytes()),
        };
    }
}

fn line(format: Format, level: &str, message: &str, time: &str) -> String {
    match format {
        Format::Text => {
            format!("time=\"{time}\" level={level} msg={}\n", serde_json::Value::from(message))
        }
        Format::Json => {
            let entry = serde_json::json!({ "level": level, "msg": message, "time": time });
            format!("{entry}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_logruss() {
        let time = "2026-11-24T15:23:21Z";
        assert_eq!(
            line(Format::Text, "error", "exec: \"x\": not found", time),
            "time=\"2026-11-24T15:23:21Z\" level=error msg=\"exec: \\\"x\\\": not found\"\n"
        );
        assert_eq!(
            line(Format::Json, "error", "a\nb", time),
            "{\"level\":\"error\",\"msg\":\"a\\nb\",\"time\":\"2026-11-24T15:23:21Z\"}\n"
        );
    }

    #[test]
    fn the_log_of_a_wrong_command_line_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let args: Vec<OsString> =
            ["runc", "--log-format=json", "--log", path.to_str().unwrap(), "create"].map(Into::into).into();
        Log::of_args(&args).error(&anyhow::anyhow!("wrong"));
        assert!(std::fs::read_to_string(&path).unwrap().starts_with("{\"level\":\"error\",\"msg\":\"wrong\""));
    }
}
