//! The misc controller: scarce resources that are counted (encrypted-VM identifiers and the like).

use crate::{Ceiling, Cgroup, Error, Result, Setting, files};

/// What to set: `misc.max`, one entry per resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Limits {
    /// Resource name (`sev`, `sev_es`, `tdx`) and count.
    pub max: Vec<(String, Ceiling)>,
}

impl Limits {
    pub(crate) fn settings(&self) -> Result<Vec<Setting>> {
        let is_name =
            |name: &str| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if let Some((wrong, _)) = self.max.iter().find(|(name, _)| !is_name(name)) {
            return Err(Error::Range { what: "misc resource", value: wrong.clone(), range: "letters, digits and _" });
        }
        Ok(self.max.iter().map(|(name, max)| Setting::new("misc.max", format!("{name} {max}"))).collect())
    }
}

impl Cgroup {
    /// `misc.current`: resource and count.
    ///
    /// # Errors
    /// The controller is not enabled here.
    pub fn misc_current(&self) -> Result<Vec<(String, u64)>> {
        let text = self.read("misc.current")?;
        Ok(files::flat_keyed(&text).map(|(name, count)| (name.to_owned(), count)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_written_to_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("misc.max"), "").unwrap();
        std::fs::write(dir.path().join("misc.current"), "sev 1\nsev_es 0\n").unwrap();
        let group = Cgroup::open(dir.path()).unwrap();
        group
            .set(&crate::Limits { misc: Limits { max: vec![("sev".into(), Ceiling::Value(3))] }, ..Default::default() })
            .unwrap();
        assert_eq!(group.read("misc.max").unwrap(), "sev 3");
        assert_eq!(group.misc_current().unwrap(), [("sev".to_owned(), 1), ("sev_es".to_owned(), 0)]);
    }

    #[test]
    fn a_resource_is_one_word() {
        assert!(Limits { max: vec![("a b".into(), Ceiling::Max)] }.settings().is_err());
    }
}
