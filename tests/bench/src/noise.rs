//! What else the machine did: CPU time that neither the gateways nor their load used, and time that
//! the host kept back.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::time::{ClockId, clock_gettime};

use crate::clock::now;

/// Ticks in a second, of `/proc/stat`; the same on every architecture.
const TICKS: f64 = 100.0;

/// An instant to measure from.
pub(crate) struct Noise {
    began: Instant,
    busy: f64,
}

impl Noise {
    /// From now on.
    pub(crate) fn begin() -> Result<Self> {
        Ok(Self { began: now(), busy: busy()? - own() })
    }

    /// Cores that went elsewhere since, given what is known to have been used.
    pub(crate) fn end(&self, known: Duration) -> Result<f64> {
        let busy = busy()? - own() - self.busy - known.as_secs_f64();
        Ok((busy / self.began.elapsed().as_secs_f64()).max(0.0))
    }
}

fn busy() -> Result<f64> {
    let text = std::fs::read_to_string("/proc/stat").context("/proc/stat")?;
    busy_seconds(&text).context("/proc/stat has no line for all cores")
}

/// Seconds that all cores together were not idle; those that the host kept back count as busy.
fn busy_seconds(stat: &str) -> Option<f64> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<f64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user, nice, system, (idle, iowait,) irq, softirq, steal
    let [user, nice, system, _, _, irq, softirq, steal, ..] = ticks[..] else { return None };
    Some((user + nice + system + irq + softirq + steal) / TICKS)
}

/// CPU time of this process.
fn own() -> f64 {
    let time = clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map(Duration::from);
    time.unwrap_or_default().as_secs_f64()
}

#[cfg(test)]
mod tests {
    #[test]
    fn idle_time_does_not_count() {
        let stat = "cpu  100 10 50 9999 9999 1 2 37 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n";
        assert_eq!(super::busy_seconds(stat), Some(2.0));
        assert_eq!(super::busy_seconds("cpu0 1"), None);
    }
}
