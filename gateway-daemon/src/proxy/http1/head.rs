//! Heads of messages: where they end and what they say (RFC 9112 2 to 6).
//!
//! Must not know: routes, policies, sockets.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, TE, TRANSFER_ENCODING};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
};

use super::decode::Length;
use crate::model::reason::Reason;

/// Header fields that are parsed without an allocation.
const USUAL_HEADERS: usize = 128;

/// Looks for the end of a head while its bytes arrive.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Where to look next.
    at: usize,
    /// Where the line under way begins.
    line: usize,
    lines: u32,
    /// Lines may end with a bare LF (RFC 9112 2.2: "a recipient MAY"): upstreams', never clients'.
    lenient: bool,
}

impl Scan {
    /// For responses of an upstream.
    pub(super) fn lenient() -> Self {
        Self { lenient: true, ..Self::default() }
    }

    /// Whether no byte of a head was seen.
    pub(super) fn is_fresh(&self) -> bool {
        self.at == 0
    }

    /// The length of the head, once its empty line is there.
    pub(super) fn end(&mut self, input: &[u8]) -> Result<Option<usize>, Reason> {
        while let Some(found) = memchr::memchr(b'\n', &input[self.at..]) {
            let lf = self.at + found;
            let line = match input[self.line..lf].split_last() {
                Some((b'\r', line)) => line,
                _ if !self.lenient => return Err(Reason::AmbiguousFraming),
                _ => &input[self.line..lf],
            };
            (self.at, self.line) = (lf + 1, lf + 1);
            match line.first() {
                None if self.lines > 0 => return Ok(Some(lf + 1)),
                None => {} // empty lines before a start line are skipped (RFC 9112 2.2)
                // obs-fold, or a blank before the first field (RFC 9112 2.2, 5.2).
                Some(b' ' | b'\t') if self.lines > 0 => return Err(Reason::AmbiguousFraming),
                Some(_) => self.lines += 1,
            }
        }
        self.at = input.len();
        Ok(None)
    }
}

/// A request's head.
#[derive(Debug)]
pub(super) struct RequestHead<B> {
    /// Method, target, version and fields, and the body. In a box: it is long, and handed on.
    pub(super) request: Box<Request<B>>,
    /// What the server side has to remember while it answers.
    pub(super) asked: Asked,
}

/// What a request's head says of its body.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Announced {
    /// How it is framed.
    pub(super) length: Length,
    /// The client waits for 100 before it sends it (RFC 9110 10.1.1).
    pub(super) expects_continue: bool,
}

/// What of a request decides how its response is written.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a head, which exclude none another")]
pub(super) struct Asked {
    /// A HEAD: the response has no body.
    pub(super) head: bool,
    /// HTTP/1.0: no chunks.
    pub(super) http10: bool,
    /// The connection may serve another request.
    pub(super) keep_alive: bool,
    /// The client reads trailers.
    pub(super) trailers: bool,
}

/// Reads a request's head, which ends with its empty line; `begin` makes the body.
pub(super) fn request<B>(
    head: &Bytes,
    max_headers: usize,
    begin: impl FnOnce(Announced) -> B,
) -> Result<RequestHead<B>, Reason> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut more = Vec::new();
    let fields = room(max_headers, &mut usual, &mut more);
    let mut parsed = httparse::Request::new(&mut []);
    match parsed.parse_with_uninit_headers(head, fields) {
        Ok(status) if status.is_complete() => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Reason::HeadTooLarge),
        _ => return Err(Reason::MalformedRequest),
    }
    let (Some(method), Some(target)) = (parsed.method, parsed.path) else {
        return Err(Reason::MalformedRequest);
    };
    let method = Method::from_bytes(method.as_bytes()).map_err(|_| Reason::MalformedRequest)?;
    let target = head.slice_ref(target.as_bytes());
    let target = Uri::from_maybe_shared(target).map_err(|_| Reason::MalformedRequest)?;
    let http10 = parsed.version == Some(0);
    let (headers, said) = collect(head, parsed.headers).ok_or(Reason::MalformedRequest)?;
    let length = said.request_length(http10)?;
    let asked = Asked {
        head: method == Method::HEAD,
        http10,
        keep_alive: said.keep_alive(http10),
        trailers: said.te_trailers,
    };
    let expects_continue = said.expects_continue && !http10;
    let mut request = Box::new(Request::new(begin(Announced { length, expects_continue })));
    *request.method_mut() = method;
    *request.uri_mut() = target;
    *request.version_mut() = if http10 { Version::HTTP_10 } else { Version::HTTP_11 };
    *request.headers_mut() = headers;
    Ok(RequestHead { request, asked })
}

