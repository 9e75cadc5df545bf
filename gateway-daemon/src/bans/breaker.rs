//! Whether bans meet too large a share of the packets: then something is wrong with the bans (a
//! load balancer was banned, say), and enforcing is suspended.

use std::collections::VecDeque;

/// Readings that a share is worked out over, one each second.
const READINGS: usize = 10;
/// Packets below which no share means anything.
const LEAST: u64 = 1_000;

/// Packets to gateway ports that reached XDP, ever.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Traffic {
    /// All.
    pub seen: u64,
    /// Of those, from banned sources, dropped or only counted.
    pub banned: u64,
}

/// Suspends and resumes.
#[derive(Debug)]
pub struct Breaker {
    /// Percent.
    most: u64,
    readings: VecDeque<Traffic>,
}

impl Breaker {
    /// Bans may meet `most` percent of the packets; 100: no cap.
    pub fn new(most: u8) -> Self {
        Self { most: u64::from(most), readings: VecDeque::new() }
    }

    /// Takes the next reading; answers the share of banned packets in percent where it is over the
    /// cap. Whether they were dropped or only counted makes no difference, so that suspending does
    /// not by itself end.
    pub fn read(&mut self, now: Traffic) -> Option<u64> {
        self.readings.push_back(now);
        while self.readings.len() > READINGS + 1 {
            self.readings.pop_front();
        }
        let first = self.readings.front()?;
        let seen = now.seen.saturating_sub(first.seen);
        let banned = now.banned.saturating_sub(first.banned);
        let over = seen >= LEAST && banned * 100 > self.most * seen;
        over.then(|| banned * 100 / seen)
    }
}
