//! A worker's memory of tokens: what is known of a token for as long as its rules stay the same.
//!
//! Two things keep it from lying. Tokens are compared whole, and an entry belongs to one compiled
//! [`Authenticator`](super::Authenticator): after any reload no entry of before can be found. Time
//! and audience are not remembered but checked at every use, so an entry cannot outlive its token.
//!
//! Tokens with a good signature and all others live in separate stores: a flood of bad ones costs
//! good ones nothing, and each bad one costs one signature check while it is remembered.

mod counters;

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

use http::{HeaderName, HeaderValue};

pub use self::counters::{CacheCounters, CacheStats, StoreStats};

use self::counters::StoreCounters;
use super::claims::Jwt;
use super::failure::Failure;
use crate::clock::UnixSeconds;
use crate::model::identity::Identity;

/// The most that a rule may let a clock be off, in seconds: a token is of no use to any rule after
/// that.
const MOST_SKEW: u64 = 3600;

/// How much a cache may hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CacheLimits {
    /// Tokens with a good signature; rounded up to a power of two, at least 8.
    pub accepted: usize,
    /// Other tokens; likewise.
    pub refused: usize,
    /// Bytes that tokens with a good signature may take.
    pub accepted_bytes: usize,
    /// Bytes that other tokens may take.
    pub refused_bytes: usize,
}

impl CacheLimits {
    /// Hardly anything, for whoever asks about a token once.
    pub const LEAST: Self =
        Self { accepted: 0, refused: 0, accepted_bytes: 1 << 20, refused_bytes: 1 << 20 };
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self { accepted: 4096, refused: 1024, accepted_bytes: 32 << 20, refused_bytes: 4 << 20 }
    }
}

/// A worker's known tokens.
pub struct TokenCache {
    accepted: Store,
    refused: Store,
    hasher: RandomState,
    counters: CacheCounters,
}

/// What an accepted token gives a request.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) identity: Arc<Identity>,
    /// Headers for the upstream.
    pub(super) headers: Vec<(HeaderName, HeaderValue)>,
}

/// What is known of one token, whatever the time.
pub(super) struct Known {
    pub(super) jwt: Result<Jwt, Failure>,
    /// Signature verdicts by position of the rule.
    verdicts: Vec<(usize, Result<Arc<Accepted>, Failure>)>,
}

impl Known {
    fn parse(token: &[u8]) -> Self {
        Self { jwt: Jwt::parse(token), verdicts: Vec::new() }
    }

    /// The verdict of a rule about the signature, if it was asked for before.
    pub(super) fn verdict(&self, rule: usize) -> Option<Result<Arc<Accepted>, Failure>> {
        self.verdicts.iter().find(|(known, _)| *known == rule).map(|(_, verdict)| verdict.clone())
    }

    /// Remembers a verdict.
    pub(super) fn remember(&mut self, rule: usize, verdict: Result<Arc<Accepted>, Failure>) {
        self.verdicts.push((rule, verdict));
    }

    fn is_accepted(&self) -> bool {
        self.verdicts.iter().any(|(_, verdict)| verdict.is_ok())
    }

    fn is_expired(&self, now: UnixSeconds) -> bool {
        self.jwt.as_ref().is_ok_and(|jwt| jwt.is_expired(now, MOST_SKEW))
    }

    fn bytes(&self) -> usize {
        let claims = self.jwt.as_ref().map_or(0, |jwt| jwt.claims.bytes());
        let headers = self.verdicts.iter().filter_map(|(_, verdict)| verdict.as_ref().ok());
        let headers = headers.flat_map(|accepted| &accepted.headers);
        claims
            + headers
                .map(|(_, value)| value.len() + size_of::<(HeaderName, HeaderValue)>())
                .sum::<usize>()
    }
}

impl Default for TokenCache {
    fn default() -> Self {
        Self::new(CacheLimits::default())
    }
}

impl TokenCache {
    /// An empty cache.
    pub fn new(limits: CacheLimits) -> Self {
        Self::counted(limits, CacheCounters::default())
    }

    /// An empty cache that shows what it does in `counters`, which are its own.
    pub fn counted(limits: CacheLimits, counters: CacheCounters) -> Self {
        let store = |entries, bytes, counters: &Arc<_>| Store::new(entries, bytes, counters);
        Self {
            accepted: store(limits.accepted, limits.accepted_bytes, &counters.accepted),
            refused: store(limits.refused, limits.refused_bytes, &counters.refused),
            hasher: RandomState::new(),
            counters,
        }
    }

    /// What it did so far, and holds now.
    pub fn stats(&self) -> CacheStats {
        self.counters.read()
    }

    /// Lets `judge` look at what is known of a token, or at what can be read off it, and keeps
    /// what it adds. `owner` is the authenticator the token was shown to.
    pub(super) fn judge<R>(
        &mut self,
        owner: u64,
        token: &[u8],
        now: UnixSeconds,
        judge: impl FnOnce(&mut Known) -> R,
    ) -> R {
        let key = Key { hash: self.hash(owner, token), owner, token };
        if let Some((group, known)) = self.accepted.find(&key) {
            let (verdict, expired) = (judge(known), known.is_expired(now));
            if expired {
                self.accepted.take(group, 0);
            }
            return verdict;
        }
        let refused = self.refused.find(&key).map(|(group, _)| group);
        let refused = refused.and_then(|group| self.refused.take(group, 0));
        let mut known = if let Some(known) = refused {
            known
        } else {
            self.counters.misses.add(1);
            Known::parse(token)
        };
        let verdict = judge(&mut known);
        let store = if known.is_accepted() { &mut self.accepted } else { &mut self.refused };
        store.put(&key, known);
        verdict
    }

