//! The limits of all controllers together.

use crate::{Result, cpu, cpuset, hugetlb, io, memory, misc, pids};

/// What to set on a group; `None` and empty leave the kernel's value alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// CPU time.
    pub cpu: cpu::Limits,
    /// CPUs and memory nodes.
    pub cpuset: cpuset::Limits,
    /// Memory and swap.
    pub memory: memory::Limits,
    /// Block devices.
    pub io: io::Limits,
    /// Number of tasks.
    pub pids: pids::Limits,
    /// Huge pages.
    pub hugetlb: hugetlb::Limits,
    /// Scarce resources of the host.
    pub misc: misc::Limits,
}

/// One write to one control file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// The control file's name.
    pub file: String,
    /// What to write.
    pub value: String,
}

impl Setting {
    pub(crate) fn new(file: impl Into<String>, value: impl ToString) -> Self {
        Setting { file: file.into(), value: value.to_string() }
    }
}

impl Limits {
    /// All writes, validated, in the order in which they must happen.
    ///
    /// # Errors
    /// A value that its controller cannot take.
    pub fn settings(&self) -> Result<Vec<Setting>> {
        let mut all = Vec::new();
        all.extend(self.cpuset.settings()?);
        all.extend(self.cpu.settings()?);
        all.extend(self.memory.settings()?);
        all.extend(self.io.settings()?);
        all.extend(self.pids.settings()?);
        all.extend(self.hugetlb.settings()?);
        all.extend(self.misc.settings()?);
        Ok(all)
    }

    /// The controllers that these limits need.
    ///
    /// # Errors
    /// A value that its controller cannot take.
    pub fn controllers(&self) -> Result<Vec<&'static str>> {
        const ALL: [&str; 7] = ["cpuset", "cpu", "memory", "io", "pids", "hugetlb", "misc"];
        let settings = self.settings()?;
        let needs = |name: &&&str| settings.iter().any(|setting| setting.file.split('.').next() == Some(**name));
        Ok(ALL.iter().filter(needs).copied().collect())
    }

    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needed_controllers_are_named() {
        assert!(Limits::default().is_empty());
        let limits = Limits {
            pids: pids::Limits { max: Some(pids::Max::Count(7)) },
            memory: memory::Limits { max: Some(crate::Ceiling::Value(1 << 20)), ..Default::default() },
            ..Limits::default()
        };
        assert_eq!(limits.controllers().unwrap(), ["memory", "pids"]);
        assert!(!limits.is_empty());
    }
}
