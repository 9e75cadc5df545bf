//! Header clean-up before anybody looks: hop-by-hop headers (RFC 9110 7.6.1), expectations, what only
//! a trusted proxy may state, and repeated lines of headers that are defined as one line.

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, HeaderName, REFERER, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use super::referer;
use crate::model::reason::Reason;

/// What hop-by-hop headers said, for the one who forwards.
#[derive(Clone, Debug, Default)]
pub(super) struct HopByHop {
    /// The client takes trailers (`TE: trailers`).
    pub(super) te_trailers: bool,
    /// Protocols of an upgrade that the client offered.
    pub(super) upgrade: Option<HeaderValue>,
}

/// Most headers that one request may nominate in `Connection`; Envoy refuses from ten on.
const MAX_NOMINATED: usize = 9;

/// Options of `Connection` that are no header names, or names of headers that are removed anyway.
const OPTIONS: [&str; 7] = [
    "close",
    "keep-alive",
    "upgrade",
    "http2-settings",
    "te",
    "proxy-connection",
    "transfer-encoding",
];

/// Headers that a client may not nominate: without them the request would be another one.
const PROTECTED: [&str; 5] =
    ["host", "content-length", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"];

/// What a header asks of whoever cleans up.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Kind {
    /// It is about this connection only, or asks something of the gateway itself.
    Ours,
    /// It states what only a proxy in front could know, or tells one behind what to do: no proxy is
    /// believed in these.
    OfProxies,
    /// It is looked at, and may go.
    Referer,
    /// It passes.
    Other,
}

fn kind(name: &HeaderName) -> Kind {
    match name.as_str() {
        "connection" | "expect" | "http2-settings" | "keep-alive" | "proxy-connection" | "te"
        | "transfer-encoding" | "upgrade" => Kind::Ours,
        "referer" => Kind::Referer,
        "x-forwarded-client-cert" => Kind::OfProxies,
        name => match name.strip_prefix("x-envoy-") {
            Some(rest) if OF_ENVOY.binary_search(&rest).is_ok() => Kind::OfProxies,
            _ => Kind::Other,
        },
    }
}

/// What Envoy takes from strangers, behind `x-envoy-`.
const OF_ENVOY: [&str; 17] = [
    "decorator-operation",
    "downstream-service-cluster",
    "downstream-service-node",
    "expected-rq-timeout-ms",
    "external-address",
    "force-trace",
    "hedge-on-per-try-timeout",
    "internal",
    "ip-tags",
    "max-retries",
    "original-host",
    "original-path",
    "retry-grpc-on",
    "retry-on",
    "upstream-alt-stat-name",
    "upstream-rq-per-try-timeout-ms",
    "upstream-rq-timeout-ms",
];

/// Headers of the connection, besides `Connection` itself and those read below.
const CONNECTION_HEADERS: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// Removes what nobody may see: hop-by-hop headers, those that `Connection` nominates included, what
/// only proxies may state, and a Referer that is none; joins lines that are one line by definition.
pub(super) fn clean(headers: &mut HeaderMap) -> Result<HopByHop, Reason> {
    let mut ours = false;
    let mut referer = false;
    let mut of_proxies = Vec::new();
    for name in headers.keys() {
        match kind(name) {
            Kind::Ours => ours = true,
            Kind::OfProxies => of_proxies.push(name.clone()),
            Kind::Referer => referer = true,
            Kind::Other => {}
        }
    }
    let hop_by_hop = if ours { clean_hop_by_hop(headers)? } else { HopByHop::default() };
    for name in of_proxies {
        headers.remove(name);
    }
    join_repeated(headers);
    if referer {
        drop_odd_referer(headers);
    }
    Ok(hop_by_hop)
}

