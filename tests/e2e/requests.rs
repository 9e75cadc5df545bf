//! The main job: four requests, over http, https and h2, IPv4, IPv6 and VLAN, GET and HEAD.

use anyhow::Result;
use gateway_tests::curl::Answer;

use crate::setting::{HTTP, HTTPS, Setting, setting, token};

/// One row of the table: what is asked, what has to come.
struct Row {
    name: &'static str,
    path: &'static str,
    authorization: Option<String>,
    status: u16,
    body: Option<&'static str>,
    challenge: Option<String>,
}

const MALFORMED: &str =
    "Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections";

fn rows(base: &str) -> Result<Vec<Row>> {
    let bad = || Some("Authorization: Bearer invalid token".to_owned());
    let challenge =
        |path: &str| Some(format!("Bearer realm=\"{base}{path}\", error=\"invalid_token\""));
    Ok(vec![
        Row {
            name: "valid token",
            path: "/productpage",
            authorization: Some(format!("Authorization: Bearer {}", token()?)),
            status: 200,
            body: None,
            challenge: None,
        },
        Row {
            name: "no token",
            path: "/productpage",
            authorization: None,
            status: 403,
            body: Some("RBAC: access denied"),
            challenge: None,
        },
        Row {
            name: "bad token",
            path: "/productpage",
            authorization: bad(),
            status: 401,
            body: Some(MALFORMED),
            challenge: challenge("/productpage"),
        },
        Row {
            name: "unprotected",
            path: "/api/v1/products/1",
            authorization: None,
            status: 200,
            body: None,
            challenge: None,
        },
        Row {
            name: "unprotected, bad token",
            path: "/api/v1/products/1",
            authorization: bad(),
            status: 401,
            body: Some(MALFORMED),
            challenge: challenge("/api/v1/products/1"),
        },
    ])
}

fn check(row: &Row, answer: &Answer, head: bool) {
    let name = row.name;
    assert_eq!(answer.status, row.status, "{name}: {answer:?}");
    assert_eq!(answer.header("www-authenticate"), row.challenge.as_deref(), "{name}");
    if let Some(body) = row.body {
        assert_eq!(answer.header("content-type"), Some("text/plain"), "{name}");
        assert_eq!(answer.header("content-length"), Some(&*body.len().to_string()), "{name}");
        assert_eq!(answer.body, if head { "" } else { body }, "{name}");
    }
}

type Fetch = fn(&Setting, &[&str]) -> Result<Answer>;

#[test]
fn answers_the_four_requests_over_every_protocol() -> Result<()> {
    let setting = setting()?;
    let ways: [(&str, &[&str], Fetch, &str); 5] = [
        (HTTP, &["--http1.1"], Setting::curl, "HTTP/1.1"),
        (HTTP, &["--http2-prior-knowledge"], Setting::curl, "HTTP/2"),
        (HTTPS, &["--http1.1"], Setting::curl_tls, "HTTP/1.1"),
        (HTTPS, &["--http2"], Setting::curl_tls, "HTTP/2"),
        ("http://[fd77::1]:8080", &["--http1.1"], Setting::curl, "HTTP/1.1"),
    ];
    for (base, protocol, fetch, version) in ways {
        for row in rows(base)? {
            for head in [false, true] {
                let url = format!("{base}{}", row.path);
                let mut arguments = protocol.to_vec();
                arguments.push(&url);
                if let Some(authorization) = &row.authorization {
                    arguments.extend(["--header", authorization]);
                }
                if head {
                    arguments.push("--head");
                }
                let answer = fetch(&setting, &arguments)?;
                assert_eq!(answer.version, version, "{base}");
                check(&row, &answer, head);
            }
        }
    }
    Ok(())
}

#[test]
fn answers_on_loopback() -> Result<()> {
    let setting = setting()?;
    for base in ["http://127.0.0.1:8080", "http://[::1]:8080"] {
        let answer =
            gateway_tests::curl::curl(Some(&setting.pair.gateway), &[&format!("{base}/x")])?;
        assert_eq!(answer.status, 200, "{base}");
    }
    Ok(())
}

#[test]
fn a_denied_source_is_dropped_at_xdp() -> Result<()> {
    let setting = crate::setting::Options {
        arguments: &["--deny-source", "10.77.0.2", "--deny-source", "fd77::/64"],
        ..Default::default()
    }
    .start()?;
    for base in [HTTP, "http://[fd77::1]:8080"] {
        let refused = setting.curl(&["--connect-timeout", "1", &format!("{base}/x")]);
        assert!(refused.is_err(), "{base}: {refused:?}");
    }
    // Another address of the same client is not on the list.
    assert_eq!(setting.curl(&["http://10.78.0.1:8080/x"])?.status, 200);
    let stats = setting.daemon.stats()?;
    let dropped: u64 = stats["listeners"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|row| row["hook"] == "xdp")
        .filter_map(|row| row["verdicts"]["denied_source"]["packets"].as_u64())
        .sum();
    assert!(dropped >= 2, "{stats:#}");
    Ok(())
}
