//! Routes: which requests go to which backends.

use std::fmt;
use std::sync::Arc;

use super::backend::Backend;
use super::listener::{Hostname, ListenerIndex};
use super::object::ObjectRef;

/// A path match of a route rule (Gateway API `HTTPPathMatch`), case sensitive.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PathMatch {
    /// The path, byte for byte.
    Exact(Arc<str>),
    /// Whole path elements: `/a` matches `/a` and `/a/b`, not `/ab`. Kept without the trailing
    /// slash, so that `/` is the empty string.
    Prefix(Arc<str>),
}

impl PathMatch {
    /// Whether the normalised `path` (without query) matches.
    pub fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => **exact == *path,
            Self::Prefix(prefix) => path
                .strip_prefix(&**prefix)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "Exact {path}"),
            Self::Prefix(path) if path.is_empty() => f.write_str("PathPrefix /"),
            Self::Prefix(path) => write!(f, "PathPrefix {path}"),
        }
    }
}

/// A rule of a route.
#[derive(Clone, Debug)]
pub struct RouteRule {
    /// Matches, at least one; any of them suffices.
    pub matches: Vec<PathMatch>,
    /// Backends by weight; empty: 500 for every request (Gateway API).
    pub backends: Vec<Backend>,
}

/// An accepted route.
#[derive(Clone, Debug)]
pub struct Route {
    /// The HTTPRoute.
    pub object: ObjectRef,
    /// Creation order for precedence between equal matches: older first, then by name.
    pub created: Option<Arc<str>>,
    /// Listeners it is attached to.
    pub listeners: Vec<ListenerIndex>,
    /// Hostnames; empty: those of the listener.
    pub hostnames: Vec<Hostname>,
    /// Rules, in order.
    pub rules: Vec<RouteRule>,
}
