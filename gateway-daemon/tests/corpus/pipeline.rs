//! The data path from a request head to the upstream's, without a connection.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use gateway_common::path::PathSlot;
use gateway_daemon::authn::TokenCache;
use gateway_daemon::authz::Consultation;
use gateway_daemon::clock::{self, UnixSeconds};
use gateway_daemon::control::{Prepared, Settings};
use gateway_daemon::model::policy::Action;
use gateway_daemon::model::reason::Reason;
use gateway_daemon::proxy::{End, walk};
use gateway_daemon::request::{ConnMeta, RequestView, Scheme};
use gateway_daemon::snapshot::Snapshot;
use http::header::{HeaderName, HeaderValue};

use super::case::{Case, Outcome, PORT, Request, Upstream, join};

/// The objects that every case stands on.
const BASE: &str = include_str!("base.yaml");

/// A compiled case.
pub(crate) struct Pipeline {
    snapshot: Arc<Snapshot>,
    tokens: TokenCache,
    now: UnixSeconds,
}

/// A refusal: status, body, whether it names a realm.
struct Refused {
    status: u64,
    body: &'static str,
    realm: Option<String>,
}

impl Pipeline {
    pub(crate) fn start(case: &Case) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let base = BASE.replace("@PORT@", &PORT.to_string());
        std::fs::write(folder.path().join("00-base.yaml"), base).unwrap();
        std::fs::write(folder.path().join("10-case.yaml"), &case.manifests).unwrap();
        let settings = Settings { paths: vec![folder.path().into()], ..Settings::default() };
        let prepared = Prepared::read(settings);
        let prepared = prepared.unwrap_or_else(|error| panic!("{}: {error}", case.name));
        let slots = Box::new(|names: &[String]| vec![PathSlot::NONE; names.len()]);
        let snapshot = prepared.publish(slots).writer().current();
        Self { snapshot, tokens: TokenCache::default(), now: clock::unix_now() }
    }

    /// Sends a request; every other one meets a warm token cache.
    pub(crate) fn send(&mut self, request: &Request) -> Outcome {
        let first = self.travel(request);
        let second = self.travel(request);
        assert_eq!(first, second, "{}: the token cache changes the outcome", request.name);
        self.explain(request, &first);
        first
    }

    fn travel(&mut self, request: &Request) -> Outcome {
        match self.decide(request) {
            Ok(upstream) => Outcome { status: 200, upstream: Some(upstream), ..Outcome::default() },
            Err(refused) => {
                let mut headers = BTreeMap::from([
                    ("content-type".to_owned(), "text/plain".to_owned()),
                    ("content-length".to_owned(), refused.body.len().to_string()),
                ]);
                let challenge =
                    refused.realm.map(|r| format!("Bearer realm=\"{r}\", error=\"invalid_token\""));
                headers.extend(challenge.map(|c| ("www-authenticate".to_owned(), c)));
                let body = if request.method == "HEAD" { "" } else { refused.body };
                Outcome { status: refused.status, body: body.to_owned(), headers, upstream: None }
            }
        }
    }

    /// What `explain` tells has to be what happens, and its rules have to add up to it.
    fn explain(&self, request: &Request, expected: &Outcome) {
        let name = &request.name;
        let Some(head) = head(request) else { return };
        let (walk, end) = walk(&self.snapshot, &conn(request), head, self.now);
        let matching = |action| {
            let rules = walk.rules.iter().filter(move |r| !r.shadow && r.action == action);
            rules.filter(|rule| rule.obstacles.is_empty()).map(|rule| Arc::clone(&rule.name)).next()
        };
        match end {
            End::Forwarded { .. } => {
                assert_eq!(expected.status, 200, "{name}");
                assert_eq!(matching(Action::Deny), None, "{name}");
                assert_eq!(matching(Action::Allow), walk.decided_by, "{name}");
                assert_eq!(walk.decided_by.is_some(), walk.allows_by_policy, "{name}");
            }
            End::Refused { reason, status, headers, body } => {
                assert_eq!(expected.status, u64::from(status.as_u16()), "{name}");
                if matches!(status.as_u16(), 401 | 403) {
                    assert_eq!(expected.body, body, "{name}");
                    let challenge =
                        headers.get("www-authenticate").map(|value| latin1(value.as_bytes()));
                    assert_eq!(
                        expected.headers.get("www-authenticate"),
                        challenge.as_ref(),
                        "{name}"
                    );
                }
                match reason {
                    Reason::PolicyDenied => {
                        assert_eq!(matching(Action::Deny), walk.decided_by, "{name}");
                        assert!(walk.decided_by.is_some(), "{name}");
                    }
                    Reason::PolicyNotAllowed => {
                        assert_eq!(matching(Action::Deny), None, "{name}");
                        assert_eq!(matching(Action::Allow), None, "{name}");
                    }
                    _ => assert!(walk.rules.is_empty(), "{name}"),
                }
            }
        }
    }

    fn decide(&mut self, request: &Request) -> Result<Upstream, Refused> {
        let malformed = |_| Refused { status: 400, body: "", realm: None };
        let conn = conn(request);
        let head = head(request).ok_or(Reason::MalformedRequest).map_err(malformed)?;
        let mut view = RequestView::read(head, &conn).map_err(malformed)?;
        let port = &self.snapshot.ports.at(PORT)[0];
        let listener = port.listener(view.host()).unwrap();
        let gateway = &self.snapshot.gateways[listener.gateway.0];
        let realm = view.realm();
        let Ok(Consultation::Vetted(vetted)) = gateway.engine.consult(&view, &conn) else {
            panic!("{}: the corpus has no CUSTOM policy", request.name);
        };
        let identity = gateway
            .authenticator
            .authenticate(&mut view, self.now, &mut self.tokens)
            .map_err(|refusal| Refused {
                status: if refusal.reason == Reason::TokenAudience { 403 } else { 401 },
                body: refusal.text,
                realm: Some(realm),
            })?
            .identity;
        let decision = gateway.engine.decide(vetted, &view, &conn, identity.as_deref());
        decision.map_err(|_| Refused { status: 403, body: "RBAC: access denied", realm: None })?;
        assert!(self.snapshot.routes.lookup(listener.index, &view).is_some());
        Ok(upstream(view))
    }
}

