//! The ports that are open: steered by the kernel half, or bound. Follows reloads.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use anyhow::{Context, Result};
use tracing::{error, info, warn};

use super::routes::Routes;
use super::sockets::{Sockets, WorkerLink, send};
use crate::admin::Interfaces;
use crate::bpf::{self, Attached, Capability, InterfaceChange, Privileged};
use crate::control::{ListenAddress, Ports};
use crate::counters::{ListenerSlot, ListenerSlots, Regions};
use crate::handover::{Estate, Item};
use crate::model::attachment::Attachment;
use crate::model::port_range::PortRange;
use crate::proxy::WorkerCommand;

/// What is open, and the ways to the workers that accept there.
pub(super) struct OpenPorts {
    open: Vec<ListenAddress>,
    sockets: Sockets,
    interfaces: Arc<Interfaces>,
    mode: Mode,
    /// Behind `mode`: nothing is steered any more when they go.
    routes: Routes,
}

enum Mode {
    /// Workers listen on sockets of their own; the kernel half steers.
    Steered { privileged: Option<Privileged>, attached: Box<Attached>, slots: ListenerSlots },
    /// Workers listen on the listeners' own ports.
    Bound,
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
        Self { open: Vec::new(), sockets: Sockets::default(), interfaces, mode, routes }
    }

    /// Without it.
    pub(super) fn bound(routes: Routes) -> Self {
        let (open, sockets, interfaces) = (Vec::new(), Sockets::default(), Arc::default());
        Self { open, sockets, interfaces, mode: Mode::Bound, routes }
    }

    /// Where the kernel half is attached, also later on.
    pub(super) fn interfaces(&self) -> Arc<Interfaces> {
        Arc::clone(&self.interfaces)
    }

    /// Takes the ways to the workers, and a predecessor's sockets; with the kernel half, each worker
    /// gets its own.
    pub(super) fn link(
        &mut self,
        workers: Vec<WorkerLink>,
        inherited: Vec<(Item, OwnedFd)>,
    ) -> Result<()> {
        self.sockets.link(workers);
        self.sockets.inherit(inherited)?;
        let Mode::Steered { attached, .. } = &mut self.mode else { return Ok(()) };
        self.sockets.open_workers(|worker, family, socket| {
            attached.maps().set_worker_socket(worker, family, socket)
        })
    }

    /// Opens what can be opened before the workers run and with privilege, so that a port that is
    /// taken is told early.
    pub(super) fn prepare(&mut self, addresses: &[ListenAddress]) -> Result<()> {
        self.routes.open(&named(addresses))?;
        self.routes.inherit()?;
        match self.mode {
            Mode::Steered { .. } => Ok(()),
            Mode::Bound => Ports::open(self, addresses).map_err(anyhow::Error::msg),
        }
    }

    /// The workers accept from here on, and what is not open yet is opened. `beside`: a predecessor's
    /// ports are taken over.
    pub(super) fn begin(&mut self, addresses: &[ListenAddress], beside: bool) -> Result<()> {
        self.sockets.accept()?;
        self.routes.commit();
        match &mut self.mode {
            Mode::Steered { .. } if !beside => {
                Ports::open(self, addresses).map_err(anyhow::Error::msg)
            }
            Mode::Steered { attached, slots, .. } => {
                let ports = assign(slots, addresses, addresses);
                attached.commit(&ports).context("cannot take over the ports")?;
                self.open = addresses.to_vec();
                Ok(())
            }
            Mode::Bound => {
                self.sockets.share();
                Ok(())
            }
        }
    }

    /// The workers accept no more; what comes waits in the sockets' queues.
    pub(super) fn pause(&mut self) {
        self.sockets.pause();
    }

    /// What a successor needs of the ports.
    pub(super) fn offer<'o>(&'o self, estate: &mut Estate<'o>) {
        if let Mode::Steered { attached, .. } = &self.mode {
            estate.add(Item::Lock, attached.lock());
        }
        self.sockets.offer(estate);
    }

    /// Secret of the flow hash.
    pub(super) fn seed(&self) -> u64 {
        match &self.mode {
            Mode::Steered { attached, .. } => attached.seed(),
            Mode::Bound => 0,
        }
    }

    /// The lock of the pin directory, if there is one.
    pub(super) fn lock(&self) -> io::Result<Option<OwnedFd>> {
        match &self.mode {
            Mode::Steered { attached, .. } => attached.lock().try_clone_to_owned().map(Some),
            Mode::Bound => Ok(None),
        }
    }

    /// A successor serves: what is in the kernel is its own, and so are the sockets.
    pub(super) fn leave(&mut self) {
        self.open.clear();
        self.sockets.let_go();
        self.routes.leave();
        if let Mode::Steered { attached, .. } = &mut self.mode {
            attached.leave();
        }
    }

    /// A successor ended before it served: everything is as it was.
    pub(super) fn restore(&mut self) -> Result<()> {
        self.sockets.accept().context("the workers cannot accept again")?;
        if let Mode::Steered { attached, .. } = &mut self.mode {
            attached.restore().context("cannot put back the kernel half")?;
        }
        Ok(())
    }

    /// The ways to the workers.
    pub(super) fn links(&self) -> Vec<WorkerLink> {
        self.sockets.links().to_vec()
    }

    /// Gives up every privilege that is not needed from here on. `reads_foreign`: a reload has to
    /// read files of other users.
    pub(super) fn relinquish(&mut self, reads_foreign: bool) -> Result<()> {
        let mut kept = match &self.mode {
            Mode::Steered { attached, .. } => attached.kept_capabilities(),
            // A reload may add a port below 1024.
            Mode::Bound => vec![Capability::NetBindService],
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
            Mode::Bound => bpf::keep_only(&kept),
        };
        result.context("cannot give up privileges, and will not serve with them")
    }

    /// Tells every worker.
    pub(super) fn tell(&self, command: &dyn Fn() -> WorkerCommand) {
        for worker in self.sockets.links() {
            send(worker, command());
        }
    }

    /// Takes no more connections anywhere.
    pub(super) fn close_all(&mut self) {
        let open = std::mem::take(&mut self.open);
        self.shut(&open);
        self.sockets.let_go();
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
                Mode::Bound => self.sockets.unbind(*address),
            }
            info!(%address, "port closed");
        }
    }
}

