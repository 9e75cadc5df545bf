//! Asking over gRPC: `envoy.service.auth.v3.Authorization/Check`, one unary call over HTTP/2.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, COOKIE, HOST, TE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Version};
use prost::Message;

use super::wire::{
    Address, AttributeContext, CHECK, CheckRequest, CheckResponse, DeniedResponse, HttpRequest,
    OkResponse, Peer, Request as WireRequest, SocketAddress, Timestamp, TlsSession,
};
use super::{Changes, Failure, HeaderEdits, Question, Side, Verdict, collect, content_length};
use crate::clock;
use crate::model::backend::UpstreamProtocol;
use crate::proxy::body::RequestBody;
use crate::proxy::forward::upstream_uri;
use crate::proxy::respond::Told;
use crate::proxy::upstream;
use crate::proxy::worker::Worker;

const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: &str = "grpc-status";
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// Flag and length before a message.
const PREFIX: usize = 5;

/// Asks.
pub(super) async fn check(
    worker: &Rc<Worker>,
    question: &Question<'_>,
) -> Result<Verdict, Failure> {
    let provider = question.provider;
    let now = clock::since_epoch();
    let request = call(&provider.authority, provider.timeout, &attributes(question, now))?;
    let exchange = upstream::exchange(worker, &provider.upstream, request).await;
    let (response, _) = exchange.map_err(Failure::Upstream)?;
    let (head, body) = response.into_parts();
    if head.status != StatusCode::OK {
        return Err(Failure::Status(head.status));
    }
    let answer = collect(body).await?;
    // Without a message, trailers are in the head.
    let status = answer.trailers().unwrap_or(&head.headers).get(GRPC_STATUS);
    if status.is_none_or(|status| status != "0") {
        let status = status.map(|status| String::from_utf8_lossy(status.as_bytes()).into_owned());
        return Err(Failure::Grpc(status.unwrap_or_default()));
    }
    verdict(unframed(answer.to_bytes())?)
}

fn call(
    authority: &str,
    timeout: Duration,
    message: &CheckRequest,
) -> Result<Request<RequestBody>, Failure> {
    let length = message.encoded_len();
    let mut body = BytesMut::with_capacity(PREFIX + length);
    body.put_u8(0); // not compressed
    body.put_u32(u32::try_from(length).map_err(|_| Failure::Nonsense)?);
    message.encode(&mut body).map_err(|_| Failure::Nonsense)?;
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, GRPC);
    headers.insert(TE, HeaderValue::from_static("trailers"));
    headers.insert(GRPC_TIMEOUT, grpc_timeout(timeout));
    headers.insert(HOST, HeaderValue::try_from(authority).map_err(|_| Failure::Nonsense)?);
    let target = PathAndQuery::from_static(CHECK);
    let mut request = Request::new(RequestBody::full(body.freeze()));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = upstream_uri(UpstreamProtocol::H2c, target, &mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

/// At most eight digits, in milliseconds while they suffice.
pub(super) fn grpc_timeout(timeout: Duration) -> HeaderValue {
    let milliseconds = timeout.as_millis().max(1);
    let text = if milliseconds < 100_000_000 {
        format!("{milliseconds}m")
    } else {
        format!("{}S", timeout.as_secs())
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("99999999m"))
}

/// The one message of an answer.
pub(super) fn unframed(mut bytes: Bytes) -> Result<CheckResponse, Failure> {
    if bytes.len() < PREFIX || bytes.get_u8() != 0 {
        return Err(Failure::Nonsense);
    }
    if usize::try_from(bytes.get_u32()).ok() != Some(bytes.len()) {
        return Err(Failure::Nonsense);
    }
    CheckResponse::decode(bytes).map_err(|_| Failure::Nonsense)
}

/// What an answer means. Pure.
pub(super) fn verdict(response: CheckResponse) -> Result<Verdict, Failure> {
    let CheckResponse { status, denied, ok } = response;
    match (status.map(|status| status.code), denied, ok) {
        (Some(1.. | ..=-1), denied, _) => Ok(Verdict::Denied(Box::new(told(denied)?))),
        // Somebody who says nothing has not said yes, although zero is OK.
        (None, _, None) | (_, Some(_), _) => Err(Failure::Nonsense),
        (_, None, ok) => Ok(Verdict::Allowed(Box::new(changes(ok.unwrap_or_default())?))),
    }
}

fn told(denied: Option<DeniedResponse>) -> Result<Told, Failure> {
    let DeniedResponse { status, headers, body } = denied.unwrap_or_default();
    let status = match status.map_or(0, |status| status.code) {
        0 => StatusCode::FORBIDDEN,
        code @ 200..=599 => {
            let code = u16::try_from(code).map(StatusCode::from_u16);
            code.ok().and_then(Result::ok).ok_or(Failure::Nonsense)?
        }
        _ => return Err(Failure::Nonsense),
    };
    let mut edits = HeaderEdits::default();
    for option in &headers {
        edits.option(option, Side::Response)?;
    }
    let mut told = Told::nothing(status);
    edits.apply(&mut told.headers);
    told.body = body;
    Ok(told)
}

fn changes(ok: OkResponse) -> Result<Changes, Failure> {
    let mut changes = Changes::default();
    for option in &ok.headers {
        changes.request.option(option, Side::Request)?;
    }
    for name in ok.headers_to_remove.iter().filter(|name| !name.starts_with(':')) {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| Failure::Nonsense)?;
        changes.request.remove(name);
    }
    for option in &ok.response_headers_to_add {
        changes.response.option(option, Side::Response)?;
    }
    let set = ok.query_parameters_to_set.into_iter();
    changes.set_params = set.map(|param| (param.key, param.value)).collect();
    changes.remove_params = ok.query_parameters_to_remove;
    Ok(changes)
}

