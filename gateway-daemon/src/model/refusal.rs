//! How policy refusals are told, where a JWTPolicy says something else than Envoy would.

use std::sync::Arc;

use bytes::Bytes;
use http::HeaderValue;

/// What refused requests of a Gateway are told. The default is Envoy's.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Refusals {
    /// A request that brought no token and is denied gets 401 instead of 403.
    pub challenge_missing_token: bool,
    /// What a denied request is told instead of `RBAC: access denied`.
    pub denied: Option<Arc<DeniedBody>>,
    /// What a request is told that is denied for want of a scope alone.
    pub scope_challenge: ScopeChallenge,
}

/// The challenge of a denial that is about a scope alone.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum ScopeChallenge {
    /// None.
    #[default]
    Silent,
    /// That a scope is missing (`insufficient_scope`).
    Error,
    /// Which, too.
    Scope,
}

/// A body of one's own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DeniedBody {
    /// `content-type`.
    pub content_type: HeaderValue,
    /// The body.
    pub text: Bytes,
}
