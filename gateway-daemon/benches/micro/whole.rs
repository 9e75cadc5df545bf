//! What a whole decision costs, in the order of the pipeline: the request is read, finds the slot of its
//! counters and its route, shows its token, and asks policies. With as many routes and policies.

use criterion::{BatchSize, BenchmarkId, Criterion};
use gateway_common::path::PathSlot;
use gateway_daemon::authn::{Authenticator, CacheLimits, TokenCache};
use gateway_daemon::authz::{Consultation, Engine};
use gateway_daemon::model::listener::ListenerIndex;
use gateway_daemon::model::path::CountedPath;
use gateway_daemon::model::policy::{
    Action, Constraint, Operation, PathPattern, Pattern, Policy, Rule, Source,
};
use gateway_daemon::model::route::{PathMatch, Route, RouteRule};
use gateway_daemon::request::RequestView;
use gateway_daemon::route::{PathIndex, Table};
use http::request::Parts;

use super::{HOST, NOW, SIZES, bearer, conn, head, object, verify};

/// What becomes of a request.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Permitted,
    Unauthenticated,
    Denied,
}

/// What a worker decides by.
struct Rules {
    slots: PathIndex,
    routes: Table,
    authenticator: Authenticator,
    policies: Engine,
    cache: TokenCache,
}

fn prefix(at: usize) -> String {
    format!("/service-{at}/api")
}

impl Rules {
    /// So many routes, and as many policies, each of which wants a token of an issuer for a path.
    fn new(size: usize, jwk: &str) -> Self {
        let path = |at| PathMatch::Prefix(prefix(at).into());
        let paths = (0..size).map(|at| CountedPath::from(&path(at)));
        let route = |at| Route {
            object: object(&format!("r{at}")),
            created: None,
            listeners: vec![ListenerIndex(0)],
            hostnames: Vec::new(),
            rules: vec![RouteRule { matches: vec![path(at)], backends: Vec::new() }],
        };
        let source = || Source {
            request_principals: Constraint {
                values: vec!["https://a.test/*".into()],
                not_values: vec![],
            },
            ..Source::default()
        };
        let operation = |at| {
            let pattern = Pattern::parse(&format!("{}/*", prefix(at)));
            let paths = Constraint { values: vec![PathPattern::Text(pattern)], not_values: vec![] };
            Operation { paths, ..Operation::default() }
        };
        let policy = |at| Policy {
            object: object(&format!("p{at}")),
            action: Action::Allow,
            dry_run: false,
            rules: vec![Rule { from: vec![source()], to: vec![operation(at)], when: vec![] }],
            provider: None,
        };
        Self {
            slots: PathIndex::compile(paths.zip((1..).map(PathSlot)).collect()),
            routes: Table::compile((0..size).map(route).collect()),
            authenticator: Authenticator::compile(vec![verify::rule(jwk)]).0,
            policies: Engine::compile((0..size).map(policy).collect()),
            cache: TokenCache::new(CacheLimits::default()),
        }
    }

    /// The decision, and the request, so that its end is not measured.
    fn decide(&mut self, head: Parts) -> (Outcome, RequestView) {
        let conn = conn();
        let mut view = RequestView::read(head, &conn).expect("a request that can be read");
        let slot = self.slots.slot(view.path());
        let route = self.routes.lookup(ListenerIndex(0), &view).map(|found| found.at);
        assert!(slot != PathSlot::default() && route.is_some(), "no route");
        let Ok(Consultation::Vetted(vetted)) = self.policies.consult(&view, &conn) else {
            return (Outcome::Denied, view);
        };
        let Ok(who) = self.authenticator.authenticate(&mut view, NOW, &mut self.cache) else {
            return (Outcome::Unauthenticated, view);
        };
        let decision = self.policies.decide(vetted, &view, &conn, who.identity.as_deref());
        (decision.map_or(Outcome::Denied, |_| Outcome::Permitted), view)
    }
}

pub(crate) fn decisions(c: &mut Criterion) {
    let sample = verify::rsa();
    let forged = verify::forge(&sample.token);
    let rows = [
        ("permitted", Some(&sample.token), Outcome::Permitted),
        ("no token", None, Outcome::Denied),
        ("forged token", Some(&forged), Outcome::Unauthenticated),
    ];
    for (name, token, expected) in rows {
        let mut group = c.benchmark_group(format!("whole/{name}"));
        for size in SIZES {
            let mut rules = Rules::new(size, &sample.jwk);
            let head = || {
                let head = head(&format!("{}/v1/items", prefix(size / 2)), HOST);
                token.map_or_else(|| head.clone(), |token| bearer(head.clone(), token))
            };
            assert_eq!(rules.decide(head()).0, expected, "{name}, {size}");
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter_batched(head, |head| rules.decide(head), BatchSize::SmallInput);
            });
        }
    }
}
