//! Clients behind trusted proxies that are banned. Their packets come from the proxy, so that nothing
//! can be dropped: workers refuse their requests, as this table says.
//!
//! One thread writes it, the keeper's, and workers read it without a lock: a source stands in one of a
//! few places, and its end is the last thing that is written there.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};

use gateway_common::bans::{Ban, BanReason};

use super::{Suspects, Traffic};
use crate::clock;
use crate::model::ban::Source;

/// Places that a source may stand in.
const WAYS: usize = 8;
/// Places for each ban that there may be.
const ROOM: usize = 2;
const REASONS: usize = BanReason::ALL.len();

/// Banned clients, and what observers are shown of them. Counted since the daemon started.
#[derive(Debug, Default)]
pub struct Clients {
    /// Made for the first ban.
    places: OnceLock<Box<[Place]>>,
    /// Secret, so that no stranger can fill another's places.
    hasher: RandomState,
    enforced: AtomicBool,
    suspended: AtomicBool,
    active: AtomicU64,
    bans: [AtomicU64; REASONS],
    seen: AtomicU64,
    audited: AtomicU64,
    refused: AtomicU64,
    /// Which clients may have strikes.
    pub(super) suspects: std::sync::Arc<Suspects>,
}

#[derive(Debug, Default)]
struct Place {
    source: AtomicU64,
    /// The end, with the family in its lowest bit. 0: free.
    expires: AtomicU64,
    since: AtomicU64,
    /// Strikes, then the reason.
    why: AtomicU64,
    requests: AtomicU64,
}

/// An address as 64 bits, and whether it is IPv6.
fn bits(source: Source) -> (u64, u64) {
    match source {
        Source::V4(address) => (u64::from(address.to_bits()), 0),
        Source::V6(prefix) => (u64::from_be_bytes(prefix), 1),
    }
}

impl Place {
    /// Whether it is of this source, and when that ends.
    fn of(&self, (bits, family): (u64, u64)) -> Option<u64> {
        let expires = self.expires.load(Acquire);
        let same = expires & 1 == family && self.source.load(Acquire) == bits;
        // The place may have been given to another meanwhile.
        (same && expires != 0 && self.expires.load(Acquire) == expires).then_some(expires)
    }
}

impl Clients {
    /// Whether requests of this client are to be refused; counts what it is asked.
    pub(super) fn refuses(&self, client: impl FnOnce() -> Source) -> bool {
        self.seen.fetch_add(1, Relaxed);
        if self.places.get().is_none() {
            return false;
        }
        let client = client();
        let Some((place, expires)) = self.find(client) else { return false };
        if expires <= clock::since_boot() {
            return false;
        }
        place.requests.fetch_add(1, Relaxed);
        let refused = self.enforced.load(Relaxed);
        let counter = if refused { &self.refused } else { &self.audited };
        counter.fetch_add(1, Relaxed);
        refused
    }

    /// Says what is done about banned clients.
    pub(super) fn set_enforced(&self, enforced: bool, suspended: bool) {
        self.enforced.store(enforced && !suspended, Relaxed);
        self.suspended.store(suspended, Relaxed);
    }

    /// Bans a client, where there is room. The keeper is the only one to call this.
    pub(super) fn insert(&self, source: Source, ban: Ban, most: u32) -> bool {
        let places = self.places.get_or_init(|| {
            let buckets = (most as usize * ROOM).div_ceil(WAYS).max(1);
            (0..buckets * WAYS).map(|_| Place::default()).collect()
        });
        let key = bits(source);
        let bucket = self.bucket(places, source);
        let same = bucket.iter().find(|place| place.of(key).is_some());
        let over = |place: &&Place| place.expires.load(Relaxed) <= ban.since;
        let Some(place) = same.or_else(|| bucket.iter().find(over)) else { return false };
        place.expires.store(0, Release);
        place.source.store(key.0, Release);
        place.since.store(ban.since, Relaxed);
        place.why.store(u64::from(ban.strikes) << 32 | u64::from(ban.reason), Relaxed);
        place.requests.store(0, Relaxed);
        place.expires.store(ban.expires & !1 | key.1, Release);
        if let Some(reason) = BanReason::of(ban.reason) {
            self.bans[reason as usize].fetch_add(1, Relaxed);
        }
        true
    }

    /// Bans in force at a moment, by source; `packets` are requests that they met.
    pub fn list(&self, now: u64) -> Vec<(Source, Ban)> {
        let places = self.places.get().map(|places| &**places).unwrap_or_default();
        let mut all: Vec<_> = places.iter().filter_map(|place| place.ban(now)).collect();
        all.sort_unstable_by_key(|(source, _)| *source);
        all
    }

    fn find(&self, source: Source) -> Option<(&Place, u64)> {
        let places = self.places.get()?;
        let mut bucket = self.bucket(places, source).iter();
        bucket.find_map(|place| Some((place, place.of(bits(source))?)))
    }

    fn bucket<'p>(&self, places: &'p [Place], source: Source) -> &'p [Place] {
        let buckets = (places.len() / WAYS) as u64;
        let at = self.hasher.hash_one(source).checked_rem(buckets).unwrap_or_default();
        let start = usize::try_from(at).unwrap_or_default() * WAYS;
        places.get(start..start + WAYS).unwrap_or_default()
    }

    /// Requests that came by way of trusted proxies, and those of banned clients among them.
    pub(super) fn traffic(&self) -> Traffic {
        let banned = self.audited() + self.refused();
        Traffic { seen: self.seen.load(Relaxed), banned }
    }

    pub(super) fn set_active(&self, active: usize) {
        self.active.store(active as u64, Relaxed);
    }

    /// Bans in force.
    pub fn active(&self) -> u64 {
        self.active.load(Relaxed)
    }

    /// Bans made for a reason.
    pub fn bans(&self, reason: BanReason) -> u64 {
        self.bans[reason as usize].load(Relaxed)
    }

    /// Requests of banned clients that were answered.
    pub fn audited(&self) -> u64 {
        self.audited.load(Relaxed)
    }

    /// Requests of banned clients that were refused.
    pub fn refused(&self) -> u64 {
        self.refused.load(Relaxed)
    }

    /// Whether enforcing is suspended.
    pub fn is_suspended(&self) -> bool {
        self.suspended.load(Relaxed)
    }
}

impl Place {
    fn ban(&self, now: u64) -> Option<(Source, Ban)> {
        let expires = self.expires.load(Acquire);
        let (bits, why) = (self.source.load(Acquire), self.why.load(Relaxed));
        let (since, packets) = (self.since.load(Relaxed), self.requests.load(Relaxed));
        if expires <= now || self.expires.load(Acquire) != expires {
            return None;
        }
        let source = if expires & 1 == 0 {
            Source::V4(u32::try_from(bits).ok()?.into())
        } else {
            Source::V6(bits.to_be_bytes())
        };
        let strikes = u32::try_from(why >> 32).ok()?;
        let reason = u32::try_from(why & u64::from(u32::MAX)).ok()?;
        Some((source, Ban { expires, since, packets, strikes, reason }))
    }
}
