//! `State.Health` of a record: how a container's health checks went.

use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
use super::paths;
use super::record_config::Healthcheck;

/// Results that are kept.
const LOG_MAX: usize = 5;

/// `State.Health`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Health {
    /// `starting`, `healthy` or `unhealthy`.
    pub status: String,
    /// Failures since the last success that count.
    pub failing_streak: i64,
    /// The last results, the latest last.
    pub log: Vec<HealthResult>,
}

/// One check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HealthResult {
    /// RFC 3339.
    pub start: String,
    /// RFC 3339.
    pub end: String,
    /// 0 is healthy; -1 if it took too long or could not be run.
    pub exit_code: i32,
    /// What it printed, cut at 4096 bytes.
    pub output: String,
}

impl Health {
    /// Before the first check.
    pub fn starting() -> Self {
        Health { status: "starting".into(), ..Health::default() }
    }

    /// When the container has ended: unhealthy, as Docker has it.
    pub fn stopped(self) -> Self {
        Health { status: "unhealthy".into(), ..self }
    }

    /// Take a result in. `counts` is false for a failure in the start period of a container that has not been healthy yet.
    pub fn add(&mut self, result: HealthResult, check: &Healthcheck, in_start_period: bool) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = "healthy".into();
        } else if self.status != "starting" || !in_start_period {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries() {
                self.status = "unhealthy".into();
            }
        }
        self.log.push(result);
        let extra = self.log.len().saturating_sub(LOG_MAX);
        self.log.drain(..extra);
    }

    fn path(id: &str) -> std::path::PathBuf {
        paths::live_container(id).join("health.json")
    }

    /// What is on record of a running container; `None` if it has no check.
    pub fn read(id: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(id)).ok()?).ok()
    }

    /// Put it on record.
    pub fn write(&self, id: &str) -> std::io::Result<()> {
        files::write(&Self::path(id), &serde_json::to_vec(self)?, Durability::Volatile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(codes: &[(i32, bool)]) -> Health {
        let check = Healthcheck { retries: 2, ..Healthcheck::default() };
        let mut health = Health::starting();
        for &(exit_code, in_start_period) in codes {
            health.add(HealthResult { exit_code, ..HealthResult::default() }, &check, in_start_period);
        }
        health
    }

    #[test]
    fn failures_count_by_dockers_rules() {
        let status = |codes: &[(i32, bool)]| after(codes).status;
        assert_eq!(status(&[]), "starting");
        assert_eq!(status(&[(1, true), (1, true), (1, true)]), "starting");
        assert_eq!(status(&[(1, true), (1, false)]), "starting");
        assert_eq!(status(&[(1, false), (1, false)]), "unhealthy");
        assert_eq!(status(&[(1, false), (0, false), (1, false)]), "healthy");
        assert_eq!(status(&[(0, true), (1, true), (-1, true)]), "unhealthy");
        assert_eq!(status(&[(1, false), (1, false), (0, false)]), "healthy");
        assert_eq!(after(&[(1, false); 9]).log.len(), 5);
    }
}
