//! What each part of a request costs by itself, in nanoseconds: `cargo xtask bench micro`, which writes the
//! tables of `docs/performance.md`; or `cargo bench -p gateway-daemon --bench micro -- NAME`.
//!
//! A row that is not in the list of `tests/bench/src/micro.rs` has no place in those tables.
#![expect(clippy::expect_used, reason = "a measurement ends at a surprise")]

mod counters;
mod decide;
mod verify;
mod whole;

use std::net::SocketAddr;

use criterion::{criterion_group, criterion_main};
use gateway_daemon::clock::UnixSeconds;
use gateway_daemon::model::object::ObjectRef;
use gateway_daemon::request::{ConnMeta, RequestView, Scheme};
use http::header::{AUTHORIZATION, HeaderValue};
use http::request::Parts;

/// How many routes, policies, counted paths there are.
const SIZES: [usize; 3] = [1, 1_000, 10_000];
/// The host of most requests.
const HOST: &str = "gw.example.test";
/// The time at which tokens are judged.
const NOW: UnixSeconds = UnixSeconds(1_700_000_000);

fn conn() -> ConnMeta {
    ConnMeta {
        peer: SocketAddr::from(([127, 0, 0, 1], 40000)),
        local: SocketAddr::from(([127, 0, 0, 1], 8080)),
        scheme: Scheme::Http,
        sni: None,
        proxied: None,
    }
}

/// The head of a request as clients send it.
fn head(target: &str, host: &str) -> Parts {
    let headers = [
        ("host", host),
        ("user-agent", "curl/8.5.0"),
        ("accept", "*/*"),
        ("accept-encoding", "gzip, br"),
        ("x-request-id", "6f1b7c9a"),
    ];
    let request = http::Request::builder().uri(target);
    let request =
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(()).expect("a request").into_parts().0
}

/// The same with a bearer token.
fn bearer(mut head: Parts, token: &str) -> Parts {
    let value = HeaderValue::try_from(format!("Bearer {token}")).expect("a header");
    head.headers.insert(AUTHORIZATION, value);
    head
}

fn view(head: Parts) -> RequestView {
    RequestView::read(head, &conn()).expect("a request that can be read")
}

fn object(name: &str) -> ObjectRef {
    ObjectRef { kind: "Bench", namespace: "default".into(), name: name.into() }
}

criterion_group!(
    benches,
    decide::reading,
    decide::routes,
    decide::policies,
    verify::absent,
    verify::tokens,
    counters::writing,
    counters::reading,
    whole::decisions
);
criterion_main!(benches);
