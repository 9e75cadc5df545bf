//! Who may have strikes: what workers look at before they tell of a good token.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::Relaxed;

use crate::model::ban::Source;

const BUCKETS: usize = 4_096;

/// A counting filter over the sources that have strikes: it may say yes for one that has none,
/// never no for one that has some for long. While nobody has any, asking is one load.
#[derive(Debug)]
pub struct Suspects {
    total: AtomicU32,
    buckets: Box<[AtomicU32]>,
    /// Secret, so that no stranger can aim at another's bucket.
    hasher: RandomState,
    /// Number of the round in which earned trust is told of once; 0: nobody earns any.
    round: AtomicU32,
}

impl Default for Suspects {
    fn default() -> Self {
        Self {
            total: AtomicU32::new(0),
            buckets: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
            hasher: RandomState::new(),
            round: AtomicU32::new(0),
        }
    }
}

impl Suspects {
    /// Whether a source may have strikes.
    pub fn may_hold(&self, source: impl FnOnce() -> Source) -> bool {
        self.total.load(Relaxed) > 0 && self.bucket(source()).load(Relaxed) > 0
    }

    /// A source has strikes now. The table of strikes is the only writer.
    pub(super) fn add(&self, source: Source) {
        self.bucket(source).fetch_add(1, Relaxed);
        self.total.fetch_add(1, Relaxed);
    }

    /// A source that was added has none now.
    pub(super) fn remove(&self, source: Source) {
        self.bucket(source).fetch_sub(1, Relaxed);
        self.total.fetch_sub(1, Relaxed);
    }

    /// Begins the next round: who presents a good token is told of once more.
    pub(super) fn next_round(&self) {
        self.round.fetch_add(1, Relaxed);
    }

    /// The round; 0 if nobody is to be told of.
    pub(super) fn round(&self) -> u32 {
        self.round.load(Relaxed)
    }

    fn bucket(&self, source: Source) -> &AtomicU32 {
        let hash = self.hasher.hash_one(source) % BUCKETS as u64;
        &self.buckets[usize::try_from(hash).unwrap_or_default()]
    }
}
