//! Safe limits, each by its flag.

use std::sync::Arc;

use anyhow::Result;

use gateway_tests::issuer::{SigningKey, jwks};

use crate::setting::{HTTP, Options, setting};

#[test]
fn a_large_head_is_431() -> Result<()> {
    let setting = setting()?;
    let big = "x".repeat(70_000);
    let response = setting.exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {big}\r\n\r\n"))?;
    assert_eq!(response.status, 431);
    let many: Vec<String> = (0..120).map(|n| format!("X-{n}: y\r\n")).collect();
    let many = many.concat();
    let response = setting.exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"))?;
    assert_eq!(response.status, 431);
    // What fits passes.
    let fits = "x".repeat(50_000);
    let response = setting.exchange(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {fits}\r\n\r\n"))?;
    assert_eq!(response.status, 200);
    let verdicts = setting.verdicts(3)?;
    assert_eq!(verdicts["bad_request"], 2);
    assert_eq!(verdicts["allowed"], 1);
    Ok(())
}

/// What no head may hold is not read as a token, however good it is.
#[test]
fn an_oversized_token_is_refused_before_it_is_looked_at() -> Result<()> {
    let (setting, admin) = crate::admin::start_with(&["--admin", "127.0.0.1:0"])?;
    let key = SigningKey::new("k")?;
    let keys = jwks(&[&key]);
    let rules = format!(
        "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\n\
         metadata: {{ name: large, namespace: default }}\nspec:\n  jwtRules:\n  \
         - {{ issuer: large, jwks: '{keys}' }}\n"
    );
    let misses = || -> Result<u64> {
        let page = crate::admin::ask(&setting, &[&format!("{admin}/metrics")])?.body;
        let lines = page.lines().filter(|l| l.starts_with("gateway_token_cache_misses_total{"));
        let values = lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok());
        Ok(values.sum())
    };
    setting.manifests.write("large.yaml", &rules)?;
    let folder = tempfile::tempdir()?;
    let header = |filler: usize| -> Result<String> {
        let claims = format!(r#"{{"iss":"large","filler":"{}"}}"#, "x".repeat(filler));
        let file = folder.path().join(filler.to_string());
        std::fs::write(&file, format!("authorization: Bearer {}\n", key.token(&claims)))?;
        Ok(format!("@{}", file.display()))
    };
    let (small, large) = (header(10)?, header(48_000)?);
    let ask = |protocol: &str, header: &str| {
        setting.curl(&[protocol, "--header", header, &format!("{HTTP}/x")])
    };
    setting
        .daemon
        .until("the rule", || (ask("--http1.1", &small).ok()?.status == 200).then_some(()))?;
    for (protocol, filler) in [("--http1.1", 40_000), ("--http2-prior-knowledge", 40_001)] {
        let before = misses()?;
        for _ in 0..3 {
            assert_eq!(ask(protocol, &large)?.status, 431, "{protocol}");
        }
        assert_eq!(misses()?, before, "{protocol}: nothing was judged");
        assert_eq!(ask(protocol, &header(filler)?)?.status, 200, "{protocol}: what fits");
        assert_eq!(misses()?, before + 1, "{protocol}: is judged");
    }
    Ok(())
}

#[test]
fn a_slow_head_is_408() -> Result<()> {
    let setting =
        Options { arguments: &["--head-timeout", "0.3"], ..Options::default() }.start()?;
    let mut first = setting.connect()?;
    assert_eq!(first.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n", false)?.status, 408);
    assert!(first.is_closed()?);
    // Also on a connection that has served before.
    let mut second = setting.connect()?;
    assert_eq!(second.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false)?.status, 200);
    assert_eq!(second.exchange(b"GET / HTTP/1.1\r\nHost", false)?.status, 408);
    // A client that sends nothing is not a request.
    let mut silent = setting.connect()?;
    assert!(silent.is_closed()?);
    let verdicts = setting.verdicts(3)?;
    assert_eq!(verdicts["bad_request"], 2, "{verdicts:?}");
    Ok(())
}

#[test]
fn an_idle_connection_is_closed() -> Result<()> {
    let setting =
        Options { arguments: &["--idle-timeout", "0.3"], ..Options::default() }.start()?;
    let mut client = setting.connect()?;
    assert_eq!(client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false)?.status, 200);
    assert!(client.is_closed()?);
    Ok(())
}

#[test]
fn an_idle_http2_connection_is_closed_although_it_pings() -> Result<()> {
    let setting =
        Options { arguments: &["--idle-timeout", "0.5"], ..Options::default() }.start()?;
    let mut client = setting.connect()?;
    client.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")?;
    for _ in 0..40 {
        client.send(b"\0\0\x08\x06\0\0\0\0\x0012345678")?;
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    assert!(client.ended()?);
    Ok(())
}

#[test]
fn a_slow_upload_is_not_a_slow_upstream() -> Result<()> {
    let setting =
        Options { arguments: &["--upstream-timeout", "0.5"], ..Options::default() }.start()?;
    let mut client = setting.connect()?;
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n")?;
    for _ in 0..10 {
        std::thread::sleep(std::time::Duration::from_millis(200));
        client.send(b"x")?;
    }
    assert_eq!(client.response(false)?.status, 200);
    Ok(())
}

#[test]
fn connections_per_listener_are_bounded() -> Result<()> {
    let setting =
        Options { arguments: &["--max-connections", "2"], ..Options::default() }.start()?;
    let mut kept = Vec::new();
    for _ in 0..2 {
        let mut client = setting.connect()?;
        assert_eq!(client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false)?.status, 200);
        kept.push(client);
    }
    let mut third = setting.connect()?;
    assert!(third.is_closed()?);
    drop(kept);
    setting.daemon.until("a place", || {
        let mut client = setting.connect().ok()?;
        let answer = client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false).ok()?;
        (answer.status == 200).then_some(())
    })?;
    let stats = setting.daemon.stats()?;
    assert!(stats["connections"]["refused"].as_u64() >= Some(1), "{stats:#}");
    Ok(())
}

#[test]
fn a_slow_upstream_is_504() -> Result<()> {
    let setting = Options {
        arguments: &["--upstream-timeout", "0.3"],
        answer: Some(Arc::new(|_, _| {
            std::thread::sleep(std::time::Duration::from_secs(5));
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    assert_eq!(setting.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")?.status, 504);
    assert_eq!(setting.verdicts(1)?["upstream_timeout"], 1);
    Ok(())
}
