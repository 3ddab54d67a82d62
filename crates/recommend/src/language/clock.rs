//! A date and a time of day for chat templates, written as C's `strftime` does.

use std::fmt::Write as _;

const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// A moment in the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockTime {
    year: i64,
    /// From 0.
    month: usize,
    day: i64,
    /// Day of the year, from 1.
    year_day: i64,
    /// From Sunday.
    week_day: usize,
    hour: i64,
    minute: i64,
    second: i64,
}

impl ClockTime {
    /// The moment so many seconds after the beginning of 1970; what is past the year 9999 is its end.
    pub(super) fn of(seconds: u64) -> Self {
        let seconds = seconds.min(253_402_300_799) as i64;
        let (days, rest) = (seconds / 86_400, seconds % 86_400);
        let leap = |year: i64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let (mut year, mut left) = (1970, days);
        while left >= 365 + i64::from(leap(year)) {
            left -= 365 + i64::from(leap(year));
            year += 1;
        }
        let year_day = left + 1;
        let lengths = [31, 28 + i64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let mut month = 0;
        while left >= lengths[month] {
            left -= lengths[month];
            month += 1;
        }
        let week_day = ((days + 4) % 7) as usize;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self { year, month, day: left + 1, year_day, week_day, hour, minute, second }
    }

    /// The moment in a format; the directive that is unknown, if one is.
    pub(super) fn format(&self, format: &str) -> Result<String, String> {
        let mut out = String::with_capacity(format.len() + 16);
        let mut rest = format.chars();
        while let Some(c) = rest.next() {
            if c != '%' {
                out.push(c);
                continue;
            }
            let mut directive = rest.next();
            // No leading zero, as glibc has it.
            let bare = directive == Some('-');
            if bare {
                directive = rest.next();
            }
            let twelve = (self.hour + 11) % 12 + 1;
            let number = match directive {
                Some('d') => (self.day, 2),
                Some('m') => (self.month as i64 + 1, 2),
                Some('y') => (self.year % 100, 2),
                Some('H') => (self.hour, 2),
                Some('I') => (twelve, 2),
                Some('M') => (self.minute, 2),
                Some('S') => (self.second, 2),
                Some('j') => (self.year_day, 3),
                Some('Y') => (self.year, 1),
                other => {
                    out.push_str(&self.words(other)?);
                    continue;
                }
            };
            let width = if bare { 1 } else { number.1 };
            let _ = write!(out, "{:0width$}", number.0);
        }
        Ok(out)
    }

    fn words(&self, directive: Option<char>) -> Result<String, String> {
        let (month, day) = (MONTHS[self.month], DAYS[self.week_day]);
        Ok(match directive {
            Some('B') => month.into(),
            Some('b' | 'h') => month[..3].into(),
            Some('A') => day.into(),
            Some('a') => day[..3].into(),
            Some('p') => if self.hour < 12 { "AM" } else { "PM" }.into(),
            Some('F') => self.format("%Y-%m-%d")?,
            Some('T') => self.format("%H:%M:%S")?,
            Some('%') => "%".into(),
            Some(other) => return Err(format!("%{other}")),
            None => return Err("%".into()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::ClockTime;

    #[test]
    fn moments_are_those_of_the_calendar() {
        // As `date -u -d @N` says.
        let leap_day = ClockTime::of(1_709_210_096);
        assert_eq!(leap_day.format("%d %B %Y, %A %H:%M:%S %j"), Ok("29 February 2024, Thursday 12:34:56 060".into()));
        assert_eq!(ClockTime::of(0).format("%a %-d %b %y %I %p %F"), Ok("Thu 1 Jan 70 12 AM 1970-01-01".into()));
        assert_eq!(ClockTime::of(1_704_067_199).format("%F %T %%"), Ok("2023-12-31 23:59:59 %".into()));
        assert_eq!(ClockTime::of(u64::MAX).format("%Y"), Ok("9999".into()));
        assert_eq!(leap_day.format("%Q"), Err("%Q".into()));
        assert_eq!(leap_day.format("100%"), Err("%".into()));
    }
}
