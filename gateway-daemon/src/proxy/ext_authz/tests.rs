//! Tests of what answers mean and change; asking is tested end to end (`tests/e2e/ext_authz.rs`).

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use prost::Message;

use super::over_grpc;
use super::over_http;
use super::wire::{
    BoolValue, CheckResponse, DeniedResponse, Header, HeaderOption, HttpStatus, OkResponse, Status,
};
use super::{Failure, HeaderEdits, Verdict};
use crate::model::ext_authz::HttpCheck;
use crate::model::policy::Pattern;

fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
    let line = |(name, value): &(&'static str, &'static str)| {
        (HeaderName::from_static(name), HeaderValue::from_static(value))
    };
    lines.iter().map(line).collect()
}

fn lines(headers: &HeaderMap) -> Vec<(String, String)> {
    let line = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.to_string(), value.to_str().unwrap().to_owned())
    };
    let mut lines: Vec<_> = headers.iter().map(line).collect();
    lines.sort();
    lines
}

fn edited(edits: HeaderEdits, before: &[(&'static str, &'static str)]) -> Vec<(String, String)> {
    let mut headers = headers(before);
    edits.apply(&mut headers);
    lines(&headers)
}

fn owned(lines: &[(&str, &str)]) -> Vec<(String, String)> {
    lines.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn check(fill: impl FnOnce(&mut HttpCheck)) -> HttpCheck {
    let mut check = HttpCheck {
        path_prefix: "".into(),
        request_headers: Vec::new(),
        additional_headers: Vec::new(),
        to_upstream_on_allow: Vec::new(),
        to_client_on_allow: Vec::new(),
        to_client_on_deny: Vec::new(),
    };
    fill(&mut check);
    check
}

fn over_http(
    status: u16,
    lines: &[(&'static str, &'static str)],
    check: &HttpCheck,
) -> Result<Verdict, Failure> {
    let mut response = Response::new(Bytes::from_static(b"body"));
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    *response.headers_mut() = headers(lines);
    over_http::verdict(&response, check)
}

#[test]
fn only_200_is_a_yes_over_http() {
    for (status, expected) in [
        (200, "allowed"),
        (201, "denied"),
        (204, "denied"),
        (302, "denied"),
        (401, "denied"),
        (429, "denied"),
        (500, "failed"),
        (503, "failed"),
        (599, "failed"),
    ] {
        let word = match over_http(status, &[], &check(|_| {})) {
            Ok(Verdict::Allowed(_)) => "allowed",
            Ok(Verdict::Denied(told)) => {
                assert_eq!((told.status.as_u16(), &told.body[..]), (status, &b"body"[..]));
                "denied"
            }
            Err(_) => "failed",
        };
        assert_eq!(word, expected, "{status}");
    }
}

#[test]
fn a_no_over_http_passes_the_headers_that_are_listed() {
    let sent = [
        ("content-type", "text/html"),
        ("content-length", "4"),
        ("host", "x"),
        ("location", "/login"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-a", "1"),
    ];
    let told = |check: &HttpCheck| match over_http(302, &sent, check) {
        Ok(Verdict::Denied(told)) => lines(&told.headers),
        _ => panic!("not denied"),
    };
    let everything = [
        ("content-type", "text/html"),
        ("location", "/login"),
        ("set-cookie", "a=1"),
        ("set-cookie", "b=2"),
        ("x-a", "1"),
    ];
    assert_eq!(told(&check(|_| {})), owned(&everything));
    let listed = check(|check| check.to_client_on_deny = vec![Pattern::parse("set-*")]);
    let passed = [("location", "/login"), ("set-cookie", "a=1"), ("set-cookie", "b=2")];
    assert_eq!(told(&listed), owned(&passed));
}

#[test]
fn a_yes_over_http_changes_what_is_listed() {
    let check = check(|check| {
        check.to_upstream_on_allow =
            ["authorization", "x-user-*", "host", "content-length"].map(Pattern::parse).to_vec();
        check.to_client_on_allow = ["set-cookie", "x-note"].map(Pattern::parse).to_vec();
    });
    let sent = [
        ("authorization", "Bearer new"),
        ("x-user-id", "7"),
        ("x-user-group", "a"),
        ("x-user-group", "b"),
        ("x-other", "1"),
        ("host", "evil"),
        ("content-length", "4"),
        ("set-cookie", "s=1"),
        ("x-note", "new"),
        ("x-envoy-auth-headers-to-remove", "cookie, x-gone ,host,,a b"),
    ];
    let Ok(Verdict::Allowed(changes)) = over_http(200, &sent, &check) else { panic!("denied") };
    let before = [
        ("authorization", "Bearer old"),
        ("cookie", "a=1"),
        ("host", "a"),
        ("x-gone", "1"),
        ("x-user-group", "forged"),
        ("x-kept", "1"),
    ];
    let after = [
        ("authorization", "Bearer new"),
        ("host", "a"),
        ("x-kept", "1"),
        ("x-user-group", "a"),
        ("x-user-group", "b"),
        ("x-user-id", "7"),
    ];
    assert_eq!(edited(changes.request, &before), owned(&after));
    let response = [("set-cookie", "u=1"), ("x-note", "old"), ("x-other", "2")];
    let after = [("set-cookie", "s=1"), ("set-cookie", "u=1"), ("x-note", "new"), ("x-other", "2")];
    assert_eq!(edited(changes.response, &response), owned(&after));
}

fn option(key: &str, value: &'static str, append: Option<bool>, action: i32) -> HeaderOption {
    let (key, value) = (key.to_owned(), Bytes::from_static(value.as_bytes()));
    HeaderOption {
        header: Some(Header { key, value, raw_value: Bytes::new() }),
        append: append.map(|value| BoolValue { value }),
        append_action: action,
    }
}

#[test]
fn headers_over_grpc_are_set_joined_or_left_alone() {
    let raw = HeaderOption {
        header: Some(Header {
            key: "x-raw".to_owned(),
            value: Bytes::new(),
            raw_value: Bytes::from_static(b"r"),
        }),
        ..HeaderOption::default()
    };
    let options = vec![
        option("X-Set", "new", None, 0),
        option("x-joined", "b", Some(true), 0),
        option("x-first", "a", Some(true), 0),
        option("x-replaced", "new", Some(false), 0),
        option("x-absent", "new", None, 1),
        option("x-present", "new", None, 1),
        option("x-overwritten", "new", None, 3),
        option("x-not-there", "new", None, 3),
        option(":path", "/evil", None, 0),
        option("host", "evil", None, 0),
        option("connection", "x-set", None, 0),
        raw,
        HeaderOption::default(),
    ];
    let response = CheckResponse {
        status: Some(Status { code: 0 }),
        denied: None,
        ok: Some(OkResponse {
            headers: options,
            headers_to_remove: vec!["X-Gone".to_owned(), ":path".to_owned(), "Host".to_owned()],
            response_headers_to_add: vec![
                option("set-cookie", "a=1", None, 0),
                option("set-cookie", "b=2", Some(true), 0),
                option("x-note", "new", Some(false), 0),
            ],
            ..OkResponse::default()
        }),
    };
    let Ok(Verdict::Allowed(changes)) = over_grpc::verdict(response) else { panic!("denied") };
    let before = [
        ("host", "a"),
        ("x-gone", "1"),
        ("x-joined", "a"),
        ("x-overwritten", "old"),
        ("x-present", "old"),
        ("x-replaced", "old"),
        ("x-set", "old"),
    ];
    let after = [
        ("host", "a"),
        ("x-absent", "new"),
        ("x-first", "a"),
        ("x-joined", "a,b"),
        ("x-overwritten", "new"),
        ("x-present", "old"),
        ("x-raw", "r"),
        ("x-replaced", "new"),
        ("x-set", "new"),
    ];
    assert_eq!(edited(changes.request, &before), owned(&after));
    let after = [("set-cookie", "a=1"), ("set-cookie", "b=2"), ("x-note", "new")];
    assert_eq!(edited(changes.response, &[("x-note", "old")]), owned(&after));
}

#[test]
fn answers_over_grpc_have_to_say_yes_to_be_one() {
    let denied = |code, key: &str| DeniedResponse {
        status: Some(HttpStatus { code }),
        headers: vec![option(key, "1", None, 0)],
        body: Bytes::from_static(b"\xff"),
    };
    let status = |code| Some(Status { code });
    let rows = [
        ("nothing", CheckResponse::default(), Err(())),
        ("status", CheckResponse { status: status(0), ..CheckResponse::default() }, Ok(None)),
        (
            "ok alone",
            CheckResponse { ok: Some(OkResponse::default()), ..CheckResponse::default() },
            Ok(None),
        ),
        (
            "yes and no",
            CheckResponse { status: status(0), denied: Some(denied(403, "x-a")), ok: None },
            Err(()),
        ),
        ("no", CheckResponse { status: status(7), ..CheckResponse::default() }, Ok(Some(403))),
        (
            "negative",
            CheckResponse { status: status(-1), ..CheckResponse::default() },
            Ok(Some(403)),
        ),
        (
            "no, and ok",
            CheckResponse { status: status(7), denied: None, ok: Some(OkResponse::default()) },
            Ok(Some(403)),
        ),
        (
            "with status",
            CheckResponse { status: status(16), denied: Some(denied(401, "x-a")), ok: None },
            Ok(Some(401)),
        ),
        (
            "without status",
            CheckResponse { status: status(16), denied: Some(denied(0, "x-a")), ok: None },
            Ok(Some(403)),
        ),
        (
            "no such status",
            CheckResponse { status: status(16), denied: Some(denied(99, "x-a")), ok: None },
            Err(()),
        ),
        (
            "no such header",
            CheckResponse { status: status(16), denied: Some(denied(401, "x a")), ok: None },
            Err(()),
        ),
    ];
    for (name, response, expected) in rows {
        // Through the wire and back.
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(u32::try_from(response.encoded_len()).unwrap());
        response.encode(&mut framed).unwrap();
        let verdict = over_grpc::unframed(framed.freeze()).and_then(over_grpc::verdict);
        let verdict = verdict.map_err(drop).map(|verdict| match verdict {
            Verdict::Allowed(_) => None,
            Verdict::Denied(told) => Some(told.status.as_u16()),
        });
        assert_eq!(verdict, expected, "{name}");
    }
}

#[test]
fn frames_are_whole_and_not_compressed() {
    for (name, bytes) in [
        ("empty", &b""[..]),
        ("short", b"\0\0\0\0"),
        ("compressed", b"\x01\0\0\0\0"),
        ("too long", b"\0\0\0\0\x02\x0a"),
        ("two messages", b"\0\0\0\0\0\0\0\0\0\0"),
        ("no message", b"\0\0\0\0\x02\x0a\x05"),
    ] {
        assert!(over_grpc::unframed(Bytes::from_static(bytes)).is_err(), "{name}");
    }
}

#[test]
fn timeouts_fit_into_eight_digits() {
    use std::time::Duration;
    for (timeout, text) in [
        (Duration::from_micros(1), "1m"),
        (Duration::from_millis(1500), "1500m"),
        (Duration::from_secs(99_999), "99999000m"),
        (Duration::from_secs(100_000), "100000S"),
        (Duration::from_hours(24 * 365), "31536000S"),
    ] {
        assert_eq!(over_grpc::grpc_timeout(timeout), text);
    }
}
