//! Durations on command lines and in files: numbers, each with its unit.

use std::time::Duration;

/// Read `90s`, `10m`, `1h30m`, `1.5s`, `250ms`, `2d`.
pub fn parse_duration(text: &str) -> Option<Duration> {
    sum(text, |unit| if unit == "d" { Some(86_400_000_000_000) } else { go_unit(unit) })
}

/// The same as Go reads it (`time.ParseDuration`): without days, and `0` needs no unit.
pub fn parse_go_duration(text: &str) -> Option<Duration> {
    if text == "0" { Some(Duration::ZERO) } else { sum(text, go_unit) }
}

/// A unit in nanoseconds.
fn go_unit(unit: &str) -> Option<u64> {
    match unit {
        "ns" => Some(1),
        "us" | "\u{b5}s" | "\u{3bc}s" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        _ => None,
    }
}

/// Numbers, each with its unit.
fn sum(text: &str, unit: impl Fn(&str) -> Option<u64>) -> Option<Duration> {
    let is_number = |letter: char| letter.is_ascii_digit() || letter == '.';
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(|letter: char| !is_number(letter))?;
        let unit_end = rest[end..].find(is_number).map_or(rest.len(), |at| end + at);
        let nanoseconds = scaled(&rest[..end], unit(&rest[end..unit_end])?)?;
        total = total.checked_add(Duration::from_nanos(nanoseconds))?;
        rest = &rest[unit_end..];
    }
    (!text.is_empty()).then_some(total)
}

/// A decimal number times a unit.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = if whole.is_empty() && !fraction.is_empty() { 0 } else { whole.parse::<u64>().ok()? };
    let mut total = u128::from(whole) * u128::from(unit);
    if !fraction.is_empty() {
        let digits = fraction.get(..fraction.len().min(18))?;
        total +=
            u128::from(digits.parse::<u64>().ok()?) * u128::from(unit) / 10_u128.pow(u32::try_from(digits.len()).ok()?);
    }
    u64::try_from(total).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_as_go_reads_them() {
        assert_eq!(parse_go_duration("1h2m3.5s"), Some(Duration::from_millis(3_723_500)));
        assert_eq!(parse_go_duration("0"), Some(Duration::ZERO));
        assert_eq!(parse_go_duration("1.5h"), Some(Duration::from_secs(5400)));
        for wrong in ["", "5", "s", "5x", "1d", "-5s", "1..2s", "1e400s", ".", "99999999999999999999h"] {
            assert_eq!(parse_go_duration(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(text in "[0-9.hmsnud\u{b5} -]{0,24}") {
            let _ = parse_duration(&text);
            let _ = parse_go_duration(&text);
        }
    }
}
