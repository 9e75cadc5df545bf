//! What observers are shown of bans. Counted since the daemon started, but for
//! what the programs count.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};

use gateway_common::bans::{BanMode, BanReason};

use super::Clients;

const REASONS: usize = BanReason::ALL.len();

/// What observers are shown.
#[derive(Debug)]
pub struct Status {
    mode: BanMode,
    strikes: [AtomicU64; REASONS],
    bans: [AtomicU64; REASONS],
    /// Sources whose strikes a good token cancelled.
    pub forgiven: Counter,
    /// News that found the keeper's queue full.
    pub lost: Counter,
    /// Sources that were not banned because they are the node's own.
    pub own: Counter,
    /// Sources that were not banned, or got no strike, for want of room.
    pub full: Counter,
    /// Times that a source was given the larger budget of connections, or had it prolonged.
    pub earned: Counter,
    /// Events of the programs that found no room in the ring buffer, since its map was made.
    pub events_lost: Counter,
    /// Bans of clients behind trusted proxies.
    pub clients: Clients,
    active: AtomicU64,
    suspended: AtomicBool,
}

/// A number that grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more.
    pub(super) fn add(&self) {
        self.0.fetch_add(1, Relaxed);
    }

    /// As somebody else counted.
    pub(super) fn set(&self, number: u64) {
        self.0.store(number, Relaxed);
    }

    /// So far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Status {
    /// Nothing has happened yet.
    pub fn new(mode: BanMode) -> Self {
        Self {
            mode,
            strikes: Default::default(),
            bans: Default::default(),
            forgiven: Counter::default(),
            lost: Counter::default(),
            own: Counter::default(),
            full: Counter::default(),
            earned: Counter::default(),
            events_lost: Counter::default(),
            clients: Clients::default(),
            active: AtomicU64::new(0),
            suspended: AtomicBool::new(false),
        }
    }

    /// What the operator asked for.
    pub fn mode(&self) -> BanMode {
        self.mode
    }

    /// Strikes for a reason.
    pub fn strikes(&self, reason: BanReason) -> u64 {
        self.strikes[reason as usize].load(Relaxed)
    }

    /// Bans made for a reason.
    pub fn bans(&self, reason: BanReason) -> u64 {
        self.bans[reason as usize].load(Relaxed)
    }

    /// Bans in force, those of operators included.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Whether enforcing is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Relaxed)
    }

    pub(super) fn struck(&self, reason: BanReason) {
        self.strikes[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn banned(&self, reason: BanReason) {
        self.bans[reason as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn set_active(&self, active: usize) {
        self.active.store(active as u64, Relaxed);
    }

    pub(super) fn set_suspended(&self, suspended: bool) {
        self.suspended.store(suspended, Relaxed);
    }
}
