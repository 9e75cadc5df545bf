//! Stage 4: which listener, Gateway and route a request belongs to.
//!
//! No route is not an answer yet: authentication and policy come first, so that a stranger learns
//! 401 or 403 before 404, as with Envoy's terminal router filter.

use std::sync::Arc;

use bytes::Bytes;
use hyper::body::Frame;

use super::count::RequestRecord;
use super::respond::Rejection;
use crate::model::listener::GatewayIndex;
use crate::model::object::ObjectRef;
use crate::model::reason::Reason;
use crate::model::route::RouteRule;
use crate::model::topology::Proxies;
use crate::request::{ConnMeta, RequestView};
use crate::route::RuleAt;
use crate::snapshot::{Gateway, Snapshot};

/// A request that knows where it belongs.
pub(super) struct Routed {
    /// In a box: it is handed on by every stage.
    pub(super) view: Box<RequestView>,
    pub(super) place: Place,
}

/// Where a request belongs.
pub(super) struct Place {
    snapshot: Arc<Snapshot>,
    /// Position among the port's listeners.
    listener: Option<usize>,
    gateway: GatewayIndex,
    rule: Option<RuleAt>,
}

impl Place {
    /// Finds it. Pure.
    pub(super) fn find(
        snapshot: Arc<Snapshot>,
        conn: &ConnMeta,
        view: &RequestView,
    ) -> Result<Self, Reason> {
        // The port was there when the connection was accepted; a reload may have taken it.
        let port = snapshot.ports.find(conn.local).ok_or(Reason::NoRoute)?;
        let position = port.position(view.host());
        let listener = position.map(|position| &port.listeners[position]);
        if let (Some(listener), Some(sni)) = (listener, &conn.sni)
            && port.listener(sni).is_some_and(|named| named.index != listener.index)
        {
            return Err(Reason::Misdirected);
        }
        // A host that no listener names has no route, yet the port's policies come first.
        let gateway = listener.or(port.listeners.first()).ok_or(Reason::NoRoute)?.gateway;
        let matched = listener.and_then(|found| snapshot.routes.lookup(found.index, view));
        let rule = matched.map(|matched| matched.at);
        Ok(Self { snapshot, listener: position, gateway, rule })
    }

    /// The listener that the host belongs to.
    pub(super) fn listener(&self, conn: &ConnMeta) -> Option<&Arc<str>> {
        let port = self.snapshot.ports.find(conn.local)?;
        self.listener.map(|position| &port.listeners[position].label)
    }

    /// The Gateway whose policies apply.
    pub(super) fn gateway(&self) -> &Gateway {
        &self.snapshot.gateways[self.gateway.0]
    }

    /// Who may speak for clients.
    pub(super) fn proxies(&self) -> &Proxies {
        &self.snapshot.proxies
    }

    /// The names of headers that only its Gateway writes.
    pub(super) fn reserved(&self) -> Reserved {
        Reserved { snapshot: Arc::clone(&self.snapshot), gateway: self.gateway }
    }

    /// The rule that matched; none is answered by `forward`.
    pub(super) fn rule(&self) -> Option<&RouteRule> {
        self.rule.map(|at| self.snapshot.routes.rule(at))
    }

    /// The route that matched and the position of its rule.
    pub(super) fn route(&self) -> Option<(&ObjectRef, usize)> {
        self.rule.map(|at| self.snapshot.routes.name(at))
    }
}

/// The names of headers that only a Gateway writes: clients cannot send them, as trailers neither.
#[derive(Clone)]
pub(super) struct Reserved {
    snapshot: Arc<Snapshot>,
    gateway: GatewayIndex,
}

impl Reserved {
    /// Takes them out of trailers.
    pub(super) fn strip(&self, frame: &mut Frame<Bytes>) {
        let Some(trailers) = frame.trailers_mut() else { return };
        let authenticator = &self.snapshot.gateways[self.gateway.0].authenticator;
        let names: Vec<_> =
            trailers.keys().filter(|name| authenticator.reserves(name)).cloned().collect();
        for name in names {
            trailers.remove(name);
        }
    }
}

impl std::fmt::Debug for Reserved {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Reserved").finish_non_exhaustive()
    }
}

/// Routes a request.
pub(super) fn route(
    snapshot: Arc<Snapshot>,
    conn: &ConnMeta,
    view: Box<RequestView>,
    record: &mut RequestRecord,
) -> Result<Routed, Rejection> {
    let place = Place::find(snapshot, conn, &view)?;
    record.note(|facts| {
        facts.listener = place.listener(conn).cloned();
        facts.route = place.route().map(|(route, rule)| (route.clone(), rule));
    });
    Ok(Routed { view, place })
}
