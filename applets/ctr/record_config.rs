//! `Config` of a record: what runs in a container, and how, in the form that `docker inspect` prints.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// `Config`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Config {
    /// Host name.
    pub hostname: String,
    /// NIS domain name.
    pub domainname: String,
    /// `USER[:GROUP]`, empty for root.
    pub user: String,
    /// `-a stdin`, or not detached and interactive.
    pub attach_stdin: bool,
    /// `-a stdout`, or not detached.
    pub attach_stdout: bool,
    /// `-a stderr`, or not detached.
    pub attach_stderr: bool,
    /// Ports that the image names or `--expose`.
    pub exposed_ports: BTreeMap<String, BTreeMap<String, String>>,
    /// `-t`.
    pub tty: bool,
    /// `-i`.
    pub open_stdin: bool,
    /// Standard input ends when the first client that attached to it goes.
    pub stdin_once: bool,
    /// Environment.
    pub env: Vec<String>,
    /// Command, or arguments of the entry point.
    pub cmd: Vec<String>,
    /// `HEALTHCHECK` and `--health-*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthcheck: Option<Healthcheck>,
    /// The image as it was asked for.
    pub image: String,
    /// Paths that the image wants volumes on.
    pub volumes: BTreeMap<String, BTreeMap<String, String>>,
    /// Working directory.
    pub working_dir: String,
    /// Entry point.
    pub entrypoint: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Signal that `stop` sends, empty for SIGTERM.
    pub stop_signal: String,
    /// Seconds that `stop` waits; -1 for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_timeout: Option<i64>,
    /// The image's `SHELL`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shell: Vec<String>,
}

/// `Config.Healthcheck`, as an image's configuration has it too. Times are nanoseconds, 0 is the default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Healthcheck {
    /// Empty to inherit; `NONE`; `CMD` and arguments; `CMD-SHELL` and a line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<String>,
    /// From one check to the next.
    #[serde(skip_serializing_if = "is_zero")]
    pub interval: i64,
    /// How long one may take.
    #[serde(skip_serializing_if = "is_zero")]
    pub timeout: i64,
    /// How long after the start failures do not count.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_period: i64,
    /// From one check to the next until then.
    #[serde(skip_serializing_if = "is_zero")]
    pub start_interval: i64,
    /// Failures in a row that make it unhealthy.
    #[serde(skip_serializing_if = "is_zero")]
    pub retries: i64,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

impl Healthcheck {
    /// Whether there is something to run.
    pub fn is_active(&self) -> bool {
        !matches!(self.test.first().map(String::as_str), None | Some("NONE"))
    }

    /// From one check to the next.
    pub fn interval(&self) -> Duration {
        nanos(self.interval, 30)
    }

    /// How long one may take.
    pub fn timeout(&self) -> Duration {
        nanos(self.timeout, 30)
    }

    /// How long after the start failures do not count.
    pub fn start_period(&self) -> Duration {
        nanos(self.start_period, 0)
    }

    /// From one check to the next within the start period.
    pub fn start_interval(&self) -> Duration {
        nanos(self.start_interval, 5)
    }

    /// Failures in a row that make it unhealthy.
    pub fn retries(&self) -> i64 {
        if self.retries > 0 { self.retries } else { 3 }
    }
}

fn nanos(value: i64, default_seconds: u64) -> Duration {
    match u64::try_from(value) {
        Ok(value) if value > 0 => Duration::from_nanos(value),
        _ => Duration::from_secs(default_seconds),
    }
}
