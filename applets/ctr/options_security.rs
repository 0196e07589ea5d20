//! `--security-opt` and `--device-cgroup-rule` of `ctr run`.

use std::path::Path;

use oci_spec::runtime::{LinuxDeviceCgroup, LinuxDeviceType};

/// Longest seccomp profile that is read.
const PROFILE_MAX: u64 = 4 << 20;

/// What the options say together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `no-new-privileges`, if given.
    pub no_new_privileges: Option<bool>,
    /// The system call filter.
    pub seccomp: Seccomp,
    /// `systempaths=unconfined`: nothing below /proc and /sys is covered or read-only.
    pub unconfined_paths: bool,
    /// Further paths to cover.
    pub mask: Vec<String>,
    /// Paths not to cover nor to make read-only; `ALL` is all.
    pub unmask: Vec<String>,
    /// The container's cgroups are writable.
    pub writable_cgroups: bool,
}

/// `seccomp=`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seccomp {
    /// The default profile.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// The text of a profile.
    Profile(String),
}

/// Read one option; a profile's file is read and put in its place, so that what is on record needs no file.
pub fn parse(text: &str) -> Result<String, String> {
    let whole = match text.strip_prefix("seccomp=").or_else(|| text.strip_prefix("seccomp:")) {
        Some("unconfined" | "builtin" | "default") | None => text.to_owned(),
        Some(path) => format!("seccomp={}", read_profile(Path::new(path))?),
    };
    let mut security = Security::default();
    security.add(&whole).map(|()| whole)
}

fn read_profile(path: &Path) -> Result<String, String> {
    let failed =
        |error: &dyn std::fmt::Display| format!("opening seccomp profile ({}) failed: {error}", path.display());
    let size = std::fs::metadata(path).map_err(|error| failed(&error))?.len();
    if size > PROFILE_MAX {
        return Err(failed(&"it is too long"));
    }
    let text = std::fs::read(path).map_err(|error| failed(&error))?;
    let value: serde_json::Value = serde_json::from_slice(&text)
        .map_err(|error| format!("compacting json for seccomp profile ({}) failed: {error}", path.display()))?;
    Ok(value.to_string())
}

impl Security {
    /// Read all options of a record.
    pub fn of(options: &[String]) -> Result<Self, String> {
        let mut security = Security::default();
        options.iter().try_for_each(|option| security.add(option))?;
        Ok(security)
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
            Some((key, value)) => (key, Some(value)),
            None => (text, None),
        };
        let unsupported = |what: &str| Err(format!("--security-opt {text}: {what} is not supported"));
        match (key, value) {
            ("no-new-privileges", None | Some("true")) => self.no_new_privileges = Some(true),
            ("no-new-privileges", Some("false")) => self.no_new_privileges = Some(false),
            ("no-new-privileges", Some(other)) => {
                return Err(format!("invalid --security-opt 2: \"no-new-privileges={other}\""));
            }
            ("seccomp", Some("unconfined")) => self.seccomp = Seccomp::Unconfined,
            ("seccomp", Some("builtin" | "default")) => self.seccomp = Seccomp::Default,
            ("seccomp", Some(profile)) => self.seccomp = Seccomp::Profile(profile.into()),
            ("systempaths", Some("unconfined")) => self.unconfined_paths = true,
            ("writable-cgroups", None | Some("true")) => self.writable_cgroups = true,
            ("writable-cgroups", Some("false")) => self.writable_cgroups = false,
            ("mask", Some(paths)) => self.mask.extend(paths.split(':').map(Into::into)),
            ("unmask", Some(paths)) => self.unmask.extend(paths.split(':').map(Into::into)),
            // There is neither here, so a container is without already.
            ("apparmor", Some("unconfined")) | ("label", Some("disable")) => {}
            ("apparmor", _) => return unsupported("AppArmor"),
            ("label", _) => return unsupported("SELinux"),
            ("credentialspec", _) => return unsupported("a credential of Windows"),
            (_, None) => return Err(format!("invalid --security-opt 1: \"{text}\"")),
            _ => return Err(format!("invalid --security-opt 2: \"{text}\"")),
        }
        for path in self.mask.iter().chain(&self.unmask) {
            if path != "ALL" && !path.starts_with('/') {
                return Err(format!("--security-opt {text}: {path:?} must be an absolute path"));
            }
        }
        Ok(())
    }

    /// Which of the default paths remain.
    pub fn keep(&self, paths: &[String]) -> Vec<String> {
        if self.unconfined_paths || self.unmask.iter().any(|path| path == "ALL") {
            return Vec::new();
        }
        paths.iter().filter(|path| !self.unmask.contains(path)).cloned().collect()
    }
}

