//! The open maps: all that can still be done after privileges are given up.

use std::collections::{BTreeMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsFd;

use aya::Pod;
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{HashMap, Map, MapData, MapError, SockMap};
use gateway_common::abi::{self, map};
use gateway_common::steering::{Family, GatewayPort, GatewayPortEntry, worker_socket};

use super::error::errno;
use super::numbers::Numbers;
use super::object::OpenMaps;
use super::{BpfError, deny_filter, pins};
use crate::counters::{ARRAYS, ListenerSlot};
use crate::model::policy::Cidr;
use crate::model::port_range::PortRange;
use crate::sys::mmap::Mapping;

/// The open maps of a loaded object. Everything here works without privilege.
///
/// One owner writes: the control thread.
pub struct Maps {
    workers: u32,
    /// Secret of the flow hash, new with every load.
    seed: u64,
    gateway_ports: HashMap<MapData, GatewayPort, GatewayPortEntry>,
    numbers: Numbers,
    worker_sockets: SockMap<MapData>,
    denied: Blocks,
    deny_filter: Mapping,
    trusted: Blocks,
    arrays: BTreeMap<&'static str, MapData>,
}

impl Maps {
    pub(super) fn take(opened: &mut OpenMaps, workers: u32) -> Result<Self, BpfError> {
        let arrays = ARRAYS
            .into_iter()
            .chain([map::FLOW_PATHS])
            .map(|name| match opened.take(name) {
                Some(Map::Array(data)) => Ok((name, data)),
                _ => Err(missing(name)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            workers,
            seed: RandomState::new().hash_one(workers),
            gateway_ports: typed(opened, map::GATEWAY_PORTS)?,
            numbers: Numbers::take(opened)?,
            worker_sockets: typed(opened, map::WORKER_SOCKETS)?,
            denied: Blocks::take(opened, map::DENY_SOURCES_V4, map::DENY_SOURCES_V6)?,
            deny_filter: region(opened, map::DENY_FILTER)?,
            trusted: Blocks::take(opened, map::TRUSTED_SOURCES_V4, map::TRUSTED_SOURCES_V6)?,
            arrays,
        })
    }

    /// Empties steering and sockets, which are a process's.
    pub(super) fn reset(&mut self) -> Result<(), BpfError> {
        self.clear_steering()?;
        for index in 0..2 * abi::MAX_WORKERS {
            absent(map::WORKER_SOCKETS, self.worker_sockets.clear_index(&index))?;
        }
        Ok(())
    }

    /// Sets the lists of denied and trusted sources.
    pub(super) fn set_blocks(&mut self, denied: &[Cidr], trusted: &[Cidr]) -> Result<(), BpfError> {
        // A source that was denied and stays so is at no moment let through.
        let bits = deny_filter::bits(denied);
        deny_filter::add(&self.deny_filter, &bits);
        self.denied.set(denied)?;
        deny_filter::set(&self.deny_filter, &bits);
        self.trusted.set(trusted)
    }

    /// The secret of the flow hash.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Goes on with a predecessor's secret of the flow hash, so that with as many workers every
    /// handshake that is under way stays with its worker.
    pub fn set_seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Takes connections for (addresses, ports) to this listener slot from now on. No addresses:
    /// every local address that is not steered by name, of both families. The workers' sockets
    /// must be set before.
    ///
    /// Connections that exist are not touched, whichever slot they came by.
    pub fn steer(
        &mut self,
        listener: ListenerSlot,
        addresses: &[IpAddr],
        ports: impl Into<PortRange>,
    ) -> Result<(), BpfError> {
        self.steer_all(&[(listener, addresses.to_vec(), ports.into())])
    }

    /// The same for several at once: where ranges move, no port is without its entry meanwhile.
    pub fn steer_all(
        &mut self,
        all: &[(ListenerSlot, Vec<IpAddr>, PortRange)],
    ) -> Result<(), BpfError> {
        for (listener, addresses, ports) in all {
            for key in keys(addresses, *ports) {
                self.enter(key, *listener, *ports)?;
            }
        }
        all.iter().try_for_each(|(_, _, ports)| self.numbers.show(*ports))
    }

    fn enter(
        &mut self,
        key: GatewayPort,
        listener: ListenerSlot,
        ports: PortRange,
    ) -> Result<(), BpfError> {
        let entry =
            GatewayPortEntry { listener: listener.0, workers: self.workers, seed: self.seed };
        self.gateway_ports.insert(key, entry, 0).map_err(|error| match errno(&error) {
            Some(libc::E2BIG) => BpfError::TooManyPorts { most: abi::MAX_GATEWAY_PORTS },
            _ => BpfError::map("write", map::GATEWAY_PORTS, error),
        })?;
        self.numbers.enter(key, entry, ports);
        Ok(())
    }

    /// Writes what is steered here again, and removes whatever another daemon steered. At no moment
    /// is a port missing that stays.
    pub(super) fn steer_only_these(&mut self) -> Result<(), BpfError> {
        let own: Vec<_> = self.numbers.entries().collect();
        for &(key, slot, ports) in &own {
            self.enter(key, slot, ports)?;
        }
        own.iter().try_for_each(|(_, _, ports)| self.numbers.show(*ports))?;
        self.numbers.hide_others()?;
        let keys: Vec<_> = self.gateway_ports.keys().filter_map(Result::ok).collect();
        for key in keys {
            if own.iter().all(|(ours, _, _)| *ours != key) {
                absent(map::GATEWAY_PORTS, self.gateway_ports.remove(&key))?;
            }
        }
        Ok(())
    }

    /// Takes no further connections for (addresses, ports). Those that exist go on. What was steered
    /// anew meanwhile, as another range with the same first port, stays.
    pub fn unsteer(
        &mut self,
        addresses: &[IpAddr],
        ports: impl Into<PortRange>,
    ) -> Result<(), BpfError> {
        let ports = ports.into();
        let mut keys = keys(addresses, ports);
        keys.retain(|key| self.numbers.leave(*key, ports));
        self.numbers.hide(ports)?;
        for key in keys {
            absent(map::GATEWAY_PORTS, self.gateway_ports.remove(&key))?;
        }
        Ok(())
    }

    /// What is steered now.
    pub fn steered(&self) -> impl Iterator<Item = (GatewayPort, ListenerSlot)> {
        self.numbers.steered()
    }

    /// Enters a worker's listening socket of a family. Closing the socket empties the slot.
    pub fn set_worker_socket(
        &mut self,
        worker: u32,
        family: Family,
        socket: &impl AsFd,
    ) -> Result<(), BpfError> {
        if worker >= self.workers {
            return Err(BpfError::Workers { workers: worker + 1, most: self.workers });
        }
        self.worker_sockets
            .set(worker_socket(family, worker), &socket.as_fd(), 0)
            .map_err(|error| BpfError::map("write", map::WORKER_SOCKETS, error))
    }

    /// Maps an array of counters or names into memory, for [`crate::counters::Regions::open`].
    pub fn region(&self, name: &'static str) -> Result<Mapping, BpfError> {
        let data = self.arrays.get(name).ok_or_else(|| missing(name))?;
        pins::region(name, data)
    }

    /// Empties `GATEWAY_PORTS`: nothing is steered.
    pub(super) fn clear_steering(&mut self) -> Result<(), BpfError> {
        self.numbers.clear()?;
        let keys: Vec<_> = self.gateway_ports.keys().filter_map(Result::ok).collect();
        for key in keys {
            absent(map::GATEWAY_PORTS, self.gateway_ports.remove(&key))?;
        }
        Ok(())
    }
}

/// A list of blocks, in a trie per address family.
struct Blocks {
    names: [&'static str; 2],
    v4: LpmTrie<MapData, [u8; 4], u32>,
    v6: LpmTrie<MapData, [u8; 16], u32>,
}

impl Blocks {
    fn take(opened: &mut OpenMaps, v4: &'static str, v6: &'static str) -> Result<Self, BpfError> {
        Ok(Self { names: [v4, v6], v4: typed(opened, v4)?, v6: typed(opened, v6)? })
    }

    /// Holds these from now on, and no others. At no moment is a source missing that was there and
    /// stays: the programs may be at work already.
    fn set(&mut self, blocks: &[Cidr]) -> Result<(), BpfError> {
        blocks.iter().try_for_each(|&block| self.add(block))?;
        let kept: Vec<(u32, IpAddr)> = blocks
            .iter()
            .map(|block| block.canonical())
            .map(|block| (u32::from(block.prefix()), block.address()))
            .collect();
        let [v4, v6] = self.names;
        prune_trie(v4, &mut self.v4, &kept)?;
        prune_trie(v6, &mut self.v6, &kept)
    }

    fn add(&mut self, block: Cidr) -> Result<(), BpfError> {
        let block = block.canonical();
        let length = u32::from(block.prefix());
        let [v4, v6] = self.names;
        let (name, result) = match block.address() {
            IpAddr::V4(address) => (v4, self.v4.insert(&Key::new(length, address.octets()), 1, 0)),
            IpAddr::V6(address) => (v6, self.v6.insert(&Key::new(length, address.octets()), 1, 0)),
        };
        result.map_err(|error| BpfError::map("write", name, error))
    }
}

/// The keys of (addresses, ports).
fn keys(addresses: &[IpAddr], ports: PortRange) -> Vec<GatewayPort> {
    let port = ports.first();
    let any = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
    let addresses = if addresses.is_empty() { &any } else { addresses };
    let key = |address: &IpAddr| {
        let (address, family) = match address {
            IpAddr::V4(address) => (address.to_ipv6_mapped(), Family::V4),
            IpAddr::V6(address) => (*address, Family::V6),
        };
        GatewayPort { address: address.octets(), port, family: family.number() }
    };
    addresses.iter().map(key).collect()
}

fn prune_trie<K: Pod + Into<IpAddr>>(
    name: &'static str,
    trie: &mut LpmTrie<MapData, K, u32>,
    kept: &[(u32, IpAddr)],
) -> Result<(), BpfError> {
    let kept: HashSet<&(u32, IpAddr)> = kept.iter().collect();
    let keys: Vec<_> = trie.keys().filter_map(Result::ok).collect();
    let mut unwanted =
        keys.iter().filter(|key| !kept.contains(&(key.prefix_len(), key.data().into())));
    unwanted.try_for_each(|key| absent(name, trie.remove(key)))
}

/// Takes the removal of what is not there for done.
fn absent(name: &'static str, result: Result<(), MapError>) -> Result<(), BpfError> {
    match result {
        Ok(()) | Err(MapError::KeyNotFound | MapError::ElementNotFound) => Ok(()),
        Err(error) if matches!(errno(&error), Some(libc::ENOENT | libc::EINVAL)) => Ok(()),
        Err(error) => Err(BpfError::map("clear", name, error)),
    }
}

pub(super) fn typed<M>(opened: &mut OpenMaps, name: &'static str) -> Result<M, BpfError>
where
    M: TryFrom<Map, Error = MapError>,
{
    let map = opened.take(name).ok_or_else(|| missing(name))?;
    M::try_from(map).map_err(|error| BpfError::map("open", name, error))
}

/// An array of the object, mapped into memory.
pub(super) fn region(opened: &mut OpenMaps, name: &'static str) -> Result<Mapping, BpfError> {
    match opened.take(name) {
        Some(Map::Array(data)) => pins::region(name, &data),
        _ => Err(missing(name)),
    }
}

fn missing(name: &'static str) -> BpfError {
    let error = MapError::InvalidName { name: name.to_owned() };
    BpfError::map("find in the kernel object", name, error)
}
