//! Model to [`Snapshot`]: everything is compiled before the swap, so that the data path never
//! parses configuration.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use gateway_common::path::PathSlot;

use super::certs::TlsBuilder;
use super::jwks::KeyPlan;
use super::translate::Model;
use crate::authz::Engine;
use crate::model::keys::KeyFeed;
use crate::model::listener::{Hostname, Listener, ListenerIndex, Protocol};
use crate::model::path::CountedPath;
use crate::model::port_range::PortRange;
use crate::model::route::Route;
use crate::model::topology::Proxies;
use crate::route::{PathIndex, Table};
use crate::snapshot::{Gateway, Port, PortListener, Ports, Snapshot};

/// Gives each path name its slot, the same for the same name; as many as there are names.
pub type SlotAssigner = Box<dyn FnMut(&[String]) -> Vec<PathSlot> + Send>;

/// An address and the port, or the range of ports, that some listener listens on.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenAddress {
    /// Address; none: every local address.
    pub address: Option<IpAddr>,
    /// Ports.
    pub ports: PortRange,
}

/// `*:8080`, `192.0.2.1:8080`, `[2001:db8::1]:8080` or `*:8000-8999`.
impl fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(IpAddr::V4(ip)) => write!(f, "{ip}:{}", self.ports),
            Some(IpAddr::V6(ip)) => write!(f, "[{ip}]:{}", self.ports),
            None => write!(f, "*:{}", self.ports),
        }
    }
}

/// A model that is compiled, except for the slots of its paths.
pub(super) struct Compiled {
    ports: Ports,
    gateways: Vec<Gateway>,
    routes: Arc<Table>,
    paths: Vec<CountedPath>,
    feeds: Vec<Arc<KeyFeed>>,
    proxies: Proxies,
    /// What was left out and why, such as a key that cannot be used.
    pub(super) warnings: Vec<String>,
}

/// Compiles a model, its token rules with the keys of `keys`.
pub(super) fn compile(
    model: Model,
    tls: &TlsBuilder,
    keys: &KeyPlan,
    proxies: &Proxies,
) -> Result<Compiled, rustls::Error> {
    let paths = counted_paths(&model);
    let ports = ports(&model.listeners, tls)?;
    let mut warnings = Vec::new();
    let mut gateways = Vec::new();
    let (authenticators, left_out) = keys.authenticators();
    let authenticators = authenticators.into_iter().zip(left_out);
    for (gateway, (authenticator, left_out)) in model.gateways.into_iter().zip(authenticators) {
        warnings.extend(left_out.into_iter().map(|text| format!("{}: {text}", gateway.object)));
        gateways.push(Gateway {
            object: gateway.object,
            authenticator,
            engine: Arc::new(Engine::compile(gateway.policies)),
            refusals: Arc::new(gateway.refusals),
            topology: gateway.topology,
        });
    }
    let routes = Arc::new(Table::compile(model.routes));
    let (feeds, proxies) = (keys.feeds(), proxies.clone());
    Ok(Compiled { ports, gateways, routes, paths, feeds, proxies, warnings })
}

impl Compiled {
    /// Every address and port, in order.
    pub(super) fn listen_addresses(&self) -> BTreeSet<ListenAddress> {
        listen_addresses(&self.ports)
    }

    /// The snapshot, with the slots of its paths.
    pub(super) fn snapshot(self, generation: u64, slots: &mut SlotAssigner) -> Snapshot {
        let names: Vec<String> = self.paths.iter().map(ToString::to_string).collect();
        let slots = slots(&names);
        let paths = PathIndex::compile(self.paths.into_iter().zip(slots).collect());
        Snapshot {
            generation,
            ports: self.ports,
            gateways: self.gateways,
            routes: self.routes,
            paths: Arc::new(paths),
            feeds: self.feeds,
            proxies: self.proxies,
        }
    }
}

/// Every address and port of a snapshot's ports, in order.
pub(super) fn listen_addresses(ports: &Ports) -> BTreeSet<ListenAddress> {
    let of_port = |port: &Arc<Port>| {
        let numbers = port.numbers;
        let every = port.addresses.is_empty().then_some(None);
        let own = port.addresses.iter().copied().map(Some);
        let addresses: Vec<_> = every.into_iter().chain(own).collect();
        addresses.into_iter().map(move |address| ListenAddress { address, ports: numbers })
    };
    ports.each().into_iter().flat_map(of_port).collect()
}

fn ports(listeners: &[Listener], tls: &TlsBuilder) -> Result<Ports, rustls::Error> {
    let place = |listener: &Listener| (listener.ports, listener.addresses.clone());
    let places: BTreeSet<(PortRange, Vec<IpAddr>)> = listeners.iter().map(place).collect();
    let mut ports = Vec::new();
    for (numbers, addresses) in places {
        let mut own: Vec<(ListenerIndex, &Listener)> = listeners
            .iter()
            .enumerate()
            .filter(|(_, listener)| listener.ports == numbers && listener.addresses == addresses)
            .map(|(index, listener)| (ListenerIndex(index), listener))
            .collect();
        own.sort_by_key(|(_, listener)| specificity(listener.hostname.as_ref()));
        let Some((_, first)) = own.first() else { continue };
        let (protocol, proxy_protocol) = (first.protocol, first.proxy_protocol);
        let tls = match protocol {
            Protocol::Http => None,
            Protocol::Https => {
                let listeners: Vec<&Listener> = own.iter().map(|(_, listener)| *listener).collect();
                Some(tls.build(&listeners)?)
            }
        };
        let listeners = own.into_iter().map(|(index, listener)| port_listener(index, listener));
        let listeners = listeners.collect();
        ports.push(Arc::new(Port { numbers, protocol, proxy_protocol, listeners, addresses, tls }));
    }
    Ok(Ports::new(ports))
}

fn port_listener(index: ListenerIndex, listener: &Listener) -> PortListener {
    let gateway = &listener.gateway;
    PortListener {
        index,
        gateway: listener.gateway_index,
        hostname: listener.hostname.clone(),
        label: format!("{}/{}/{}", gateway.namespace, gateway.name, listener.name).into(),
    }
}

/// Exact names, then wildcards by length, then every host.
fn specificity(hostname: Option<&Hostname>) -> (u8, Reverse<usize>) {
    match hostname {
        Some(Hostname::Exact(name)) => (0, Reverse(name.len())),
        Some(Hostname::Wildcard(suffix)) => (1, Reverse(suffix.len())),
        None => (2, Reverse(0)),
    }
}

/// Every path pattern that routes and policies name, each once, in order of appearance.
fn counted_paths(model: &Model) -> Vec<CountedPath> {
    let routes = model.routes.iter().flat_map(route_paths);
    let policies = model.gateways.iter().flat_map(|gateway| &gateway.policies);
    let operations = policies.flat_map(|policy| &policy.rules).flat_map(|rule| &rule.to);
    let patterns = operations.flat_map(|operation| {
        operation.paths.values.iter().chain(&operation.paths.not_values).map(CountedPath::from)
    });
    let mut seen = HashSet::new();
    routes.chain(patterns).filter(|path| seen.insert(path.clone())).collect()
}

fn route_paths(route: &Route) -> impl Iterator<Item = CountedPath> + '_ {
    route.rules.iter().flat_map(|rule| &rule.matches).map(CountedPath::from)
}
