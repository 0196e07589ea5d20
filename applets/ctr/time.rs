//! Times as Docker writes them: RFC 3339 in UTC with nanoseconds, and ages in words.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::duration::parse_duration;

const DAY: u64 = 86_400;

/// The time that Docker shows for "not yet".
pub const NEVER: &str = "0001-01-01T00:00:00Z";

/// Now.
pub fn now() -> String {
    format_rfc3339(SystemTime::now())
}

/// `2026-11-24T08:00:00.123456789Z`. Times before 1970 are shown as 1970.
pub fn format_rfc3339(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, rest) = (since.as_secs() / DAY, since.as_secs() % DAY);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:09}Z", since.subsec_nanos())
}

/// Read RFC 3339, also without fraction, time zone (then UTC) or time of day. Nothing before 1970 is understood.
pub fn parse_rfc3339(text: &str) -> Option<SystemTime> {
    let (date, clock) = text.split_once(['T', 't', ' ']).unwrap_or((text, "00:00:00Z"));
    let mut fields = date.split('-');
    let (year, month, day) = (number(fields.next()?, 4)?, number(fields.next()?, 2)?, number(fields.next()?, 2)?);
    if fields.next().is_some()
        || !(1970..=9999).contains(&year)
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
    {
        return None;
    }
    let (clock, offset) = split_zone(clock)?;
    let (clock, fraction) = clock.split_once('.').unwrap_or((clock, "0"));
    let mut fields = clock.split(':');
    let (hour, minute) = (number(fields.next()?, 2)?, number(fields.next()?, 2)?);
    let second = fields.next().map_or(Some(0), |text| number(text, 2))?;
    if fields.next().is_some() || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    let seconds = seconds.checked_add_signed(-offset)?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos(fraction)?))
}

fn number(text: &str, digits: usize) -> Option<u64> {
    (text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

fn nanos(fraction: &str) -> Option<u32> {
    if fraction.is_empty() || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let digits: String = fraction.chars().chain(std::iter::repeat('0')).take(9).collect();
    digits.parse().ok()
}

/// The time of day and the zone's offset from UTC in seconds.
fn split_zone(clock: &str) -> Option<(&str, i64)> {
    if let Some(clock) = clock.strip_suffix(['Z', 'z']) {
        return Some((clock, 0));
    }
    let Some(at) = clock.rfind(['+', '-']) else { return Some((clock, 0)) };
    let (clock, zone) = clock.split_at(at);
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    let offset = i64::try_from(number(hours, 2)? * 3600 + number(minutes, 2)? * 60).ok()?;
    Some((clock, if zone.starts_with('-') { -offset } else { offset }))
}

/// What `--since` and `--until` take: RFC 3339, seconds since 1970, or an age such as `10m` or `1h30m`.
pub fn parse_since(text: &str) -> Result<SystemTime, String> {
    let wrong =
        || format!("{text:?} is no time: wanted 2026-01-02T15:04:05Z, seconds since 1970, or an age such as 1h30m");
    if let Some(time) = parse_rfc3339(text) {
        return Ok(time);
    }
    if let Some(age) = parse_duration(text) {
        return SystemTime::now().checked_sub(age).ok_or_else(wrong);
    }
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let seconds = seconds.parse().map_err(|_| wrong())?;
    UNIX_EPOCH.checked_add(Duration::new(seconds, nanos(fraction).ok_or_else(wrong)?)).ok_or_else(wrong)
}

/// An age in Docker's words: `5 seconds`, `About an hour`, `3 weeks`.
pub fn human(age: Duration) -> String {
    let seconds = age.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        0 => "Less than a second".into(),
        1 => "1 second".into(),
        2..60 => format!("{seconds} seconds"),
        60..120 => "About a minute".into(),
        120..3600 if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".into(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 14 => format!("{} days", hours / 24),
        _ if hours < 24 * 60 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", hours / 24 / 365),
    }
}

/// A recorded time as lists print it: `2026-11-24 08:00:00 +0000 UTC`.
pub fn in_words(text: &str) -> String {
    let (date, clock) = text.split_once('T').unwrap_or((text, "00:00:00"));
    format!("{date} {} +0000 UTC", clock.get(..8).unwrap_or(clock))
}

/// How long ago a recorded time was.
pub fn since(text: &str) -> Duration {
    parse_rfc3339(text).and_then(|time| SystemTime::now().duration_since(time).ok()).unwrap_or_default()
}

/// Howard Hinnant's `civil_from_days`, for days since 1970-01-01.
fn civil_from_days(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// The inverse of [`civil_from_days`].
fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = year - u64::from(month <= 2);
    let (era, year_of_era) = (year / 400, year % 400);
    let shifted_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
        assert_eq!(format_rfc3339(at(0, 0)), "1970-01-01T00:00:00.000000000Z");
        assert_eq!(format_rfc3339(at(951_826_029, 5)), "2000-02-29T12:07:09.000000005Z");
        assert_eq!(parse_rfc3339("2000-02-29T13:07:09.5+01:00"), Some(at(951_826_029, 500_000_000)));
        assert_eq!(parse_rfc3339("2000-02-29"), Some(at(951_782_400, 0)));
        for text in ["", NEVER, "2000-13-01", "2000-02-29T25:00:00Z", "2000-02-29T12:00:00+aa:bb", "2000-2-9"] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
        }
    }

    #[test]
    fn durations_and_ages() {
        assert_eq!(parse_duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(parse_duration("10"), None);
        assert_eq!(parse_duration(""), None);
        let words = [0, 1, 59, 90, 180, 3700, 7300, 3 * DAY, 30 * DAY, 90 * DAY, 900 * DAY]
            .map(|s| human(Duration::from_secs(s)));
        let wanted = [
            "Less than a second",
            "1 second",
            "59 seconds",
            "About a minute",
            "3 minutes",
            "About an hour",
            "2 hours",
            "3 days",
            "4 weeks",
            "3 months",
            "2 years",
        ];
        assert_eq!(words, wanted);
    }

    proptest! {
        #[test]
        fn round_trip(seconds in 0_u64..253_402_300_799, nanos in 0_u32..1_000_000_000) {
            let time = UNIX_EPOCH + Duration::new(seconds, nanos);
            prop_assert_eq!(parse_rfc3339(&format_rfc3339(time)), Some(time));
        }

        #[test]
        fn never_panics(text in ".{0,40}") {
            let _ = parse_rfc3339(&text);
            let _ = parse_duration(&text);
            let _ = parse_since(&text);
        }
    }
}