/// Check a rule such as `c 42:* rmw`.
pub fn parse_device_rule(text: &str) -> Result<String, String> {
    device_rule(text).map(|_| text.into()).ok_or_else(|| format!("invalid device cgroup format '{text}'"))
}

/// A rule in the runtime's form.
pub fn device_rule(text: &str) -> Option<LinuxDeviceCgroup> {
    let [kind, numbers, access] = text.split(' ').collect::<Vec<_>>().try_into().ok()?;
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return None,
    };
    let (major, minor) = numbers.split_once(':')?;
    let number = |text: &str| match text {
        "*" => Some(None),
        text => text.parse::<u32>().ok().map(|number| Some(i64::from(number))),
    };
    let valid = (1..=3).contains(&access.len()) && access.chars().all(|letter| "rwm".contains(letter));
    if !valid {
        return None;
    }
    let mut rule = LinuxDeviceCgroup::default();
    rule.set_allow(true)
        .set_typ(Some(kind))
        .set_major(number(major)?)
        .set_minor(number(minor)?)
        .set_access(Some(access.into()));
    Some(rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options() {
        let of = |options: &[&str]| Security::of(&options.iter().map(|&option| option.into()).collect::<Vec<_>>());
        assert_eq!(of(&["no-new-privileges"]).unwrap().no_new_privileges, Some(true));
        assert_eq!(of(&["no-new-privileges=false"]).unwrap().no_new_privileges, Some(false));
        assert_eq!(of(&["seccomp:unconfined"]).unwrap().seccomp, Seccomp::Unconfined);
        assert_eq!(of(&["apparmor=unconfined", "label=disable"]).unwrap(), Security::default());
        let paths = ["/proc/a".to_owned(), "/proc/b".to_owned()];
        assert_eq!(of(&["unmask=/proc/a:/x"]).unwrap().keep(&paths), ["/proc/b"]);
        assert!(of(&["systempaths=unconfined"]).unwrap().keep(&paths).is_empty());
        for wrong in
            ["", "magic", "magic=1", "apparmor=x", "label=type:x", "no-new-privileges=x", "mask=x", "systempaths=x"]
        {
            assert!(of(&[wrong]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_profile_is_read_when_it_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("profile.json");
        std::fs::write(&path, "{ \"defaultAction\":\n \"SCMP_ACT_ALLOW\" }").unwrap();
        let option = format!("seccomp={}", path.display());
        assert_eq!(parse(&option).unwrap(), "seccomp={\"defaultAction\":\"SCMP_ACT_ALLOW\"}");
        std::fs::write(&path, "{").unwrap();
        assert!(parse(&option).is_err() && parse("seccomp=/no/such/file").is_err());
    }

    #[test]
    fn device_rules() {
        assert!(device_rule("c 42:* rmw").is_some() && device_rule("a *:* rwm").is_some());
        for wrong in ["", "c 42:*", "x 1:1 r", "c 1 r", "c 1:1 x", "c 1:1 rwmr", "c -1:1 r", "c  1:1 r"] {
            assert!(device_rule(wrong).is_none(), "{wrong}");
        }
    }
}
