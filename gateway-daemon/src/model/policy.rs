//! Policies: AuthorizationPolicy, validated. Patterns keep Istio's spelling semantics; see
//! `docs/policy.md`.

use std::sync::Arc;

use super::ext_authz::Provider;
use super::object::ObjectRef;

/// What a policy does when one of its rules matches.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Action {
    /// Some ALLOW policy has to match if any exists.
    Allow,
    /// A match refuses.
    Deny,
    /// Marks, never decides.
    Audit,
    /// A match asks a provider, before anything else decides.
    Custom,
}

impl Action {
    /// As manifests spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Audit => "AUDIT",
            Self::Custom => "CUSTOM",
        }
    }
}

/// A string pattern: `*` present, `x*` prefix, `*x` suffix, else exact. A star elsewhere is
/// literal.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Pattern {
    /// The text itself.
    Exact(Arc<str>),
    /// Texts that start with this.
    Prefix(Arc<str>),
    /// Texts that end with this.
    Suffix(Arc<str>),
    /// Any text.
    Present,
}

impl Pattern {
    /// Whether a text matches, byte by byte.
    pub fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *text,
            Self::Prefix(prefix) => text.starts_with(&**prefix),
            Self::Suffix(suffix) => text.ends_with(&**suffix),
            Self::Present => true,
        }
    }

    /// Reads Istio's spelling.
    pub fn parse(text: &str) -> Self {
        if text == "*" {
            Self::Present
        } else if let Some(suffix) = text.strip_prefix('*') {
            Self::Suffix(suffix.into())
        } else if let Some(prefix) = text.strip_suffix('*') {
            Self::Prefix(prefix.into())
        } else {
            Self::Exact(text.into())
        }
    }
}

/// A path pattern of an operation: a string pattern, or a template with `{*}` and `{**}`.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PathPattern {
    /// A string pattern.
    Text(Pattern),
    /// A template, its text as configured; known to be well-formed.
    Template(Arc<str>),
}

/// A list of alternatives and a list of exclusions. Both empty: no constraint.
///
/// `values` is a match of any; `not_values` refuses a match of any.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Constraint<T> {
    /// At least one has to match, unless empty.
    pub values: Vec<T>,
    /// None may match.
    pub not_values: Vec<T>,
}

impl<T> Default for Constraint<T> {
    fn default() -> Self {
        Self { values: Vec::new(), not_values: Vec::new() }
    }
}

impl<T> Constraint<T> {
    /// Whether it constrains nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty() && self.not_values.is_empty()
    }
}

/// An IP block: address and prefix length; host bits are ignored.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Cidr {
    address: std::net::IpAddr,
    prefix: u8,
}

/// Why a text is not an IP block.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0:?} is not an IP address or CIDR block such as \"10.0.0.0/8\" or \"2001:db8::/32\"")]
pub struct InvalidCidr(pub String);

