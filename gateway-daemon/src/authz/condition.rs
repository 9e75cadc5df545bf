//! Conditions: the entries of `when`.

use std::net::IpAddr;
use std::sync::Arc;

use super::attribute::{Facts, Header};
use super::pattern::{PatternSet, Presence, TextConstraint};
use super::principal::PrincipalConstraint;
use crate::model::policy::{Attribute, Cidr, Condition as Model, ConditionValues, Constraint};

/// A compiled condition.
pub(super) enum Condition {
    Header(Header, TextConstraint),
    /// A claim by its path.
    Claim(Box<[Arc<str>]>, TextConstraint),
    Principal(PrincipalConstraint),
    PeerIp(Constraint<Cidr>),
    ClientIp(Constraint<Cidr>),
    GatewayIp(Constraint<Cidr>),
    Port(Constraint<u16>),
    Sni(TextConstraint),
    /// About the certificate of a peer, which is never asked for one: positive forms never hold,
    /// negative ones always.
    PeerIdentity {
        holds: bool,
    },
    /// An attribute with values of another kind, which translation does not make: never holds.
    Never,
}

impl Condition {
    /// Compiles a condition.
    pub(super) fn compile(model: &Model) -> Self {
        let claim = |name: &'static str| -> Box<[Arc<str>]> { [Arc::from(name)].into() };
        let filled = |patterns: &[_]| PatternSet::new(patterns, Presence::Filled);
        let any = |patterns: &[_]| PatternSet::new(patterns, Presence::Any);
        match (&model.attribute, &model.values) {
            (Attribute::RequestHeader(name), ConditionValues::Text(texts)) => {
                Self::Header(Header::named(name), TextConstraint::new(texts, any))
            }
            (Attribute::Claim(path), ConditionValues::Text(texts)) => {
                Self::Claim(path.as_slice().into(), TextConstraint::new(texts, filled))
            }
            (Attribute::Audiences, ConditionValues::Text(texts)) => {
                Self::Claim(claim("aud"), TextConstraint::new(texts, filled))
            }
            (Attribute::Presenter, ConditionValues::Text(texts)) => {
                Self::Claim(claim("azp"), TextConstraint::new(texts, filled))
            }
            (Attribute::Sni, ConditionValues::Text(texts)) => {
                Self::Sni(TextConstraint::new(texts, filled))
            }
            (Attribute::RequestPrincipal, ConditionValues::Principal(principals)) => {
                Self::Principal(PrincipalConstraint::new(principals))
            }
            (Attribute::SourceIp, ConditionValues::Ip(blocks)) => Self::PeerIp(blocks.clone()),
            (Attribute::RemoteIp, ConditionValues::Ip(blocks)) => Self::ClientIp(blocks.clone()),
            (Attribute::DestinationIp, ConditionValues::Ip(blocks)) => {
                Self::GatewayIp(blocks.clone())
            }
            (Attribute::DestinationPort, ConditionValues::Port(ports)) => Self::Port(ports.clone()),
            (
                Attribute::SourceNamespace
                | Attribute::SourcePrincipal
                | Attribute::SourceServiceAccount,
                ConditionValues::Text(texts),
            ) => Self::PeerIdentity { holds: texts.values.is_empty() },
            _ => Self::Never,
        }
    }

    /// Whether the request satisfies it.
    pub(super) fn holds(&self, facts: &Facts<'_>) -> bool {
        match self {
            Self::Header(header, texts) => texts.admits_some(|look| header.each(facts, look)),
            Self::Claim(path, texts) => texts.admits_some(|look| facts.each_claim(path, look)),
            Self::Principal(principals) => principals.admits(facts.identity),
            Self::PeerIp(blocks) => in_blocks(blocks, facts.peer_ip()),
            Self::ClientIp(blocks) => in_blocks(blocks, facts.client_ip()),
            Self::GatewayIp(blocks) => in_blocks(blocks, facts.conn.local.ip()),
            Self::Port(ports) => admits_port(ports, facts.conn.local.port()),
            Self::Sni(texts) => match &facts.conn.sni {
                Some(name) => texts.admits(name.as_bytes()),
                None => texts.admits_nothing(),
            },
            Self::PeerIdentity { holds } => *holds,
            Self::Never => false,
        }
    }
}

/// Whether an address satisfies a constraint.
pub(super) fn in_blocks(blocks: &Constraint<Cidr>, address: IpAddr) -> bool {
    let inside = |blocks: &[Cidr]| blocks.iter().any(|block| block.contains(address));
    (blocks.values.is_empty() || inside(&blocks.values)) && !inside(&blocks.not_values)
}

/// Whether a port satisfies a constraint.
pub(super) fn admits_port(ports: &Constraint<u16>, port: u16) -> bool {
    (ports.values.is_empty() || ports.values.contains(&port)) && !ports.not_values.contains(&port)
}
