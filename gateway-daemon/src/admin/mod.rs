//! Read-only observers on a loopback address: `/metrics`, `/healthz`, `/readyz`, `/stats`,
//! `/bans`.
//!
//! Runs on the main thread, never on a worker, which goes first where both want the same CPU. Must not write
//! anything, nor show keys, tokens or claims.

mod bans;
mod interfaces;
mod keys;
mod metrics;
pub mod stats;
mod tokens;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;

use crate::authn::CacheCounters;
use crate::authz::ShadowLedger;
use crate::bans::Status;
use crate::counters::{Gauge, Regions, Totals};
use crate::lifecycle::Readiness;
use crate::model::topology::ProxyFaults;
use crate::snapshot::{ReloadStatus, SnapshotWriter};
use crate::sys::pace::in_turns;

pub use self::interfaces::Interfaces;

/// What the observers look at.
pub struct Observed {
    /// Counters.
    pub regions: Regions,
    /// Readiness.
    pub readiness: Readiness,
    /// Open connections.
    pub gauge: Gauge,
    /// Token caches, by worker.
    pub token_caches: Vec<CacheCounters>,
    /// The snapshot in force.
    pub snapshots: SnapshotWriter,
    /// How configuration reading goes.
    pub control: Arc<ReloadStatus>,
    /// What policies that never decide would have said.
    pub shadow: Arc<ShadowLedger>,
    /// Access log lines lost to a slow target; none where the log is off.
    pub log_dropped: Option<Arc<AtomicU64>>,
    /// Bans; none with `--bans off`.
    pub bans: Option<Arc<Status>>,
    /// Connections that were closed for want of a PROXY header.
    pub proxy_faults: Arc<ProxyFaults>,
    /// Where the kernel half is attached.
    pub interfaces: Arc<Interfaces>,
    /// `ebpf` or `off`.
    pub datapath: &'static str,
}

/// Serves observers until the runtime ends.
pub async fn serve(listener: TcpListener, observed: Arc<Observed>) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept an admin connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let observed = Arc::clone(&observed);
        let service = service_fn(move |request: Request<Incoming>| {
            let response = answer(&observed, request.method(), request.uri().path());
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_secs(10))
            .serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "admin connection ended");
            }
        });
    }
}

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const METRICS: &str = "text/plain; version=0.0.4; charset=utf-8";

fn answer(observed: &Observed, method: &Method, path: &str) -> Response<Full<Bytes>> {
    if method != Method::GET && method != Method::HEAD {
        let mut response = respond(StatusCode::METHOD_NOT_ALLOWED, TEXT, String::new());
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => respond(StatusCode::OK, TEXT, "ok\n".to_owned()),
        "/readyz" => ready(observed),
        "/metrics" => respond(StatusCode::OK, METRICS, in_turns(|| metrics::render(observed))),
        "/bans" => respond(StatusCode::OK, JSON, bans::json_text(observed.bans.as_deref())),
        "/stats" => {
            let stats = in_turns(|| {
                let totals = Totals::read(&observed.regions);
                stats::json_text(&totals, &observed.interfaces.get())
            });
            respond(StatusCode::OK, JSON, stats)
        }
        _ => {
            let paths = "/metrics\n/healthz\n/readyz\n/stats\n/bans\n".to_owned();
            respond(StatusCode::NOT_FOUND, TEXT, paths)
        }
    }
}

/// 200 where every readiness task is done, else 503 with what is missing; then what an operator
/// should know, one line each.
fn ready(observed: &Observed) -> Response<Full<Bytes>> {
    let missing = observed.readiness.missing();
    let first = if missing.is_empty() {
        "ready".to_owned()
    } else {
        format!("not ready: {}", missing.join(", "))
    };
    let mut lines = vec![
        first,
        format!("datapath: {}", observed.datapath),
        format!("generation: {}", observed.snapshots.current().generation),
    ];
    if !observed.control.last_succeeded() {
        lines.push("last reload failed; the configuration before it is in force".to_owned());
    }
    lines.extend(interfaces::remarks(&observed.interfaces.get()));
    lines.extend(keys::remarks(&observed.snapshots.current().feeds));
    let text = lines.join("\n") + "\n";
    let status = if missing.is_empty() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    respond(status, TEXT, text)
}

fn respond(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
