//! What deciding costs: reading a request, routing it, recognising a token, and asking policies,
//! as their number grows. `cargo bench -p gateway-daemon --bench decide`.

use std::hint::black_box;
use std::net::SocketAddr;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};
use gateway_common::path::PathSlot;
use gateway_daemon::authz::{Consultation, Engine};
use gateway_daemon::model::listener::ListenerIndex;
use gateway_daemon::model::object::ObjectRef;
use gateway_daemon::model::path::CountedPath;
use gateway_daemon::model::policy::{
    Action, Constraint, Operation, PathPattern, Pattern, Policy, Rule,
};
use gateway_daemon::model::route::{PathMatch, Route, RouteRule};
use gateway_daemon::request::{ConnMeta, RequestView, Scheme};
use gateway_daemon::route::{PathIndex, Table};
use http::request::Parts;

const SIZES: [usize; 3] = [10, 1_000, 10_000];

fn conn() -> ConnMeta {
    ConnMeta {
        peer: SocketAddr::from(([127, 0, 0, 1], 40000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8080)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

fn head(target: &str, host: &str) -> Parts {
    let mut head = http::Request::new(()).into_parts().0;
    head.uri = target.parse().unwrap_or_default();
    let headers = [
        ("host", host),
        ("user-agent", "curl/8.5.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("x-request-id", "6f1b7c9a"),
    ];
    for (name, value) in headers {
        if let Ok(value) = http::HeaderValue::from_str(value) {
            head.headers.insert(name, value);
        }
    }
    head
}

fn view(target: &str, host: &str) -> Option<RequestView> {
    RequestView::read(head(target, host), &conn()).ok()
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: "Bench", namespace: "default".into(), name: name.into() }
}

/// The shape of the patterns, their middle one, and an operation for each.
struct Shape {
    name: &'static str,
    operation: fn(usize) -> Operation,
    target: fn(usize) -> String,
    host: fn(usize) -> String,
}

const SHAPES: [Shape; 3] = [
    Shape {
        name: "exact",
        operation: |at| Operation { paths: one_path(&target(at)), ..Operation::default() },
        target,
        host: |_| "gw.example.test".to_owned(),
    },
    Shape {
        name: "prefix",
        operation: |at| Operation {
            paths: one_path(&format!("{}/*", target(at))),
            ..Operation::default()
        },
        target: |at| format!("{}/more", target(at)),
        host: |_| "gw.example.test".to_owned(),
    },
    Shape {
        name: "host",
        operation: |at| Operation {
            hosts: Constraint { values: vec![Pattern::parse(&host(at))], not_values: vec![] },
            ..Operation::default()
        },
        target: |_| "/api".to_owned(),
        host,
    },
];

fn target(at: usize) -> String {
    format!("/service-{at}/api/v1/items")
}

fn host(at: usize) -> String {
    format!("tenant-{at}.example.test")
}

fn one_path(pattern: &str) -> Constraint<PathPattern> {
    Constraint { values: vec![PathPattern::Text(Pattern::parse(pattern))], not_values: vec![] }
}

fn policies(c: &mut Criterion) {
    for shape in &SHAPES {
        let mut group = c.benchmark_group(format!("authz/{}", shape.name));
        for size in SIZES {
            let rule = |at| Rule { to: vec![(shape.operation)(at)], ..Rule::default() };
            let policy = |at| Policy {
                object: object(&format!("p{at}")),
                action: Action::Allow,
                dry_run: false,
                rules: vec![rule(at)],
                provider: None,
            };
            let engine = Engine::compile((0..size).map(policy).collect());
            let Some(view) = view(&(shape.target)(size / 2), &(shape.host)(size / 2)) else {
                continue;
            };
            let conn = conn();
            group.bench_function(BenchmarkId::from_parameter(size), |b| {
                b.iter(|| match engine.consult(black_box(&view), &conn) {
                    Ok(Consultation::Vetted(vetted)) => {
                        engine.decide(vetted, black_box(&view), &conn, None).is_ok()
                    }
                    _ => false,
                });
            });
        }
    }
}

fn routes(c: &mut Criterion) {
    let mut group = c.benchmark_group("route/lookup");
    for size in SIZES {
        let matches = |at| PathMatch::Prefix(target(at).into());
        let rule = |at| RouteRule { matches: vec![matches(at)], backends: Vec::new() };
        let route = |at| Route {
            object: object(&format!("r{at}")),
            created: None,
            listeners: vec![ListenerIndex(0)],
            hostnames: Vec::new(),
            rules: vec![rule(at)],
        };
        let table = Table::compile((0..size).map(route).collect());
        let Some(view) = view(&target(size / 2), "gw.example.test") else { continue };
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| table.lookup(ListenerIndex(0), black_box(&view)).is_some());
        });
    }
    group.finish();
    let mut group = c.benchmark_group("route/slot");
    for size in SIZES {
        let slots = (1..).map(PathSlot);
        let paths = (0..size).map(|at| CountedPath::from(&PathMatch::Prefix(target(at).into())));
        let index = PathIndex::compile(paths.zip(slots).collect());
        let path = target(size / 2);
        group.bench_function(BenchmarkId::from_parameter(size), |b| {
            b.iter(|| index.slot(black_box(&path)));
        });
    }
}

fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("request/read");
    let conn = conn();
    let rows = [
        ("normal", "/api/v1/products/1?page=2"),
        ("normalised", "/api/./v1/%70roducts/../x?page=2"),
    ];
    for (name, target) in rows {
        group.bench_function(name, |b| {
            let head = || head(target, "gw.example.test");
            b.iter_batched(head, |head| RequestView::read(head, &conn), BatchSize::SmallInput);
        });
    }
}

criterion_group!(benches, reading, routes, policies);
criterion_main!(benches);
