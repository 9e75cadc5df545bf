//! Stage 6: tokens. One that is present and bad refuses the request; none is no identity.

use std::sync::Arc;

use super::count::RequestRecord;
use super::ext_authz::Vetted;
use super::respond::Rejection;
use super::route::Routed;
use super::worker::Worker;
use crate::model::identity::Identity;
use crate::request::ConnMeta;
use crate::{authz, clock};

/// A request whose tokens, if any, are all good.
pub(super) struct Authenticated {
    pub(super) routed: Routed,
    pub(super) vetted: authz::Vetted,
    pub(super) identity: Option<Arc<Identity>>,
}

/// Checks the request's tokens and writes what upstream may learn of them. Who keeps presenting bad
/// ones may be banned, so whoever keeps count of that is told.
pub(super) fn authenticate(
    worker: &Worker,
    meta: &ConnMeta,
    vetted: Vetted,
    record: &mut RequestRecord,
) -> Result<Authenticated, Rejection> {
    let Vetted { mut routed, proof: vetted } = vetted;
    let authenticator = &routed.place.gateway().authenticator;
    let mut tokens = worker.tokens().borrow_mut();
    match authenticator.authenticate(&mut routed.view, clock::unix_now(), &mut tokens) {
        Ok(authenticated) => {
            if let Some(identity) = &authenticated.identity {
                if let Some(watch) = worker.watch() {
                    match &meta.proxied {
                        None => watch.good(meta.peer.ip()),
                        Some(proxied) => watch.client_good(proxied.client.ip()),
                    }
                }
                record.note(|facts| facts.issuer = Some(Arc::clone(&identity.issuer)));
            }
            Ok(Authenticated { routed, vetted, identity: authenticated.identity })
        }
        Err(refusal) => {
            if let (Some(watch), Some(reason)) = (worker.watch(), refusal.strike) {
                // A peer that speaks for others does not answer for their tokens.
                match &meta.proxied {
                    None => watch.bad(meta.peer.ip(), reason),
                    Some(proxied) => watch.client_bad(proxied.client.ip(), reason),
                }
            }
            Err(Rejection::unauthenticated(refusal, &routed.view))
        }
    }
}
