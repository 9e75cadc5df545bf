//! The data path: a request's walk, stage by stage, in files named after them.
//!
//! `accept -> tls -> http -> route -> client -> ext_authz -> authenticate -> authorize -> forward -> count`; each stage
//! takes the last one's value, and `forward` takes a [`Permit`], which only a
//! policy decision gives. Must not know: manifests, control, BPF, files, the environment.

mod accept;
mod access_log;
mod authenticate;
mod authorize;
mod body;
mod client;
mod count;
mod ext_authz;
mod forward;
mod http;
mod http1;
mod proxy_header;
mod respond;
mod route;
mod stream;
mod tls;
mod upstream;
mod walk;
mod worker;

use std::rc::Rc;

use hyper::{Request, Response};

use self::accept::Connection;
use self::body::{Incoming, RequestBody, ResponseBody};
use self::count::RequestRecord;
use self::ext_authz::{Consulted, Reply};
use self::respond::{Asked, Rejection, Unanswered};
use self::route::Routed;
use self::worker::Worker;
use crate::authz::Permit;
use crate::request::ConnMeta;

pub use self::access_log::{AccessLog, LogWriter};
pub use self::walk::{End, Placed, Read, Walk, walk};
pub use self::worker::{ListenerKey, WorkerCommand, WorkerParts, run};

/// Answers one request: the pipeline.
async fn answer(
    worker: &Rc<Worker>,
    conn: &Rc<Connection>,
    request: Box<Request<Incoming>>,
    mut record: RequestRecord,
) -> Response<ResponseBody> {
    let asked = Asked::by(request.method(), request.headers());
    let mut reply = Reply::default();
    let decided = decide(worker, conn, request, &mut record, &mut reply).await;
    let result = match decided {
        Ok((permit, routed, meta, body)) => {
            forward::forward(worker, conn, &meta, permit, routed, body, record).await
        }
        Err(rejection) => Err(Unanswered { record, rejection }),
    };
    let mut response =
        result.unwrap_or_else(|unanswered| respond::respond(unanswered, conn, asked));
    reply.apply(&mut response);
    response
}

/// Everything before the upstream. Waits for nothing but the providers of CUSTOM policies.
async fn decide(
    worker: &Rc<Worker>,
    conn: &Connection,
    request: Box<Request<Incoming>>,
    record: &mut RequestRecord,
    reply: &mut Reply,
) -> Result<(Permit, Routed, Rc<ConnMeta>, RequestBody), Rejection> {
    let meta = conn.meta();
    let snapshot = worker.snapshot();
    let (view, incoming) = http::read(worker, conn, &meta, request)?;
    let mut body = RequestBody::of(incoming, record);
    record.read(&view, &snapshot);
    let mut routed = route::route(snapshot, &meta, view, record)?;
    let meta = client::identify(meta, &mut routed, record);
    client::admit(worker, &meta)?;
    let vetted = match ext_authz::consult(&meta, routed)? {
        Consulted::Vetted(vetted) => vetted,
        Consulted::Ask(inquiry) => {
            Box::pin(inquiry.run(worker, conn, &meta, &mut body, record, reply)).await?
        }
    };
    let authenticated = authenticate::authenticate(worker, &meta, vetted, record)?;
    let (permit, routed) = authorize::authorize(&meta, authenticated, record)?;
    Ok((permit, routed, meta, body))
}
