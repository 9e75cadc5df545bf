//! Rejections to responses: the only chooser of status codes and bodies.
//!
//! Bodies and headers of 401 and 403 are Envoy's, byte for byte (see `docs/policy.md`); other
//! refusals have no body. A response never says more than Envoy's would. gRPC clients get the same
//! as a gRPC status.

use std::sync::Arc;

use bytes::Bytes;
use gateway_common::verdict::RequestVerdict;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use hyper::body::Body as _;

use super::accept::Connection;
use super::body::ResponseBody;
use super::count::RequestRecord;
use crate::authn::Refusal;
use crate::authz::{DecidedBy, Denial, MissingScope};
use crate::model::reason::Reason;
use crate::model::refusal::{DeniedBody, Refusals, ScopeChallenge};
use crate::request::RequestView;

/// The type of our own words.
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// A typed no: why a request does not get the upstream's answer.
#[derive(Debug)]
pub(super) struct Rejection {
    /// The reason word.
    reason: Reason,
    /// Envoy's words for a refused token or policy.
    text: &'static str,
    /// Sent instead of them, where the Gateway has its own.
    body: Option<Arc<DeniedBody>>,
    /// The answer of a provider, where that is the answer.
    provider: Option<Box<Told>>,
    /// `WWW-Authenticate`, where a token was refused.
    challenge: Option<HeaderValue>,
    /// The policy and rule that decided.
    decided_by: Option<Arc<DecidedBy>>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, text: "", body: None, provider: None, challenge: None, decided_by: None }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        let Denial { reason, decided_by, .. } = denial;
        Self { text: "RBAC: access denied", decided_by, ..Self::from(reason) }
    }
}

/// A request that its own pipeline has to answer, with the record that counts it.
pub(super) struct Unanswered {
    pub(super) record: RequestRecord,
    pub(super) rejection: Rejection,
}

impl RequestRecord {
    /// Ends the walk for this reason.
    pub(super) fn unanswered(self, reason: Reason) -> Unanswered {
        Unanswered { record: self, rejection: reason.into() }
    }
}

impl Rejection {
    /// A refused token. The challenge names the resource as the client asked for it.
    pub(super) fn unauthenticated(refusal: Refusal, view: &RequestView) -> Self {
        Self {
            text: refusal.text,
            challenge: challenge(&view.realm()),
            ..Self::from(refusal.reason)
        }
    }

    /// A request of a banned client, told as one that policy denies: what it did is not for it to know.
    pub(super) fn banned() -> Self {
        Self { text: "RBAC: access denied", ..Self::from(Reason::BannedClient) }
    }

    /// A denied request, told as its Gateway says.
    pub(super) fn denied(
        denial: Denial,
        refusals: &Refusals,
        identified: bool,
        scope: Option<&MissingScope>,
        view: &RequestView,
    ) -> Self {
        let mut rejection = Self::from(denial);
        rejection.challenge = scope.and_then(|scope| scope_challenge(refusals, scope, view));
        // A browser sends no token with a preflight, and would not act on a challenge.
        if refusals.challenge_missing_token && !identified && !view.is_cors_preflight() {
            rejection.reason = Reason::TokenMissing;
            rejection.text = "Jwt is missing";
            // Without an error: nothing that was sent is wrong (RFC 6750 3.1).
            rejection.challenge =
                HeaderValue::try_from(format!("Bearer realm=\"{}\"", view.realm())).ok();
            return rejection;
        }
        rejection.body.clone_from(&refusals.denied);
        rejection
    }

    /// A request that a provider refused, in its words, or that it could not be asked about.
    pub(super) fn by_provider(denial: Denial, told: Box<Told>) -> Self {
        Self { provider: Some(told), decided_by: denial.decided_by, ..Self::from(denial.reason) }
    }

