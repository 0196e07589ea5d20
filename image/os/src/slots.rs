//! Names of OS versions on the ESP, with the counter of Automatic Boot Assessment (UAPI.1, "Boot counting").
//!
//! `coracle-VERSION.efi` is a version that is known to boot; `coracle-VERSION+LEFT.efi` and `coracle-VERSION+LEFT-DONE.efi` are on
//! trial: LEFT starts remain, DONE were made. systemd-boot renames the file before each start; at LEFT = 0 it comes last.
//! This is only the name: pure, and everything that can be said of a slot can be read from it.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

const PREFIX: &str = "coracle-";
const SUFFIX: &str = ".efi";

/// The longest version: with prefix, counters and suffix it stays far below the 255 characters of a VFAT name.
pub const MAX_VERSION: usize = 100;

/// A version of the OS, as it may stand in a file name: letters, digits, `.`, `-`, `_`, `~` and `^`, beginning with a letter or
/// digit. A `+` would begin the counter.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Version(String);

/// Why a name is no slot's, or a text no version.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum Error {
    /// The file has another name, and is none of ours.
    #[error("{0:?} is not named coracle-VERSION.efi")]
    NotOurs(String),
    /// The version has characters that it may not have, or too many.
    #[error("{0:?} is no version: at most {MAX_VERSION} of A-Z a-z 0-9 . - _ ~ ^, beginning with a letter or digit")]
    Version(String),
    /// What follows the `+` is no counter.
    #[error("{0:?} is no boot counter: LEFT or LEFT-DONE")]
    Counter(String),
}

/// What is known of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trial {
    /// It has booted, and passed its gates.
    Blessed,
    /// It is still to prove itself.
    Running {
        /// Starts that remain.
        left: u32,
        /// Starts that were made.
        done: u32,
    },
}

/// One OS version on the ESP.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Slot {
    /// Its version.
    pub version: Version,
    /// Whether it is known to boot.
    pub trial: Trial,
}

impl Version {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~^".contains(&byte);
        let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
        if !begins || text.len() > MAX_VERSION || !text.bytes().all(plain) {
            return Err(Error::Version(text.into()));
        }
        Ok(Version(text.into()))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Slot {
    /// A version that just arrived and may be started `tries` times.
    pub fn on_trial(version: Version, tries: u32) -> Self {
        Slot { version, trial: Trial::Running { left: tries, done: 0 } }
    }

    /// The same version, known to boot.
    #[must_use]
    pub fn blessed(self) -> Self {
        Slot { trial: Trial::Blessed, ..self }
    }

    /// Has it used up its starts without being blessed? systemd-boot takes it only when nothing else is there.
    pub fn is_bad(&self) -> bool {
        matches!(self.trial, Trial::Running { left: 0, .. })
    }

    /// What systemd-boot makes of the name before it starts the version.
    #[must_use]
    pub fn started(self) -> Self {
        let trial = match self.trial {
            Trial::Running { left, done } if left > 0 => {
                Trial::Running { left: left - 1, done: done.saturating_add(1) }
            }
            other => other,
        };
        Slot { trial, ..self }
    }
}

impl FromStr for Slot {
    type Err = Error;

    /// Read a slot from the name of a file (without folders). FAT keeps no case: prefix and suffix may have any.
    fn from_str(name: &str) -> Result<Self, Error> {
        let not_ours = || Error::NotOurs(name.into());
        let head = name.get(..PREFIX.len()).filter(|head| head.eq_ignore_ascii_case(PREFIX)).ok_or_else(not_ours)?;
        let rest = &name[head.len()..];
        let end = rest.len().checked_sub(SUFFIX.len()).ok_or_else(not_ours)?;
        rest.get(end..).filter(|tail| tail.eq_ignore_ascii_case(SUFFIX)).ok_or_else(not_ours)?;
        let (version, trial) = match rest[..end].split_once('+') {
            None => (&rest[..end], Trial::Blessed),
            Some((version, counter)) => (version, parse_counter(counter)?),
        };
        Ok(Slot { version: version.parse()?, trial })
    }
}

fn parse_counter(counter: &str) -> Result<Trial, Error> {
    let bad = || Error::Counter(counter.into());
    // `parse` alone would take a sign.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().ok()).flatten().ok_or_else(bad)
    };
    match counter.split_once('-') {
        None => Ok(Trial::Running { left: number(counter)?, done: 0 }),
        Some((left, done)) => Ok(Trial::Running { left: number(left)?, done: number(done)? }),
    }
}

