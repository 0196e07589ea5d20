//! Running the build host's tools.

use std::ffi::OsStr;
use std::process::{Command, Stdio};

use super::Error;

/// A command of the build host in a fixed environment: C locale, UTC, no configuration of the user's.
pub(super) fn tool(name: &'static str, package: &'static str) -> Tool {
    // Debian's mkfs.* are in /usr/sbin, which a user's PATH lacks.
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new(name);
    command.env_clear().env("PATH", path).env("LC_ALL", "C").env("TZ", "UTC").stdin(Stdio::null());
    Tool { name, package, command }
}

/// See [`tool`].
pub(super) struct Tool {
    name: &'static str,
    package: &'static str,
    command: Command,
}

impl Tool {
    pub(super) fn arg(mut self, arg: impl AsRef<OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    pub(super) fn args<S: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.command.args(args);
        self
    }

    pub(super) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Run to the end. What was printed is returned, or is in the error if the tool fails.
    pub(super) fn run(mut self) -> Result<String, Error> {
        let out =
            self.command.output().map_err(|source| Error::NoTool { tool: self.name, package: self.package, source })?;
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        if out.status.success() {
            return Ok(text);
        }
        let arguments = self.command.get_args().map(|arg| arg.to_string_lossy()).collect::<Vec<_>>().join(" ");
        Err(Error::Tool {
            command: format!("{} {arguments}", self.name),
            status: out.status,
            output: text.trim().into(),
        })
    }
}
