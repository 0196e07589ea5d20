//! Dates: those that users write, and the forms that `-printf` and `-ls` print.

use std::time::{SystemTime, UNIX_EPOCH};

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp, Zoned};

use super::expression::Nanoseconds;

/// Nanoseconds of a second.
pub const SECOND: Nanoseconds = 1_000_000_000;
/// Nanoseconds of a day.
pub const DAY: Nanoseconds = 86_400 * SECOND;

/// The present.
pub fn now() -> Nanoseconds {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_nanos().cast_signed(),
        Err(before) => -before.duration().as_nanos().cast_signed(),
    }
}

/// A time with the local zone; one that jiff cannot hold (outside the years -9999 to 9999) is `None`.
fn zoned(time: Nanoseconds) -> Option<Zoned> {
    Some(Timestamp::from_nanosecond(time).ok()?.to_zoned(TimeZone::system()))
}

/// The last midnight of the local zone.
pub fn midnight(time: Nanoseconds) -> Nanoseconds {
    let start = zoned(time).and_then(|zoned| zoned.start_of_day().ok());
    start.map_or(time - time.rem_euclid(DAY), |start| start.timestamp().as_nanosecond())
}

/// The form of `%TK`, `%AK` and the like: `letter` is K. `None` if there is no such form.
pub fn format(time: Nanoseconds, letter: u8) -> Option<String> {
    let fraction = format!("{:09}0", time.rem_euclid(SECOND));
    let pattern = match letter {
        b'@' => return Some(format!("{}.{fraction}", time.div_euclid(SECOND))),
        b'+' => format!("%Y-%m-%d+%H:%M:%S.{fraction}"),
        b'T' | b'X' => format!("%H:%M:%S.{fraction}"),
        b'S' => format!("%S.{fraction}"),
        b'c' => "%a %b %e %H:%M:%S %Y".into(),
        b'x' | b'D' => "%m/%d/%y".into(),
        b'r' => "%I:%M:%S %p".into(),
        b'a' | b'A' | b'b' | b'B' | b'd' | b'F' | b'g' | b'G' | b'h' | b'H' | b'I' | b'j' | b'k' | b'l' | b'm'
        | b'M' | b'p' | b'u' | b'U' | b'V' | b'w' | b'W' | b'y' | b'Y' | b'Z' => format!("%{}", char::from(letter)),
        _ => return None,
    };
    Some(print(time, &pattern))
}

/// The form of `%t`, `%a`, `%c`: as ctime(3), with a fraction.
pub fn long(time: Nanoseconds) -> String {
    print(time, &format!("%a %b %e %H:%M:%S.{:09}0 %Y", time.rem_euclid(SECOND)))
}

/// The form of `ls -l`: the time of day for the last six months, else the year.
pub fn short(time: Nanoseconds, now: Nanoseconds) -> String {
    let recent = time > now - 180 * DAY && time <= now + 3600 * SECOND;
    print(time, if recent { "%b %e %H:%M" } else { "%b %e  %Y" })
}

fn print(time: Nanoseconds, pattern: &str) -> String {
    match zoned(time) {
        Some(zoned) => zoned.strftime(pattern).to_string(),
        None => time.div_euclid(SECOND).to_string(),
    }
}

/// A date as users write it: `@SECONDS`, ISO 8601 with or without a zone, a time of today, and after that, or alone, items such as
/// `now`, `yesterday`, `2 days ago`, `+3 hours`.
pub fn parse(text: &str, now: Nanoseconds) -> Option<Nanoseconds> {
    let text = text.trim();
    if let Some(seconds) = text.strip_prefix('@') {
        return parse_seconds(seconds);
    }
    let present = zoned(now)?;
    let ends = text.char_indices().filter(|(_, c)| c.is_whitespace()).map(|(at, _)| at).chain([text.len()]);
    let absolute = ends.rev().find_map(|end| parse_absolute(&text[..end], &present).map(|time| (time, end)));
    let (base, end) = absolute.unwrap_or((present, 0));
    Some(parse_items(base, &text[end..])?.timestamp().as_nanosecond())
}

fn parse_seconds(text: &str) -> Option<Nanoseconds> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 9 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanoseconds: Nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    let seconds: Nanoseconds = whole.parse::<i64>().ok()?.into();
    Some(seconds * SECOND + if whole.starts_with('-') { -nanoseconds } else { nanoseconds })
}

