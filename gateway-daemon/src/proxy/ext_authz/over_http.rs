//! Asking over HTTP, as Envoy does it: a request that resembles the client's, of which 200 is a yes.

use std::rc::Rc;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, HOST, LOCATION, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};

use super::{Changes, Failure, PARTIAL_BODY, Question, Verdict, collect};
use crate::model::ext_authz::{HttpCheck, is_own_header};
use crate::model::policy::Pattern;
use crate::proxy::body::RequestBody;
use crate::proxy::forward::{strip_hop_by_hop, upstream_uri};
use crate::proxy::respond::Told;
use crate::proxy::upstream;
use crate::proxy::worker::Worker;

/// Lists headers that the upstream must not get; Envoy's word.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");

/// Asks.
pub(super) async fn check(
    worker: &Rc<Worker>,
    question: &Question<'_>,
    check: &HttpCheck,
) -> Result<Verdict, Failure> {
    let provider = question.provider;
    let request = request(question, check)?;
    let exchange = upstream::exchange(worker, &provider.upstream, request).await;
    let (response, _) = exchange.map_err(Failure::Upstream)?;
    let (mut head, body) = response.into_parts();
    strip_hop_by_hop(&mut head.headers);
    let body = collect(body).await?.to_bytes();
    verdict(&Response::from_parts(head, body), check)
}

fn request(question: &Question<'_>, check: &HttpCheck) -> Result<Request<RequestBody>, Failure> {
    let body = question.body.as_ref().map(|shown| shown.bytes.clone()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for (name, value) in &question.headers {
        let always = *name == HOST || *name == AUTHORIZATION || *name == PARTIAL_BODY;
        if always || (!is_own_header(name) && names(&check.request_headers, name)) {
            headers.append(name.clone(), value.clone());
        }
    }
    for (name, value) in &check.additional_headers {
        headers.insert(name.clone(), value.clone());
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
    let target = format!("{}{}", check.path_prefix, question.view.path_and_query());
    let target = PathAndQuery::try_from(target).map_err(|_| Failure::Nonsense)?;
    let mut request = Request::new(RequestBody::full(body));
    *request.method_mut() = question.view.method().clone();
    *request.uri_mut() = upstream_uri(question.provider.upstream.protocol, target, &mut headers);
    *request.headers_mut() = headers;
    Ok(request)
}

/// What an answer means. Pure.
pub(super) fn verdict(response: &Response<Bytes>, check: &HttpCheck) -> Result<Verdict, Failure> {
    let (status, headers) = (response.status(), response.headers());
    if status == StatusCode::OK {
        return Ok(Verdict::Allowed(Box::new(changes(headers, check))));
    }
    if status.is_server_error() || status.is_informational() {
        return Err(Failure::Status(status));
    }
    let listed = &check.to_client_on_deny;
    let mut told = Told::nothing(status);
    told.body = response.body().clone();
    for (name, value) in headers {
        let passed = listed.is_empty()
            || names(listed, name)
            || *name == WWW_AUTHENTICATE
            || *name == LOCATION;
        if passed && !is_own_header(name) {
            told.headers.append(name.clone(), value.clone());
        }
    }
    Ok(Verdict::Denied(Box::new(told)))
}

fn changes(headers: &HeaderMap, check: &HttpCheck) -> Changes {
    let mut changes = Changes::default();
    let removed = headers.get_all(TO_REMOVE).iter().filter_map(|line| line.to_str().ok());
    for name in removed.flat_map(|line| line.split(',')) {
        if let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) {
            changes.request.remove(name);
        }
    }
    for name in headers.keys() {
        if names(&check.to_upstream_on_allow, name) {
            changes.request.replace(name, headers);
        }
        if names(&check.to_client_on_allow, name) {
            changes.response.replace(name, headers);
        }
    }
    changes
}

fn names(patterns: &[Pattern], name: &HeaderName) -> bool {
    patterns.iter().any(|pattern| pattern.matches(name.as_str()))
}
