//! Listening sockets: the workers accept from them, and a successor is given the same ones.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use gateway_common::steering::Family;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, warn};

use crate::bpf::BpfError;
use crate::control::ListenAddress;
use crate::handover::{Estate, Item};
use crate::proxy::{ListenerKey, WorkerCommand};
use crate::sys::socket::{is_family_missing, shared_listener, worker_listener};

/// The way to a worker.
pub(super) type WorkerLink = UnboundedSender<WorkerCommand>;

/// Every listening socket.
#[derive(Default)]
pub(super) struct Sockets {
    workers: Vec<WorkerLink>,
    all: Vec<Socket>,
    /// The sockets that are bound, by the address of a Gateway.
    of: HashMap<ListenAddress, Vec<SocketAddr>>,
    /// How many of those have it: ranges that are exchanged for one another share some.
    uses: HashMap<SocketAddr, u32>,
    inherited: Inherited,
    /// Whether the workers accept.
    accepting: bool,
}

/// One of them.
struct Socket {
    item: Item,
    key: ListenerKey,
    /// Who accepts from it.
    worker: usize,
    listener: TcpListener,
}

/// Sockets of a predecessor of which nothing has been made yet. Their queues hold connections that
/// must not be lost.
#[derive(Default)]
struct Inherited {
    workers: Vec<(Item, TcpListener)>,
    bound: HashMap<SocketAddr, Vec<TcpListener>>,
}

impl Sockets {
    /// Takes a predecessor's sockets.
    pub(super) fn inherit(&mut self, sockets: Vec<(Item, OwnedFd)>) -> io::Result<()> {
        for (item, file) in sockets {
            let listener = TcpListener::from(file);
            if item == Item::Listener {
                self.inherited.bound.entry(listener.local_addr()?).or_default().push(listener);
            } else {
                self.inherited.workers.push((item, listener));
            }
        }
        Ok(())
    }

    /// Takes the ways to the workers.
    pub(super) fn link(&mut self, workers: Vec<WorkerLink>) {
        self.workers = workers;
    }

    /// The ways to the workers.
    pub(super) fn links(&self) -> &[WorkerLink] {
        &self.workers
    }

    /// Gives each worker a socket for each address family. `enter` has the kernel half steer to one
    /// that it does not know yet.
    pub(super) fn open_workers(
        &mut self,
        mut enter: impl FnMut(u32, Family, &TcpListener) -> Result<(), BpfError>,
    ) -> Result<()> {
        for worker in 0..self.workers.len() {
            for family in [Family::V4, Family::V6] {
                let number = u32::try_from(worker)?;
                let item = Item::Worker { worker: number, v6: family == Family::V6 };
                let inherited = &mut self.inherited.workers;
                let known = inherited.iter().position(|(inherited, _)| *inherited == item);
                let listener = if let Some(at) = known {
                    inherited.swap_remove(at).1
                } else {
                    let Some(listener) = new_listener(family)? else { continue };
                    enter(number, family, &listener)?;
                    listener
                };
                let key = ListenerKey::Steered(listener.local_addr()?);
                self.all.push(Socket { item, key, worker, listener });
            }
        }
        // Of a predecessor with more workers: nothing new arrives there.
        for (item, listener) in std::mem::take(&mut self.inherited.workers) {
            let key = ListenerKey::Steered(listener.local_addr()?);
            let worker = self.all.len() % self.workers.len();
            self.all.push(Socket { item, key, worker, listener });
        }
        Ok(())
    }

    /// Opens a socket per worker for each address and port, or takes those of a predecessor.
    pub(super) fn bind(&mut self, opened: &[ListenAddress]) -> Result<()> {
        for &address in opened {
            for socket in bound_addresses(address) {
                self.bind_one(address, socket)?;
            }
        }
        Ok(())
    }

    fn bind_one(&mut self, address: ListenAddress, socket: SocketAddr) -> Result<()> {
        if !self.uses.contains_key(&socket) {
            let listeners = match self.inherited.bound.remove(&socket) {
                // More than there are workers, where the predecessor had more: each has a queue.
                Some(listeners) => Ok(listeners),
                None => self.workers.iter().map(|_| shared_listener(socket)).collect(),
            };
            let listeners: Vec<_> = match listeners {
                Ok(listeners) => listeners,
                Err(error) if socket.ip() == Ipv6Addr::UNSPECIFIED && is_family_missing(&error) => {
                    return Ok(());
                }
                Err(error) => {
                    return Err(error).with_context(|| {
                        format!("cannot listen on {socket}; is another process listening there?")
                    });
                }
            };
            for (at, listener) in listeners.into_iter().enumerate() {
                self.add(Socket::bound_to(socket, at % self.workers.len(), listener))?;
            }
        }
        *self.uses.entry(socket).or_default() += 1;
        self.of.entry(address).or_default().push(socket);
        Ok(())
    }

