//! Last stage: exactly one verdict per request.
//!
//! A `RequestRecord` is opened when a head is complete and closed when the answer is; one that is
//! dropped open counts as aborted. Closing writes this worker's counter row and the access log.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway_common::path::PathSlot;
use gateway_common::verdict::RequestVerdict;
use http::StatusCode;

use super::accept::Connection;
use super::access_log::Line;
use super::worker::Worker;
use crate::authz::{DecidedBy, ShadowMatch};
use crate::clock::{self, Moment};
use crate::model::ext_authz::CheckOutcome;
use crate::model::object::ObjectRef;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView};
use crate::snapshot::Snapshot;

/// One request, from its head to its verdict.
pub(super) struct RequestRecord {
    worker: Rc<Worker>,
    conn: Rc<Connection>,
    /// When the head was complete.
    opened: Moment,
    path: PathSlot,
    /// The final word; none while the request is under way.
    verdict: Option<(RequestVerdict, Option<Reason>)>,
    status: Option<StatusCode>,
    /// None: no body is awaited.
    upload: Option<Rc<Upload>>,
    response_bytes: u64,
    /// What only the access log needs; none where it is off.
    facts: Option<Box<Facts>>,
}

/// How the request's body goes.
#[derive(Debug)]
pub(super) struct Upload {
    /// Bytes so far.
    pub(super) bytes: Cell<u64>,
    /// When the last of them came; at first, when the head was complete.
    pub(super) last: Cell<Moment>,
    /// The client broke it off.
    pub(super) broken: Cell<bool>,
}

/// What only the access log needs.
#[derive(Default)]
pub(super) struct Facts {
    started: Option<Instant>,
    pub(super) snapshot: Option<Arc<Snapshot>>,
    /// How the client reached us, where the request itself says more of it than the connection.
    pub(super) conn: Option<Rc<ConnMeta>>,
    pub(super) method: Option<http::Method>,
    pub(super) authority: String,
    pub(super) path: String,
    pub(super) listener: Option<Arc<str>>,
    pub(super) route: Option<(ObjectRef, usize)>,
    pub(super) issuer: Option<Arc<str>>,
    pub(super) decided_by: Option<Arc<DecidedBy>>,
    pub(super) shadow: Vec<ShadowMatch>,
    /// The providers that were asked.
    pub(super) ext_authz: Vec<(ObjectRef, CheckOutcome)>,
    pub(super) upstream: Option<SocketAddr>,
    pub(super) forwarded: Option<Instant>,
    pub(super) upstream_wait: Option<Duration>,
}

impl RequestRecord {
    /// Opens the record of a request whose head is complete or refused.
    pub(super) fn open(worker: &Rc<Worker>, conn: &Rc<Connection>) -> Self {
        let facts = || Facts { started: Some(clock::monotonic()), ..Facts::default() };
        Self {
            worker: Rc::clone(worker),
            conn: Rc::clone(conn),
            opened: conn.request_opened(),
            path: PathSlot::NONE,
            verdict: None,
            status: None,
            upload: None,
            response_bytes: 0,
            facts: worker.access_log().is_on().then(|| Box::new(facts())),
        }
    }

    /// Notes what was read, and the configured path that the request counts under.
    pub(super) fn read(&mut self, view: &RequestView, snapshot: &Arc<Snapshot>) {
        self.path = snapshot.paths.slot(view.path());
        self.note(|facts| {
            facts.snapshot = Some(Arc::clone(snapshot));
            facts.method = Some(view.method().clone());
            view.authority().clone_into(&mut facts.authority);
            view.path().clone_into(&mut facts.path);
        });
    }

    /// Notes something for the access log.
    pub(super) fn note(&mut self, write: impl FnOnce(&mut Facts)) {
        if let Some(facts) = &mut self.facts {
            write(facts);
        }
    }

    /// When the head was complete.
    pub(super) fn opened(&self) -> Moment {
        self.opened
    }

    /// Where the request's body is watched; none: there is none.
    pub(super) fn upload(&self) -> Option<&Rc<Upload>> {
        self.upload.as_ref()
    }

    /// Begins to watch the request's body.
    pub(super) fn begin_upload(&mut self) -> Rc<Upload> {
        let last = Cell::new(self.opened);
        let upload = Rc::new(Upload { bytes: Cell::new(0), last, broken: Cell::new(false) });
        self.upload = Some(Rc::clone(&upload));
        upload
    }

    pub(super) fn add_response_bytes(&mut self, bytes: u64) {
        self.response_bytes += bytes;
    }

    /// The status that the client is told, and whether that is the answer to a permitted request.
    pub(super) fn answering(&mut self, status: StatusCode, permitted: bool) {
        self.status = Some(status);
        self.conn.answers(self.path, permitted);
    }

    /// The upstream's answer is complete. The first word stays.
    pub(super) fn complete(&mut self) {
        self.verdict.get_or_insert((RequestVerdict::Allowed, None));
    }

    /// Something else is the answer. The first word stays.
    pub(super) fn fail(&mut self, reason: Reason) {
        self.verdict.get_or_insert((reason.verdict(), Some(reason)));
    }

    /// Refused before there was anything to note.
    pub(super) fn refuse(mut self, reason: Reason) {
        self.fail(reason);
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let (verdict, reason) =
            self.verdict.unwrap_or((RequestVerdict::Aborted, Some(Reason::ClientGone)));
        let request_bytes = self.upload.as_ref().map_or(0, |upload| upload.bytes.get());
        self.worker.counters().record(self.path, verdict, request_bytes, self.response_bytes);
        if let Some(reason) = reason {
            self.worker.counters().refused(reason.counter());
        }
        self.conn.request_closed();
        if let Some(facts) = self.facts.take() {
            let meta = facts.conn.clone().unwrap_or_else(|| self.conn.meta());
            self.worker.access_log().write(&Line {
                facts: &facts,
                meta: &meta,
                verdict,
                reason,
                status: self.status,
                path_slot: self.path,
                request_bytes,
                response_bytes: self.response_bytes,
                duration: facts.started.map(|at| clock::monotonic() - at).unwrap_or_default(),
                connection_requests: self.conn.requests(),
            });
        }
    }
}