/// A response's head.
#[derive(Debug)]
pub(super) struct ResponseHead {
    /// Status and fields.
    pub(super) response: Response<()>,
    /// How its body is framed.
    pub(super) length: Length,
    /// The connection may serve another request.
    pub(super) keep_alive: bool,
}

/// Reads the head of a response to a request, which was a HEAD or not.
pub(super) fn response(
    head: &Bytes,
    to_head: bool,
    max_headers: usize,
) -> Result<ResponseHead, Reason> {
    let mut usual = [const { MaybeUninit::uninit() }; USUAL_HEADERS];
    let mut more = Vec::new();
    let fields = room(max_headers, &mut usual, &mut more);
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    match config.parse_response_with_uninit_headers(&mut parsed, head, fields) {
        Ok(status) if status.is_complete() => {}
        _ => return Err(Reason::UpstreamProtocol),
    }
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok());
    let status = status.ok_or(Reason::UpstreamProtocol)?;
    let http10 = parsed.version == Some(0);
    let (mut headers, said) = collect(head, parsed.headers).ok_or(Reason::UpstreamProtocol)?;
    let length = said.response_length(status, to_head).ok_or(Reason::UpstreamProtocol)?;
    if status == StatusCode::NO_CONTENT {
        headers.remove(CONTENT_LENGTH); // RFC 9110 8.6
    }
    let keep_alive = length != Length::UntilClose && said.keep_alive(http10);
    let mut response = Response::new(());
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(ResponseHead { response, length, keep_alive })
}

/// Reads a trailer section, which ends with its empty line, and drops what may not stand in one
/// (RFC 9110 6.5.1): fields that frame, route or authenticate a message.
pub(super) fn trailers(section: &Bytes) -> Option<HeaderMap> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(section, &mut fields)
    else {
        return None;
    };
    let (mut trailers, _) = collect(section, fields)?;
    let barred: Vec<_> = trailers.keys().filter(|name| is_barred(name)).cloned().collect();
    for name in barred {
        trailers.remove(name);
    }
    Some(trailers)
}

fn is_barred(name: &HeaderName) -> bool {
    matches!(
        name.as_str(),
        "authorization"
            | "cache-control"
            | "connection"
            | "content-encoding"
            | "content-length"
            | "content-range"
            | "content-type"
            | "cookie"
            | "expect"
            | "host"
            | "keep-alive"
            | "max-forwards"
            | "proxy-authorization"
            | "proxy-connection"
            | "set-cookie"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "x-forwarded-for"
            | "x-forwarded-host"
            | "x-forwarded-proto"
    )
}

/// Room for so many fields.
fn room<'r, 'b>(
    fields: usize,
    usual: &'r mut [MaybeUninit<httparse::Header<'b>>; USUAL_HEADERS],
    more: &'r mut Vec<MaybeUninit<httparse::Header<'b>>>,
) -> &'r mut [MaybeUninit<httparse::Header<'b>>] {
    if fields <= USUAL_HEADERS {
        return &mut usual[..fields];
    }
    more.resize_with(fields, MaybeUninit::uninit);
    more
}

/// Fields that the gateway adds to a request, for which there is room at once.
const ADDED_FIELDS: usize = 4;

