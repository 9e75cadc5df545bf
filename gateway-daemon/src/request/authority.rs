//! The authority of a request: who the client says it talks to (RFC 9110 7.2, RFC 9112 3.2).

use std::cell::RefCell;
use std::rc::Rc;

use http::header::HOST;
use http::{HeaderMap, HeaderValue, Version};

use crate::model::reason::Reason;

/// The authority, known to be one host with an optional port and without user information. Shared
/// with [`LastAuthority`].
#[derive(Clone, Debug)]
pub(super) struct Authority(Rc<Checked>);

/// The authority of a connection's last request: that of the next one is seldom another, and need not
/// be checked again.
#[derive(Debug, Default)]
pub struct LastAuthority(RefCell<Option<Authority>>);

#[derive(Debug)]
struct Checked {
    /// As sent. A copy: to ask a header value for its text is to check all of it again.
    sent: Box<str>,
    /// In lower case, where that differs.
    folded: Option<Box<str>>,
    /// Length of the host, the brackets of an IPv6 address included.
    host_length: usize,
}

/// A longer authority is not kept: what waits for its next request costs little. A hostname has no more
/// than 253 bytes, a port five.
const MOST_KEPT: usize = 260;

impl Authority {
    /// Takes the authority from the target or the Host header, and leaves exactly one Host header
    /// that agrees with it.
    pub(super) fn take(
        target: Option<&http::uri::Authority>,
        version: Version,
        headers: &mut HeaderMap,
        last: &LastAuthority,
    ) -> Result<Self, Reason> {
        let mut hosts = headers.get_all(HOST).iter();
        let host = hosts.next();
        if hosts.next().is_some() {
            return Err(Reason::HostInvalid);
        }
        let Some(target) = target.map(http::uri::Authority::as_str) else {
            return last.or_check(host.ok_or(Reason::HostInvalid)?.as_bytes());
        };
        // An absolute-form target replaces Host (RFC 9112 3.2.2). In HTTP/2 both say the same
        // thing, or somebody is being fooled (RFC 9113 8.3.1).
        let agrees = |host: &HeaderValue| host.as_bytes().eq_ignore_ascii_case(target.as_bytes());
        if version >= Version::HTTP_2 && !host.is_none_or(agrees) {
            return Err(Reason::HostInvalid);
        }
        let sent = HeaderValue::from_str(target).map_err(|_| Reason::HostInvalid)?;
        let authority = last.or_check(sent.as_bytes())?;
        headers.insert(HOST, sent);
        Ok(authority)
    }

    fn new(sent: &[u8]) -> Result<Self, Reason> {
        let host_length = host_length(sent).ok_or(Reason::HostInvalid)?;
        // What is a host is ASCII.
        let sent = str::from_utf8(sent).map_err(|_| Reason::HostInvalid)?;
        let upper = sent.bytes().any(|b| b.is_ascii_uppercase());
        let folded = upper.then(|| sent.to_ascii_lowercase().into_boxed_str());
        Ok(Self(Rc::new(Checked { sent: sent.into(), folded, host_length })))
    }

    /// As sent.
    pub(super) fn sent(&self) -> &str {
        &self.0.sent
    }

    /// In lower case, port included.
    pub(super) fn folded(&self) -> &str {
        self.0.folded.as_deref().unwrap_or_else(|| self.sent())
    }

    /// The host in lower case, without port.
    pub(super) fn host(&self) -> &str {
        &self.folded()[..self.0.host_length]
    }
}

impl LastAuthority {
    /// The same again, or another one if it is good.
    fn or_check(&self, sent: &[u8]) -> Result<Authority, Reason> {
        let mut last = self.0.borrow_mut();
        if let Some(last) = last.as_ref().filter(|last| last.sent().as_bytes() == sent) {
            return Ok(last.clone());
        }
        let authority = Authority::new(sent)?;
        *last = (sent.len() <= MOST_KEPT).then(|| authority.clone());
        Ok(authority)
    }
}

/// Length of the host in `host[:port]`; none if the text is anything else. An empty host is what
/// a client sends whose target has no authority, and is a host like any other here.
fn host_length(text: &[u8]) -> Option<usize> {
    let length = match text.strip_prefix(b"[") {
        Some(rest) => {
            let inner = &rest[..memchr::memchr(b']', rest)?];
            str::from_utf8(inner).ok()?.parse::<std::net::Ipv6Addr>().ok()?;
            inner.len() + 2
        }
        None => text.iter().position(|b| !HOST_BYTES[usize::from(*b)]).unwrap_or(text.len()),
    };
    let port_fits = match text[length..].split_first() {
        None | Some((b':', [])) => true,
        Some((b':', digits)) => digits.iter().copied().try_fold(0, with_digit).is_some(),
        Some(_) => false,
    };
    port_fits.then_some(length)
}

/// The number with another decimal digit behind it, if that is one and the number fits.
fn with_digit(number: u16, digit: u8) -> Option<u16> {
    let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
    number.checked_mul(10)?.checked_add(digit)
}

/// The bytes of a reg-name or IPv4 address (RFC 3986 3.2.2). Escapes and the comma, which several
/// Host lines merged into one would show, are left out.
const HOST_BYTES: [bool; 256] = {
    let mut bytes = [false; 256];
    let mut byte = 0_u8;
    loop {
        bytes[byte as usize] = match byte {
            b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+'
            | b';' | b'=' => true,
            _ => byte.is_ascii_alphanumeric(),
        };
        if byte == u8::MAX {
            break bytes;
        }
        byte += 1;
    }
};
