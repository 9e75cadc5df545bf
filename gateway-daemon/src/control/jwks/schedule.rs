//! When to fetch next. Pure: times are arguments.

use std::time::Duration;

use http::HeaderMap;
use http::header::{AGE, CACHE_CONTROL};

use crate::model::keys::FetchOptions;

/// Where the issuer says nothing: Istio's default.
const USUAL: Duration = Duration::from_mins(20);
/// After the first failure; doubled with each further one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between two tries.
const LAST_RETRY: Duration = Duration::from_mins(1);

/// How long an answer is fresh by its own words (RFC 9111 4.2.1): `max-age` less `Age`; zero where
/// it must not be kept; none where nothing is said.
pub(super) fn freshness(headers: &HeaderMap) -> Option<Duration> {
    let values = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok());
    let mut fresh: Option<u64> = None;
    for directive in values.flat_map(|value| value.split(',')) {
        let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
        match name.trim().to_ascii_lowercase().as_str() {
            "no-store" | "no-cache" => return Some(Duration::ZERO),
            "max-age" => {
                let value = value.trim().trim_matches('"');
                let seconds = value.parse().unwrap_or(0);
                fresh = Some(fresh.map_or(seconds, |other| other.min(seconds)));
            }
            _ => {}
        }
    }
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    fresh.map(|seconds| Duration::from_secs(seconds.saturating_sub(age.unwrap_or(0))))
}

/// The pause after a good fetch.
pub(super) fn after_success(fresh: Option<Duration>, options: &FetchOptions) -> Duration {
    fresh.unwrap_or(USUAL).min(options.ceiling).max(options.floor)
}

/// The pause after a number of failures in a row, at least one.
pub(super) fn after_failure(failures: u32, options: &FetchOptions) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    FIRST_RETRY.saturating_mul(1 << doublings).min(LAST_RETRY).min(options.ceiling)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn cache_control_is_read() {
        for (lines, age, expected) in [
            (&["max-age=300"][..], None, Some(300)),
            (&["public, max-age=300, must-revalidate"], Some("100"), Some(200)),
            (&["max-age=300"], Some("400"), Some(0)),
            (&["max-age=300", "max-age=60"], None, Some(60)),
            (&["Max-Age=\"30\""], None, Some(30)),
            (&["max-age=soon"], None, Some(0)),
            (&["max-age=300, no-cache"], None, Some(0)),
            (&["no-store"], None, Some(0)),
            (&["public"], None, None),
            (&[], Some("3"), None),
        ] {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
            }
            if let Some(age) = age {
                headers.insert(AGE, HeaderValue::from_static(age));
            }
            assert_eq!(freshness(&headers), expected.map(Duration::from_secs), "{lines:?}");
        }
    }

    #[test]
    fn freshness_stays_between_floor_and_ceiling() {
        let options = FetchOptions::default();
        let pause = |seconds| after_success(Some(Duration::from_secs(seconds)), &options);
        assert_eq!(pause(0), options.floor);
        assert_eq!(pause(300), Duration::from_mins(5));
        assert_eq!(pause(u64::MAX), options.ceiling);
        assert_eq!(after_success(None, &options), USUAL);
    }

    #[test]
    fn failures_slow_down() {
        let mut options = FetchOptions::default();
        let seconds: Vec<u64> = (1..9).map(|n| after_failure(n, &options).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(after_failure(u32::MAX, &options), LAST_RETRY);
        options.ceiling = Duration::from_secs(3);
        assert_eq!(after_failure(5, &options), options.ceiling);
    }
}
