//! Durations: protobuf's JSON form (`1.5s`) and what Go adds to it (`1m30s`, `500ms`).

use std::time::Duration;

/// Reads a duration; none if the text is none, or too long to be meant.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = 0.0;
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..unit_at].parse().ok()?;
        let (unit, seconds) = UNITS.iter().find(|(unit, _)| rest[unit_at..].starts_with(unit))?;
        sum += number * seconds;
        rest = &rest[unit_at + unit.len()..];
    }
    let whole = Duration::try_from_secs_f64(sum).ok()?;
    (!text.is_empty() && whole <= LONGEST).then_some(whole)
}

/// `ms` before `m`.
const UNITS: [(&str, f64); 6] =
    [("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9), ("h", 3600.0), ("m", 60.0), ("s", 1.0)];

const LONGEST: Duration = Duration::from_hours(24 * 365);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_read() {
        for (text, milliseconds) in [
            ("5s", Some(5000)),
            ("1.5s", Some(1500)),
            ("1m30s", Some(90_000)),
            ("500ms", Some(500)),
            ("2h", Some(7_200_000)),
            ("0s", Some(0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1..5s", None),
            ("5 s", None),
            ("1y", None),
            ("99999999h", None),
        ] {
            let expected = milliseconds.map(Duration::from_millis);
            assert_eq!(duration(text), expected, "{text:?}");
        }
    }
}
