//! Backends: where permitted requests go.

use std::net::SocketAddr;
use std::sync::Arc;

use super::object::ObjectRef;

/// One backendRef of a rule.
#[derive(Clone, Debug)]
pub struct Backend {
    /// Share of requests, relative to the other backends of the rule.
    pub weight: u32,
    /// What the reference resolved to.
    pub target: BackendTarget,
}

/// What a backendRef resolved to.
#[derive(Clone, Debug)]
pub enum BackendTarget {
    /// A Service port.
    Resolved(Arc<Upstream>),
    /// The reference does not resolve (reason in the route's conditions): its share of requests
    /// is answered 500.
    Unresolved,
}

/// What a Service port speaks.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UpstreamProtocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (`appProtocol: kubernetes.io/h2c`).
    H2c,
}

/// A Service port with its ready endpoints.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Upstream {
    /// The Service.
    pub service: ObjectRef,
    /// The Service's port.
    pub port: u16,
    /// Protocol.
    pub protocol: UpstreamProtocol,
    /// Ready endpoints; empty: requests are answered 503.
    pub endpoints: Vec<SocketAddr>,
}
