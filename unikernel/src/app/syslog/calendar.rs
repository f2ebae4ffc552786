//! Seconds since 1970 as date and time.

use core::fmt;

/// A moment in UTC, without leap seconds, as POSIX has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Utc {
    /// The year, of four digits.
    pub year: u32,
    /// From 1.
    pub month: u8,
    /// Of the month, from 1.
    pub day: u8,
    /// From 0.
    pub hour: u8,
    /// From 0.
    pub minute: u8,
    /// From 0 to 59.
    pub second: u8,
    /// Microseconds of the second.
    pub micros: u32,
}

const DAY_S: u64 = 86_400;
/// Years of the calendar repeat after 400, which have so many days.
const CYCLE_DAYS: u64 = 146_097;
/// From the first of March of the year 0 to 1970.
const BEFORE_1970_DAYS: u64 = 719_468;

impl Utc {
    /// The moment so many microseconds after 1970 began; `None` after the year 9999.
    #[must_use]
    pub fn of(unix_us: u64) -> Option<Self> {
        let (seconds, micros) = (unix_us / 1_000_000, unix_us % 1_000_000);
        let (days, second) = (seconds / DAY_S + BEFORE_1970_DAYS, seconds % DAY_S);
        // Years begin in March here, so that the day that not every year has is the last.
        let (cycle, day) = (days / CYCLE_DAYS, days % CYCLE_DAYS);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        // Five months from March on have 153 days, and so have the next five.
        let month = (5 * day + 2) / 153;
        let day = day - (153 * month + 2) / 5 + 1;
        let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
        let year = cycle * 400 + year + later;
        let small = |value: u64| u8::try_from(value).ok();
        Some(Self {
            year: u32::try_from(year).ok().filter(|year| *year <= 9999)?,
            month: small(month)?,
            day: small(day)?,
            hour: small(second / 3600)?,
            minute: small(second / 60 % 60)?,
            second: small(second % 60)?,
            micros: u32::try_from(micros).ok()?,
        })
    }
}

/// Spec: RFC 3339, 5.6 "Internet Date/Time Format".
impl fmt::Display for Utc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { year, month, day, hour, minute, second, micros } = self;
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_of_four_centuries_follows_the_one_before() {
        let (mut year, mut month, mut day) = (1970, 1, 1);
        for days in 0..CYCLE_DAYS {
            let utc = Utc::of(days * DAY_S * 1_000_000).unwrap();
            assert_eq!((utc.year, utc.month, utc.day), (year, month, day), "{days}");
            let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let last = match month {
                2 => 28 + u8::from(is_leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            day += 1;
            if day > last {
                (month, day) = (month + 1, 1);
            }
            if month > 12 {
                (year, month) = (year + 1, 1);
            }
        }
        assert_eq!((year, month, day), (2370, 1, 1));
    }

    #[test]
    fn times_of_a_day() {
        let utc = Utc::of(1_796_054_700_123_456).unwrap();
        let time = (utc.hour, utc.minute, utc.second, utc.micros);
        assert_eq!((utc.year, utc.month, utc.day, time), (2026, 11, 30, (16, 5, 0, 123_456)));
        let last = Utc::of(DAY_S * 1_000_000 - 1).unwrap();
        assert_eq!((last.day, last.hour, last.minute, last.second, last.micros), (1, 23, 59, 59, 999_999));
        let end = 253_402_300_800_000_000;
        assert!(Utc::of(end - 1).is_some_and(|utc| (utc.year, utc.month, utc.day) == (9999, 12, 31)));
        assert_eq!((Utc::of(end), Utc::of(u64::MAX)), (None, None));
    }
}
