//! The one reader of time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(pub u64);

/// The wall clock.
pub fn unix_now() -> UnixSeconds {
    UnixSeconds(since_epoch().as_secs())
}

/// Time since the Unix epoch, for logs.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// The monotonic clock, for durations.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}
