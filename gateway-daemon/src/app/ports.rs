//! The ports that are open: steered by the kernel half, or bound. Follows reloads.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_common::steering::Family;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info, warn};

use super::routes::Routes;
use crate::admin::Interfaces;
use crate::bpf::{self, Attached, Capability, InterfaceChange, Privileged};
use crate::control::{ListenAddress, Ports};
use crate::counters::{ListenerSlots, Regions};
use crate::model::attachment::Attachment;
use crate::proxy::{ListenerKey, WorkerCommand};
use crate::sys::socket::{is_family_missing, shared_listener, worker_listener};

/// The way to a worker.
pub(super) type WorkerLink = UnboundedSender<WorkerCommand>;

/// What is open, and the ways to the workers that accept there.
pub(super) struct OpenPorts {
    workers: Vec<WorkerLink>,
    open: Vec<ListenAddress>,
    interfaces: Arc<Interfaces>,
    mode: Mode,
    /// Behind `mode`: nothing is steered any more when they go.
    routes: Routes,
}

enum Mode {
    /// Workers listen on sockets of their own; the kernel half steers.
    Steered { privileged: Option<Privileged>, attached: Box<Attached>, slots: ListenerSlots },
    /// Workers listen on the listeners' own ports.
    Bound { sockets: Sockets },
}

/// The sockets that are bound, one per worker for each.
#[derive(Default)]
struct Sockets {
    of: HashMap<ListenAddress, Vec<SocketAddr>>,
    /// How many of those have it: ranges that are exchanged for one another share some.
    uses: HashMap<SocketAddr, u32>,
}

impl OpenPorts {
    /// With the kernel half.
    pub(super) fn steered(
        privileged: Privileged,
        attached: Attached,
        regions: Regions,
        routes: Routes,
    ) -> Self {
        let slots = ListenerSlots::new(regions);
        let interfaces = Arc::<Interfaces>::default();
        interfaces.set(attached.attachments());
        let mode =
            Mode::Steered { privileged: Some(privileged), attached: Box::new(attached), slots };
        Self { workers: Vec::new(), open: Vec::new(), interfaces, mode, routes }
    }

    /// Without it.
    pub(super) fn bound(routes: Routes) -> Self {
        let mode = Mode::Bound { sockets: Sockets::default() };
        Self { workers: Vec::new(), open: Vec::new(), interfaces: Arc::default(), mode, routes }
    }

    /// Where the kernel half is attached, also later on.
    pub(super) fn interfaces(&self) -> Arc<Interfaces> {
        Arc::clone(&self.interfaces)
    }

    /// Takes the ways to the workers; with the kernel half, gives each its sockets.
    pub(super) fn link(&mut self, workers: Vec<WorkerLink>) -> Result<()> {
        self.workers = workers;
        let Mode::Steered { attached, .. } = &mut self.mode else { return Ok(()) };
        for (number, worker) in (0..).zip(&self.workers) {
            for family in [Family::V4, Family::V6] {
                let socket = match worker_listener(family) {
                    Ok(socket) => socket,
                    Err(error) if family == Family::V6 => {
                        warn!(%error, "this host has no IPv6; IPv6 connections are not steered");
                        continue;
                    }
                    Err(error) => return Err(error.into()),
                };
                attached.maps().set_worker_socket(number, family, &socket)?;
                let key = ListenerKey::Steered(socket.local_addr()?);
                send(worker, WorkerCommand::Listen { key, socket });
            }
        }
        Ok(())
    }

    /// Gives up every privilege that is not needed from here on. `reads_foreign`: a reload has to
    /// read files of other users.
    pub(super) fn relinquish(&mut self, reads_foreign: bool) -> Result<()> {
        let mut kept = match &self.mode {
            Mode::Steered { attached, .. } => attached.kept_capabilities(),
            // A reload may add a port below 1024.
            Mode::Bound { .. } => vec![Capability::NetBindService],
        };
        if self.routes.need_privilege() && !kept.contains(&Capability::NetAdmin) {
            info!("keeping CAP_NET_ADMIN: a reload may need local routes (--local-routes)");
            kept.push(Capability::NetAdmin);
        }
        if reads_foreign {
            info!(
                "keeping CAP_DAC_READ_SEARCH: the configuration is closed to others than its owner"
            );
            kept.push(Capability::DacReadSearch);
        }
        let result = match &mut self.mode {
            Mode::Steered { privileged, .. } => match privileged.take() {
                Some(privileged) => privileged.relinquish(&kept),
                None => Ok(()),
            },
            Mode::Bound { .. } => bpf::keep_only(&kept),
        };
        result.context("cannot give up privileges, and will not serve with them")
    }

    /// Tells every worker.
    pub(super) fn tell(&self, command: &dyn Fn() -> WorkerCommand) {
        for worker in &self.workers {
            send(worker, command());
        }
    }

    /// Takes no more connections anywhere.
    pub(super) fn close_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.shut(&open);
    }

    fn shut(&mut self, closed: &[ListenAddress]) {
        for address in closed {
            match &mut self.mode {
                Mode::Steered { attached, .. } => {
                    let only: Vec<IpAddr> = address.address.into_iter().collect();
                    if let Err(error) = attached.maps().unsteer(&only, address.ports) {
                        error!(%error, %address, "cannot stop steering");
                    }
                }
                Mode::Bound { sockets } => {
                    for bound in sockets.remove(*address) {
                        for worker in &self.workers {
                            send(worker, WorkerCommand::Close(ListenerKey::Bound(bound)));
                        }
                    }
                }
            }
            info!(%address, "port closed");
        }
    }
}