fn clean_hop_by_hop(headers: &mut HeaderMap) -> Result<HopByHop, Reason> {
    if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
        return Err(Reason::AmbiguousFraming);
    }
    // `100-continue` is answered by the gateway itself; nobody else defines one (RFC 9110 10.1.1).
    headers.remove(EXPECT);
    let mut found = HopByHop::default();
    if headers.contains_key(TE) {
        found.te_trailers = headers.get_all(TE).iter().any(names_trailers);
        headers.remove(TE);
    }
    if headers.contains_key(CONNECTION) {
        let upgrades = remove_nominated(headers)?;
        headers.remove(CONNECTION);
        if upgrades {
            found.upgrade = headers.get(UPGRADE).cloned();
        }
    }
    headers.remove(UPGRADE);
    headers.remove(TRANSFER_ENCODING);
    for name in CONNECTION_HEADERS {
        headers.remove(name);
    }
    Ok(found)
}

/// Removes what `Connection` nominates; says whether an upgrade is among it.
fn remove_nominated(headers: &mut HeaderMap) -> Result<bool, Reason> {
    let lines: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
    let mut count = 0;
    let mut upgrades = false;
    for token in lines.iter().flat_map(|line| line.as_bytes().split(|b| *b == b',')) {
        let token = token.trim_ascii().to_ascii_lowercase();
        if token.is_empty() {
            continue;
        }
        count += 1;
        upgrades |= token == b"upgrade";
        let is_protected = token[0] == b':' || PROTECTED.iter().any(|p| p.as_bytes() == token);
        if count > MAX_NOMINATED || is_protected {
            return Err(Reason::MalformedRequest);
        }
        if OPTIONS.iter().any(|o| o.as_bytes() == token) {
            continue;
        }
        // What is no name of a header nominates none.
        if let Ok(name) = HeaderName::from_bytes(&token) {
            headers.remove(name);
        }
    }
    Ok(upgrades)
}

fn names_trailers(value: &HeaderValue) -> bool {
    let name = |item: &[u8]| item.split(|b| *b == b';').next().unwrap_or_default().to_vec();
    value
        .as_bytes()
        .split(|b| *b == b',')
        .any(|item| name(item).trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Headers that Envoy keeps as one line each: repeated, they are joined by a comma. All other
/// headers keep their lines, Cookie included.
const ONE_LINE: [HeaderName; 24] = [
    http::header::ACCEPT,
    http::header::ACCEPT_ENCODING,
    http::header::ACCESS_CONTROL_REQUEST_HEADERS,
    http::header::ACCESS_CONTROL_REQUEST_METHOD,
    http::header::AUTHORIZATION,
    http::header::CACHE_CONTROL,
    HeaderName::from_static("cdn-loop"),
    http::header::CONTENT_TYPE,
    HeaderName::from_static("grpc-accept-encoding"),
    HeaderName::from_static("grpc-timeout"),
    http::header::IF_MATCH,
    http::header::IF_MODIFIED_SINCE,
    http::header::IF_NONE_MATCH,
    http::header::IF_RANGE,
    http::header::IF_UNMODIFIED_SINCE,
    http::header::ORIGIN,
    http::header::PRAGMA,
    REFERER,
    http::header::USER_AGENT,
    http::header::VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-request-id"),
];

/// Joins the lines of headers that are one line by definition.
fn join_repeated(headers: &mut HeaderMap) {
    if headers.len() == headers.keys_len() {
        return;
    }
    for name in &ONE_LINE {
        join(headers, name, b",");
    }
}

/// Takes away a Referer that is no URL.
fn drop_odd_referer(headers: &mut HeaderMap) {
    if headers.get(REFERER).is_some_and(|value| !referer::is_url(value.as_bytes())) {
        headers.remove(REFERER);
    }
}

/// Joins the lines of one header.
pub(super) fn join(headers: &mut HeaderMap, name: &HeaderName, separator: &[u8]) {
    let mut lines = headers.get_all(name).iter();
    let (Some(first), Some(second)) = (lines.next(), lines.next()) else {
        return;
    };
    // An empty line adds nothing, not even a separator.
    let lines = [first, second].into_iter().chain(lines).map(HeaderValue::as_bytes);
    let filled: Vec<&[u8]> = lines.filter(|line| !line.is_empty()).collect();
    let joined = filled.join(separator);
    // Header values and separators hold no byte that a header value may not hold.
    if let Ok(value) = HeaderValue::from_bytes(&joined) {
        debug_assert_ne!(*name, HOST, "several Hosts are refused");
        headers.insert(name, value);
    }
}
