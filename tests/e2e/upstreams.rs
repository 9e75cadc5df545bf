//! Backends that fail: each failure has its status and verdict.

use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use anyhow::Result;
use gateway_tests::manifests::{route, service};

use crate::setting::{Options, setting};

#[test]
fn a_dead_endpoint_is_503() -> Result<()> {
    let setting = setting()?;
    let free = setting
        .pair
        .gateway
        .inside(|| Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port()))?;
    let dead = service("dead", SocketAddr::from((Ipv4Addr::LOCALHOST, free)));
    setting
        .manifests
        .write("dead.yaml", &format!("{}---\n{dead}", route("dead", "/dead", "dead")))?;
    setting.daemon.until("the route to the dead endpoint", || {
        let status = setting.exchange("GET /dead HTTP/1.1\r\nHost: a\r\n\r\n").ok()?.status;
        (status == 503).then_some(())
    })?;
    let stats = setting.daemon.stats()?;
    let dead = stats["paths"].as_array().into_iter().flatten();
    let dead: Vec<_> = dead.filter(|path| path["path"] == "PathPrefix /dead").collect();
    assert!(dead[0]["verdicts"]["upstream_error"].as_u64() >= Some(1), "{stats:#}");
    Ok(())
}

#[test]
fn broken_http_is_502() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(b"HTTP/1.1 two hundred\r\n\r\n")?;
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    assert_eq!(setting.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n")?.status, 502);
    assert_eq!(setting.verdicts(1)?["upstream_error"], 1);
    Ok(())
}

#[test]
fn an_answer_that_breaks_off_is_an_upstream_error() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")?;
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    let broken = setting.exchange("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(broken.is_err(), "{broken:?}");
    assert_eq!(setting.verdicts(1)?["upstream_error"], 1);
    Ok(())
}

#[test]
fn a_connection_that_the_upstream_closed_is_not_used_again() -> Result<()> {
    let setting = Options {
        answer: Some(Arc::new(|_, stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")?;
            Ok(false)
        })),
        ..Options::default()
    }
    .start()?;
    let mut client = setting.connect()?;
    for _ in 0..20 {
        let response = client.exchange(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", false)?;
        assert_eq!(response.status, 200);
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    Ok(())
}

#[test]
fn an_unknown_path_is_404_after_the_policies() -> Result<()> {
    let setting = setting()?;
    let text = std::fs::read_to_string(setting.manifests.path().join("base.yaml"))?;
    setting.manifests.write("base.yaml", &text.replace("value: /", "value: /api"))?;
    setting.daemon.until("404", || {
        let answer = setting.exchange("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").ok()?;
        (answer.status == 404).then_some(())
    })?;
    // A stranger learns 403 before 404.
    assert_eq!(setting.exchange("GET /productpage HTTP/1.1\r\nHost: a\r\n\r\n")?.status, 403);
    Ok(())
}

#[test]
fn speaks_http2_to_a_service_that_says_so() -> Result<()> {
    // The gateway itself is the HTTP/2 origin: a second listener's route leads back to the first.
    let setting = setting()?;
    let h2c = service("h2c", SocketAddr::from((Ipv4Addr::LOCALHOST, 8080))).replace(
        "{ name: http, port: 8000,",
        "{ name: http, port: 8000, appProtocol: kubernetes.io/h2c,",
    );
    let around = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: around, namespace: default }
spec:
  parentRefs: [ { name: ingress, sectionName: https } ]
  hostnames: [ gw.example.test ]
  rules: [ { backendRefs: [ { name: h2c, port: 8000 } ] } ]
";
    setting.manifests.write("h2c.yaml", &format!("{around}---\n{h2c}"))?;
    setting
        .daemon
        .until("generation 2", || setting.daemon.log().contains("generation=2").then_some(()))?;
    for _ in 0..5 {
        let answer = setting.curl_tls(&["--data", "hello", "https://gw.example.test:8443/x"])?;
        assert_eq!((answer.status, answer.body.as_str()), (200, "{\"upstream\":\"echo\"}"));
    }
    let seen = setting.origin.take().remove(0);
    assert_eq!(seen.body, "hello");
    assert_eq!(seen.values("host"), ["gw.example.test:8443"]);
    let connections = setting.daemon.stats()?["connections"]["accepted"].as_u64();
    assert!(connections <= Some(7), "five clients and one HTTP/2 connection per worker");
    Ok(())
}
