//! Ports by where a connection arrived.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::PortListener;
use crate::model::listener::Protocol;
use crate::model::lookup::Lookup;
use crate::model::port_range::PortRange;

/// A port, or a range of them, with its listeners, all of one protocol.
pub struct Port {
    /// Numbers.
    pub numbers: PortRange,
    /// Protocol of every listener on it.
    pub protocol: Protocol,
    /// Whether connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
    /// Listeners, the most specific hostname first.
    pub listeners: Vec<PortListener>,
    /// Addresses it listens on; empty: every local address that no other port of its numbers has.
    pub addresses: Vec<IpAddr>,
    /// TLS, where the protocol is HTTPS: chooses the certificate by server name and refuses names
    /// that no listener has.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

impl Port {
    /// The most specific listener for `host` (lower case, without port).
    pub fn listener(&self, host: &str) -> Option<&PortListener> {
        self.position(host).map(|position| &self.listeners[position])
    }

    /// Position of the most specific listener for `host`.
    pub fn position(&self, host: &str) -> Option<usize> {
        self.listeners.iter().position(|l| l.hostname.as_ref().is_none_or(|h| h.matches(host)))
    }
}

/// Every port, by number and address.
#[derive(Clone, Default)]
pub struct Ports(Lookup<u16, Vec<Arc<Port>>>);

impl Ports {
    /// Of one number, those with addresses of their own come before the one for every address.
    pub fn new(ports: impl IntoIterator<Item = Arc<Port>>) -> Self {
        let mut all: Lookup<u16, Vec<Arc<Port>>> = Lookup::default();
        for port in ports {
            for number in port.numbers.iter() {
                all.entry(number).or_default().push(Arc::clone(&port));
            }
        }
        for of_number in all.values_mut() {
            of_number.sort_by_key(|port| port.addresses.is_empty());
        }
        Self(all)
    }

    /// The port that a connection to this address of ours belongs to.
    pub fn find(&self, local: SocketAddr) -> Option<&Arc<Port>> {
        let here =
            |port: &&Arc<Port>| port.addresses.is_empty() || port.addresses.contains(&local.ip());
        self.at(local.port()).iter().find(here)
    }

    /// Those of a number, each at other addresses.
    pub fn at(&self, number: u16) -> &[Arc<Port>] {
        self.0.get(&number).map(Vec::as_slice).unwrap_or_default()
    }

    /// Each once, in order.
    pub fn each(&self) -> Vec<&Arc<Port>> {
        let mut all: Vec<_> = self
            .0
            .iter()
            .flat_map(|(number, ports)| ports.iter().map(move |port| (*number, port)))
            .filter(|(number, port)| port.numbers.first() == *number)
            .map(|(_, port)| port)
            .collect();
        all.sort_by(|a, b| (a.numbers, &a.addresses).cmp(&(b.numbers, &b.addresses)));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(numbers: &str, addresses: &[&str]) -> Arc<Port> {
        Arc::new(Port {
            numbers: PortRange::parse(numbers).unwrap(),
            protocol: Protocol::Http,
            proxy_protocol: false,
            listeners: Vec::new(),
            addresses: addresses.iter().map(|address| address.parse().unwrap()).collect(),
            tls: None,
        })
    }

    #[test]
    fn the_address_decides_and_then_the_number() {
        let ports = Ports::new([
            port("80-80", &[]),
            port("80-80", &["192.0.2.1", "2001:db8::1"]),
            port("80-80", &["192.0.2.2"]),
            port("8000-8002", &["192.0.2.1"]),
        ]);
        let found = |local: &str| {
            let port = ports.find(local.parse().unwrap())?;
            Some((port.numbers.to_string(), port.addresses.len()))
        };
        let rows = [
            ("192.0.2.1:80", Some(("80", 2))),
            ("[2001:db8::1]:80", Some(("80", 2))),
            ("192.0.2.2:80", Some(("80", 1))),
            ("192.0.2.3:80", Some(("80", 0))),
            ("192.0.2.1:8002", Some(("8000-8002", 1))),
            ("192.0.2.1:8003", None),
            ("192.0.2.2:8000", None),
        ];
        for (local, expected) in rows {
            let expected = expected.map(|(numbers, count)| (numbers.to_owned(), count));
            assert_eq!(found(local), expected, "{local}");
        }
        let each: Vec<_> = ports.each().iter().map(|port| port.numbers.to_string()).collect();
        assert_eq!(each, ["80", "80", "80", "8000-8002"]);
    }
}
