//! Waiting for something to become true; never for a time to pass.
#![expect(clippy::disallowed_methods, reason = "tests have no clock.rs")]

use std::time::{Duration, Instant};

/// Longest wait for anything before a test gives up.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Asks again until there is a value; none once patience has run out.
pub fn until<T>(mut check: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = check() {
            return Some(value);
        }
        if Instant::now() > end {
            return None;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}
