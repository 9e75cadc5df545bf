//! The one reader of time.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Seconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct UnixSeconds(pub u64);

/// The wall clock, as the kernel moves it at every tick (1 to 10 ms): for what counts seconds, at a
/// fraction of the price.
pub fn unix_now() -> UnixSeconds {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
    UnixSeconds(u64::try_from(now.tv_sec).unwrap_or(0))
}

/// Time since the Unix epoch, for logs.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
pub fn since_epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Nanoseconds since boot, suspended time included (`CLOCK_BOOTTIME`): the clock of the programs.
pub fn since_boot() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Neither is negative, and 500 years fit.
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}

/// A moment on the coarse monotonic clock, which the kernel moves at every tick (1 to 10 ms): for
/// deadlines of seconds, at a third of the price.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Moment(Duration);

impl Moment {
    /// Now.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
        // Neither is negative, and nanoseconds are below a second.
        let nanoseconds = u32::try_from(now.tv_nsec).unwrap_or(0);
        Self(Duration::new(now.tv_sec.cast_unsigned(), nanoseconds))
    }

    /// Time until `self`, which may have passed.
    pub fn after(self, now: Self) -> Duration {
        self.0.saturating_sub(now.0)
    }
}

impl std::ops::Add<Duration> for Moment {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// The monotonic clock, for durations.
#[expect(clippy::disallowed_methods, reason = "this file owns the clock")]
pub fn monotonic() -> Instant {
    Instant::now()
}
