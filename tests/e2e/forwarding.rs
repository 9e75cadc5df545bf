//! What the upstream gets, and what comes back: hop-by-hop and forwarding headers, bodies of any
//! size in both directions, trailers.

use std::io::Write;
use std::sync::Arc;

use anyhow::Result;

use crate::setting::{HTTP, HTTPS, Options, setting};

#[test]
fn edits_hop_by_hop_and_forwarding_headers() -> Result<()> {
    let setting = setting()?;
    let request = "GET /a/../b?q=1 HTTP/1.1\r\nHost: Shop.example:8080\r\nConnection: close, x-secret\r\n\
                   X-Secret: 1\r\nKeep-Alive: timeout=5\r\nProxy-Connection: close\r\nTE: gzip\r\n\
                   Upgrade: h2c\r\nForwarded: for=1.2.3.4\r\nX-Forwarded-For: 1.2.3.4\r\n\
                   X-Forwarded-Proto: https\r\nX-Forwarded-Host: evil\r\nX-Kept: 1\r\nX-Kept: 2\r\n\r\n";
    let response = setting.exchange(request)?;
    assert_eq!(response.status, 200);
    let seen = setting.origin.take().remove(0);
    assert_eq!(seen.target, "/b?q=1");
    for gone in ["x-secret", "keep-alive", "proxy-connection", "te", "upgrade", "forwarded"] {
        assert!(seen.values(gone).is_empty(), "{gone}: {seen:?}");
    }
    assert!(!seen.values("connection").iter().any(|v| v.contains("x-secret")), "{seen:?}");
    assert_eq!(seen.values("host"), ["Shop.example:8080"]);
    assert_eq!(seen.values("x-forwarded-for"), ["10.77.0.2"]);
    assert_eq!(seen.values("x-forwarded-proto"), ["http"]);
    assert_eq!(seen.values("x-forwarded-host"), ["Shop.example:8080"]);
    assert_eq!(seen.values("x-kept"), ["1", "2"]);
    // Over TLS and HTTP/2 the scheme and the authority arrive too.
    assert_eq!(setting.curl_tls(&["--http2", &format!("{HTTPS}/x")])?.status, 200);
    let seen = setting.origin.take().remove(0);
    assert_eq!(seen.values("x-forwarded-proto"), ["https"]);
    assert_eq!(seen.values("host"), ["gw.example.test:8443"]);
    Ok(())
}

#[test]
fn takes_hop_by_hop_headers_off_responses() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=9\r\n\
                  X-End: 2\r\nContent-Length: 2\r\n\r\nok",
            )?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        let answer = setting.curl(&[protocol, &format!("{HTTP}/x")])?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "ok"));
        assert_eq!(answer.header("x-end"), Some("2"));
        assert_eq!(answer.header("x-hop"), None);
        assert_eq!(answer.header("keep-alive"), None);
    }
    Ok(())
}

#[test]
fn streams_bodies_both_ways() -> Result<()> {
    const BYTES: usize = 3 << 20;
    let setting = Options {
        answer: Some(Arc::new(|seen, stream| {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", seen.body.len());
            stream.write_all(head.as_bytes())?;
            stream.write_all(seen.body.as_bytes())?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    let file = setting.manifests.path().join("body.bin");
    std::fs::write(&file, "0123456789abcdef".repeat(BYTES / 16))?;
    let data = format!("@{}", file.display());
    for (url, protocol) in
        [(HTTP, "--http1.1"), (HTTP, "--http2-prior-knowledge"), (HTTPS, "--http2")]
    {
        for chunked in [false, true] {
            let url = format!("{url}/x");
            let mut arguments = vec![protocol, "--data-binary", &data, &url];
            if chunked && protocol == "--http1.1" {
                arguments.extend(["--header", "Transfer-Encoding: chunked"]);
            }
            let answer = setting.curl_tls(&arguments)?;
            assert_eq!((answer.status, answer.body.len()), (200, BYTES), "{protocol} {chunked}");
        }
    }
    let stats = setting.verdicts(6)?;
    assert_eq!(stats["allowed"], 6);
    let paths = setting.daemon.stats()?;
    let sum = |field: &str| -> u64 {
        let paths = paths["paths"].as_array().into_iter().flatten();
        paths.filter_map(|path| path[field].as_u64()).sum()
    };
    assert_eq!(sum("request_bytes"), 6 * BYTES as u64);
    assert_eq!(sum("response_bytes"), 6 * BYTES as u64);
    Ok(())
}

#[test]
fn passes_trailers() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: x-sum\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 7\r\n\r\n",
            )?;
            Ok(true)
        })),
        ..Options::default()
    }
    .start()?;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nTrailer: x-req\r\nTransfer-Encoding: chunked\r\n\r\n\
                   1\r\na\r\n0\r\nX-Req: 3\r\n\r\n";
    let response = setting.exchange(request)?;
    assert_eq!((response.status, response.body.as_str()), (200, "ok"));
    assert_eq!(response.header("trailer"), Some("x-sum"));
    let seen = setting.origin.take().remove(0);
    assert_eq!(seen.body, "a");
    assert_eq!(seen.values("trailer:x-req"), ["3"], "{seen:?}");
    let answer = setting.curl(&["--http2-prior-knowledge", &format!("{HTTP}/x")])?;
    // curl prints trailers after the body.
    assert_eq!((answer.status, answer.body.trim_end()), (200, "okx-sum: 7"));
    Ok(())
}