    /// The status: a provider's, else by reason alone.
    fn status(&self) -> StatusCode {
        if let Some(told) = &self.provider {
            return told.status;
        }
        match self.reason {
            Reason::TokenMalformed
            | Reason::TokenAlgorithm
            | Reason::TokenClaimType
            | Reason::TokenIssuer
            | Reason::TokenNotYetValid
            | Reason::TokenExpired
            | Reason::TokenKeyUnknown
            | Reason::TokenKeysUnavailable
            | Reason::TokenClaimMissing
            | Reason::TokenMissing
            | Reason::TokenSignature => StatusCode::UNAUTHORIZED,
            Reason::TokenAudience
            | Reason::PolicyDenied
            | Reason::PolicyNotAllowed
            | Reason::BannedClient
            | Reason::ExtAuthzDenied
            | Reason::ExtAuthzError => StatusCode::FORBIDDEN,
            Reason::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::NoRoute => StatusCode::NOT_FOUND,
            Reason::MalformedRequest
            | Reason::AmbiguousFraming
            | Reason::HostInvalid
            | Reason::PathInvalid
            | Reason::ClientGone => StatusCode::BAD_REQUEST,
            Reason::HeadTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Reason::HeadTimeout => StatusCode::REQUEST_TIMEOUT,
            Reason::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Reason::NotSupported => StatusCode::NOT_IMPLEMENTED,
            Reason::BackendUnresolved => StatusCode::INTERNAL_SERVER_ERROR,
            Reason::UpstreamProtocol => StatusCode::BAD_GATEWAY,
            Reason::UpstreamTimeout => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The reason word.
    pub(super) fn reason(&self) -> Reason {
        self.reason
    }

    /// The policy and rule that decided.
    pub(super) fn decided_by(&self) -> Option<&Arc<DecidedBy>> {
        self.decided_by.as_ref()
    }

    /// What the client is told. Pure.
    pub(super) fn told(&self, asked: Asked) -> Told {
        let mut headers = self.headers();
        if asked.grpc {
            return self.told_grpc(asked.head, headers);
        }
        let plain = TEXT;
        let (kind, text) = match (&self.provider, &self.body) {
            (Some(told), _) => (plain, told.body.clone()),
            (None, Some(own)) => (own.content_type.clone(), own.text.clone()),
            (None, None) => (plain, Bytes::from_static(self.text.as_bytes())),
        };
        let status = self.status();
        if matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
            return Told { status, headers, body: Bytes::new() };
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(text.len()));
        if !text.is_empty() {
            headers.entry(CONTENT_TYPE).or_insert(kind);
        }
        // A HEAD gets the headers of the text, and no text (RFC 9110 9.3.2).
        Told { status, headers, body: if asked.head { Bytes::new() } else { text } }
    }

    /// The same as a response. What most refusals are, a few words of ours, is left for whoever writes
    /// the head to spell out.
    fn response(&self, asked: Asked) -> Response<ResponseBody> {
        let is_text = !asked.grpc
            && !asked.head
            && !self.text.is_empty()
            && self.provider.is_none()
            && self.body.is_none();
        let (status, headers, body) = if is_text {
            let text = Bytes::from_static(self.text.as_bytes());
            (self.status(), self.headers(), ResponseBody::Text(Some(text)))
        } else {
            let Told { status, headers, body } = self.told(asked);
            (status, headers, ResponseBody::full(body))
        };
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    /// Headers that are not about the body.
    fn headers(&self) -> HeaderMap {
        let mut headers =
            self.provider.as_ref().map(|told| told.headers.clone()).unwrap_or_default();
        if let Some(challenge) = &self.challenge {
            headers.insert(WWW_AUTHENTICATE, challenge.clone());
        }
        if self.closes() {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers
    }

    /// A gRPC client reads the outcome from trailers, and takes a response of headers alone for
    /// both (gRPC over HTTP/2, "Trailers-Only"). Words and codes are those of Envoy's local replies.
    fn told_grpc(&self, head: bool, mut headers: HeaderMap) -> Told {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(GRPC_STATUS, HeaderValue::from(grpc_code(self.status())));
        let text = self.provider.as_ref().map_or(self.text.as_bytes(), |told| &told.body);
        if !text.is_empty()
            && !head
            && let Ok(message) = HeaderValue::try_from(percent_encoded(text))
        {
            headers.insert(GRPC_MESSAGE, message);
        }
        Told { status: StatusCode::OK, headers, body: Bytes::new() }
    }

    /// Whether the connection must not be used again: what follows cannot be trusted.
    fn closes(&self) -> bool {
        matches!(
            self.reason,
            Reason::MalformedRequest
                | Reason::AmbiguousFraming
                | Reason::HostInvalid
                | Reason::HeadTooLarge
                | Reason::HeadTimeout
        )
    }
}

/// What the form of a refusal depends on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// A HEAD.
    head: bool,
    /// From a gRPC client.
    grpc: bool,
}

impl Asked {
    /// Reads it off a request head.
    pub(super) fn by(method: &Method, headers: &HeaderMap) -> Self {
        let grpc = headers.get(CONTENT_TYPE).is_some_and(|value| is_grpc(value.as_bytes()));
        Self { head: *method == Method::HEAD, grpc }
    }
}

/// `application/grpc`, alone or with a `+` and what follows; `application/grpc-web` is not gRPC.
fn is_grpc(content_type: &[u8]) -> bool {
    let rest = content_type.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+"))
}

/// The gRPC code for a status that no gRPC server gave ("HTTP to gRPC Status Code Mapping").
fn grpc_code(status: StatusCode) -> u16 {
    match status.as_u16() {
        400 => 13,                   // INTERNAL
        401 => 16,                   // UNAUTHENTICATED
        403 => 7,                    // PERMISSION_DENIED
        404 => 12,                   // UNIMPLEMENTED
        429 | 502 | 503 | 504 => 14, // UNAVAILABLE
        _ => 2,                      // UNKNOWN
    }
}

/// A text as `grpc-message` carries it: printable ASCII without `%`, the rest percent-encoded.
fn percent_encoded(text: &[u8]) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut encoded = String::with_capacity(text.len());
    for &byte in text {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => {
                encoded.push('%');
                encoded.push(char::from(HEX[usize::from(byte >> 4)]));
                encoded.push(char::from(HEX[usize::from(byte & 15)]));
            }
        }
    }
    encoded
}

