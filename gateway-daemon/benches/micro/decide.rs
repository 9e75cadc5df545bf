//! What each decision costs: reading a request, finding its route and the slot of its counters, and
//! asking policies, as their number grows.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion};
use gateway_common::path::PathSlot;
use gateway_daemon::authz::{Consultation, Engine};
use gateway_daemon::model::listener::ListenerIndex;
use gateway_daemon::model::path::CountedPath;
use gateway_daemon::model::policy::{
    Action, Constraint, Operation, PathPattern, Pattern, Policy, Rule,
};
use gateway_daemon::model::route::{PathMatch, Route, RouteRule};
use gateway_daemon::request::RequestView;
use gateway_daemon::route::{PathIndex, Table};

use super::{HOST, SIZES, conn, head, object, view};

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
        host: |_| HOST.to_owned(),
    },
    Shape {
        name: "prefix",
        operation: |at| Operation {
            paths: one_path(&format!("{}/*", target(at))),
            ..Operation::default()
        },
        target: |at| format!("{}/more", target(at)),
        host: |_| HOST.to_owned(),
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

pub(crate) fn policies(c: &mut Criterion) {
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
            let view = view(head(&(shape.target)(size / 2), &(shape.host)(size / 2)));
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

pub(crate) fn routes(c: &mut Criterion) {
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
        let view = view(head(&target(size / 2), HOST));
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

pub(crate) fn reading(c: &mut Criterion) {
    let mut group = c.benchmark_group("request/read");
    let conn = conn();
    let rows = [
        ("normal", "/api/v1/products/1?page=2"),
        ("normalised", "/api/./v1/%70roducts/../x?page=2"),
    ];
    for (name, target) in rows {
        group.bench_function(name, |b| {
            let head = || head(target, HOST);
            b.iter_batched(head, |head| RequestView::read(head, &conn), BatchSize::SmallInput);
        });
    }
}