/// The fields as a map, and what they say of the message itself. Values share the bytes of the head.
fn collect(head: &Bytes, fields: &[httparse::Header<'_>]) -> Option<(HeaderMap, Said)> {
    let mut headers = HeaderMap::with_capacity(fields.len() + ADDED_FIELDS);
    let mut said = Said::default();
    for field in fields {
        let name = HeaderName::from_bytes(field.name.as_bytes()).ok()?;
        if !said.take(&name, field.value) {
            continue;
        }
        let value = HeaderValue::from_maybe_shared(head.slice_ref(field.value)).ok()?;
        headers.append(name, value);
    }
    Some((headers, said))
}

/// What fields say of the message and its connection.
#[derive(Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "facts of a head, which exclude none another")]
struct Said {
    length: Option<u64>,
    /// A length that is none, or several that differ.
    length_is_broken: bool,
    length_is_repeated: bool,
    chunked: bool,
    /// A coding besides `chunked` alone.
    other_coding: bool,
    close: bool,
    keep_alive: bool,
    te_trailers: bool,
    expects_continue: bool,
}

impl Said {
    /// Notes a field; whether it is to be kept. Of equal Content-Lengths one is.
    fn take(&mut self, name: &HeaderName, value: &[u8]) -> bool {
        match *name {
            CONTENT_LENGTH => {
                let length = decimal(value);
                let again = self.length.is_some();
                self.length_is_broken |= length.is_none() || (again && self.length != length);
                self.length_is_repeated |= again;
                self.length = length;
                return !again;
            }
            TRANSFER_ENCODING => {
                let chunked = value.eq_ignore_ascii_case(b"chunked");
                self.other_coding |= !chunked || self.chunked;
                self.chunked |= chunked;
            }
            CONNECTION => {
                self.close |= lists(value, b"close");
                self.keep_alive |= lists(value, b"keep-alive");
            }
            TE => self.te_trailers |= lists(value, b"trailers"),
            EXPECT => self.expects_continue |= value.eq_ignore_ascii_case(b"100-continue"),
            _ => {}
        }
        true
    }

    /// How a request's body is framed (RFC 9112 6.3); refused where two servers could read it in two
    /// ways. Any other coding than chunked would have to be forwarded as it is (RFC 9112 6.1: 501).
    fn request_length(&self, http10: bool) -> Result<Length, Reason> {
        let coded = self.chunked || self.other_coding;
        match self.length {
            _ if self.length_is_broken || self.length_is_repeated => Err(Reason::AmbiguousFraming),
            Some(_) if coded => Err(Reason::AmbiguousFraming),
            None if coded && http10 => Err(Reason::AmbiguousFraming),
            None if self.other_coding => Err(Reason::NotSupported),
            None if self.chunked => Ok(Length::Chunked),
            length => Ok(Length::Exact(length.unwrap_or(0))),
        }
    }

    /// How a response's body is framed (RFC 9112 6.3); none where another reader may see other
    /// bounds, or a coding would have to be taken off.
    fn response_length(&self, status: StatusCode, to_head: bool) -> Option<Length> {
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        match (self.chunked, self.length) {
            _ if self.length_is_broken => None,
            _ if to_head || bodiless => Some(Length::Exact(0)),
            _ if self.other_coding => None,
            (false, Some(length)) => Some(Length::Exact(length)),
            (false, None) => Some(Length::UntilClose),
            (true, None) => Some(Length::Chunked),
            (true, Some(_)) => None,
        }
    }

    /// Whether the connection outlives the message (RFC 9112 9.3).
    fn keep_alive(&self, http10: bool) -> bool {
        !self.close && (self.keep_alive || !http10)
    }
}

/// `1*DIGIT` that fits.
fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// Whether a line of a field that is a list has this item, whatever its letter case and parameters.
pub(super) fn lists(line: &[u8], item: &[u8]) -> bool {
    let items = line.split(|b| *b == b',');
    let mut names = items.map(|item| item.split(|b| *b == b';').next().unwrap_or_default());
    names.any(|name| name.trim_ascii().eq_ignore_ascii_case(item))
}

/// Takes empty lines before a head off, so that what is left is the beginning of one.
pub(super) fn skip_empty_lines(input: &mut BytesMut) {
    while input.starts_with(b"\r\n") {
        bytes::Buf::advance(input, 2);
    }
}