fn parse_absolute(text: &str, present: &Zoned) -> Option<Zoned> {
    if text.is_empty() {
        return None;
    }
    let zone = present.time_zone().clone();
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.to_zoned(zone));
    }
    if let Some((date, offset)) = text.rsplit_once(' ')
        && offset.starts_with(['+', '-'])
        && let Ok(timestamp) = format!("{}{offset}", date.trim_end()).parse::<Timestamp>()
    {
        return Some(timestamp.to_zoned(zone));
    }
    if let Some(utc) = text.strip_suffix(" UTC") {
        return Some(parse_civil(utc, present)?.to_zoned(TimeZone::UTC).ok()?.with_time_zone(zone));
    }
    parse_civil(text, present)?.to_zoned(zone).ok()
}

fn parse_civil(text: &str, present: &Zoned) -> Option<DateTime> {
    // Of a whole date, a Time would be the part after it.
    if text.contains(':')
        && !text.contains('-')
        && let Ok(time) = text.parse::<Time>()
    {
        return Some(present.date().to_datetime(time));
    }
    if !text.contains(':') {
        return text.parse::<Date>().ok().map(|date| date.to_datetime(Time::midnight()));
    }
    text.parse().ok()
}

/// Move `base` by each item of `text`.
fn parse_items(mut base: Zoned, text: &str) -> Option<Zoned> {
    let lower = text.to_ascii_lowercase();
    let mut words = lower.split_whitespace().peekable();
    while let Some(word) = words.next() {
        let (count, unit) = match word {
            "now" | "today" => continue,
            "yesterday" => (-1, "day"),
            "tomorrow" => (1, "day"),
            "next" => (1, words.next()?),
            "last" => (-1, words.next()?),
            word => {
                let digits =
                    word.len() - word.trim_start_matches(|c: char| "+-".contains(c) || c.is_ascii_digit()).len();
                let (number, unit) = word.split_at(digits);
                match (number, unit) {
                    ("", unit) => (1, unit),
                    (number, "") => (number.parse().ok()?, words.next()?),
                    (number, unit) => (number.parse().ok()?, unit),
                }
            }
        };
        let ago = words.next_if_eq(&"ago").is_some();
        base = base.checked_add(span(if ago { 0_i64.checked_sub(count)? } else { count }, unit)?).ok()?;
    }
    Some(base)
}

fn span(count: i64, unit: &str) -> Option<Span> {
    let span = Span::new();
    match unit.strip_suffix('s').filter(|unit| !unit.is_empty()).unwrap_or(unit) {
        "sec" | "second" => span.try_seconds(count),
        "min" | "minute" => span.try_minutes(count),
        "hour" => span.try_hours(count),
        "day" => span.try_days(count),
        "week" => span.try_weeks(count),
        "fortnight" => span.try_weeks(count.checked_mul(2)?),
        "month" => span.try_months(count),
        "year" => span.try_years(count),
        _ => return None,
    }
    .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        let now = 1_767_323_045 * SECOND;
        let after = |text: &str| parse(text, now).map(|time| time - now);
        assert_eq!(parse("@1.5", now), Some(SECOND * 3 / 2));
        assert_eq!(parse("@-1", now), Some(-SECOND));
        assert_eq!(parse("1970-01-02T00:00:00Z", now), Some(DAY));
        assert_eq!(parse("1970-01-02 00:00:01 UTC", now), Some(DAY + SECOND));
        assert_eq!(parse("1970-01-02T01:00:00+01:00", now), Some(DAY));
        assert_eq!(parse("1970-01-02 01:00:00 +0100", now), Some(DAY));
        assert_eq!(parse("1970-01-02T00:00:01", now), parse("1970-01-02 00:00:01", now));
        assert_eq!(after("now"), Some(0));
        assert_eq!(after("2 hours ago"), Some(-7200 * SECOND));
        assert_eq!(after("-1 min"), Some(-60 * SECOND));
        assert_eq!(after("+3sec"), Some(3 * SECOND));
        assert_eq!(after("1 week ago"), after("-7 days"));
        assert!(parse("2026-01-02", now) < parse("2026-01-02 00:01", now));
        assert_eq!(parse("2026-01-02 1 day ago", now), parse("2026-01-01", now));
        for text in
            ["garbage", "@", "@x", "2026-13-01", "99999999999999999999 days", "9223372036854775807 years", "1 parsec"]
        {
            assert_eq!(parse(text, now), None, "{text}");
        }
    }

    #[test]
    fn forms() {
        assert_eq!(format(1_500_000_000, b'@').as_deref(), Some("1.5000000000"));
        assert_eq!(format(0, b'E'), None);
        // What no calendar holds is still printed.
        assert_eq!(long(i128::from(i64::MAX) * SECOND), i64::MAX.to_string());
    }
}