/// The request, as a provider sees it.
fn attributes(question: &Question<'_>, now: Duration) -> CheckRequest {
    let (view, conn) = (question.view, question.conn);
    let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let id = view.headers().get("x-request-id").map(text).unwrap_or_default();
    let mut http = HttpRequest {
        id,
        method: view.method().to_string(),
        headers: headers(question),
        path: view.path_and_query().to_string(),
        host: view.authority().to_owned(),
        scheme: view.scheme().as_str().to_owned(),
        size: content_length(view).and_then(|length| length.try_into().ok()).unwrap_or(-1),
        protocol: protocol(view.version()).to_owned(),
        ..HttpRequest::default()
    };
    if let Some(shown) = &question.body {
        if question.provider.body.is_some_and(|wanted| wanted.as_bytes) {
            http.raw_body = shown.bytes.clone();
        } else {
            http.body = String::from_utf8_lossy(&shown.bytes).into_owned();
        }
    }
    let time = Timestamp {
        seconds: now.as_secs().try_into().unwrap_or(i64::MAX),
        nanos: now.subsec_nanos().try_into().unwrap_or(0),
    };
    let tls_session = conn.sni.as_ref().map(|sni| TlsSession { sni: sni.to_string() });
    CheckRequest {
        attributes: Some(AttributeContext {
            source: Some(peer(conn.source())),
            destination: Some(peer(conn.local)),
            request: Some(WireRequest { time: Some(time), http: Some(http) }),
            tls_session,
        }),
    }
}

/// Every header, pseudo-headers among them as Envoy has it, lines of one name joined.
fn headers(question: &Question<'_>) -> HashMap<String, String> {
    let view = question.view;
    let mut headers = HashMap::new();
    for name in question.headers.keys().filter(|name| **name != HOST) {
        let lines = question.headers.get_all(name).iter();
        let lines: Vec<_> = lines.map(|line| String::from_utf8_lossy(line.as_bytes())).collect();
        let separator = if *name == COOKIE { "; " } else { "," };
        headers.insert(name.to_string(), lines.join(separator));
    }
    for (name, value) in [
        (":method", view.method().as_str()),
        (":scheme", view.scheme().as_str()),
        (":authority", view.authority()),
        (":path", view.path_and_query().as_str()),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    headers
}

fn peer(address: SocketAddr) -> Peer {
    let socket_address = SocketAddress {
        address: address.ip().to_string(),
        port_value: Some(u32::from(address.port())),
    };
    Peer { address: Some(Address { socket_address: Some(socket_address) }) }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}
