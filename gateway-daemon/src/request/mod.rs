//! `RequestView`: the one normalised reading of a request.
//!
//! Everything that looks at a request looks at this value: route, authentication, authorization,
//! the upstream's request line and headers. It is read once, so no two of them can disagree about
//! a path, a host or a header. Knows nothing of configuration, sockets or time.

mod authority;
mod forwarded;
mod headers;
mod method;
mod path;
pub mod proxy_header;
mod query;
mod referer;
#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::header::COOKIE;
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderValue, Method, Version};

pub use self::authority::LastAuthority;

use self::authority::Authority;
use self::headers::HopByHop;
use crate::model::reason::Reason;

/// Bytes of path and query that a `www-authenticate` realm shows, as Envoy cuts it.
const REALM_TARGET_BYTES: usize = 256;

/// How the client reached the gateway.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scheme {
    /// In clear.
    Http,
    /// Over TLS.
    Https,
}

impl Scheme {
    /// `http` or `https`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// What is known of a connection before its first request.
#[derive(Clone, Debug)]
pub struct ConnMeta {
    /// The other end of the TCP connection.
    pub peer: SocketAddr,
    /// The address and port the client connected to: the listener's, whatever Host says.
    pub local: SocketAddr,
    /// Clear or TLS.
    pub scheme: Scheme,
    /// Server name of the TLS handshake, lower case.
    pub sni: Option<Arc<str>>,
    /// What a trusted proxy in front says; none: the peer speaks for itself.
    pub proxied: Option<Box<Proxied>>,
}

/// What a trusted proxy in front says of a connection, or of one request on it.
#[derive(Clone, Copy, Debug)]
pub struct Proxied {
    /// Where the connection comes from: as a PROXY header says, else the peer.
    pub source: SocketAddr,
    /// Who asks: as `X-Forwarded-For` says, which knows no ports, else the source.
    pub client: SocketAddr,
    /// Whether the request's own `X-Forwarded-*` headers are what the upstream is told.
    pub headers: bool,
}

impl ConnMeta {
    /// Where the connection comes from.
    pub fn source(&self) -> SocketAddr {
        self.proxied.as_ref().map_or(self.peer, |proxied| proxied.source)
    }

    /// Who asks.
    pub fn client(&self) -> SocketAddr {
        self.proxied.as_ref().map_or(self.peer, |proxied| proxied.client)
    }
}

/// A request, normalised once; routed, authenticated, authorized and forwarded from this value.
#[derive(Debug)]
pub struct RequestView {
    method: Method,
    version: Version,
    scheme: Scheme,
    authority: Authority,
    /// Path and query as the client's normalised target has them, tokens included.
    target: PathAndQuery,
    /// The same without removed parameters, once something was removed.
    stripped: Option<Box<PathAndQuery>>,
    headers: HeaderMap,
    hop_by_hop: HopByHop,
}

/// A request head for the upstream, taken out of a [`RequestView`] when it is forwarded.
#[derive(Debug)]
pub struct UpstreamHead {
    /// Method.
    pub method: Method,
    /// The path that was decided about, and the query without removed tokens.
    pub target: PathAndQuery,
    /// End-to-end headers with exactly one Host, and at most one Cookie line.
    pub headers: HeaderMap,
    /// The client takes trailers (`TE: trailers`).
    pub te_trailers: bool,
    /// Protocols of an upgrade that the client offered and that is not carried.
    pub upgrade: Option<HeaderValue>,
}

impl RequestView {
    /// Reads a request head: hop-by-hop clean-up, authority, path normalisation.
    pub fn read(head: http::request::Parts, conn: &ConnMeta) -> Result<Self, Reason> {
        Self::read_after(head, conn, &LastAuthority::default())
    }

    /// The same for the next request of a connection.
    pub fn read_after(
        head: http::request::Parts,
        conn: &ConnMeta,
        last: &LastAuthority,
    ) -> Result<Self, Reason> {
        let http::request::Parts { method, uri, version, mut headers, .. } = head;
        method::check(&method)?;
        let http::uri::Parts { scheme, authority, path_and_query, .. } = uri.into_parts();
        let target = read_target(scheme.as_ref(), path_and_query)?;
        let hop_by_hop = headers::clean(&mut headers)?;
        let authority = Authority::take(authority.as_ref(), version, &mut headers, last)?;
        let scheme = conn.scheme;
        Ok(Self { method, version, scheme, authority, target, stripped: None, headers, hop_by_hop })
    }

    /// Method.
    pub fn method(&self) -> &Method {
        &self.method
    }

    /// The version of HTTP that the client spoke.
    pub fn version(&self) -> Version {
        self.version
    }

    /// How the client reached the gateway.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// The authority as sent: case and port kept.
    pub fn authority(&self) -> &str {
        self.authority.sent()
    }

