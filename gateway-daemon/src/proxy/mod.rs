//! The data path: a request's walk, stage by stage, in files named after them.
//!
//! `accept -> tls -> http -> route -> authenticate -> authorize -> forward -> count`; each stage
//! takes the last one's value, and `forward` takes a [`Permit`](crate::authz::Permit), which only a
//! policy decision gives. Must not know: manifests, control, BPF, files, the environment.

mod accept;
mod access_log;
mod authenticate;
mod authorize;
mod body;
mod count;
mod forward;
mod framing;
mod http;
mod respond;
mod route;
mod stream;
mod tls;
mod upstream;
mod walk;
mod worker;

use std::rc::Rc;

use hyper::body::Incoming;
use hyper::{Request, Response};

use self::accept::Connection;
use self::body::ResponseBody;
use self::count::RequestRecord;
use self::respond::{Asked, Rejection, Unanswered};
use self::worker::Worker;

pub use self::access_log::{AccessLog, LogWriter};
pub use self::walk::{End, Placed, Read, Walk, walk};
pub use self::worker::{ListenerKey, WorkerCommand, WorkerParts, run};

/// Answers one request: the pipeline.
async fn answer(
    worker: &Rc<Worker>,
    conn: &Rc<Connection>,
    request: Request<Incoming>,
    mut record: RequestRecord,
) -> Response<ResponseBody> {
    let asked = Asked::by(request.method(), request.headers());
    let decided = decide(worker, conn, request, &mut record);
    let result = match decided {
        Ok((permit, routed, body)) => {
            forward::forward(worker, &conn.meta(), permit, routed, body, record).await
        }
        Err(rejection) => Err(Unanswered { record, rejection }),
    };
    result.unwrap_or_else(|unanswered| respond::respond(unanswered, conn, asked))
}

/// Everything before the upstream, without waiting for anything.
fn decide(
    worker: &Worker,
    conn: &Connection,
    request: Request<Incoming>,
    record: &mut RequestRecord,
) -> Result<(crate::authz::Permit, route::Routed, Incoming), Rejection> {
    let meta = conn.meta();
    let snapshot = worker.snapshot();
    let (view, body) = http::read(worker, &meta, request)?;
    record.read(&view, &snapshot);
    let routed = route::route(snapshot, &meta, view, record)?;
    let authenticated = authenticate::authenticate(worker, routed, record)?;
    let (permit, routed) = authorize::authorize(&meta, authenticated, record)?;
    Ok((permit, routed, body))
}
