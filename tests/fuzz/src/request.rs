//! Request heads: whatever a client writes, the path that is decided about is the path that is
//! forwarded, a second reader of the forwarded head reads the same, and what only the gateway may
//! say nobody else says.

use bytes::Bytes;
use gateway_daemon::proxy::{End, Walk, walk};
use gateway_daemon::request::{RequestView, UpstreamHead};
use http::header::{HOST, HeaderName, HeaderValue};
use http::request::Parts;
use http::{Method, Uri, Version};

use super::setting::{NOW, RESERVED, conn, snapshot};

/// Headers that are about one connection, or that a client's words never reach the upstream in.
const GONE: [&str; 9] = [
    "connection",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-client-cert",
];

/// The bytes are `METHOD TARGET` and lines of headers, with line feeds between; `h2` before the method
/// says that it comes over HTTP/2. Tells whether the request was forwarded.
pub fn holds(bytes: &[u8]) -> bool {
    let Some(sent) = head(bytes) else { return false };
    let conn = conn();
    let (walk, end) = walk(snapshot(), &conn, sent, NOW);
    match end {
        End::Forwarded { head, .. } => {
            forwarded(&walk, head);
            true
        }
        End::Refused { status, headers, .. } => {
            let grpc = headers.get("grpc-status").is_some_and(|code| code != "0");
            assert!(status.is_client_error() || status.is_server_error() || grpc, "{status}");
            let challenged = headers.contains_key("www-authenticate");
            assert!(status != 401 || challenged, "a 401 says how to do better");
            false
        }
    }
}

fn forwarded(walk: &Walk, head: UpstreamHead) {
    let read = walk.read.as_ref().expect("it was read");
    let path = head.target.path().to_owned();
    assert_eq!(path, read.path, "decided and forwarded");
    is_normal(&path);
    let line = Uri::from(head.target.clone());
    assert_eq!(line.path(), path, "as it is written to the upstream");

    let headers = &head.headers;
    assert_eq!(headers.get_all(HOST).iter().count(), 1);
    assert_eq!(headers[HOST], read.authority.as_str());
    assert_eq!(headers["x-forwarded-for"], "192.0.2.7");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert!(GONE.iter().all(|name| !headers.contains_key(*name)), "{headers:?}");
    let aliases = |name: &HeaderName| name.as_str().replace(['_', '.'], "-");
    for name in headers.keys() {
        let reserved = RESERVED.contains(&&*aliases(name));
        assert!(!reserved || walk.identity.is_some() && !name.as_str().contains(['_', '.']));
    }
    again(head, &path);
}

fn is_normal(path: &str) {
    assert!(path.starts_with('/'), "{path}");
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    assert!(!path.contains(['\\', '#', '?']), "{path}");
    assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{path}");
    assert!(!path.to_ascii_lowercase().contains("%2e"), "{path}");
    assert!(!path.contains("%00"), "{path}");
}

/// Who reads the forwarded head by the same rules finds nothing to change. An encoded `..;` is the
/// exception that policies written for Istio rely on.
fn again(head: UpstreamHead, path: &str) {
    if path.contains("/.;") || path.contains("/..;") {
        return;
    }
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = head.method;
    parts.uri = Uri::from(head.target.clone());
    parts.headers = head.headers;
    let view = RequestView::read(parts, &conn()).expect("what was forwarded can be read");
    assert_eq!(view.path_and_query(), &head.target);
}

/// The head as hyper would hand it over; none where hyper refuses it.
fn head(bytes: &[u8]) -> Option<Parts> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let first = lines.next()?;
    let (version, first) = match first.strip_prefix(b"h2 ") {
        Some(rest) => (Version::HTTP_2, rest),
        None => (Version::HTTP_11, first),
    };
    let blank = first.iter().position(|byte| *byte == b' ')?;
    let mut parts = http::Request::new(()).into_parts().0;
    parts.version = version;
    parts.method = Method::from_bytes(&first[..blank]).ok()?;
    parts.uri = Uri::from_maybe_shared(Bytes::copy_from_slice(&first[blank + 1..])).ok()?;
    for line in lines {
        let colon = line.iter().position(|byte| *byte == b':')?;
        let name = HeaderName::from_bytes(&line[..colon]).ok()?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).ok()?;
        parts.headers.append(name, value);
    }
    Some(parts)
}
