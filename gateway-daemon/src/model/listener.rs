//! Listeners of Gateways.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::object::ObjectRef;
use super::port_range::PortRange;

/// A hostname of a listener or route: exact, or `*.` and a suffix (Gateway API `Hostname`).
/// Lower case, without trailing dot or port.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Hostname {
    /// One name.
    Exact(Arc<str>),
    /// Any name with at least one label before this suffix; the suffix starts with a dot.
    Wildcard(Arc<str>),
}

/// Why a text is not a hostname.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "{0:?} is not a hostname: use a DNS name such as \"www.example.com\", or \"*.example.com\""
)]
pub struct InvalidHostname(pub String);

impl Hostname {
    /// Reads the Gateway API form: an RFC 1123 name, optionally with `*.` in front; never an IP
    /// address.
    pub fn parse(text: &str) -> Result<Self, InvalidHostname> {
        let (wildcard, name) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let label = |label: &str| {
            (1..=63).contains(&label.len())
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        };
        let valid = (1..=253).contains(&name.len())
            && name.split('.').all(label)
            && name.parse::<IpAddr>().is_err();
        if !valid {
            return Err(InvalidHostname(text.to_owned()));
        }
        let name = name.to_ascii_lowercase();
        Ok(if wildcard {
            Self::Wildcard(format!(".{name}").into())
        } else {
            Self::Exact(name.into())
        })
    }

    /// Whether `host` (lower case, without port) is named by this hostname.
    pub fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => **name == *host,
            Self::Wildcard(suffix) => host.len() > suffix.len() && host.ends_with(&**suffix),
        }
    }

    /// Whether some host is named by both, as attaching a route to a listener needs.
    pub fn intersects(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(name), any) | (any, Self::Exact(name)) => any.matches(name),
            (Self::Wildcard(a), Self::Wildcard(b)) => a.ends_with(&**b) || b.ends_with(&**a),
        }
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Wildcard(suffix) => write!(f, "*{suffix}"),
        }
    }
}

/// What a listener speaks to clients.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/2 with prior knowledge, in clear.
    Http,
    /// The same over TLS, by ALPN.
    Https,
}

/// A certificate chain and its key, checked to belong together.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// The Secret it came from.
    pub secret: ObjectRef,
    /// What rustls signs with.
    pub key: Arc<rustls::sign::CertifiedKey>,
}

/// Number of a listener within a snapshot.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ListenerIndex(pub usize);

/// Number of a Gateway within a snapshot: policies attach to Gateways.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct GatewayIndex(pub usize);

/// A listener of a Gateway that is accepted.
#[derive(Clone, Debug)]
pub struct Listener {
    /// The Gateway.
    pub gateway: ObjectRef,
    /// The Gateway's number.
    pub gateway_index: GatewayIndex,
    /// The listener's name (`sectionName`).
    pub name: Arc<str>,
    /// Port, or a range of them.
    pub ports: PortRange,
    /// Protocol.
    pub protocol: Protocol,
    /// Hostname; none: every host.
    pub hostname: Option<Hostname>,
    /// Certificates, for HTTPS at least one.
    pub certificates: Vec<Certificate>,
    /// Addresses (`spec.addresses` of the Gateway); empty: every local address.
    pub addresses: Vec<IpAddr>,
    /// Whether its connections begin with a header of the PROXY protocol.
    pub proxy_protocol: bool,
}
