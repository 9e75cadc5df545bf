//! The clock of the benchmark, and waiting.

use std::time::{Duration, Instant, SystemTime};

/// The only reader of the clock here.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock of the benchmark")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Microseconds since 1970, for processes that compare notes.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock of the benchmark")]
pub(crate) fn unix_microseconds() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.ok().and_then(|since| u64::try_from(since.as_micros()).ok()).unwrap_or_default()
}

/// Sleeps.
pub(crate) fn pause(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// The date of today, UTC.
pub(crate) fn today() -> String {
    date(unix_microseconds() / 1_000_000)
}

fn date(seconds: u64) -> String {
    // Days are counted from 1 March of year 0, so that leap days come last in a year; see
    // "chrono-Compatible Low-Level Date Algorithms", H. Hinnant.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year + year / 4 - year / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_civil() {
        let table = [
            (0, "1970-01-01"),
            (951_782_399, "2000-02-28"),
            (951_782_400, "2000-02-29"),
            (1_767_225_599, "2025-12-31"),
        ];
        for (seconds, expected) in table {
            assert_eq!(super::date(seconds), expected);
        }
    }
}
