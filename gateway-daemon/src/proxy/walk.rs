//! The pipeline offline: one request head walked through the stages by their own code, with
//! everything noted on the way and nothing sent anywhere.
//!
//! What only a connection can show is left out: the handshake, framing, limits of a head's size,
//! bodies, and whether an upstream endpoint answers.

use std::net::IpAddr;
use std::sync::Arc;

use http::{HeaderMap, StatusCode};

use super::authorize::decide;
use super::client::infer;
use super::forward::{source, upstream_head};
use super::respond::{Asked, Rejection, Told};
use super::route::Place;
use super::upstream::by_weight;
use crate::authn::{CacheLimits, RuleVerdict, TokenCache};
use crate::authz::{Answer, Consultation, DecidedBy, RuleTrace, ShadowMatch, Vetted};
use crate::clock::UnixSeconds;
use crate::model::backend::Upstream;
use crate::model::ext_authz::Provider;
use crate::model::identity::Identity;
use crate::model::object::ObjectRef;
use crate::model::reason::Reason;
use crate::request::{ConnMeta, RequestView, UpstreamHead};
use crate::snapshot::Snapshot;

/// Everything a walk noted; what a refused request did not come to is empty.
#[derive(Debug, Default)]
pub struct Walk {
    /// The request as it was read.
    pub read: Option<Read>,
    /// Where it belongs.
    pub place: Option<Placed>,
    /// Who asks.
    pub client: Option<IpAddr>,
    /// The providers that have to be asked, each with the rule that wants it. Nobody is asked here:
    /// what follows holds if all of them allow.
    pub providers: Vec<(Arc<Provider>, Arc<DecidedBy>)>,
    /// What each token rule found, and how it judges that by itself.
    pub tokens: Vec<RuleVerdict>,
    /// Tokens are not looked at: a CORS preflight, or a path that is exempt.
    pub tokens_ignored: bool,
    /// Who it is from.
    pub identity: Option<Arc<Identity>>,
    /// Every policy rule, in the order in which they are asked.
    pub rules: Vec<RuleTrace>,
    /// Whether ALLOW policies exist, so that one of them has to match.
    pub allows_by_policy: bool,
    /// What policies that never decide would have said.
    pub shadow: Vec<ShadowMatch>,
    /// The policy and rule that decided.
    pub decided_by: Option<Arc<DecidedBy>>,
}

/// A request as every stage sees it.
#[derive(Debug)]
pub struct Read {
    /// Method.
    pub method: String,
    /// Authority as sent.
    pub authority: String,
    /// Normalised path.
    pub path: String,
    /// Query.
    pub query: Option<String>,
}

/// Where a request belongs.
#[derive(Debug)]
pub struct Placed {
    /// The listener that its host belongs to.
    pub listener: Option<Arc<str>>,
    /// The Gateway whose policies apply.
    pub gateway: ObjectRef,
    /// The route and the position of its rule; none is answered 404 if policy permits.
    pub route: Option<(ObjectRef, usize)>,
    /// The configured path that it counts under.
    pub path_pattern: Option<String>,
}

/// How a walk ends.
#[derive(Debug)]
pub enum End {
    /// The upstream gets this.
    Forwarded {
        /// The head.
        head: UpstreamHead,
        /// The Service port.
        upstream: Arc<Upstream>,
    },
    /// The client is told this.
    Refused {
        /// The reason word.
        reason: Reason,
        /// Status.
        status: StatusCode,
        /// Headers.
        headers: HeaderMap,
        /// Body.
        body: String,
    },
}

/// Walks a request head through the stages.
pub fn walk(
    snapshot: &Arc<Snapshot>,
    conn: &ConnMeta,
    head: http::request::Parts,
    now: UnixSeconds,
) -> (Walk, End) {
    let asked = Asked::by(&head.method, &head.headers);
    let mut walk = Walk::default();
    let end = walk.stages(snapshot, conn, head, now).unwrap_or_else(|rejection| {
        let Told { status, headers, body } = rejection.told(asked);
        walk.decided_by = rejection.decided_by().cloned();
        End::Refused {
            reason: rejection.reason(),
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    });
    (walk, end)
}

impl Walk {
    fn stages(
        &mut self,
        snapshot: &Arc<Snapshot>,
        conn: &ConnMeta,
        head: http::request::Parts,
        now: UnixSeconds,
    ) -> Result<End, Rejection> {
        let mut view = RequestView::read(head, conn)?;
        self.read = Some(Read {
            method: view.method().to_string(),
            authority: view.authority().to_owned(),
            path: view.path().to_owned(),
            query: view.query().map(str::to_owned),
        });
        let place = Place::find(Arc::clone(snapshot), conn, &view)?;
        let pattern = snapshot.paths.name(snapshot.paths.slot(view.path()));
        self.place = Some(Placed {
            listener: place.listener(conn).cloned(),
            gateway: place.gateway().object.clone(),
            route: place.route().map(|(route, rule)| (route.clone(), rule)),
            path_pattern: pattern.map(str::to_owned),
        });

        let inferred = infer(conn, &place, &mut view);
        let conn = inferred.as_ref().unwrap_or(conn);
        self.client = Some(conn.client().ip());
        let vetted = self.consult(&place, &view, conn)?;
        let authenticator = &place.gateway().authenticator;
        self.tokens_ignored = authenticator.ignores(&view);
        self.tokens = authenticator.trace(&view, now);
        let mut cache = TokenCache::new(CacheLimits::LEAST);
        let authenticated = authenticator.authenticate(&mut view, now, &mut cache);
        let identity = match authenticated {
            Ok(authenticated) => authenticated.identity,
            Err(refusal) => return Err(Rejection::unauthenticated(refusal, &view)),
        };
        self.identity.clone_from(&identity);

        let engine = &place.gateway().engine;
        self.rules.extend(engine.trace(&view, conn, identity.as_deref()));
        self.allows_by_policy = engine.allows_by_policy();
        self.shadow = engine.shadow(&view, conn, identity.as_deref());
        let permit = decide(vetted, &place, &view, conn, identity.as_deref())?;
        self.decided_by = permit.decided_by().cloned();

        let rule = place.rule().ok_or(Reason::NoRoute)?;
        let upstream = by_weight(&rule.backends, || 0)?;
        if upstream.endpoints.is_empty() {
            return Err(Reason::NoEndpoint.into());
        }
        let head = upstream_head(permit, view, conn, source(conn), upstream.protocol);
        Ok(End::Forwarded { head, upstream: Arc::clone(upstream) })
    }

    fn consult(
        &mut self,
        place: &Place,
        view: &RequestView,
        conn: &ConnMeta,
    ) -> Result<Vetted, Rejection> {
        let engine = &place.gateway().engine;
        self.rules = engine.trace_custom(view, conn);
        let mut consultation = engine.consult(view, conn)?;
        loop {
            match consultation {
                Consultation::Vetted(vetted) => return Ok(vetted),
                Consultation::Ask(pending) => {
                    let asked = (Arc::clone(pending.provider()), Arc::clone(pending.asked_by()));
                    self.providers.push(asked);
                    consultation = pending.answered(Answer::Allowed).0?;
                }
            }
        }
    }
}
