//! Whose turn it is to keep bans: one daemon's at a time, also while one takes over from another.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether it is ours; shared by the keeper and by whoever hands over.
#[derive(Clone, Debug)]
pub struct Turn(Arc<Mutex<bool>>);

impl Turn {
    /// Ours, or another daemon's.
    pub fn new(ours: bool) -> Self {
        Self(Arc::new(Mutex::new(ours)))
    }

    /// Ours from here on.
    pub fn take(&self) {
        *self.hold() = true;
    }

    /// Another daemon's from here on: once this returns, ours neither reads nor writes anything.
    pub fn give(&self) {
        *self.hold() = false;
    }

    /// Whether it is ours, which cannot change while the answer is held.
    pub(super) fn hold(&self) -> MutexGuard<'_, bool> {
        // Nothing under this lock can leave it half changed.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
