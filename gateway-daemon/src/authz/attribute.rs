//! What a decision is about: the request, its connection, and who it is from.

use std::net::IpAddr;

use http::HeaderName;

use crate::model::identity::{Claim, Identity};
use crate::request::{ConnMeta, RequestView};

/// The attributes of one request.
#[derive(Clone, Copy)]
pub(super) struct Facts<'r> {
    pub(super) view: &'r RequestView,
    pub(super) conn: &'r ConnMeta,
    pub(super) identity: Option<&'r Identity>,
}

/// Somebody who looks at texts until one is what they look for.
pub(super) type Look<'l> = &'l mut dyn FnMut(&[u8]) -> bool;

/// A request header as policies name it.
pub(super) enum Header {
    /// `:path`, query included.
    Path,
    /// `:method`.
    Method,
    /// `:scheme`; also `x-forwarded-proto`, which is the gateway's own word.
    Scheme,
    /// `:authority`, also `host`.
    Authority,
    /// Any other.
    Named(HeaderName),
    /// A name that no header has.
    Never,
}

impl Header {
    /// Reads the name of a condition, in lower case.
    pub(super) fn named(name: &str) -> Self {
        match name {
            ":path" => Self::Path,
            ":method" => Self::Method,
            ":scheme" | "x-forwarded-proto" => Self::Scheme,
            ":authority" | "host" => Self::Authority,
            name => HeaderName::from_bytes(name.as_bytes()).map_or(Self::Never, Self::Named),
        }
    }

    /// Shows every line, blanks at both ends trimmed.
    pub(super) fn each(&self, facts: &Facts<'_>, look: Look<'_>) -> bool {
        let view = facts.view;
        match self {
            Self::Path => look(view.path_and_query().as_str().as_bytes()),
            Self::Method => look(view.method().as_str().as_bytes()),
            Self::Scheme => look(view.scheme().as_str().as_bytes()),
            Self::Authority => look(view.authority().as_bytes()),
            Self::Named(name) => {
                let mut lines = view.headers().get_all(name).iter();
                lines.any(|line| look(line.as_bytes().trim_ascii()))
            }
            Self::Never => false,
        }
    }
}

impl Facts<'_> {
    /// The other end of the TCP connection.
    pub(super) fn peer_ip(&self) -> IpAddr {
        self.conn.peer.ip()
    }

    /// Who asks, by the word of trusted proxies in front; else the peer.
    pub(super) fn client_ip(&self) -> IpAddr {
        self.conn.client().ip()
    }

    /// Shows the texts of a claim: a string, or the strings of a list. Nothing else is a text.
    pub(super) fn each_claim(&self, path: &[impl AsRef<str>], look: Look<'_>) -> bool {
        let (Some(identity), [name, inner @ ..]) = (self.identity, path) else {
            return false;
        };
        let Some(claim) = identity.claims.member(name.as_ref()) else {
            return false;
        };
        let split = |name: &str| identity.space_delimited.iter().any(|n| **n == *name);
        if let (Claim::String(text), []) = (claim, inner)
            && split(name.as_ref())
        {
            return text.split(' ').any(|part| !part.is_empty() && look(part.as_bytes()));
        }
        let found = inner.iter().try_fold(claim, |claim, name| claim.member(name.as_ref()));
        match found {
            Some(Claim::String(text)) => look(text.as_bytes()),
            Some(Claim::List(items)) => {
                items.iter().filter_map(Claim::as_str).any(|text| look(text.as_bytes()))
            }
            _ => false,
        }
    }
}
