//! Stage 5: tokens. One that is present and bad refuses the request; none is no identity.

use std::sync::Arc;

use super::count::RequestRecord;
use super::respond::Rejection;
use super::route::Routed;
use super::worker::Worker;
use crate::clock;
use crate::model::identity::Identity;

/// A request whose tokens, if any, are all good.
pub(super) struct Authenticated {
    pub(super) routed: Routed,
    pub(super) identity: Option<Arc<Identity>>,
}

/// Checks the request's tokens and writes what upstream may learn of them.
pub(super) fn authenticate(
    worker: &Worker,
    mut routed: Routed,
    record: &mut RequestRecord,
) -> Result<Authenticated, Rejection> {
    let authenticator = &routed.place.gateway().authenticator;
    let mut tokens = worker.tokens().borrow_mut();
    match authenticator.authenticate(&mut routed.view, clock::unix_now(), &mut tokens) {
        Ok(authenticated) => {
            if let Some(identity) = &authenticated.identity {
                record.note(|facts| facts.issuer = Some(Arc::clone(&identity.issuer)));
            }
            Ok(Authenticated { routed, identity: authenticated.identity })
        }
        Err(refusal) => Err(Rejection::unauthenticated(refusal, &routed.view)),
    }
}
