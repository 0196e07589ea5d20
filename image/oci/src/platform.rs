//! Platforms: which manifest of an index is the one to take (image-spec image-index.md; containerd's platform matching).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Operating system, architecture and variant in Go's names, normalised: arm64 is `v8`, arm is `v7` if nothing else is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// `amd64`, `arm64`, ...
    pub architecture: String,
    /// `v8` and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform of this machine.
    pub fn host() -> Platform {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            other => other,
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: None }
    }

    fn normalised(&self) -> (&str, &str, &str) {
        let variant = self.variant.as_deref().unwrap_or("");
        match (self.architecture.as_str(), variant) {
            ("aarch64" | "arm64", "" | "8" | "v8") => (&self.os, "arm64", "v8"),
            ("aarch64", other) => (&self.os, "arm64", other),
            ("x86_64" | "amd64", "" | "v1") => (&self.os, "amd64", "v1"),
            ("x86_64", other) => (&self.os, "amd64", other),
            ("armhf", "") => (&self.os, "arm", "v7"),
            ("armel", "") => (&self.os, "arm", "v6"),
            ("arm", "" | "7") => (&self.os, "arm", "v7"),
            ("arm", "6") => (&self.os, "arm", "v6"),
            ("arm", "5") => (&self.os, "arm", "v5"),
            ("i386", "") => (&self.os, "386", ""),
            (architecture, variant) => (&self.os, architecture, variant),
        }
    }

    /// How well an image for `offered` runs where `self` is wanted: `None` not at all; a larger number is a better fit.
    pub fn fit(&self, offered: &Platform) -> Option<u32> {
        let (os, architecture, wanted) = self.normalised();
        let (offered_os, offered_architecture, variant) = offered.normalised();
        if os != offered_os || architecture != offered_architecture {
            return None;
        }
        if wanted == variant {
            return Some(u32::MAX);
        }
        // An older variant runs on a newer machine: v6 code on v7, x86-64-v1 on v3. `v8.2` counts as 8.
        let number = |text: &str| text.strip_prefix('v')?.split('.').next()?.parse::<u32>().ok();
        match (number(wanted), number(variant)) {
            (Some(wanted), Some(offered)) if offered <= wanted => Some(offered),
            _ => None,
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        self.variant.as_ref().map_or(Ok(()), |variant| write!(f, "/{variant}"))
    }
}

impl FromStr for Platform {
    type Err = Error;

    /// `OS/ARCH[/VARIANT]`, or `ARCH` alone for Linux.
    fn from_str(text: &str) -> Result<Platform> {
        let parts: Vec<&str> = text.split('/').collect();
        let (os, architecture, variant) = match parts[..] {
            [architecture] => ("linux", architecture, None),
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => ("", "", None),
        };
        let word =
            |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !word(os) || !word(architecture) || !variant.is_none_or(word) {
            return Err(Error::invalid(format!("platform {text:?}"), "want OS/ARCH[/VARIANT], as linux/arm64/v8"));
        }
        let raw = Platform { os: os.into(), architecture: architecture.into(), variant: variant.map(Into::into) };
        let (os, architecture, variant) = raw.normalised();
        // Debian's names of 32-bit ARM say the variant, too.
        let implied = matches!(raw.architecture.as_str(), "armel" | "armhf").then(|| variant.to_owned());
        let implied = implied.filter(|variant| !variant.is_empty());
        Ok(Platform { os: os.into(), architecture: architecture.into(), variant: raw.variant.clone().or(implied) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn arm64_with_and_without_variant_are_one() {
        assert_eq!(platform("linux/arm64").fit(&platform("linux/arm64/v8")), Some(u32::MAX));
        assert_eq!(platform("linux/arm64/v8").fit(&platform("arm64")), Some(u32::MAX));
        assert_eq!(platform("linux/aarch64").fit(&platform("linux/arm64")), Some(u32::MAX));
        assert_eq!(platform("linux/arm64").fit(&platform("linux/amd64")), None);
        assert_eq!(platform("linux/arm64").fit(&platform("linux/arm64/v9")), None);
    }

    #[test]
    fn older_variants_run() {
        assert_eq!(platform("linux/arm/v7").fit(&platform("linux/arm/v6")), Some(6));
        assert_eq!(platform("linux/arm/v6").fit(&platform("linux/arm/v7")), None);
        assert_eq!(platform("linux/armel").fit(&platform("linux/arm/v7")), None);
        assert_eq!(platform("linux/armel").fit(&platform("linux/arm/v6")), Some(u32::MAX));
        assert_eq!(platform("linux/amd64").fit(&platform("linux/amd64/v3")), None);
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in ["", "/", "linux/", "a/b/c/d", "linux/a b"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad}");
        }
    }
}
