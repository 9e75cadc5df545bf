//! Tests of `route`, tables with named rows.

use std::sync::Arc;

use gateway_common::path::PathSlot;
use http::Request;

use super::*;
use crate::model::listener::Hostname;
use crate::model::path::CountedPath;
use crate::model::policy::{PathPattern, Pattern};
use crate::model::route::PathMatch;
use crate::request::{ConnMeta, Scheme};

fn view(host: &str, path: &str) -> RequestView {
    let request = Request::builder().uri(path).header("host", host).body(()).unwrap();
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 80));
    let conn =
        ConnMeta { peer: address, local: address, scheme: Scheme::Http, sni: None, proxied: None };
    RequestView::read(request.into_parts().0, &conn).unwrap()
}

fn exact(path: &str) -> PathMatch {
    PathMatch::Exact(path.into())
}

fn prefix(path: &str) -> PathMatch {
    PathMatch::Prefix(path.trim_end_matches('/').into())
}

fn route(name: &str, created: Option<&str>, hosts: &[&str], rules: &[&[PathMatch]]) -> Route {
    let rule = |m: &&[PathMatch]| RouteRule { matches: m.to_vec(), backends: Vec::new() };
    Route {
        object: ObjectRef { kind: "HTTPRoute", namespace: "default".into(), name: name.into() },
        created: created.map(Arc::from),
        listeners: vec![ListenerIndex(0)],
        hostnames: hosts.iter().map(|h| Hostname::parse(h).unwrap()).collect(),
        rules: rules.iter().map(rule).collect(),
    }
}

fn look(table: &Table, host: &str, path: &str) -> Option<(String, usize)> {
    let matched = table.lookup(ListenerIndex(0), &view(host, path))?;
    Some((matched.route.name.to_string(), matched.rule_index))
}

#[test]
fn precedence_is_that_of_gateway_api() {
    let table = Table::compile(vec![
        route("any", None, &[], &[&[prefix("/")], &[exact("/only-any")]]),
        route("wide", None, &["*.test"], &[&[prefix("/api")]]),
        route("wild", None, &["*.a.test"], &[&[prefix("/api/v1")], &[prefix("/api")]]),
        route("exact", None, &["x.a.test"], &[&[prefix("/api")], &[exact("/api"), exact("/z")]]),
    ]);
    let rows = [
        ("x.a.test", "/api", Some(("exact", 1)), "exact path over prefix"),
        ("x.a.test:8080", "/api/v1", Some(("exact", 0)), "hostname over longer prefix"),
        ("X.A.test", "/z", Some(("exact", 1)), "second match of a rule, host in upper case"),
        ("y.a.test", "/api/v1/x", Some(("wild", 0)), "longer prefix"),
        ("y.a.test", "/api/v10", Some(("wild", 1)), "whole elements"),
        ("b.test", "/api", Some(("wide", 0)), "shorter wildcard"),
        ("y.a.test", "/only-any", Some(("any", 1)), "no match under the better hostname"),
        ("a.test", "/apix", Some(("any", 0)), "root"),
        ("", "/", Some(("any", 0)), "empty host"),
        (".a.test", "/api", Some(("wide", 0)), "a wildcard needs a label"),
    ];
    for (host, path, expected, why) in rows {
        let expected = expected.map(|(name, rule): (&str, usize)| (name.to_owned(), rule));
        assert_eq!(look(&table, host, path), expected, "{why}: {host}{path}");
    }
    assert!(table.lookup(ListenerIndex(1), &view("x.a.test", "/")).is_none());
}

#[test]
fn of_equal_matches_the_older_then_the_first_by_name_wins() {
    let young = Some("2024-01-02T00:00:00Z");
    let old = Some("2024-01-01T00:00:00Z");
    let winner = |routes| look(&Table::compile(routes), "a", "/x").unwrap().0;
    let of = |name, created| route(name, created, &[], &[&[exact("/x")]]);
    assert_eq!(winner(vec![of("a", young), of("b", old)]), "b");
    assert_eq!(winner(vec![of("b", old), of("a", old)]), "a");
    assert_eq!(winner(vec![of("a", None), of("b", young)]), "b");
}

#[test]
fn a_table_agrees_with_a_search_through_all_matches() {
    let paths = ["/", "/a", "/a/b", "/ab", "/a/b/c", "/b"];
    let matches: Vec<_> = paths.iter().flat_map(|p| [prefix(p), exact(p)]).collect();
    let rules: Vec<&[PathMatch]> = matches.iter().map(std::slice::from_ref).collect();
    let table = Table::compile(vec![route("r", None, &[], &rules)]);
    for path in ["/", "/a", "/a/", "/a/b", "/a/bc", "/ab", "/abc", "/a/b/c/d", "//", "/b/a"] {
        let rank = |m: &PathMatch| match m {
            PathMatch::Exact(_) => usize::MAX,
            PathMatch::Prefix(p) => p.len(),
        };
        let searched = (0..matches.len())
            .filter(|at| matches[*at].matches(path))
            .max_by_key(|at| rank(&matches[*at]));
        assert_eq!(look(&table, "h", path).map(|found| found.1), searched, "{path}");
    }
}

#[test]
fn a_request_counts_under_the_most_specific_path() {
    let template = |t: &str| CountedPath::from(&PathPattern::Template(t.into()));
    let text = |t: &str| CountedPath::from(&PathPattern::Text(Pattern::parse(t)));
    let paths = [
        text("/api/v1"),
        CountedPath::from(&prefix("/api")),
        text("/api/*"),
        template("/api/{*}/edit"),
        template("/api/{*}/{*}"),
        text("*/secret"),
        text("*secret"),
        text("/st*"),
    ];
    let slots = (1..).map(PathSlot);
    let index = PathIndex::compile(paths.iter().cloned().zip(slots).collect());
    let rows = [
        ("/api/v1", Some(&paths[0])),
        ("/api", Some(&paths[1])),
        ("/api/v2", Some(&paths[2])),
        ("/api/v2/edit", Some(&paths[3])),
        ("/api/v2/view", Some(&paths[4])),
        ("/apis", None),
        ("/x/secret", Some(&paths[5])),
        ("/x/topsecret", Some(&paths[6])),
        ("/static/secret", Some(&paths[7])),
        ("/", None),
    ];
    for (path, expected) in rows {
        let slot = index.slot(path);
        let found = usize::try_from(slot.0).unwrap().checked_sub(1).map(|at| &paths[at]);
        assert_eq!(found, expected, "{path}");
        assert!(expected.is_none_or(|e| e.matches(path)));
    }
}
