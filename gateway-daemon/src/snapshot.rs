//! The snapshot: the compiled, immutable whole that the data path decides by.
//!
//! Written by `control/publish.rs`, swapped in one step, read by the data path without a lock.

mod ports;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, Cache};

use crate::authn::Authenticator;
use crate::authz::{Engine, ShadowTally};
use crate::model::ext_authz::Provider;
use crate::model::keys::KeyFeed;
use crate::model::listener::{GatewayIndex, Hostname, ListenerIndex};
use crate::model::object::ObjectRef;
use crate::model::refusal::Refusals;
use crate::model::topology::{Proxies, Topology};
use crate::route::{PathIndex, Table};

pub use self::ports::{Port, Ports};

/// The compiled, immutable whole.
pub struct Snapshot {
    /// Its number; grows by one with every publish.
    pub generation: u64,
    /// Ports by number and address.
    pub ports: Ports,
    /// Gateways, by [`GatewayIndex`].
    pub gateways: Vec<Gateway>,
    /// Routes of all listeners.
    pub routes: Arc<Table>,
    /// Counted paths.
    pub paths: Arc<PathIndex>,
    /// How the keys that are fetched are doing, for observers.
    pub feeds: Vec<Arc<KeyFeed>>,
    /// Who may speak for clients.
    pub proxies: Proxies,
}

impl Snapshot {
    /// The same with other token rules, one per Gateway, as new keys need it. Cheap: the rest is
    /// shared.
    #[must_use]
    pub fn with_authenticators(&self, authenticators: Vec<Authenticator>) -> Self {
        let gateways = self.gateways.iter().zip(authenticators);
        let gateways = gateways.map(|(gateway, authenticator)| Gateway {
            object: gateway.object.clone(),
            authenticator,
            engine: Arc::clone(&gateway.engine),
            refusals: Arc::clone(&gateway.refusals),
            topology: gateway.topology,
        });
        Self {
            generation: self.generation + 1,
            ports: self.ports.clone(),
            gateways: gateways.collect(),
            routes: Arc::clone(&self.routes),
            paths: Arc::clone(&self.paths),
            feeds: self.feeds.clone(),
            proxies: self.proxies.clone(),
        }
    }

    /// Every provider that CUSTOM policies ask, once, by namespace and name.
    pub fn providers(&self) -> Vec<Arc<Provider>> {
        let providers = self.gateways.iter().flat_map(|gateway| gateway.engine.providers());
        let named = providers.map(|provider| (&provider.object, provider));
        named.collect::<BTreeMap<_, _>>().into_values().map(Arc::clone).collect()
    }

    /// The counts of policies that never decide, of every Gateway.
    pub fn shadow_tallies(&self) -> Vec<Arc<ShadowTally>> {
        self.gateways.iter().filter_map(|gateway| gateway.engine.shadow_tally()).collect()
    }
}

/// A listener as the data path needs it.
pub struct PortListener {
    /// Its number.
    pub index: ListenerIndex,
    /// The Gateway whose policies apply.
    pub gateway: GatewayIndex,
    /// Hostname; none: every host.
    pub hostname: Option<Hostname>,
    /// `Gateway namespace/name` and section name, for logs: `namespace/name/section`.
    pub label: Arc<str>,
}

/// A Gateway's compiled policies.
pub struct Gateway {
    /// The object.
    pub object: ObjectRef,
    /// Every RequestAuthentication that applies.
    pub authenticator: Authenticator,
    /// Every AuthorizationPolicy that applies.
    pub engine: Arc<Engine>,
    /// How refused requests are told.
    pub refusals: Arc<Refusals>,
    /// What stands in front of it.
    pub topology: Topology,
}

/// The writing end; one per process.
#[derive(Clone)]
pub struct SnapshotWriter(Arc<ArcSwap<Snapshot>>);

impl SnapshotWriter {
    /// Starts with `first`.
    pub fn new(first: Snapshot) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(first)))
    }

    /// Replaces the snapshot; requests under way keep theirs. Gives the old one back: whoever lets go
    /// of it last has all of it to free, and that should not be a worker.
    #[must_use = "keep it until nobody else does"]
    pub fn publish(&self, next: Snapshot) -> Arc<Snapshot> {
        self.0.swap(Arc::new(next))
    }

    /// The current snapshot, for observers.
    pub fn current(&self) -> Arc<Snapshot> {
        self.0.load_full()
    }

    /// A reading end, one per worker.
    pub fn reader(&self) -> SnapshotReader {
        SnapshotReader(Cache::new(Arc::clone(&self.0)))
    }
}

/// A reading end: one atomic load per request while nothing changed.
pub struct SnapshotReader(Cache<Arc<ArcSwap<Snapshot>>, Arc<Snapshot>>);

impl SnapshotReader {
    /// The snapshot to use for one request (or one handshake).
    pub fn load(&mut self) -> Arc<Snapshot> {
        Arc::clone(self.0.load())
    }
}

/// How reading the configuration went, for `/readyz` and metrics.
#[derive(Debug, Default)]
pub struct ReloadStatus {
    generation: AtomicU64,
    last_succeeded: AtomicBool,
    last_at: AtomicU64,
    failures: AtomicU64,
}

impl ReloadStatus {
    /// Notes a publish, `now` in seconds since the Unix epoch.
    pub fn published(&self, generation: u64, now: u64) {
        self.generation.store(generation, Ordering::Relaxed);
        self.last_succeeded.store(true, Ordering::Relaxed);
        self.last_at.store(now, Ordering::Relaxed);
    }

    /// Notes a bundle that was not published.
    pub fn failed(&self, now: u64) {
        self.failures.fetch_add(1, Ordering::Relaxed);
        self.last_succeeded.store(false, Ordering::Relaxed);
        self.last_at.store(now, Ordering::Relaxed);
    }

    /// Generation of the snapshot in force.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Whether the last attempt was published.
    pub fn last_succeeded(&self) -> bool {
        self.last_succeeded.load(Ordering::Relaxed)
    }

    /// When the last attempt was made, in seconds since the Unix epoch.
    pub fn last_at(&self) -> u64 {
        self.last_at.load(Ordering::Relaxed)
    }

    /// Attempts that failed since the start.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }
}