/// What a client is told.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Told {
    /// A status alone.
    pub(super) fn nothing(status: StatusCode) -> Self {
        Self { status, headers: HeaderMap::new(), body: Bytes::new() }
    }
}

/// The response to a rejected request; closes its record.
pub(super) fn respond(
    unanswered: Unanswered,
    conn: &Connection,
    asked: Asked,
) -> Response<ResponseBody> {
    let Unanswered { mut record, mut rejection } = unanswered;
    let broken = record.upload().is_some_and(|upload| upload.broken.get());
    if broken && rejection.reason.verdict() == RequestVerdict::UpstreamError {
        // It was the client that broke the exchange, with its framing or by going away.
        rejection = conn.framing_refusal().unwrap_or(Reason::ClientGone).into();
    }
    let response = rejection.response(asked);
    let sent = response.body().size_hint().exact().unwrap_or_default();
    record.note(|facts| facts.decided_by = rejection.decided_by.take());
    record.add_response_bytes(sent);
    record.answering(response.status(), false);
    record.refuse(rejection.reason);
    response
}

/// Writes down what the head of plain text says, for whoever does not know how to.
pub(super) fn spell_out(response: &mut Response<ResponseBody>) {
    let ResponseBody::Text(text) = response.body_mut() else { return };
    let text = text.take().unwrap_or_default();
    let length = HeaderValue::from(text.len());
    *response.body_mut() = ResponseBody::full(text);
    response.headers_mut().insert(CONTENT_LENGTH, length);
    response.headers_mut().insert(CONTENT_TYPE, TEXT);
}