    /// The authority in lower case, port included.
    pub fn authority_lowercase(&self) -> &str {
        self.authority.folded()
    }

    /// The host in lower case, without port: what listeners and routes are chosen by.
    pub fn host(&self) -> &str {
        self.authority.host()
    }

    /// The normalised path.
    pub fn path(&self) -> &str {
        self.target.path()
    }

    /// The query as it goes to the upstream.
    pub fn query(&self) -> Option<&str> {
        self.path_and_query().query()
    }

    /// Path and query as they go to the upstream.
    pub fn path_and_query(&self) -> &PathAndQuery {
        self.stripped.as_deref().unwrap_or(&self.target)
    }

    /// Headers as they go to the upstream.
    pub fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// Headers, for authentication to strip and to write.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        &mut self.headers
    }

    /// The first query parameter of this name, decoded.
    pub fn param(&self, name: &str) -> Option<Cow<'_, [u8]>> {
        let query = self.query()?;
        let (_, value) =
            query::pairs(query).find(|(key, _)| *query::decode(key) == *name.as_bytes())?;
        Some(query::decode(value))
    }

    /// Removes every query parameter of this name; the others stay byte for byte.
    pub fn remove_param(&mut self, name: &str) -> Result<(), Reason> {
        let Some(query) = self.query() else {
            return Ok(());
        };
        let left = query::without(query, name.as_bytes());
        self.stripped = Some(Box::new(join_target(self.path(), left.as_deref())?));
        Ok(())
    }

    /// Gives the query this parameter, in place of others of its name.
    pub fn set_param(&mut self, name: &str, value: &str) -> Result<(), Reason> {
        let added = format!("{}={}", query::encode(name), query::encode(value));
        let left = self.query().and_then(|query| query::without(query, name.as_bytes()));
        let query = left.map_or(added.clone(), |left| format!("{left}&{added}"));
        self.stripped = Some(Box::new(join_target(self.path(), Some(&query))?));
        Ok(())
    }

    /// The realm of a `www-authenticate` header: scheme, authority as sent, and the normalised
    /// path and query, the latter two cut together. None of them can hold a quote.
    pub fn realm(&self) -> String {
        let target = self.target.as_str();
        // The target is ASCII.
        let target = target.get(..REALM_TARGET_BYTES).unwrap_or(target);
        format!("{}://{}{target}", self.scheme.as_str(), self.authority())
    }

    /// Whether this is a CORS preflight (Fetch, section 4.8): no token is asked of it.
    pub fn is_cors_preflight(&self) -> bool {
        let filled = |name| self.headers.get(name).is_some_and(|v: &HeaderValue| !v.is_empty());
        self.method == Method::OPTIONS
            && filled(http::header::ORIGIN)
            && filled(http::header::ACCESS_CONTROL_REQUEST_METHOD)
    }

    /// Takes the head for the upstream out.
    pub fn into_upstream(mut self) -> UpstreamHead {
        // Clients of HTTP/2 may split Cookie; nobody behind HTTP/1.1 expects it (RFC 9113 8.2.3).
        headers::join(&mut self.headers, &COOKIE, b"; ");
        UpstreamHead {
            method: self.method,
            target: self.stripped.map_or(self.target, |stripped| *stripped),
            headers: self.headers,
            te_trailers: self.hop_by_hop.te_trailers,
            upgrade: self.hop_by_hop.upgrade,
        }
    }
}

/// The normalised path and query of a target in origin-form or absolute-form.
fn read_target(
    scheme: Option<&http::uri::Scheme>,
    sent: Option<PathAndQuery>,
) -> Result<PathAndQuery, Reason> {
    if scheme.is_some_and(|s| !matches!(s.as_str(), "http" | "https")) {
        return Err(Reason::MalformedRequest);
    }
    let sent = sent.ok_or(Reason::PathInvalid)?;
    let path = path::normalise(sent.path())?;
    if sent.query().is_some_and(|query| query.bytes().any(|b| b <= b' ' || b >= 0x7f)) {
        return Err(Reason::PathInvalid);
    }
    match path {
        // Also what a target without a path shows (`http://a.test#x`), and does not hold.
        Cow::Borrowed("/") if sent.query().is_none() => Ok(PathAndQuery::from_static("/")),
        Cow::Borrowed(_) if sent.as_str().starts_with('/') => Ok(sent),
        path => join_target(&path, sent.query()),
    }
}

fn join_target(path: &str, query: Option<&str>) -> Result<PathAndQuery, Reason> {
    let mut target = Vec::with_capacity(path.len() + 1 + query.map_or(0, str::len));
    target.extend_from_slice(path.as_bytes());
    if let Some(query) = query {
        target.push(b'?');
        target.extend_from_slice(query.as_bytes());
    }
    PathAndQuery::from_maybe_shared(Bytes::from(target)).map_err(|_| Reason::PathInvalid)
}
