//! The ports of listeners: one, or a range by an annotation of ours; and whose they are where several
//! listeners want them.
//!
//! Gateway API gives a listener one port. `policy.gateway.internal/port-ranges: "LISTENER=FIRST-LAST"`
//! on the Gateway makes it a range that begins with that port; several are parted by commas.

use std::net::IpAddr;

use super::super::bundle::Loaded;
use super::super::conditions::{ConditionType, Draft, Reason};
use super::super::path::FieldPath;
use super::reference::OWN_GROUP;
use super::topology;
use crate::manifest::gateway::{Gateway, Listener as WireListener};
use crate::model::listener::Listener;
use crate::model::port_range::PortRange;

/// The annotation, below [`OWN_GROUP`].
const PORT_RANGES: &str = "port-ranges";

/// Refuses annotations of ours that a Gateway does not know, and ranges of listeners that it has not.
pub(super) fn check(gateway: &Loaded<Gateway>, draft: &mut Draft<'_>) {
    let manifest = &gateway.manifest;
    for key in manifest.metadata.annotations.keys() {
        if let Some((OWN_GROUP, name)) = key.split_once('/')
            && name != PORT_RANGES
        {
            let message = format!("is not known; a Gateway takes {OWN_GROUP}/{PORT_RANGES}");
            draft.refuse(Reason::Invalid, annotation(key), message);
        }
    }
    for (name, _) in entries(gateway) {
        if manifest.spec.listeners.iter().all(|listener| listener.name != name) {
            let message = format!(
                "{name:?} is no listener of this Gateway; write LISTENER=FIRST-LAST, parted by commas"
            );
            draft.refuse(Reason::Invalid, field(), message);
        }
    }
}

/// The ports of a listener.
pub(super) fn read(
    gateway: &Loaded<Gateway>,
    listener: &WireListener,
    path: &FieldPath,
    draft: &mut Draft<'_>,
) -> PortRange {
    let port = listener.port.0;
    let mut named = entries(gateway).filter(|(name, _)| *name == listener.name);
    let Some((_, text)) = named.next() else { return PortRange::one(port) };
    if named.next().is_some() {
        let message = format!("names listener {:?} twice", listener.name);
        draft.refuse(Reason::Invalid, field(), message);
    }
    match PortRange::parse(text) {
        Ok(range) if range.first() == port => return range,
        Ok(range) => {
            let message = format!(
                "is {port}, and the range {range} of {OWN_GROUP}/{PORT_RANGES} begins with another"
            );
            draft.refuse(Reason::Invalid, path.key("port"), message);
        }
        Err(error) => draft.refuse(Reason::Invalid, field(), error.to_string()),
    }
    PortRange::one(port)
}

/// Listeners and their ranges, as the annotation has them.
fn entries(gateway: &Loaded<Gateway>) -> impl Iterator<Item = (&str, &str)> {
    let annotations = &gateway.manifest.metadata.annotations;
    let text = annotations.get(&format!("{OWN_GROUP}/{PORT_RANGES}"));
    let entries = text.into_iter().flat_map(|text| text.split(','));
    entries.map(|entry| {
        let (name, range) = entry.split_once('=').unwrap_or((entry, ""));
        (name.trim(), range.trim())
    })
}

fn field() -> FieldPath {
    annotation(&format!("{OWN_GROUP}/{PORT_RANGES}"))
}

fn annotation(key: &str) -> FieldPath {
    FieldPath::of("metadata.annotations").name(key)
}

/// Compares a listener with those accepted before it.
pub(super) fn conflicts(
    listener: &Listener,
    accepted: &[Listener],
    path: &FieldPath,
    draft: &mut Draft<'_>,
) {
    let mut conflict_at = |reason, path, message| {
        draft.problem(ConditionType::Conflicted, reason, path, message);
    };
    let mut conflict = |reason, field: &str, message| conflict_at(reason, path.key(field), message);
    for other in accepted.iter().filter(|other| other.ports.overlaps(listener.ports)) {
        let label = format!("listener {} of {}", other.name, other.gateway);
        if other.ports != listener.ports {
            let message = format!(
                "ports {} overlap with {}: {label}; ranges that overlap have to be the same",
                listener.ports, other.ports
            );
            return conflict(Reason::PortUnavailable, "port", message);
        }
        match shared(&listener.addresses, &other.addresses) {
            Shared::None => continue,
            Shared::All => {}
            Shared::Some(address) => {
                let message = format!(
                    "port {} at {address} is already taken with other addresses beside it: {label}; \
                     listeners of one port and address have the same addresses",
                    other.ports
                );
                return conflict(Reason::PortUnavailable, "port", message);
            }
        }
        if other.protocol != listener.protocol {
            let message = format!("port {} already speaks another protocol: {label}", other.ports);
            return conflict(Reason::ProtocolConflict, "protocol", message);
        }
        if other.proxy_protocol != listener.proxy_protocol {
            let differs = if other.proxy_protocol {
                "already expects the PROXY protocol, which this Gateway does not"
            } else {
                "is already served without the PROXY protocol, which this Gateway expects"
            };
            let message = format!(
                "port {} {differs}: {label}; Gateways of one port and address have to agree on \
                 proxyProtocol",
                other.ports
            );
            return conflict_at(Reason::ProtocolConflict, topology::field(), message);
        }
        if other.hostname == listener.hostname {
            let hostname = match &listener.hostname {
                Some(hostname) => format!("hostname {hostname}"),
                None => "no hostname (every host)".to_owned(),
            };
            let message = format!("port {} with {hostname} is already taken: {label}", other.ports);
            return conflict(Reason::HostnameConflict, "hostname", message);
        }
    }
}

/// What two listeners have in common of their addresses.
enum Shared {
    /// Nothing: a named address goes before every address.
    None,
    /// Some; one of them.
    Some(IpAddr),
    All,
}

fn shared(ours: &[IpAddr], others: &[IpAddr]) -> Shared {
    if ours == others {
        return Shared::All;
    }
    match ours.iter().find(|address| others.contains(address)) {
        Some(&address) => Shared::Some(address),
        None => Shared::None,
    }
}