/// The response to what could not be read as a request; closes its record.
pub(super) fn respond_unread(unanswered: Unanswered, conn: &Connection) -> Response<ResponseBody> {
    respond(unanswered, conn, Asked { head: false, grpc: false })
}

/// `Bearer realm="…", error="insufficient_scope"` (RFC 6750 3.1), with the scopes where they are told.
fn scope_challenge(
    refusals: &Refusals,
    MissingScope(scopes): &MissingScope,
    view: &RequestView,
) -> Option<HeaderValue> {
    let named = refusals.scope_challenge == ScopeChallenge::Scope && !scopes.is_empty();
    let scope = if named { format!(", scope=\"{}\"", scopes.join(" ")) } else { String::new() };
    let realm = view.realm();
    HeaderValue::try_from(format!("Bearer realm=\"{realm}\", error=\"insufficient_scope\"{scope}"))
        .ok()
}

/// `Bearer realm="…", error="invalid_token"` (RFC 6750 3). A quote or backslash cannot stand in the
/// realm: an authority with one is refused, and the path has them encoded.
fn challenge(realm: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(method: &Method, content_type: &'static str) -> Asked {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Asked::by(method, &headers)
    }

    #[test]
    fn content_types_of_grpc_are_told_from_others() {
        let rows = [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc+json; charset=utf-8", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpc;a=b", false),
            ("Application/gRPC", false),
            ("application/json", false),
            ("", false),
        ];
        for (content_type, expected) in rows {
            assert_eq!(asked(&Method::POST, content_type).grpc, expected, "{content_type}");
        }
    }

    #[test]
    fn a_grpc_client_gets_a_grpc_status() {
        let rows = [
            (Reason::TokenExpired, "16"),
            (Reason::TokenAudience, "7"),
            (Reason::PolicyDenied, "7"),
            (Reason::PolicyNotAllowed, "7"),
            (Reason::NoRoute, "12"),
            (Reason::PathInvalid, "13"),
            (Reason::NoEndpoint, "14"),
            (Reason::UpstreamProtocol, "14"),
            (Reason::UpstreamTimeout, "14"),
            (Reason::Overloaded, "14"),
            (Reason::BackendUnresolved, "2"),
            (Reason::HeadTooLarge, "2"),
            (Reason::Misdirected, "2"),
        ];
        for (reason, code) in rows {
            let told = Rejection::from(reason).told(asked(&Method::POST, "application/grpc"));
            assert_eq!(told.status, StatusCode::OK, "{reason:?}");
            assert_eq!(told.headers[GRPC_STATUS], code, "{reason:?}");
            assert_eq!(told.headers[CONTENT_TYPE], "application/grpc", "{reason:?}");
            assert!(!told.headers.contains_key(CONTENT_LENGTH), "{reason:?}");
        }
    }

    #[test]
    fn a_grpc_message_is_the_text_of_the_refusal() {
        let denial = Denial { reason: Reason::PolicyDenied, decided_by: None };
        let rejection = Rejection::from(denial);
        let told = rejection.told(asked(&Method::POST, "application/grpc+proto"));
        assert_eq!(told.headers[GRPC_MESSAGE], "RBAC: access denied");
        assert_eq!(told.body, "");
        let told = rejection.told(asked(&Method::HEAD, "application/grpc"));
        assert!(!told.headers.contains_key(GRPC_MESSAGE));
        assert_eq!(percent_encoded("50% of\né".as_bytes()), "50%25 of%0A%C3%A9");
    }

    #[test]
    fn text_that_is_spelled_out_is_what_was_to_be_told() {
        let mut texts = 0;
        let reasons = Reason::ALL.iter().map(|reason| Rejection::from(*reason));
        let refusals = Reason::ALL.iter().map(|reason| {
            let refusal = Refusal { reason: *reason, text: "some words", strike: None };
            Rejection::unauthenticated(refusal, &view())
        });
        for rejection in reasons.chain(refusals) {
            for (method, content_type) in [
                (Method::GET, "text/html"),
                (Method::HEAD, "text/html"),
                (Method::POST, "application/grpc"),
            ] {
                let asked = asked(&method, content_type);
                let told = rejection.told(asked);
                let mut response = rejection.response(asked);
                texts += u32::from(response.body().is_text());
                spell_out(&mut response);
                assert_eq!(response.status(), told.status, "{rejection:?}");
                let lines = |headers: &HeaderMap| {
                    let lines = headers.iter().map(|(name, value)| (name.clone(), value.clone()));
                    lines.collect::<Vec<_>>()
                };
                assert_eq!(lines(response.headers()), lines(&told.headers), "{rejection:?}");
                let ResponseBody::Full(body) = response.into_body() else { panic!("no text left") };
                assert_eq!(body.unwrap_or_default(), told.body, "{rejection:?}");
            }
        }
        assert_eq!(texts as usize, Reason::ALL.len(), "refused tokens, to a GET");
    }

    fn view() -> RequestView {
        let mut parts = http::Request::new(()).into_parts().0;
        parts.uri = http::Uri::from_static("/a%22b?c");
        parts.headers.insert(http::header::HOST, HeaderValue::from_static("a.test"));
        let conn = crate::request::ConnMeta {
            peer: ([127, 0, 0, 1], 1).into(),
            local: ([127, 0, 0, 1], 80).into(),
            scheme: crate::request::Scheme::Http,
            sni: None,
            proxied: None,
        };
        RequestView::read(parts, &conn).unwrap()
    }

    #[test]
    fn a_missing_scope_is_told_as_far_as_the_gateway_says() {
        let told = |scope_challenge, scopes: Option<&[&str]>| {
            let refusals = Refusals { scope_challenge, ..Refusals::default() };
            let denial = Denial { reason: Reason::PolicyNotAllowed, decided_by: None };
            let names = |scopes: &[&str]| scopes.iter().map(|name| Arc::from(*name)).collect();
            let missing = scopes.map(|scopes| MissingScope(names(scopes)));
            let rejection = Rejection::denied(denial, &refusals, true, missing.as_ref(), &view());
            let told = rejection.told(asked(&Method::GET, "text/plain"));
            assert_eq!(told.status, StatusCode::FORBIDDEN);
            assert_eq!(told.body, "RBAC: access denied");
            let challenge = told.headers.get(WWW_AUTHENTICATE);
            challenge.map(|value| value.to_str().unwrap().to_owned())
        };
        let error = "Bearer realm=\"http://a.test/a%22b?c\", error=\"insufficient_scope\"";
        let both = Some(&["a", "b:c"][..]);
        assert_eq!(told(ScopeChallenge::Scope, None), None);
        assert_eq!(told(ScopeChallenge::Error, both).as_deref(), Some(error));
        assert_eq!(told(ScopeChallenge::Scope, Some(&[])).as_deref(), Some(error));
        let scope = told(ScopeChallenge::Scope, both).unwrap();
        assert_eq!(scope, format!("{error}, scope=\"a b:c\""));
    }

    #[test]
    fn every_401_carries_a_challenge() {
        let view = view();
        let mut refused = 0;
        for reason in Reason::ALL {
            let refusal = Refusal { reason: *reason, text: "x", strike: None };
            let rejection = Rejection::unauthenticated(refusal, &view);
            for content_type in ["text/plain", "application/grpc"] {
                let told = rejection.told(asked(&Method::GET, content_type));
                if rejection.status() == StatusCode::UNAUTHORIZED {
                    refused += 1;
                    assert_eq!(
                        told.headers[WWW_AUTHENTICATE],
                        "Bearer realm=\"http://a.test/a%22b?c\", error=\"invalid_token\"",
                        "{reason:?}"
                    );
                }
            }
        }
        assert_eq!(refused, 22, "two forms of eleven reasons");
    }
}