impl Cidr {
    /// Reads `address` or `address/length`.
    pub fn parse(text: &str) -> Result<Self, InvalidCidr> {
        let invalid = || InvalidCidr(text.to_owned());
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: std::net::IpAddr = address.parse().map_err(|_| invalid())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = match prefix {
            None => widest,
            Some(digits) if !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok().filter(|p| *p <= widest).ok_or_else(invalid)?
            }
            Some(_) => return Err(invalid()),
        };
        Ok(Self { address, prefix })
    }

    /// The block of addresses that share so many first bits with this one.
    pub fn block(address: std::net::IpAddr, prefix: u8) -> Self {
        let widest = if address.is_ipv4() { 32 } else { 128 };
        Self { address, prefix: prefix.min(widest) }
    }

    /// The address, host bits as configured.
    pub fn address(self) -> std::net::IpAddr {
        self.address
    }

    /// The prefix length.
    pub fn prefix(self) -> u8 {
        self.prefix
    }

    /// A block inside `::ffff:0:0/96` means IPv4 addresses, and is written as such here.
    #[must_use]
    pub fn canonical(self) -> Self {
        match (self.address.to_canonical(), self.prefix.checked_sub(96)) {
            (address @ std::net::IpAddr::V4(_), Some(prefix)) if self.address.is_ipv6() => {
                Self { address, prefix }
            }
            _ => self,
        }
    }

    /// Whether the block holds `address`; an IPv4-mapped IPv6 address is looked at as IPv4.
    pub fn contains(self, address: std::net::IpAddr) -> bool {
        use std::net::IpAddr::{V4, V6};
        match (self.address, address.to_canonical()) {
            (V4(block), V4(ip)) => {
                let shift = 32 - u32::from(self.prefix);
                (block.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            (V6(block), V6(ip)) => {
                let shift = 128 - u32::from(self.prefix);
                (block.to_bits() ^ ip.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// One entry of `from`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Source {
    /// Peer identities of a client certificate.
    pub principals: Constraint<Pattern>,
    /// Request principals (`iss/sub`), as configured.
    pub request_principals: Constraint<Arc<str>>,
    /// Namespaces of peer identities.
    pub namespaces: Constraint<Pattern>,
    /// Service accounts of peer identities.
    pub service_accounts: Constraint<Pattern>,
    /// Peer addresses.
    pub ip_blocks: Constraint<Cidr>,
    /// Client addresses.
    pub remote_ip_blocks: Constraint<Cidr>,
}

/// One entry of `to`.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Operation {
    /// Authorities, without regard to case.
    pub hosts: Constraint<Pattern>,
    /// Listener ports.
    pub ports: Constraint<u16>,
    /// Methods, case sensitive.
    pub methods: Constraint<Pattern>,
    /// Paths.
    pub paths: Constraint<PathPattern>,
}

/// The attribute that a condition looks at (Istio `when.key`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Attribute {
    /// `request.headers[name]`, the name in lower case; also `:path`, `:method`, `:scheme`,
    /// `:authority`, and `host` for `:authority`.
    RequestHeader(Arc<str>),
    /// `source.ip`.
    SourceIp,
    /// `remote.ip`.
    RemoteIp,
    /// `source.namespace`.
    SourceNamespace,
    /// `source.principal`.
    SourcePrincipal,
    /// `source.serviceAccount`.
    SourceServiceAccount,
    /// `request.auth.principal`.
    RequestPrincipal,
    /// `request.auth.audiences`.
    Audiences,
    /// `request.auth.presenter`.
    Presenter,
    /// `request.auth.claims[a][b]`, one entry per bracket.
    Claim(Vec<Arc<str>>),
    /// `destination.ip`.
    DestinationIp,
    /// `destination.port`.
    DestinationPort,
    /// `connection.sni`.
    Sni,
}

/// The values of a condition, read as its attribute needs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ConditionValues {
    /// Texts.
    Text(Constraint<Pattern>),
    /// Request principals, as configured.
    Principal(Constraint<Arc<str>>),
    /// IP blocks.
    Ip(Constraint<Cidr>),
    /// Ports.
    Port(Constraint<u16>),
}

/// One entry of `when`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Condition {
    /// What it looks at.
    pub attribute: Attribute,
    /// What it wants there.
    pub values: ConditionValues,
}

/// One rule: `from` AND `to` AND every `when`; each empty list is no constraint.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Rule {
    /// Sources, any of them.
    pub from: Vec<Source>,
    /// Operations, any of them.
    pub to: Vec<Operation>,
    /// Conditions, all of them.
    pub when: Vec<Condition>,
}

/// An AuthorizationPolicy that applies to a Gateway.
#[derive(Clone, Debug)]
pub struct Policy {
    /// The object.
    pub object: ObjectRef,
    /// Action.
    pub action: Action,
    /// `istio.io/dry-run: "true"`: evaluated and counted, never decides.
    pub dry_run: bool,
    /// Rules, any of them; none: the policy matches nothing.
    pub rules: Vec<Rule>,
    /// Whom a CUSTOM policy asks; none: nobody who could be asked, so that a match refuses.
    pub provider: Option<Arc<Provider>>,
}