impl Drop for OpenPorts {
    fn drop(&mut self) {
        if let Mode::Steered { attached, .. } = &self.mode
            && attached.is_left()
        {
            self.routes.leave();
        }
    }
}

impl Ports for OpenPorts {
    fn open(&mut self, opened: &[ListenAddress]) -> Result<(), String> {
        let mut all = self.open.clone();
        all.extend(opened);
        let result = self.routes.open(&named(opened)).and_then(|()| match &mut self.mode {
            Mode::Steered { attached, slots, .. } => steer(attached, slots, &all, opened),
            Mode::Bound { sockets } => sockets.bind(&self.workers, opened),
        });
        if let Err(error) = result {
            self.shut(opened);
            self.routes.keep(&named(&self.open));
            return Err(format!("{error:#}"));
        }
        for address in opened {
            info!(%address, "port open");
        }
        self.open = all;
        Ok(())
    }

    fn close(&mut self, closed: &[ListenAddress]) {
        self.open.retain(|address| !closed.contains(address));
        self.shut(closed);
        self.routes.keep(&named(&self.open));
    }

    fn look(&mut self) {
        self.routes.look();
        let Mode::Steered { attached, .. } = &mut self.mode else { return };
        let changes = attached.follow_interfaces();
        if changes.is_empty() {
            return;
        }
        self.interfaces.set(attached.attachments());
        for change in changes {
            tell(change);
        }
    }
}

/// The addresses that are named, each once.
fn named(addresses: &[ListenAddress]) -> BTreeSet<IpAddr> {
    addresses.iter().filter_map(|address| address.address).collect()
}

/// Tells of an interface that came or went.
fn tell(change: InterfaceChange) {
    match change {
        InterfaceChange::Lost(interface) => {
            warn!(
                interface,
                "interface lost: nothing arrives there; the kernel half is attached again when it \
                 is back"
            );
        }
        InterfaceChange::Attached(Attachment { interface, xdp, tc, .. }) => {
            let (xdp, tc) = (xdp.word(), tc.word());
            info!(interface, xdp, tc, "interface back: kernel half attached");
        }
        InterfaceChange::Failed(error) => {
            error!(%error, "interface back, but the kernel half cannot be attached; trying again");
        }
    }
}

/// Gives every port its counter slot and steers the new ones.
fn steer(
    attached: &mut Attached,
    slots: &mut ListenerSlots,
    all: &[ListenAddress],
    opened: &[ListenAddress],
) -> Result<()> {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    let assigned = slots.assign(&names);
    if assigned.unplaced > 0 {
        warn!(
            ports = assigned.unplaced,
            "more ports than packet counter rows; these count under none"
        );
    }
    let opened: Vec<_> = all
        .iter()
        .zip(assigned.slots)
        .filter(|(address, _)| opened.contains(address))
        .map(|(address, slot)| (slot, address.address.into_iter().collect(), address.ports))
        .collect();
    attached.maps().steer_all(&opened).context("cannot steer")
}

impl Sockets {
    /// Opens a socket per worker for each address and port.
    fn bind(&mut self, workers: &[WorkerLink], opened: &[ListenAddress]) -> Result<()> {
        for &address in opened {
            for port in address.ports.iter() {
                for ip in addresses(address) {
                    self.bind_one(workers, address, SocketAddr::new(ip, port))?;
                }
            }
        }
        Ok(())
    }

    fn bind_one(
        &mut self,
        workers: &[WorkerLink],
        address: ListenAddress,
        socket: SocketAddr,
    ) -> Result<()> {
        let ip = socket.ip();
        if !self.uses.contains_key(&socket) {
            let made: io::Result<Vec<_>> =
                workers.iter().map(|_| shared_listener(socket)).collect();
            let made = match made {
                Ok(made) => made,
                Err(error) if ip == Ipv6Addr::UNSPECIFIED && is_family_missing(&error) => {
                    return Ok(());
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot listen on {socket}; is another process listening there?")
                    });
                }
            };
            for (worker, listener) in workers.iter().zip(made) {
                let key = ListenerKey::Bound(socket);
                send(worker, WorkerCommand::Listen { key, socket: listener });
            }
        }
        *self.uses.entry(socket).or_default() += 1;
        self.of.entry(address).or_default().push(socket);
        Ok(())
    }

    /// Forgets an address; gives the sockets that nobody needs any more.
    fn remove(&mut self, address: ListenAddress) -> Vec<SocketAddr> {
        let mut unused = self.of.remove(&address).unwrap_or_default();
        unused.retain(|socket| {
            let uses = self.uses.get_mut(socket).map_or(0, |uses| {
                *uses -= 1;
                *uses
            });
            if uses == 0 {
                self.uses.remove(socket);
            }
            uses == 0
        });
        unused
    }
}

/// The socket addresses that an address of a Gateway stands for.
fn addresses(address: ListenAddress) -> impl Iterator<Item = IpAddr> {
    let every = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let all = address.address.map_or_else(|| every.to_vec(), |ip| vec![ip]);
    all.into_iter()
}

fn send(worker: &WorkerLink, command: WorkerCommand) {
    if worker.send(command).is_err() {
        error!("a worker has ended");
    }
}
