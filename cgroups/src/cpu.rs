//! The cpu controller: bandwidth, weight, utilisation clamps.

use std::fmt;

use crate::units::Cpus;
use crate::{Cgroup, Error, Result, Setting, files};

/// The usual period of bandwidth control, in microseconds.
pub const PERIOD_US: u64 = 100_000;

/// `cpu.max`: so much CPU time per period.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Max {
    /// Microseconds of CPU time per period; `None` is no limit.
    pub quota_us: Option<u64>,
    /// The period in microseconds, 1,000 to 1,000,000.
    pub period_us: u64,
}

impl From<Cpus> for Max {
    fn from(cpus: Cpus) -> Self {
        // 1e9 billionths of a CPU are 1e5 microseconds per period; Cpus::MIN keeps the quota at or above the kernel's 1,000.
        Max { quota_us: Some(cpus.nanos() / 10_000), period_us: PERIOD_US }
    }
}

impl fmt::Display for Max {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.quota_us {
            Some(quota) => write!(out, "{quota} {}", self.period_us),
            None => write!(out, "max {}", self.period_us),
        }
    }
}

/// What to set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `cpu.max`.
    pub max: Option<Max>,
    /// `cpu.max.burst`, microseconds that may be saved up.
    pub max_burst_us: Option<u64>,
    /// `cpu.weight`, 1 to 10,000; the kernel's default is 100.
    pub weight: Option<u64>,
    /// `cpu.idle`: run only when nothing else wants to.
    pub idle: Option<bool>,
    /// `cpu.uclamp.min`, per cent.
    pub uclamp_min: Option<f64>,
    /// `cpu.uclamp.max`, per cent.
    pub uclamp_max: Option<f64>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let mut all = Vec::new();
        if let Some(max) = self.max {
            if !(1_000..=1_000_000).contains(&max.period_us) || max.quota_us.is_some_and(|quota| quota < 1_000) {
                return Err(range("cpu.max", max, "quota at least 1000 us, period 1000 to 1000000 us"));
            }
            all.push(Setting::new("cpu.max", max));
        }
        if let Some(burst) = self.max_burst_us {
            all.push(Setting::new("cpu.max.burst", burst));
        }
        if let Some(weight) = self.weight {
            if !(1..=10_000).contains(&weight) {
                return Err(range("cpu.weight", weight, "1 to 10000"));
            }
            all.push(Setting::new("cpu.weight", weight));
        }
        if let Some(idle) = self.idle {
            all.push(Setting::new("cpu.idle", u8::from(idle)));
        }
        for (file, clamp) in [("cpu.uclamp.min", self.uclamp_min), ("cpu.uclamp.max", self.uclamp_max)] {
            if let Some(percent) = clamp {
                if !(0.0..=100.0).contains(&percent) {
                    return Err(range(file, percent, "0 to 100 per cent"));
                }
                all.push(Setting::new(file, format!("{percent:.2}")));
            }
        }
        Ok(all)
    }
}

fn range(what: &'static str, value: impl ToString, range: &'static str) -> Error {
    Error::Range { what, value: value.to_string(), range }
}

/// The cpu.shares of cgroup v1 and Docker (2 to 262,144, default 1,024) as a weight, by the formula of the OCI runtime specification.
pub fn weight_from_shares(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9_999 / 262_142
}

/// `cpu.stat`, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stat {
    /// All CPU time.
    pub usage_us: u64,
    /// In user mode.
    pub user_us: u64,
    /// In the kernel.
    pub system_us: u64,
    /// Periods that have passed.
    pub nr_periods: u64,
    /// Periods in which the group was throttled.
    pub nr_throttled: u64,
    /// Time for which it was throttled.
    pub throttled_us: u64,
}

impl Stat {
    fn parse(text: &str) -> Self {
        let mut stat = Stat::default();
        for (key, value) in files::flat_keyed(text) {
            match key {
                "usage_usec" => stat.usage_us = value,
                "user_usec" => stat.user_us = value,
                "system_usec" => stat.system_us = value,
                "nr_periods" => stat.nr_periods = value,
                "nr_throttled" => stat.nr_throttled = value,
                "throttled_usec" => stat.throttled_us = value,
                _ => {}
            }
        }
        stat
    }
}

impl Cgroup {
    /// `cpu.stat`; every group has it, with the controller or without.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn cpu_stat(&self) -> Result<Stat> {
        Ok(Stat::parse(&self.read("cpu.stat")?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_become_writes() {
        let limits = Limits {
            max: Some("0.5".parse::<Cpus>().unwrap().into()),
            weight: Some(300),
            idle: Some(false),
            uclamp_max: Some(40.0),
            ..Default::default()
        };
        let writes: Vec<_> = limits.settings().unwrap().into_iter().map(|set| (set.file, set.value)).collect();
        let wanted =
            [("cpu.max", "50000 100000"), ("cpu.weight", "300"), ("cpu.idle", "0"), ("cpu.uclamp.max", "40.00")];
        assert_eq!(writes, wanted.map(|(file, value)| (file.to_owned(), value.to_owned())));
        assert_eq!(Max { quota_us: None, period_us: PERIOD_US }.to_string(), "max 100000");
    }

    #[test]
    fn out_of_range_is_refused() {
        assert!(Limits { weight: Some(0), ..Default::default() }.settings().is_err());
        assert!(
            Limits { max: Some(Max { quota_us: Some(999), period_us: PERIOD_US }), ..Default::default() }
                .settings()
                .is_err()
        );
        assert!(Limits { uclamp_min: Some(f64::NAN), ..Default::default() }.settings().is_err());
    }

    #[test]
    fn shares_become_a_weight() {
        assert_eq!([2, 1024, 262_144, 0].map(weight_from_shares), [1, 39, 10_000, 1]);
    }

    #[test]
    fn stat_of_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("cpu.stat"),
            "usage_usec 9\nuser_usec 5\nsystem_usec 4\nnice_usec 0\nnr_throttled 2\n",
        )
        .unwrap();
        let stat = Cgroup::open(dir.path()).unwrap().cpu_stat().unwrap();
        assert_eq!(stat, Stat { usage_us: 9, user_us: 5, system_us: 4, nr_throttled: 2, ..Default::default() });
    }
}
