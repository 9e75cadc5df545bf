//! Bans, wired: the keeper's thread, the kernel half's maps behind it, the workers' ends.

use std::io;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result, bail};
use gateway_common::bans::{Ban, BanMode};
use gateway_common::budget::Event;
use tracing::{info, warn};

use crate::bans::{
    Keeper, MemoryStore, Node, Status, Store, StoreError, Suspects, Traffic, Watch, watch,
};
use crate::bpf::{BanMaps, Events};
use crate::counters::Regions;
use crate::model::ban::{BanModes, Source};
use crate::model::policy::Cidr;
use crate::settings::{Datapath, Settings};
use crate::sys::addresses;

/// The kernel half's maps.
impl Store for BanMaps {
    fn set_modes(&mut self, modes: BanModes) -> Result<(), StoreError> {
        Ok(Self::set_modes(self, modes)?)
    }

    fn insert(&mut self, source: Source, ban: Ban) -> Result<(), StoreError> {
        Ok(Self::insert(self, source, ban)?)
    }

    fn remove(&mut self, source: Source) -> Result<bool, StoreError> {
        Ok(Self::remove(self, source)?)
    }

    fn earn(&mut self, source: Source, expires: u64) -> Result<(), StoreError> {
        Ok(Self::earn(self, source, expires)?)
    }

    fn list(&self) -> Result<Vec<(Source, Ban)>, StoreError> {
        Ok(Self::list(self)?)
    }
}

/// Sources without a budget of connections: what is trusted, and loopback.
pub(super) fn trusted(settings: &Settings) -> Vec<Cidr> {
    let loopback = ["127.0.0.0/8", "::1"].into_iter().filter_map(|block| Cidr::parse(block).ok());
    settings.bans.trusted.iter().copied().chain(loopback).collect()
}

/// Where bans are written, and what the programs tell.
pub(super) struct Ground {
    store: Box<dyn Store>,
    events: Option<Events>,
}

/// Opens the maps, which takes privilege, and sets the budgets of connections.
pub(super) fn prepare(settings: &Settings) -> Result<Ground> {
    match settings.datapath {
        Datapath::Ebpf => {
            let mut maps = BanMaps::open(&settings.pin_directory)?;
            maps.set_budget(settings.bans.budget)?;
            let events = Events::open(&settings.pin_directory)?;
            Ok(Ground { store: Box::new(maps), events: Some(events) })
        }
        Datapath::Off => {
            if settings.bans.budget.is_some() {
                bail!(
                    "--syn-rate drops packets in the kernel half and cannot work with \
                     `--datapath off`; drop one of the two"
                );
            }
            Ok(Ground { store: Box::<MemoryStore>::default(), events: None })
        }
    }
}

/// Bans that are kept.
pub(super) struct Bans {
    watch: Watch,
    status: Arc<Status>,
    thread: JoinHandle<()>,
}

/// Starts the keeper; none with `--bans off` and without budgets.
pub(super) fn start(
    settings: &Settings,
    ground: Ground,
    regions: &Regions,
) -> Result<Option<Bans>> {
    const FAILED: &str = "cannot read or write the bans";
    let mode = settings.bans.mode;
    let Ground { mut store, events } = ground;
    if mode == BanMode::Off && settings.bans.budget.is_none() {
        let off = BanModes { now: mode, wanted: mode };
        store.set_modes(off).map_err(anyhow::Error::from_boxed).context(FAILED)?;
        return Ok(None);
    }
    if settings.datapath == Datapath::Off {
        warn!(
            mode = mode.word(),
            "without the kernel half bans drop nothing: strikes count, and bans are logged"
        );
    }
    let (suspects, status) = (Arc::<Suspects>::default(), Arc::new(Status::new(mode)));
    let (watch, news) = watch(Arc::clone(&suspects), Arc::clone(&status), &settings.bans.trusted);
    let keeper = Keeper::new(
        settings.bans.clone(),
        suspects,
        Arc::clone(&status),
        store,
        node(regions, events),
    )
    .map_err(anyhow::Error::from_boxed)
    .context(FAILED)?;
    info!(mode = mode.word(), active = status.active(), "keeping bans");
    let thread = thread::Builder::new().name("bans".to_owned()).spawn(move || keeper.run(&news))?;
    Ok(Some(Bans { watch, status, thread }))
}

/// What the keeper asks of the machine; without events there is no kernel half.
fn node(regions: &Regions, events: Option<Events>) -> Node {
    let regions = regions.clone();
    Node {
        addresses: Box::new(addresses::own),
        traffic: events
            .is_some()
            .then(|| -> Box<dyn Fn() -> Traffic + Send> { Box::new(move || traffic(&regions)) }),
        events: events.map(|mut events| -> Box<dyn FnMut() -> Option<Event> + Send> {
            Box::new(move || events.next_event())
        }),
    }
}

fn traffic(regions: &Regions) -> Traffic {
    let sum = regions.arrived_for_listeners();
    let banned = sum.banned_source.packets + sum.ban_audit.packets;
    Traffic { seen: sum.seen.packets, banned }
}

impl Bans {
    /// A worker's end.
    pub(super) fn watch(&self) -> Watch {
        self.watch.clone()
    }

    /// What observers are shown.
    pub(super) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status)
    }

    /// Ends once every worker has.
    pub(super) fn end(self) -> io::Result<()> {
        drop(self.watch);
        self.thread.join().map_err(|_| io::Error::other("the bans thread panicked"))
    }
}
