//! Stage 5: CUSTOM policies. Asks every provider that a matching rule names, over HTTP or gRPC, and
//! goes on only with all their answers.
//!
//! Comes before tokens are looked at, as with Istio: a provider may write the header that they are
//! in. A request that no CUSTOM rule matches passes without waiting for anything.

mod edits;
mod over_grpc;
mod over_http;
mod replay;
#[cfg(test)]
mod tests;
mod wire;

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body_util::{BodyExt, Collected, Limited};
use tracing::debug;

use super::accept::Connection;
use super::body::{Incoming, RequestBody, ResponseBody};
use super::count::RequestRecord;
use super::forward::{forwarding_headers, source};
use super::respond::{self, Rejection, Told};
use super::route::Routed;
use super::worker::Worker;
use crate::authz::{self, Answer, Consultation, Pending};
use crate::model::ext_authz::{Check, CheckOutcome, Provider};
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};

pub(super) use self::edits::HeaderEdits;
pub(super) use self::replay::Replay;

/// Tells the upstream that nobody could be asked; Envoy's word.
const FAILURE_MODE_ALLOWED: HeaderName =
    HeaderName::from_static("x-envoy-auth-failure-mode-allowed");
/// Tells a provider whether it sees all of a body; Envoy's word.
const PARTIAL_BODY: HeaderName = HeaderName::from_static("x-envoy-auth-partial-body");
/// The longest answer of a provider.
const MOST_ANSWER: usize = 1 << 20;

/// A request that no provider objects to.
pub(super) struct Vetted {
    pub(super) routed: Routed,
    pub(super) proof: authz::Vetted,
}

/// What CUSTOM policies want.
pub(super) enum Consulted {
    /// Nothing.
    Vetted(Vetted),
    /// Answers.
    Ask(Inquiry),
}

/// A request that providers have to be asked about.
pub(super) struct Inquiry {
    routed: Routed,
    pending: Pending,
}

/// What providers add to the client's response.
#[derive(Debug, Default)]
pub(super) struct Reply(Option<Box<HeaderEdits>>);

/// Finds out who has to be asked.
pub(super) fn consult(conn: &ConnMeta, routed: Routed) -> Result<Consulted, Rejection> {
    Ok(match routed.place.gateway().engine.consult(&routed.view, conn)? {
        Consultation::Vetted(proof) => Consulted::Vetted(Vetted { routed, proof }),
        Consultation::Ask(pending) => Consulted::Ask(Inquiry { routed, pending }),
    })
}

impl Reply {
    /// Changes a response.
    pub(super) fn apply(self, response: &mut Response<ResponseBody>) {
        if let Some(edits) = self.0 {
            respond::spell_out(response);
            edits.apply(response.headers_mut());
        }
    }

    fn add(&mut self, edits: HeaderEdits) {
        if !edits.is_empty() {
            self.0.get_or_insert_default().extend(edits);
        }
    }
}

impl Inquiry {
    /// Asks, one provider after the other, until one objects or none is left.
    pub(super) async fn run(
        self,
        worker: &Rc<Worker>,
        conn: &Connection,
        meta: &ConnMeta,
        body: &mut RequestBody,
        record: &mut RequestRecord,
        reply: &mut Reply,
    ) -> Result<Vetted, Rejection> {
        let Self { mut routed, mut pending } = self;
        // Ours to say.
        routed.view.headers_mut().remove(FAILURE_MODE_ALLOWED);
        loop {
            let provider = Arc::clone(pending.provider());
            let shown = show(&provider, body, conn, &routed.view).await?;
            let question = Question::new(&provider, &routed, meta, shown);
            let asked = tokio::time::timeout(provider.timeout, question.ask(worker)).await;
            let verdict = asked.unwrap_or(Err(Failure::Timeout));
            let (answer, told) = match verdict {
                Ok(Verdict::Allowed(changes)) => match changes.apply(&mut routed.view, reply) {
                    Ok(()) => (Answer::Allowed, None),
                    Err(failure) => failed(&provider, &failure),
                },
                Ok(Verdict::Denied(told)) => (Answer::Denied, Some(told)),
                Err(failure) => failed(&provider, &failure),
            };
            let (next, outcome) = pending.answered(answer);
            provider.tally.count(outcome);
            record.note(|facts| facts.ext_authz.push((provider.object.clone(), outcome)));
            if outcome == CheckOutcome::FailureModeAllowed {
                let yes = HeaderValue::from_static("true");
                routed.view.headers_mut().insert(FAILURE_MODE_ALLOWED, yes);
            }
            match next {
                Ok(Consultation::Ask(more)) => pending = more,
                Ok(Consultation::Vetted(proof)) => return Ok(Vetted { routed, proof }),
                Err(denial) => {
                    let told =
                        told.unwrap_or_else(|| Box::new(Told::nothing(provider.status_on_error)));
                    return Err(Rejection::by_provider(denial, told));
                }
            }
        }
    }
}

