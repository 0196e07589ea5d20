//! The pids controller: how many tasks (processes and threads).

use std::fmt;

use crate::{Cgroup, Error, Result, Setting, files};

/// `pids.max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Max {
    /// No limit.
    Unlimited,
    /// At most so many tasks; at least one.
    Count(u64),
}

impl fmt::Display for Max {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Max::Unlimited => out.write_str("max"),
            Max::Count(count) => count.fmt(out),
        }
    }
}

/// What to set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `pids.max`.
    pub max: Option<Max>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        if self.max == Some(Max::Count(0)) {
            return Err(Error::Range { what: "pids.max", value: "0".into(), range: "1 and more" });
        }
        Ok(self.max.iter().map(|max| Setting::new("pids.max", max)).collect())
    }
}

impl Cgroup {
    /// `pids.current`.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn pids_current(&self) -> Result<u64> {
        self.read_number("pids.current")
    }

    /// How often a fork failed at the limit (`max` of `pids.events`).
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn pids_refused(&self) -> Result<u64> {
        let text = self.read("pids.events")?;
        Ok(files::flat_keyed(&text).find(|(key, _)| *key == "max").map_or(0, |(_, count)| count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_written_to_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [("pids.max", "max\n"), ("pids.current", "3\n"), ("pids.events", "max 5\n")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let group = Cgroup::open(dir.path()).unwrap();
        let limits = crate::Limits { pids: Limits { max: Some(Max::Count(64)) }, ..Default::default() };
        group.set(&limits).unwrap();
        assert_eq!(group.read("pids.max").unwrap(), "64");
        assert_eq!((group.pids_current().unwrap(), group.pids_refused().unwrap()), (3, 5));
    }

    #[test]
    fn zero_tasks_are_refused() {
        assert!(Limits { max: Some(Max::Count(0)) }.settings().is_err());
        assert_eq!(Max::Unlimited.to_string(), "max");
    }
}
