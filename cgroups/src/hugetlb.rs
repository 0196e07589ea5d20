//! The hugetlb controller: huge pages, per page size.

use crate::{Ceiling, Cgroup, Error, Result, Setting};

/// What to set: page size as the kernel spells it (`2MB`, `1GB`) and bytes of `hugetlb.SIZE.max`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// One entry per page size.
    pub max: Vec<(String, Ceiling)>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        if let Some((wrong, _)) = self.max.iter().find(|(size, _)| !is_page_size(size)) {
            return Err(Error::Range { what: "huge page size", value: wrong.clone(), range: "as in 64KB, 2MB, 1GB" });
        }
        Ok(self.max.iter().map(|(size, max)| Setting::new(format!("hugetlb.{size}.max"), max)).collect())
    }
}

/// Digits and KB, MB or GB: it becomes part of a file name.
fn is_page_size(text: &str) -> bool {
    let number = text.strip_suffix("KB").or_else(|| text.strip_suffix("MB")).or_else(|| text.strip_suffix("GB"));
    number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

impl Cgroup {
    /// `hugetlb.SIZE.current`, bytes.
    ///
    /// # Errors
    /// The controller is not enabled here or has no such page size.
    pub fn hugetlb_current(&self, size: &str) -> Result<u64> {
        if !is_page_size(size) {
            return Err(Error::Range { what: "huge page size", value: size.into(), range: "as in 64KB, 2MB, 1GB" });
        }
        self.read_number(&format!("hugetlb.{size}.current"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_written_to_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("hugetlb.2MB.max"), "max\n").unwrap();
        std::fs::write(dir.path().join("hugetlb.2MB.current"), "4194304\n").unwrap();
        let group = Cgroup::open(dir.path()).unwrap();
        let limits = Limits { max: vec![("2MB".into(), Ceiling::Value(8 << 20))] };
        group.set(&crate::Limits { hugetlb: limits, ..Default::default() }).unwrap();
        assert_eq!(group.read("hugetlb.2MB.max").unwrap(), "8388608");
        assert_eq!(group.hugetlb_current("2MB").unwrap(), 4 << 20);
    }

    #[test]
    fn a_page_size_is_no_path() {
        for size in ["", "MB", "../x", "2MB/..", "2TB"] {
            assert!(Limits { max: vec![(size.into(), Ceiling::Max)] }.settings().is_err(), "{size}");
        }
    }
}
