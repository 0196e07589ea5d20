//! The cpuset controller: which CPUs and memory nodes.

use std::fmt;

use crate::{Error, Result, Setting};

/// `cpuset.cpus.partition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Partition {
    /// Not a partition.
    Member,
    /// A scheduling domain of its own.
    Root,
    /// The same without load balancing.
    Isolated,
}

impl fmt::Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Partition::Member => "member",
            Partition::Root => "root",
            Partition::Isolated => "isolated",
        })
    }
}

/// What to set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// `cpuset.cpus`, a list such as `0-3,6`.
    pub cpus: Option<String>,
    /// `cpuset.mems`, a list of memory nodes.
    pub mems: Option<String>,
    /// `cpuset.cpus.partition`.
    pub partition: Option<Partition>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let mut all = Vec::new();
        for (file, list) in [("cpuset.cpus", &self.cpus), ("cpuset.mems", &self.mems)] {
            if let Some(list) = list {
                if parse_list(list).is_none() {
                    return Err(Error::Range { what: file, value: list.clone(), range: "a list such as 0-3,6" });
                }
                all.push(Setting::new(file, list));
            }
        }
        if let Some(partition) = self.partition {
            all.push(Setting::new("cpuset.cpus.partition", partition));
        }
        Ok(all)
    }
}

/// Read a list of ranges (`0-3,6`; the kernel's "list format"), sorted and without duplicates.
pub fn parse_list(text: &str) -> Option<Vec<u32>> {
    // The largest NR_CPUS that the kernel can be built for is 8192.
    const LIMIT: usize = 8192;
    // A list can name the same ones as often as it likes.
    let mut there = [false; LIMIT];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last {
            return None;
        }
        there.get_mut(usize::try_from(first).ok()?..=usize::try_from(last).ok()?)?.fill(true);
    }
    Some((0..).zip(there).filter(|&(_, there)| there).map(|(number, _)| number).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        assert_eq!(parse_list("0-2,6"), Some(vec![0, 1, 2, 6]));
        assert_eq!(parse_list("3,1-3"), Some(vec![1, 2, 3]));
        for text in ["", "a", "3-1", "0-99999", "1,,2", "-1"] {
            assert_eq!(parse_list(text), None, "{text}");
        }
        assert_eq!(parse_list("4294967295"), None);
        // Two gigabytes if each were kept.
        let often = vec!["0-8191"; 65536].join(",");
        assert_eq!(parse_list(&often).map(|all| all.len()), Some(8192));
    }

    #[test]
    fn limits_are_written_to_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["cpuset.cpus", "cpuset.cpus.partition"] {
            std::fs::write(dir.path().join(file), "").unwrap();
        }
        let cpuset = Limits { cpus: Some("0-1".into()), partition: Some(Partition::Isolated), ..Default::default() };
        crate::Cgroup::open(dir.path()).unwrap().set(&crate::Limits { cpuset, ..Default::default() }).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("cpuset.cpus")).unwrap(), "0-1");
        assert_eq!(std::fs::read_to_string(dir.path().join("cpuset.cpus.partition")).unwrap(), "isolated");
    }

    proptest::proptest! {
        #[test]
        fn never_panics(text in "[0-9,\\-a]{0,30}") {
            let _ = parse_list(&text);
        }
    }
}
