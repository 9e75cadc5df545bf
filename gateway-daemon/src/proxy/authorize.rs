//! Stage 7: policy. A yes is a `Permit`, which `forward` demands.

use std::sync::Arc;

use super::authenticate::Authenticated;
use super::count::RequestRecord;
use super::respond::Rejection;
use super::route::{Place, Routed};
use crate::authz::{Permit, Vetted};
use crate::model::identity::Identity;
use crate::model::refusal::ScopeChallenge;
use crate::request::{ConnMeta, RequestView};
use crate::snapshot::Gateway;

/// Decides.
pub(super) fn authorize(
    conn: &ConnMeta,
    request: Authenticated,
    record: &mut RequestRecord,
) -> Result<(Permit, Routed), Rejection> {
    let Authenticated { routed, vetted, identity } = request;
    let engine = &routed.place.gateway().engine;
    let shadow = engine.shadow(&routed.view, conn, identity.as_deref());
    engine.count_shadow(&shadow);
    if !shadow.is_empty() {
        record.note(|facts| facts.shadow = shadow);
    }
    let permit = decide(vetted, &routed.place, &routed.view, conn, identity.as_deref())?;
    if let Some(by) = permit.decided_by() {
        record.note(|facts| facts.decided_by = Some(Arc::clone(by)));
    }
    Ok((permit, routed))
}

/// Asks the Gateway's policies, and tells a no as the Gateway wants it told. Pure.
pub(super) fn decide(
    vetted: Vetted,
    place: &Place,
    view: &RequestView,
    conn: &ConnMeta,
    identity: Option<&Identity>,
) -> Result<Permit, Rejection> {
    let Gateway { engine, refusals, .. } = place.gateway();
    engine.decide(vetted, view, conn, identity).map_err(|denial| {
        let asked = refusals.scope_challenge != ScopeChallenge::Silent;
        let scope = identity
            .filter(|_| asked)
            .and_then(|identity| engine.missing_scope(&denial, view, conn, identity));
        Rejection::denied(denial, refusals, identity.is_some(), scope.as_ref(), view)
    })
}
