//! Stage 6: policy. A yes is a `Permit`, which `forward` demands.

use std::sync::Arc;

use super::authenticate::Authenticated;
use super::count::RequestRecord;
use super::respond::Rejection;
use super::route::Routed;
use crate::authz::Permit;
use crate::request::ConnMeta;

/// Decides.
pub(super) fn authorize(
    conn: &ConnMeta,
    request: Authenticated,
    record: &mut RequestRecord,
) -> Result<(Permit, Routed), Rejection> {
    let Authenticated { routed, identity } = request;
    let engine = &routed.place.gateway().engine;
    let shadow = engine.shadow(&routed.view, conn, identity.as_deref());
    if !shadow.is_empty() {
        record.note(|facts| facts.shadow = shadow);
    }
    let permit = engine.decide(&routed.view, conn, identity.as_deref()).map_err(|denial| {
        let refusals = &routed.place.gateway().refusals;
        Rejection::denied(denial, refusals, identity.is_some(), &routed.view)
    })?;
    if let Some(by) = permit.decided_by() {
        record.note(|facts| facts.decided_by = Some(Arc::clone(by)));
    }
    Ok((permit, routed))
}
