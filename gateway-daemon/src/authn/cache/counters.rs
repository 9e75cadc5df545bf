//! What a worker's token cache did so far and holds now: numbers with one writer, the worker, that
//! observers read from another thread.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// The numbers of one worker's cache. Cheap to clone; clones show the same numbers.
#[derive(Clone, Debug, Default)]
pub struct CacheCounters {
    pub(super) misses: Arc<Number>,
    pub(super) accepted: Arc<StoreCounters>,
    pub(super) refused: Arc<StoreCounters>,
}

/// What a cache did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct CacheStats {
    /// Tokens that were not known.
    pub misses: u64,
    /// Of tokens with a good signature.
    pub accepted: StoreStats,
    /// Of all others.
    pub refused: StoreStats,
}

/// What one store of a cache did so far, and holds now.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct StoreStats {
    /// Tokens found.
    pub hits: u64,
    /// Entries dropped for want of room.
    pub evictions: u64,
    /// Entries now.
    pub entries: u64,
    /// Bytes they take, as accounted.
    pub bytes: u64,
}

impl CacheCounters {
    /// The numbers now; those of one instant only where the worker rests.
    pub fn read(&self) -> CacheStats {
        CacheStats {
            misses: self.misses.get(),
            accepted: self.accepted.read(),
            refused: self.refused.read(),
        }
    }
}

/// The numbers of one store; a cache line of their own, so that workers do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct StoreCounters {
    pub(super) hits: Number,
    pub(super) evictions: Number,
    pub(super) entries: Number,
    pub(super) bytes: Number,
}

impl StoreCounters {
    fn read(&self) -> StoreStats {
        StoreStats {
            hits: self.hits.get(),
            evictions: self.evictions.get(),
            entries: self.entries.get(),
            bytes: self.bytes.get(),
        }
    }
}

/// A number that one thread writes: a plain load, add and store.
#[derive(Debug, Default)]
pub(super) struct Number(AtomicU64);

impl Number {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }

    pub(super) fn add(&self, amount: u64) {
        self.0.store(self.get().wrapping_add(amount), Relaxed);
    }

    pub(super) fn subtract(&self, amount: u64) {
        self.0.store(self.get().wrapping_sub(amount), Relaxed);
    }
}