impl Ports for OpenPorts {
    fn open(&mut self, opened: &[ListenAddress]) -> Result<(), String> {
        let mut all = self.open.clone();
        all.extend(opened);
        let result = self.routes.open(&named(opened)).and_then(|()| match &mut self.mode {
            Mode::Steered { attached, slots, .. } => steer(attached, slots, &all, opened),
            Mode::Bound => self.sockets.bind(opened),
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

/// Gives every port its counter slot, and answers with those of the ports that are opened.
fn assign(
    slots: &mut ListenerSlots,
    all: &[ListenAddress],
    opened: &[ListenAddress],
) -> Vec<(ListenerSlot, Vec<IpAddr>, PortRange)> {
    let names: Vec<String> = all.iter().map(ToString::to_string).collect();
    let assigned = slots.assign(&names);
    if assigned.unplaced > 0 {
        warn!(
            ports = assigned.unplaced,
            "more ports than packet counter rows; these count under none"
        );
    }
    all.iter()
        .zip(assigned.slots)
        .filter(|(address, _)| opened.contains(address))
        .map(|(address, slot)| (slot, address.address.into_iter().collect(), address.ports))
        .collect()
}

/// Gives every port its counter slot and steers the new ones.
fn steer(
    attached: &mut Attached,
    slots: &mut ListenerSlots,
    all: &[ListenAddress],
    opened: &[ListenAddress],
) -> Result<()> {
    attached.maps().steer_all(&assign(slots, all, opened)).context("cannot steer")
}
