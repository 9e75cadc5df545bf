//! Stage 8: takes the `Permit`; hop-by-hop and forwarding headers, upstream exchange.

use std::pin::{Pin, pin};
use std::rc::Rc;
use std::time::Duration;

use http::header::{self, HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderMap, Request, Response, Uri, Version};

use super::accept::Connection;
use super::body::{RequestBody, ResponseBody, UpstreamBody};
use super::count::RequestRecord;
use super::respond::Unanswered;
use super::route::Routed;
use super::upstream;
use super::worker::Worker;
use crate::authz::Permit;
use crate::clock::{self, Moment};
use crate::model::backend::UpstreamProtocol;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView, UpstreamHead};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Forwards a permitted request and gives the upstream's answer.
pub(super) async fn forward(
    worker: &Rc<Worker>,
    conn: &Connection,
    meta: &ConnMeta,
    permit: Permit,
    routed: Routed,
    mut body: RequestBody,
    mut record: RequestRecord,
) -> Result<Response<ResponseBody>, Unanswered> {
    let place = &routed.place;
    body.reserve(|| place.reserved());
    let Some(rule) = place.rule() else { return Err(record.unanswered(Reason::NoRoute)) };
    let upstream = match upstream::choose(worker.pool(), &rule.backends) {
        Ok(upstream) => upstream,
        Err(reason) => return Err(record.unanswered(reason)),
    };
    record.note(|facts| facts.forwarded = Some(clock::monotonic()));
    let head = upstream_head(permit, *routed.view, meta, conn.source(), upstream.protocol);
    let request = upstream_request(head, upstream.protocol, body);
    let limits = worker.limits();
    let exchange = pin!(upstream::exchange(worker, upstream, request));
    let answered = within(limits.upstream_timeout, &record, exchange).await;
    let (response, endpoint) = match answered {
        Ok(answered) => answered,
        Err(reason) => return Err(record.unanswered(reason)),
    };
    record.note(|facts| {
        facts.upstream = Some(endpoint);
        facts.upstream_wait = facts.forwarded.map(|since| clock::monotonic() - since);
    });
    let (mut parts, incoming) = response.into_parts();
    strip_hop_by_hop(&mut parts.headers);
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    record.answering(parts.status, true);
    let body = UpstreamBody::stream(incoming, record, limits.stream_idle_timeout);
    Ok(Response::from_parts(parts, body))
}

/// The head that the upstream gets. Pure.
pub(super) fn upstream_head(
    _permit: Permit,
    view: RequestView,
    conn: &ConnMeta,
    source: HeaderValue,
    protocol: UpstreamProtocol,
) -> UpstreamHead {
    let mut head = view.into_upstream();
    if protocol == UpstreamProtocol::H2c && head.te_trailers {
        head.headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
    forwarding_headers(&mut head.headers, conn, source);
    head
}

/// Waits for an exchange, as long as the client's body moves and then for `timeout`: an upstream
/// may need the whole request before it answers.
async fn within<T>(
    timeout: Duration,
    record: &RequestRecord,
    // Pinned by the caller: passed by value it would stand in the task twice.
    mut exchange: Pin<&mut impl Future<Output = Result<T, Reason>>>,
) -> Result<T, Reason> {
    let last_moved = || record.upload().map_or(record.opened(), |upload| upload.last.get());
    loop {
        let moved = last_moved();
        let left = (moved + timeout).after(Moment::now());
        match tokio::time::timeout(left, &mut exchange).await {
            Ok(result) => return result,
            Err(_) if last_moved() == moved => return Err(Reason::UpstreamTimeout),
            Err(_) => {}
        }
    }
}

fn upstream_request(
    head: UpstreamHead,
    protocol: UpstreamProtocol,
    body: RequestBody,
) -> Request<RequestBody> {
    let UpstreamHead { method, target, mut headers, .. } = head;
    let mut request = Request::new(body);
    *request.method_mut() = method;
    *request.uri_mut() = upstream_uri(protocol, target, &mut headers);
    *request.headers_mut() = headers;
    request
}

/// The target as its protocol wants it.
pub(super) fn upstream_uri(
    protocol: UpstreamProtocol,
    target: PathAndQuery,
    headers: &mut HeaderMap,
) -> Uri {
    match protocol {
        UpstreamProtocol::Http1 => Uri::from(target),
        UpstreamProtocol::H2c => h2_uri(target, headers),
    }
}

/// HTTP/2 carries the authority in the target (RFC 9113 8.3.1).
fn h2_uri(target: PathAndQuery, headers: &mut HeaderMap) -> Uri {
    let host = headers.remove(header::HOST);
    let authority = host.and_then(|host| Authority::from_maybe_shared(host).ok());
    let mut parts = http::uri::Parts::default();
    parts.scheme = authority.is_some().then_some(http::uri::Scheme::HTTP);
    parts.authority = authority;
    parts.path_and_query = Some(target.clone());
    Uri::from_parts(parts).unwrap_or_else(|_| Uri::from(target))
}

/// Tells the upstream who asked. Where no proxy in front of us is trusted, what the client says of
/// itself in these headers is replaced, not extended.
pub(super) fn forwarding_headers(headers: &mut HeaderMap, conn: &ConnMeta, source: HeaderValue) {
    headers.remove(header::FORWARDED);
    headers.remove(header::EXPECT); // answered by us
    if conn.proxied.as_ref().is_some_and(|proxied| proxied.headers) {
        return;
    }
    headers.insert(X_FORWARDED_FOR, source);
    headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(conn.scheme.as_str()));
    match headers.get(header::HOST).cloned() {
        Some(host) => headers.insert(X_FORWARDED_HOST, host),
        None => headers.remove(X_FORWARDED_HOST),
    };
}

/// Where the connection comes from, as upstreams are told it.
pub(super) fn source(conn: &ConnMeta) -> HeaderValue {
    // An address is made of characters that a header may have.
    HeaderValue::try_from(conn.source().ip().to_string())
        .unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

/// Takes an upstream's own hop-by-hop headers off its response (RFC 9110 7.6.1).
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if !headers.keys().any(is_hop_by_hop) {
        return;
    }
    let nominated: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in nominated {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

const HOP_BY_HOP: [HeaderName; 6] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

fn is_hop_by_hop(name: &HeaderName) -> bool {
    HOP_BY_HOP.contains(name)
}
