//! Rejections to responses: the only chooser of status codes and bodies.
//!
//! Bodies and headers of 401 and 403 are Envoy's, byte for byte (see `docs/policy.md`); other
//! refusals have no body. A response never says more than Envoy's would.

use std::sync::Arc;

use gateway_common::verdict::RequestVerdict;
use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};

use super::accept::Connection;
use super::body::ResponseBody;
use super::count::RequestRecord;
use crate::authn::Refusal;
use crate::authz::{DecidedBy, Denial};
use crate::model::reason::Reason;
use crate::request::RequestView;

/// A typed no: why a request does not get the upstream's answer.
#[derive(Debug)]
pub(super) struct Rejection {
    /// The reason word.
    reason: Reason,
    /// Envoy's words for a refused token or policy.
    text: &'static str,
    /// `WWW-Authenticate`, where a token was refused.
    challenge: Option<HeaderValue>,
    /// The policy and rule that decided.
    decided_by: Option<Arc<DecidedBy>>,
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, text: "", challenge: None, decided_by: None }
    }
}

impl From<Denial> for Rejection {
    fn from(denial: Denial) -> Self {
        let Denial { reason, decided_by, .. } = denial;
        Self { reason, text: "RBAC: access denied", challenge: None, decided_by }
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
            reason: refusal.reason,
            text: refusal.text,
            challenge: challenge(&view.realm()),
            decided_by: None,
        }
    }

    /// The status, by reason alone.
    fn status(&self) -> StatusCode {
        match self.reason {
            Reason::TokenMalformed
            | Reason::TokenAlgorithm
            | Reason::TokenClaimType
            | Reason::TokenIssuer
            | Reason::TokenNotYetValid
            | Reason::TokenExpired
            | Reason::TokenKeyUnknown
            | Reason::TokenKeysUnavailable
            | Reason::TokenSignature => StatusCode::UNAUTHORIZED,
            Reason::TokenAudience | Reason::PolicyDenied | Reason::PolicyNotAllowed => {
                StatusCode::FORBIDDEN
            }
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

    /// Whether the connection must not be used again: what follows cannot be trusted.
    fn closes(&self) -> bool {
        matches!(
            self.reason,
            Reason::MalformedRequest
                | Reason::AmbiguousFraming
                | Reason::HostInvalid
                | Reason::HeadTooLarge
        )
    }
}

/// The response to a rejected request; closes its record. A HEAD gets the headers of the text, and
/// no text (RFC 9110 9.3.2).
pub(super) fn respond(
    unanswered: Unanswered,
    conn: &Connection,
    head: bool,
) -> Response<ResponseBody> {
    let Unanswered { mut record, mut rejection } = unanswered;
    if record.upload().broken.get() && rejection.reason.verdict() == RequestVerdict::UpstreamError {
        // It was the client that broke the exchange, with its framing or by going away.
        rejection = conn.framing_refusal().unwrap_or(Reason::ClientGone).into();
    }
    let status = rejection.status();
    let sent: &'static [u8] = if head { &[] } else { rejection.text.as_bytes() };
    let mut response = Response::new(ResponseBody::full(sent));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(rejection.text.len()));
    if !rejection.text.is_empty() {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    if let Some(challenge) = rejection.challenge.take() {
        headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if rejection.closes() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    record.note(|facts| facts.decided_by = rejection.decided_by.take());
    record.add_response_bytes(sent.len() as u64);
    record.answering(status, false);
    record.refuse(rejection.reason);
    response
}

/// `Bearer realm="…", error="invalid_token"` (RFC 6750 3). A quote or backslash cannot stand in the
/// realm: an authority with one is refused, and the path has them encoded.
fn challenge(realm: &str) -> Option<HeaderValue> {
    HeaderValue::try_from(format!("Bearer realm=\"{realm}\", error=\"invalid_token\"")).ok()
}
