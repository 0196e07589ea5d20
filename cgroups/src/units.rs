//! The units that people type: sizes and CPUs.

use std::str::FromStr;

/// A text that is no size or no number of CPUs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not a size.
    #[error("{0:?} is no size: wanted a number with b, k, m, g, t or p, such as 512m")]
    Size(String),
    /// Not a number of CPUs.
    #[error("{0:?} is no number of CPUs: wanted a decimal number from 0.01, such as 1.5")]
    Cpus(String),
    /// More than 2^63 bytes.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

/// Read a size in bytes as Docker does: `64m`, `512M`, `1.5GiB`, `100kb`, `42`; units are powers of 1024.
///
/// # Errors
/// Another form, or a size beyond 2^63 - 1.
pub fn parse_size(text: &str) -> Result<u64, ParseError> {
    let wrong = || ParseError::Size(text.into());
    let end = text.find(|letter: char| !letter.is_ascii_digit() && letter != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let shift = unit_shift(unit.strip_prefix(' ').unwrap_or(unit)).ok_or_else(wrong)?;
    let (whole, fraction, scale) = decimal(number).ok_or_else(wrong)?;
    let bytes = (u128::from(whole) << shift) + ((u128::from(fraction) << shift) / u128::from(scale));
    i64::try_from(bytes).map(i64::cast_unsigned).map_err(|_| ParseError::TooLarge(text.into()))
}

/// The power of two that a unit stands for.
fn unit_shift(unit: &str) -> Option<u32> {
    let lower = unit.to_ascii_lowercase();
    let letter = match lower.as_str() {
        "" | "b" => return Some(0),
        other => other.strip_suffix("ib").or_else(|| other.strip_suffix('b')).unwrap_or(other),
    };
    match letter {
        "k" => Some(10),
        "m" => Some(20),
        "g" => Some(30),
        "t" => Some(40),
        "p" => Some(50),
        _ => None,
    }
}

/// Split `12.34` into 12, 34 and 100. At most nine digits of a fraction.
fn decimal(text: &str) -> Option<(u64, u64, u64)> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.pow(u32::try_from(fraction.len()).ok()?);
    Some((whole.parse().ok()?, fraction.parse().ok()?, scale))
}

/// A number of CPUs, in billionths of one (Docker's `NanoCpus`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Cpus(u64);

impl Cpus {
    /// The smallest share: the kernel takes no quota below 1 ms per 100 ms.
    pub const MIN: Cpus = Cpus(10_000_000);
    /// More than any machine has.
    pub const MAX: Cpus = Cpus(1_000_000 * 1_000_000_000);

    /// From billionths of a CPU.
    pub fn from_nanos(nanos: u64) -> Option<Self> {
        (Self::MIN.0..=Self::MAX.0).contains(&nanos).then_some(Cpus(nanos))
    }

    /// In billionths of a CPU.
    pub fn nanos(self) -> u64 {
        self.0
    }
}

impl FromStr for Cpus {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let wrong = || ParseError::Cpus(text.into());
        let number = text.strip_suffix("cpus").or_else(|| text.strip_suffix("cpu")).unwrap_or(text).trim_end();
        let (whole, fraction, scale) = decimal(number).ok_or_else(wrong)?;
        let nanos = u128::from(whole) * 1_000_000_000 + u128::from(fraction) * 1_000_000_000 / u128::from(scale);
        u64::try_from(nanos).ok().and_then(Cpus::from_nanos).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes() {
        let cases = [
            ("0", 0),
            ("42", 42),
            ("64m", 64 << 20),
            ("512M", 512 << 20),
            ("1.5g", 3 << 29),
            ("1GiB", 1 << 30),
            ("100kb", 100 << 10),
            ("7 kB", 7 << 10),
        ];
        for (text, bytes) in cases {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
        for text in ["", "m", "-1", "1x", "1.", ".5", "1.2.3", "1e3", "9999999999999p", "12mm", "1 b b", "٣"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus() {
        assert_eq!("0.5".parse(), Ok(Cpus(500_000_000)));
        assert_eq!("2".parse(), Ok(Cpus(2_000_000_000)));
        assert_eq!("1.5 cpus".parse(), Ok(Cpus(1_500_000_000)));
        for text in ["", "0", "0.001", "-1", "x", "1e2", "1.0000000001", "99999999999"] {
            assert!(text.parse::<Cpus>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse_size(&text);
            let _ = text.parse::<Cpus>();
        }

        #[test]
        fn whole_sizes_are_exact(number in 0_u64..8192, unit in 0_usize..6) {
            let text = format!("{number}{}", ["", "k", "m", "g", "t", "p"][unit]);
            prop_assert_eq!(parse_size(&text), Ok(number << (10 * unit)));
        }

        #[test]
        fn hundredths_of_a_cpu_are_exact(hundredths in 1_u64..100_000) {
            let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
            prop_assert_eq!(text.parse::<Cpus>().map(Cpus::nanos), Ok(hundredths * 10_000_000));
        }
    }
}