fn upstream(view: RequestView) -> Upstream {
    let head = view.into_upstream();
    let mut headers = BTreeMap::new();
    for name in head.headers.keys() {
        let lines = head.headers.get_all(name).iter();
        let lines: Vec<_> = lines.map(|line| latin1(line.as_bytes())).collect();
        headers.insert(name.to_string(), join(name.as_str(), &lines));
    }
    Upstream { method: head.method.to_string(), path: head.target.to_string(), headers }
}

fn conn(request: &Request) -> ConnMeta {
    let ip: IpAddr = request.client_ip.parse().unwrap();
    ConnMeta {
        peer: SocketAddr::from((ip, 40000)),
        local: SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

/// The head as hyper would hand it over; none where hyper refuses it.
fn head(request: &Request) -> Option<http::request::Parts> {
    let mut parts = http::Request::new(()).into_parts().0;
    parts.method = http::Method::from_bytes(&bytes(&request.method)).ok()?;
    parts.uri = http::Uri::from_maybe_shared(bytes(&request.target)).ok()?;
    for (name, value) in &request.headers {
        let name = HeaderName::from_bytes(&bytes(name)).ok()?;
        let value = HeaderValue::from_bytes(bytes(value).trim_ascii()).ok()?;
        parts.headers.append(name, value);
    }
    Some(parts)
}

fn bytes(text: &str) -> Vec<u8> {
    text.chars().map(|c| u8::try_from(c).expect("Latin-1")).collect()
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}
