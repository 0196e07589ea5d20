//! Dates of the civil calendar, in UTC: what these applets show needs no time zone data.

/// A moment as a calendar has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Date {
    /// Year.
    pub year: i64,
    /// Month, 1 to 12.
    pub month: u32,
    /// Day of the month, 1 to 31.
    pub day: u32,
    /// Hour.
    pub hour: u32,
    /// Minute.
    pub minute: u32,
    /// Second.
    pub second: u32,
    /// Day of the week, 0 is Sunday.
    pub weekday: u32,
}

const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const DAY: i64 = 86_400;

impl Date {
    /// From seconds since 1970 (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days).
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(DAY), seconds.rem_euclid(DAY));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: year_of_era + era * 400 + i64::from(month <= 2),
            month: month as u32,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u32,
            hour: (rest / 3_600) as u32,
            minute: (rest / 60 % 60) as u32,
            second: (rest % 60) as u32,
            weekday: (days + 4).rem_euclid(7) as u32,
        }
    }

    /// `YYYY-MM-DD[ HH:MM[:SS]]`, a `T` for the space, a `Z` or ` UTC` at the end or nothing; `None` if it is no date.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.strip_suffix('Z').or_else(|| text.strip_suffix(" UTC")).unwrap_or(text);
        let (day, time) = text.split_once([' ', 'T']).unwrap_or((text, "0:0"));
        let numbers = |text: &str, divider: char| -> Option<Vec<u32>> {
            text.split(divider).map(|word| word.parse().ok().filter(|_| word.len() <= 4)).collect()
        };
        let (day, time) = (numbers(day, '-')?, numbers(time, ':')?);
        let [year, month @ 1..=12, day @ 1..=31] = day[..] else { return None };
        let (hour @ 0..=23, minute @ 0..=59, second @ 0..=60) = (match time[..] {
            [hour, minute] => (hour, minute, 0),
            [hour, minute, second] => (hour, minute, second),
            _ => return None,
        }) else {
            return None;
        };
        Some(Self { year: year.into(), month, day, hour, minute, second, weekday: 0 })
    }

    /// Seconds since 1970 (the same, days_from_civil).
    pub fn to_unix(self) -> i64 {
        let year = self.year - i64::from(self.month <= 2);
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let shifted_month = i64::from(if self.month > 2 { self.month - 3 } else { self.month + 9 });
        let day_of_year = (153 * shifted_month + 2) / 5 + i64::from(self.day) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * DAY + i64::from(self.hour) * 3_600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }

    /// `Jan`.
    pub fn month_name(self) -> &'static str {
        MONTHS[(self.month as usize).saturating_sub(1) % 12]
    }

    /// `Sun`.
    pub fn day_name(self) -> &'static str {
        DAYS[self.weekday as usize % 7]
    }

    /// As ctime(3) has it: `Thu Jan  1 00:00:00 1970`.
    pub fn ctime(self) -> String {
        let Self { year, day, hour, minute, second, .. } = self;
        format!("{} {} {day:2} {hour:02}:{minute:02}:{second:02} {year}", self.day_name(), self.month_name())
    }
}

/// Seconds since 1970 now.
pub fn now() -> i64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for seconds in [0, 951_827_696, 4_107_542_399, -1, -62_135_596_800, 1_709_164_800] {
            assert_eq!(Date::from_unix(seconds).to_unix(), seconds);
        }
        let seconds = |text| Date::parse(text).map(Date::to_unix);
        assert_eq!(seconds("2000-02-29 12:34:56"), Some(951_827_696));
        assert_eq!(seconds("2000-02-29T12:34Z"), Some(951_827_640));
        assert_eq!(seconds("1970-01-01 UTC"), Some(0));
        for bad in ["", "2000", "2000-13-01", "2000-01-01 25:00", "2000-01-01 1:2:3:4", "x-1-1", "2000-1-1 1"] {
            assert_eq!(seconds(bad), None, "{bad}");
        }
    }

    #[test]
    fn known_dates() {
        assert_eq!(Date::from_unix(0).ctime(), "Thu Jan  1 00:00:00 1970");
        assert_eq!(Date::from_unix(951_827_696).ctime(), "Tue Feb 29 12:34:56 2000");
        assert_eq!(Date::from_unix(4_107_542_399).ctime(), "Sun Feb 28 23:59:59 2100");
        assert_eq!(Date::from_unix(-1).ctime(), "Wed Dec 31 23:59:59 1969");
    }
}