    /// Closes the sockets of an address that nobody else needs.
    pub(super) fn unbind(&mut self, address: ListenAddress) {
        let mut unused = BTreeSet::new();
        for socket in self.of.remove(&address).unwrap_or_default() {
            let uses = self.uses.get_mut(&socket).map_or(0, |uses| {
                *uses -= 1;
                *uses
            });
            if uses == 0 {
                self.uses.remove(&socket);
                unused.insert(socket);
            }
        }
        let is_unused =
            |socket: &mut Socket| socket.bound().is_some_and(|bound| unused.contains(&bound));
        for Socket { key, worker, .. } in self.all.extract_if(.., is_unused) {
            send(&self.workers[worker], WorkerCommand::Close(key));
        }
    }

    /// Gives every worker a socket for each bound address, where a predecessor had fewer workers, and
    /// closes those of addresses that we do not have.
    pub(super) fn share(&mut self) {
        self.inherited.bound.clear();
        let have: BTreeSet<(SocketAddr, usize)> =
            self.all.iter().filter_map(|socket| Some((socket.bound()?, socket.worker))).collect();
        let addresses: BTreeSet<SocketAddr> = have.iter().map(|(address, _)| *address).collect();
        for address in addresses {
            for worker in
                (0..self.workers.len()).filter(|&worker| !have.contains(&(address, worker)))
            {
                let added = shared_listener(address)
                    .and_then(|listener| self.add(Socket::bound_to(address, worker, listener)));
                if let Err(error) = added {
                    warn!(%error, %address, worker, "a worker does not accept connections here");
                }
            }
        }
    }

    fn add(&mut self, socket: Socket) -> io::Result<()> {
        if self.accepting {
            socket.listen(&self.workers)?;
        }
        self.all.push(socket);
        Ok(())
    }

    /// The workers accept from every socket, if they do not yet.
    pub(super) fn accept(&mut self) -> io::Result<()> {
        if !std::mem::replace(&mut self.accepting, true) {
            self.all.iter().try_for_each(|socket| socket.listen(&self.workers))?;
        }
        Ok(())
    }

    /// The workers accept no more; what comes waits in the sockets' queues.
    pub(super) fn pause(&mut self) {
        self.accepting = false;
        for Socket { key, worker, .. } in &self.all {
            send(&self.workers[*worker], WorkerCommand::Close(*key));
        }
    }

    /// Lets go of every socket; the workers close theirs when they drain.
    pub(super) fn let_go(&mut self) {
        self.all.clear();
    }

    /// What a successor is given.
    pub(super) fn offer<'o>(&'o self, estate: &mut Estate<'o>) {
        for socket in &self.all {
            estate.add(socket.item, socket.listener.as_fd());
        }
    }
}

impl Socket {
    /// One that is bound to a listener's own address.
    fn bound_to(address: SocketAddr, worker: usize, listener: TcpListener) -> Self {
        Self { item: Item::Listener, key: ListenerKey::Bound(address), worker, listener }
    }

    /// The listener's address that it is bound to.
    fn bound(&self) -> Option<SocketAddr> {
        match self.key {
            ListenerKey::Bound(address) => Some(address),
            ListenerKey::Steered(_) => None,
        }
    }

    /// Has its worker accept.
    fn listen(&self, workers: &[WorkerLink]) -> io::Result<()> {
        let (key, socket) = (self.key, self.listener.try_clone()?);
        send(&workers[self.worker], WorkerCommand::Listen { key, socket });
        Ok(())
    }
}

/// A worker's own socket; none where the host has no IPv6.
fn new_listener(family: Family) -> io::Result<Option<TcpListener>> {
    match worker_listener(family) {
        Ok(socket) => Ok(Some(socket)),
        Err(error) if family == Family::V6 => {
            warn!(%error, "this host has no IPv6; IPv6 connections are not steered");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The socket addresses that an address of a Gateway stands for.
fn bound_addresses(address: ListenAddress) -> impl Iterator<Item = SocketAddr> {
    let every: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
    let ips = address.address.map_or_else(|| every.to_vec(), |ip| vec![ip]);
    let sockets = move |port| ips.clone().into_iter().map(move |ip| SocketAddr::new(ip, port));
    address.ports.iter().flat_map(sockets)
}

pub(super) fn send(worker: &WorkerLink, command: WorkerCommand) {
    if worker.send(command).is_err() {
        error!("a worker has ended");
    }
}
