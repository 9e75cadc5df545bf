//! External authorization: whom CUSTOM policies ask (ExtAuthzProvider), validated.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::{HeaderName, HeaderValue, StatusCode};

use super::backend::Upstream;
use super::object::ObjectRef;
use super::policy::Pattern;

/// Headers that a provider can neither be sent by configuration nor set by its answer: they frame a
/// message, or route it.
const OWN_HEADERS: [&str; 11] = [
    "host",
    "content-length",
    "connection",
    "expect",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// Whether only the gateway writes this header.
pub fn is_own_header(name: &HeaderName) -> bool {
    OWN_HEADERS.contains(&name.as_str())
}

/// A provider: a service that says whether a request may pass.
#[derive(Clone, Debug)]
pub struct Provider {
    /// The object.
    pub object: ObjectRef,
    /// Where it is.
    pub upstream: Arc<Upstream>,
    /// How it is called, as `Host` or `:authority` says.
    pub authority: Arc<str>,
    /// How long it may take, from connecting to the end of its answer.
    pub timeout: Duration,
    /// A provider that cannot be asked allows.
    pub fail_open: bool,
    /// What a client is told when it cannot be asked.
    pub status_on_error: StatusCode,
    /// How much of the request's body it is shown.
    pub body: Option<BodyInCheck>,
    /// How it is asked.
    pub check: Check,
    /// What became of the questions.
    pub tally: Arc<Tally>,
}

/// How much of a request's body a provider is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BodyInCheck {
    /// Bytes that are kept for it.
    pub max_bytes: usize,
    /// A longer body is shown in part; otherwise it is refused.
    pub allow_partial: bool,
    /// As `raw_body` instead of `body`; gRPC only.
    pub as_bytes: bool,
}

/// How a provider is asked.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Check {
    /// By a request that resembles the client's; 200 is a yes.
    Http(HttpCheck),
    /// By `envoy.service.auth.v3.Authorization/Check`.
    Grpc,
}

/// Which headers travel with a check over HTTP. Patterns are in lower case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HttpCheck {
    /// Put before the path.
    pub path_prefix: Arc<str>,
    /// Of the client's request, to the provider.
    pub request_headers: Vec<Pattern>,
    /// Added to the check, in place of the client's.
    pub additional_headers: Vec<(HeaderName, HeaderValue)>,
    /// Of a yes, to the upstream.
    pub to_upstream_on_allow: Vec<Pattern>,
    /// Of a yes, to the client.
    pub to_client_on_allow: Vec<Pattern>,
    /// Of a no, to the client; empty: everything.
    pub to_client_on_deny: Vec<Pattern>,
}

macro_rules! outcomes {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal,)+) => {
        /// What became of a question to a provider.
        #[derive(Clone, Copy, Debug, Eq, PartialEq)]
        pub enum CheckOutcome { $($(#[doc = $doc])+ $name,)+ }

        impl CheckOutcome {
            /// Every outcome.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// Its word in metrics and the access log.
            pub const fn word(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }
        }
    };
}

outcomes! {
    /// The provider said yes.
    Allowed = "allowed",
    /// The provider said no.
    Denied = "denied",
    /// It could not be asked, or its answer made no sense: refused.
    Error = "error",
    /// The same, but `failOpen` let the request pass.
    FailureModeAllowed = "failure_mode_allowed",
}

/// How often each outcome came, of all workers.
#[derive(Debug, Default)]
pub struct Tally([AtomicU64; CheckOutcome::ALL.len()]);

impl Tally {
    /// Counts an outcome.
    pub fn count(&self, outcome: CheckOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// How often it came.
    pub fn of(&self, outcome: CheckOutcome) -> u64 {
        self.0[outcome as usize].load(Ordering::Relaxed)
    }
}
