//! Stage 4: which listener, Gateway and route a request belongs to.
//!
//! No route is not an answer yet: authentication and policy come first, so that a stranger learns
//! 401 or 403 before 404, as with Envoy's terminal router filter.

use std::sync::Arc;

use super::count::RequestRecord;
use super::respond::Rejection;
use crate::model::listener::GatewayIndex;
use crate::model::reason::Reason;
use crate::model::route::RouteRule;
use crate::request::{ConnMeta, RequestView};
use crate::route::RuleAt;
use crate::snapshot::{Gateway, Snapshot};

/// A request that knows where it belongs.
pub(super) struct Routed {
    pub(super) view: RequestView,
    pub(super) place: Place,
}

/// Where a request belongs.
pub(super) struct Place {
    snapshot: Arc<Snapshot>,
    gateway: GatewayIndex,
    rule: Option<RuleAt>,
}

impl Place {
    /// The Gateway whose policies apply.
    pub(super) fn gateway(&self) -> &Gateway {
        &self.snapshot.gateways[self.gateway.0]
    }

    /// The rule that matched; none is answered by `forward`.
    pub(super) fn rule(&self) -> Option<&RouteRule> {
        self.rule.map(|at| self.snapshot.routes.rule(at))
    }
}

/// Routes a request.
pub(super) fn route(
    snapshot: Arc<Snapshot>,
    conn: &ConnMeta,
    view: RequestView,
    record: &mut RequestRecord,
) -> Result<Routed, Rejection> {
    // The port was there when the connection was accepted; a reload may have taken it.
    let port = snapshot.ports.get(&conn.local.port()).ok_or(Reason::NoRoute)?;
    let listener = port.listener(view.host());
    if let (Some(listener), Some(sni)) = (listener, &conn.sni)
        && port.listener(sni).is_some_and(|named| named.index != listener.index)
    {
        return Err(Reason::Misdirected.into());
    }
    // A host that no listener names has no route, yet the port's policies come first.
    let gateway = listener.or(port.listeners.first()).ok_or(Reason::NoRoute)?.gateway;
    let matched = listener.and_then(|listener| {
        record.note(|facts| facts.listener = Some(Arc::clone(&listener.label)));
        snapshot.routes.lookup(listener.index, &view)
    });
    if let Some(matched) = &matched {
        record.note(|facts| facts.route = Some((matched.route.clone(), matched.rule_index)));
    }
    let rule = matched.map(|matched| matched.at);
    Ok(Routed { view, place: Place { snapshot, gateway, rule } })
}
