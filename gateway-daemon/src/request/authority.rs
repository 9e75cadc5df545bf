//! The authority of a request: who the client says it talks to (RFC 9110 7.2, RFC 9112 3.2).

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Uri, Version};

use crate::model::reason::Reason;

/// The authority, known to be one host with an optional port and without user information.
#[derive(Clone, Debug)]
pub(super) struct Authority {
    /// As sent.
    sent: HeaderValue,
    /// In lower case, where that differs.
    folded: Option<Box<str>>,
    /// Length of the host, the brackets of an IPv6 address included.
    host_length: usize,
}

impl Authority {
    /// Takes the authority from the target or the Host header, and leaves exactly one Host header
    /// that agrees with it.
    pub(super) fn take(
        uri: &Uri,
        version: Version,
        headers: &mut HeaderMap,
    ) -> Result<Self, Reason> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Reason::HostInvalid);
        }
        let Some(target) = uri.authority().map(http::uri::Authority::as_str) else {
            return Self::new(host.ok_or(Reason::HostInvalid)?.clone());
        };
        // An absolute-form target replaces Host (RFC 9112 3.2.2). In HTTP/2 both say the same
        // thing, or somebody is being fooled (RFC 9113 8.3.1).
        let agrees = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(target.as_bytes());
        if version >= Version::HTTP_2 && !host.is_none_or(agrees) {
            return Err(Reason::HostInvalid);
        }
        let sent = HeaderValue::from_str(target).map_err(|_| Reason::HostInvalid)?;
        let authority = Self::new(sent)?;
        headers.insert(HOST, authority.sent.clone());
        Ok(authority)
    }

    fn new(sent: HeaderValue) -> Result<Self, Reason> {
        let text = sent.to_str().map_err(|_| Reason::HostInvalid)?;
        let host_length = host_length(text).ok_or(Reason::HostInvalid)?;
        let upper = text.bytes().any(|b| b.is_ascii_uppercase());
        let folded = upper.then(|| text.to_ascii_lowercase().into_boxed_str());
        Ok(Self { sent, folded, host_length })
    }

    /// As sent.
    pub(super) fn sent(&self) -> &str {
        // Checked when it was made.
        self.sent.to_str().unwrap_or_default()
    }

    /// In lower case, port included.
    pub(super) fn folded(&self) -> &str {
        self.folded.as_deref().unwrap_or_else(|| self.sent())
    }

    /// The host in lower case, without port.
    pub(super) fn host(&self) -> &str {
        &self.folded()[..self.host_length]
    }
}

/// Length of the host in `host[:port]`; none if the text is anything else. An empty host is what
/// a client sends whose target has no authority, and is a host like any other here.
fn host_length(text: &str) -> Option<usize> {
    let length = match text.strip_prefix('[') {
        Some(rest) => {
            let inner = rest.split_once(']')?.0;
            inner.parse::<std::net::Ipv6Addr>().ok()?;
            inner.len() + 2
        }
        None => text.bytes().position(|b| b == b':').unwrap_or(text.len()),
    };
    let (host, port) = text.split_at(length);
    let port_fits = match port.strip_prefix(':') {
        Some("") => true,
        Some(digits) => digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u16>().is_ok(),
        None => port.is_empty(),
    };
    let host_fits = text.starts_with('[') || host.bytes().all(is_host_byte);
    (port_fits && host_fits).then_some(length)
}

/// A byte of a reg-name or IPv4 address (RFC 3986 3.2.2). Escapes and the comma, which several
/// Host lines merged into one would show, are left out.
fn is_host_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+;=".contains(&byte)
}