fn failed(provider: &Provider, failure: &Failure) -> (Answer, Option<Box<Told>>) {
    debug!(provider = %provider.object, %failure, "provider gave no answer");
    (Answer::Failed, None)
}

/// The part of a request's body that a provider is shown.
struct Shown {
    bytes: Bytes,
    /// There is more.
    partial: bool,
}

/// Keeps as much of the body as the provider wants to see.
async fn show(
    provider: &Provider,
    body: &mut RequestBody,
    conn: &Connection,
    view: &RequestView,
) -> Result<Option<Shown>, Rejection> {
    let Some(wanted) = provider.body else { return Ok(None) };
    let too_large = || Rejection::from(Reason::BodyTooLarge);
    let most = wanted.max_bytes;
    if !wanted.allow_partial && content_length(view).is_some_and(|length| length > most as u64) {
        return Err(too_large());
    }
    replay::read_ahead(body, most).await.map_err(|error| {
        debug!(%error, "client broke off its body");
        conn.framing_refusal().unwrap_or(Reason::ClientGone)
    })?;
    let (bytes, partial) = replay::beginning(body, most);
    if partial && !wanted.allow_partial {
        return Err(too_large());
    }
    Ok(Some(Shown { bytes, partial }))
}

fn content_length(view: &RequestView) -> Option<u64> {
    view.headers().get(http::header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// A question to one provider.
struct Question<'q> {
    provider: &'q Provider,
    view: &'q RequestView,
    conn: &'q ConnMeta,
    /// The client's headers without those that only the gateway writes, and with what it says of
    /// the client.
    headers: HeaderMap,
    body: Option<Shown>,
}

impl<'q> Question<'q> {
    fn new(
        provider: &'q Provider,
        routed: &'q Routed,
        conn: &'q ConnMeta,
        body: Option<Shown>,
    ) -> Self {
        let mut headers = routed.view.headers().clone();
        let authenticator = &routed.place.gateway().authenticator;
        let spoofed: Vec<HeaderName> =
            headers.keys().filter(|name| authenticator.reserves(name)).cloned().collect();
        for name in spoofed.iter().chain([&PARTIAL_BODY]) {
            headers.remove(name);
        }
        forwarding_headers(&mut headers, conn, source(conn));
        if let Some(shown) = &body {
            let partial = if shown.partial { "true" } else { "false" };
            headers.insert(PARTIAL_BODY, HeaderValue::from_static(partial));
        }
        Self { provider, view: &routed.view, conn, headers, body }
    }

    async fn ask(&self, worker: &Rc<Worker>) -> Result<Verdict, Failure> {
        match &self.provider.check {
            Check::Http(check) => over_http::check(worker, self, check).await,
            Check::Grpc => over_grpc::check(worker, self).await,
        }
    }
}

/// What a provider says.
enum Verdict {
    Allowed(Box<Changes>),
    /// What the client is told.
    Denied(Box<Told>),
}

/// What a yes changes.
#[derive(Debug, Default)]
struct Changes {
    request: HeaderEdits,
    response: HeaderEdits,
    set_params: Vec<(String, String)>,
    remove_params: Vec<String>,
}

impl Changes {
    fn apply(self, view: &mut RequestView, reply: &mut Reply) -> Result<(), Failure> {
        for name in &self.remove_params {
            view.remove_param(name).map_err(|_| Failure::Nonsense)?;
        }
        for (name, value) in &self.set_params {
            view.set_param(name, value).map_err(|_| Failure::Nonsense)?;
        }
        self.request.apply(view.headers_mut());
        reply.add(self.response);
        Ok(())
    }
}

/// The message that headers belong to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Side {
    /// What the upstream gets.
    Request,
    /// What the client gets.
    Response,
}

/// Why there is no answer that means something.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("it did not answer in time")]
    Timeout,
    #[error("{}", .0.word())]
    Upstream(Reason),
    #[error("it answered with status {0}")]
    Status(http::StatusCode),
    #[error("it answered with gRPC status {0:?}")]
    Grpc(String),
    #[error("its answer broke off or is too long: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("its answer makes no sense")]
    Nonsense,
}

/// Reads an answer to its end.
async fn collect(body: Incoming) -> Result<Collected<Bytes>, Failure> {
    Limited::new(body, MOST_ANSWER).collect().await.map_err(Failure::Body)
}