impl fmt::Display for Slot {
    /// The name of the file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.version)?;
        match self.trial {
            Trial::Blessed => {}
            Trial::Running { left, done: 0 } => write!(f, "+{left}")?,
            Trial::Running { left, done } => write!(f, "+{left}-{done}")?,
        }
        f.write_str(SUFFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slot(name: &str) -> Result<Slot, Error> {
        name.parse()
    }

    #[test]
    fn names_and_what_they_say() {
        for (name, version, trial) in [
            ("coracle-1.2.3.efi", "1.2.3", Trial::Blessed),
            ("coracle-0.1.0-g140ada3b9aa3.efi", "0.1.0-g140ada3b9aa3", Trial::Blessed),
            ("coracle-1+3.efi", "1", Trial::Running { left: 3, done: 0 }),
            ("coracle-1-2+2-1.efi", "1-2", Trial::Running { left: 2, done: 1 }),
            ("coracle-1+0-3.efi", "1", Trial::Running { left: 0, done: 3 }),
        ] {
            let parsed = slot(name).unwrap();
            assert_eq!((parsed.version.as_str(), parsed.trial), (version, trial));
            assert_eq!(parsed.to_string(), name);
        }
        assert_eq!(slot("CORACLE-1.EFI").unwrap().to_string(), "coracle-1.efi");
        assert_eq!(slot("coracle-1+03-00.efi").unwrap().to_string(), "coracle-1+3.efi");
    }

    #[test]
    fn names_that_are_not_ours_or_wrong() {
        for name in ["", "coracle-", "coracle.efi", "linux-1.efi", "coracle-1", "coracle-é", "coracl\u{e9}-1.efi"] {
            assert!(matches!(slot(name), Err(Error::NotOurs(_))), "{name}");
        }
        for name in ["coracle-.efi", "coracle-/etc.efi", "coracle-..efi", "coracle-a b.efi", "coracle-+3.efi"] {
            assert!(matches!(slot(name), Err(Error::Version(_))), "{name}");
        }
        for name in ["coracle-1+.efi", "coracle-1++3.efi", "coracle-1+3-.efi", "coracle-1+-1.efi", "coracle-1+3+1.efi"]
        {
            assert!(matches!(slot(name), Err(Error::Counter(_))), "{name}");
        }
        assert!(slot("coracle-1+4294967296.efi").is_err());
        assert!("1".repeat(MAX_VERSION + 1).parse::<Version>().is_err());
    }

    #[test]
    fn a_trial_ends_blessed_or_bad() {
        let mut trial = Slot::on_trial("1".parse().unwrap(), 3);
        for expected in ["coracle-1+2-1.efi", "coracle-1+1-2.efi", "coracle-1+0-3.efi", "coracle-1+0-3.efi"] {
            assert!(!trial.is_bad() || expected.contains("+0-"));
            trial = trial.started();
            assert_eq!(trial.to_string(), expected);
        }
        assert!(trial.is_bad());
        let blessed = trial.blessed();
        assert!(!blessed.is_bad());
        assert_eq!(blessed.started().to_string(), "coracle-1.efi");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(version in "[A-Za-z0-9][A-Za-z0-9._~^-]{0,99}", count: Option<(u32, u32)>) {
            let trial = count.map_or(Trial::Blessed, |(left, done)| Trial::Running { left, done });
            let written = Slot { version: version.parse().unwrap(), trial };
            prop_assert_eq!(slot(&written.to_string()), Ok(written));
        }

        #[test]
        fn any_name_is_read_or_refused(name: String, inner: String) {
            let _ = slot(&name);
            if let Ok(read) = slot(&format!("coracle-{inner}.efi")) {
                prop_assert_eq!(slot(&read.to_string()), Ok(read));
            }
        }
    }
}
