//! Stage 5: who the client is, where proxies in front are trusted to say so.
//!
//! By a header of the PROXY protocol it is known since the connection was accepted; by
//! `X-Forwarded-For` it is found here, once the Gateway is known. Elsewhere the peer is the client, and
//! nothing is done.

use std::net::SocketAddr;
use std::rc::Rc;

use super::count::RequestRecord;
use super::respond::Rejection;
use super::route::{Place, Routed};
use super::worker::Worker;
use crate::request::{ConnMeta, Proxied, RequestView};

/// How the client reached us, for one request.
pub(super) fn identify(
    conn: Rc<ConnMeta>,
    routed: &mut Routed,
    record: &mut RequestRecord,
) -> Rc<ConnMeta> {
    match infer(&conn, &routed.place, &mut routed.view) {
        Some(inferred) => {
            let inferred = Rc::new(inferred);
            record.note(|facts| facts.conn = Some(Rc::clone(&inferred)));
            inferred
        }
        None => conn,
    }
}

/// Refuses the request of a client that is banned. One that no proxy speaks for is not here any more:
/// its packets are dropped.
pub(super) fn admit(worker: &Worker, conn: &ConnMeta) -> Result<(), Rejection> {
    let (Some(watch), Some(proxied)) = (worker.watch(), &conn.proxied) else { return Ok(()) };
    if watch.refuses_client(proxied.client.ip()) { Err(Rejection::banned()) } else { Ok(()) }
}

/// What the request's headers say of its client; none where nobody is asked. Pure.
///
/// Whoever made the connection wrote the last word in them. So that one has to be a proxy: the peer,
/// or who is behind it where the peer only passes bytes on and says whose by the PROXY protocol.
pub(super) fn infer(conn: &ConnMeta, place: &Place, view: &mut RequestView) -> Option<ConnMeta> {
    let hops = place.gateway().topology.trusted_proxies;
    if hops == 0 {
        return None;
    }
    let source = conn.source();
    let may_speak = |address| place.proxies().has(address);
    if !may_speak(source.ip()) {
        return None;
    }
    let forwarded = view.forwarded_for(hops, may_speak);
    let client = forwarded.map_or(source, |address| SocketAddr::new(address, 0));
    let scheme = view.believe_proxy(source.ip());
    let proxied = Some(Box::new(Proxied { source, client, headers: true }));
    Some(ConnMeta { scheme, proxied, ..conn.clone() })
}