    /// Hashes the end of the token, where the signature is: tokens that share it share groups, which
    /// costs their holders a signature check and nobody a wrong answer.
    fn hash(&self, owner: u64, token: &[u8]) -> u64 {
        const END: usize = 64;
        let mut hasher = self.hasher.build_hasher();
        hasher.write_u64(owner);
        hasher.write_usize(token.len());
        hasher.write(&token[token.len().saturating_sub(END)..]);
        hasher.finish()
    }
}

/// A token and whom it was shown to.
struct Key<'t> {
    hash: u64,
    owner: u64,
    token: &'t [u8],
}

/// Places of a group.
const WAYS: usize = 8;
/// No entry may take more than this part of the bytes.
const PARTS: u64 = 4;

/// A bounded store: places in groups, the last used first in its group. A token has two groups to
/// be in, and is put where more is free; with one, a store that is half empty would already have full
/// groups, whose tokens push each other out.
struct Store {
    groups: Vec<Group>,
    budget: u64,
    counters: Arc<StoreCounters>,
    /// Where to look next for something to drop when bytes run out.
    hand: usize,
}

type Group = [Place; WAYS];

/// A place, and the hash of what is in it: who looks for something else need not follow the pointer.
#[derive(Default)]
struct Place {
    hash: u64,
    slot: Option<Box<Slot>>,
}

struct Slot {
    owner: u64,
    token: Box<[u8]>,
    known: Known,
    bytes: u64,
}

impl Place {
    fn holds(&self, key: &Key<'_>) -> bool {
        self.hash == key.hash
            && self
                .slot
                .as_ref()
                .is_some_and(|slot| slot.owner == key.owner && *slot.token == *key.token)
    }
}

impl Store {
    fn new(entries: usize, budget: usize, counters: &Arc<StoreCounters>) -> Self {
        let groups = entries.max(WAYS).next_power_of_two() / WAYS;
        let groups = std::iter::repeat_with(Group::default).take(groups).collect();
        Self { groups, budget: budget as u64, counters: Arc::clone(counters), hand: 0 }
    }

    /// The two groups of a hash; one and the same where there is no other.
    fn choices(&self, hash: u64) -> [usize; 2] {
        // A power of two, so that an odd number leads to another group.
        let mask = self.groups.len() as u64 - 1;
        [hash, hash ^ (hash >> 32 | 1)].map(|hash| usize::try_from(hash & mask).unwrap_or_default())
    }

    /// Finds a token and makes it the last used of its group, which is given with it.
    fn find(&mut self, key: &Key<'_>) -> Option<(usize, &mut Known)> {
        let found = |group: usize| {
            Some((group, self.groups[group].iter().position(|place| place.holds(key))?))
        };
        let (group, at) = self.choices(key.hash).into_iter().find_map(found)?;
        self.counters.hits.add(1);
        let places = &mut self.groups[group];
        places[..=at].rotate_right(1);
        places[0].slot.as_mut().map(|slot| (group, &mut slot.known))
    }

    /// Empties a place; the first one has what its group used last.
    fn take(&mut self, group: usize, at: usize) -> Option<Known> {
        let slot = self.groups[group][at].slot.take()?;
        self.counters.bytes.subtract(slot.bytes);
        self.counters.entries.subtract(1);
        Some(slot.known)
    }

    /// Adds a token that is not there, in place of the least used of a group if both are full.
    fn put(&mut self, key: &Key<'_>, known: Known) {
        let bytes = (size_of::<Slot>() + key.token.len() + known.bytes()) as u64;
        if bytes > self.budget / PARTS {
            return;
        }
        let [first, second] = self.choices(key.hash);
        let group = if self.free(second) > self.free(first) { second } else { first };
        let empty = self.groups[group].iter().position(|place| place.slot.is_none());
        let at = empty.unwrap_or(WAYS - 1);
        self.evict(group, at);
        while self.counters.bytes.get() + bytes > self.budget {
            self.hand = (self.hand + 1) % (self.groups.len() * WAYS);
            self.evict(self.hand / WAYS, self.hand % WAYS);
        }
        let slot = Slot { owner: key.owner, token: key.token.into(), known, bytes };
        self.groups[group][at] = Place { hash: key.hash, slot: Some(Box::new(slot)) };
        self.groups[group][..=at].rotate_right(1);
        self.counters.bytes.add(bytes);
        self.counters.entries.add(1);
    }

    /// Empty places of a group.
    fn free(&self, group: usize) -> usize {
        self.groups[group].iter().filter(|place| place.slot.is_none()).count()
    }

    /// Empties a place for want of room.
    fn evict(&mut self, group: usize, at: usize) {
        let evicted = self.take(group, at).is_some();
        self.counters.evictions.add(u64::from(evicted));
    }
}
