//! Who the client is where proxies stand in front: `X-Forwarded-For` and the PROXY protocol, by a real
//! HAProxy and by hand; who is believed, who is not, and whom bans meet.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, Result};
use gateway_tests::curl::{Answer, curl};
use gateway_tests::haproxy::Haproxy;
use gateway_tests::raw::Client;
use gateway_tests::shell;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use serde_json::Value;

use crate::bans::{ADMIN, binary, forged};
use crate::setting::{Options, Setting, policy, token};

/// Clients, behind the proxy.
const OFFICE: &str = "192.0.2.11";
const OTHER: &str = "192.0.2.12";
/// The proxy's address as the gateway sees it. It listens at the other one of its host.
const PROXY: &str = "10.78.0.2";
const HOST: [u8; 4] = [10, 77, 0, 2];

/// What HAProxy listens at: by `X-Forwarded-For` over HTTP/1.1 and HTTP/2, and by the PROXY protocol,
/// version 1 and 2, in clear and with the client's TLS inside.
const FOR_H1: u16 = 9000;
const FOR_H2: u16 = 9001;
const V1: u16 = 9002;
const V2: u16 = 9003;
const V1_TLS: u16 = 9004;
const V2_TLS: u16 = 9005;

/// Of the gateway: one trusted proxy, the PROXY protocol, the same over TLS.
const BEHIND_ONE: u16 = 8081;
const EXPECTS: u16 = 8082;
const EXPECTS_TLS: u16 = 8444;

/// Two Gateways that trust proxies. `/office` is for one client, `/through-proxy` for who comes from
/// the proxy, and `/not-direct` for everybody whose connection is not the office's own.
fn edge() -> Result<String> {
    let gateway = |name: &str, topology: &str, listeners: &str| {
        format!(
            "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata:
  name: {name}
  namespace: default
  annotations: {{ proxy.istio.io/config: \"gatewayTopology: {{ {topology} }}\" }}
spec:
  gatewayClassName: default
  listeners:
{listeners}---
"
        )
    };
    let one = format!("  - {{ name: http, port: {BEHIND_ONE}, protocol: HTTP }}\n");
    let header = format!(
        "  - {{ name: http, port: {EXPECTS}, protocol: HTTP }}
  - {{ name: https, port: {EXPECTS_TLS}, protocol: HTTPS, tls: {{ certificateRefs: [ {{ name: https-cert }} ] }} }}\n"
    );
    let targets = "  targetRefs:
  - { group: gateway.networking.k8s.io, kind: Gateway, name: behind-one }
  - { group: gateway.networking.k8s.io, kind: Gateway, name: expects }
";
    let denied = |name: &str, path: &str, source: &str| {
        format!(
            "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: {name}, namespace: default }}
spec:
{targets}  action: DENY
  rules: [ {{ from: [ {{ source: {{ {source} }} }} ], to: [ {{ operation: {{ paths: [ {path} ] }} }} ] }} ]
"
        )
    };
    let route = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: { name: edge, namespace: default }
spec:
  parentRefs: [ { name: behind-one }, { name: expects } ]
  rules: [ { backendRefs: [ { name: echo, port: 8000 } ] } ]
---
";
    // The demo issuer, for these too.
    let tokens = policy()?
        .replace("name: demo-issuer", "name: edge-issuer")
        .replace("name: productpage-needs-token", "name: edge-needs-token");
    let own = "  targetRefs:\n  - group: gateway.networking.k8s.io\n    kind: Gateway\n    name: ingress\n";
    anyhow::ensure!(tokens.matches(own).count() == 2, "the quickstart's policies look otherwise");
    Ok(gateway("behind-one", "numTrustedProxies: 1", &one)
        + &gateway("expects", "proxyProtocol: {}", &header)
        + route
        + &tokens.replace(own, targets)
        + &denied("office", "/office", &format!("notRemoteIpBlocks: [ {OFFICE} ]"))
        + &denied("through", "/through-proxy", &format!("notIpBlocks: [ {PROXY} ]"))
        + &denied("direct", "/not-direct", &format!("ipBlocks: [ {OFFICE} ]")))
}

/// HAProxy and a gateway behind it.
struct Edge {
    setting: Setting,
    _proxy: Haproxy,
}

fn start(arguments: &[&str]) -> Result<Edge> {
    let mut all = vec!["--admin", ADMIN, "--trusted-proxy", PROXY];
    all.extend(arguments);
    let files = [("edge.yaml", edge()?)];
    let setting = Options { arguments: &all, files: &files, ..Options::default() }.start()?;
    let client = &setting.pair.client;
    for address in [OFFICE, OTHER] {
        client.ip(&["addr", "add", &format!("{address}/32"), "dev", "lo"])?;
    }
    let section = |port: u16, mode: &str, to: u16, how: &str| {
        format!(
            "listen p{port}
  mode {mode}
  bind 10.77.0.2:{port}
  server gateway 10.77.0.1:{to} source {PROXY} {how}
"
        )
    };
    let forwards = "  option forwardfor\n  http-request set-header x-forwarded-proto https\n";
    let sections = section(FOR_H1, "http", BEHIND_ONE, "")
        + forwards
        + &section(FOR_H2, "http", BEHIND_ONE, "proto h2")
        + forwards
        + &section(V1, "tcp", EXPECTS, "send-proxy")
        + &section(V2, "tcp", EXPECTS, "send-proxy-v2")
        + &section(V1_TLS, "tcp", EXPECTS_TLS, "send-proxy")
        + &section(V2_TLS, "tcp", EXPECTS_TLS, "send-proxy-v2 proxy-v2-options unique-id,crc32c");
    let ports = [FOR_H1, FOR_H2, V1, V2, V1_TLS, V2_TLS];
    let proxy = Haproxy::start(client, &sections, &ports.map(|port| (HOST, port).into()))?;
    Ok(Edge { setting, _proxy: proxy })
}

impl Edge {
    /// Asks through the proxy; over TLS where the client speaks that itself.
    fn ask(&self, from: &str, port: u16, path: &str, more: &[&str]) -> Result<Answer> {
        let tls = port == V1_TLS || port == V2_TLS;
        let scheme = if tls { "https" } else { "http" };
        let url = format!("{scheme}://gw.example.test:{port}{path}");
        let resolve = format!("gw.example.test:{port}:10.77.0.2");
        let mut arguments = vec!["--interface", from, "--resolve", &resolve, &url];
        let certificate = self.setting.certificate.to_str().context("path is not UTF-8")?;
        arguments.extend(["--cacert", certificate]);
        arguments.extend(more);
        self.setting.curl(&arguments)
    }

    fn status(&self, from: &str, port: u16, path: &str, more: &[&str]) -> Result<u16> {
        Ok(self.ask(from, port, path, more)?.status)
    }

    /// A connection from an address of the client's host to a port of the gateway, without the proxy.
    fn direct(&self, from: &str, port: u16) -> Result<Client> {
        let from: IpAddr = from.parse()?;
        let to = SocketAddr::from(([10, 77, 0, 1], port));
        self.setting.pair.client.inside(|| Client::connect_from(from, to))
    }

    /// The last line of the access log for a path.
    fn logged(&self, path: &str) -> Result<Value> {
        self.setting.daemon.until(&format!("{path} in the access log"), || {
            let lines = self.setting.daemon.access_log();
            lines.into_iter().rev().find(|line| line["path"] == path)
        })
    }

    /// Connections closed for a reason.
    fn closed_for(&self, reason: &str, times: u64) -> Result<()> {
        let sample = format!("gateway_proxy_header_failures_total{{reason=\"{reason}\"}}");
        self.setting.metric_is(&sample, times)
    }

    fn ledger_holds(&self) -> Result<()> {
        let audit = ["stats", "--audit", "--pin-directory", self.setting.daemon.pins()];
        shell::run(&binary()?, &audit).map(drop)
    }

    /// What the admin address says of banned clients.
    fn banned_clients(&self) -> Result<Value> {
        let page = curl(Some(&self.setting.pair.gateway), &[&format!("http://{ADMIN}/bans")])?;
        serde_json::from_str(&page.body).context("/bans is no JSON")
    }
}

/// Every way through the proxy, and the client's own version of HTTP.
const WAYS: [(u16, &str); 8] = [
    (FOR_H1, "--http1.1"),
    (FOR_H2, "--http1.1"),
    (V1, "--http1.1"),
    (V2, "--http2-prior-knowledge"),
    (V1_TLS, "--http1.1"),
    (V1_TLS, "--http2"),
    (V2_TLS, "--http1.1"),
    (V2_TLS, "--http2"),
];

#[test]
fn the_client_is_whom_a_trusted_proxy_says() -> Result<()> {
    let edge = start(&[])?;
    for (port, version) in WAYS {
        let way = format!("{port} {version}");
        assert_eq!(edge.status(OFFICE, port, "/office", &[version])?, 200, "{way}");
        assert_eq!(edge.status(OTHER, port, "/office", &[version])?, 403, "{way}");
        // The peer is the proxy, whoever asks.
        assert_eq!(edge.status(OTHER, port, "/through-proxy", &[version])?, 200, "{way}");
        assert_eq!(edge.status(OFFICE, port, "/not-direct", &[version])?, 200, "{way}");
        // What a client writes of itself is further to the left, or not looked at.
        let forged = format!("x-forwarded-for: {OFFICE}");
        let forged = [version, "--header", &forged];
        assert_eq!(edge.status(OTHER, port, "/office", &forged)?, 403, "{way}");
        let by_header = port == FOR_H1 || port == FOR_H2;
        edge.setting.origin.take();
        let path = format!("/seen-{port}{version}");
        assert_eq!(edge.status(OTHER, port, &path, &forged)?, 200, "{way}");
        let seen = edge.setting.origin.take().remove(0);
        let (chain, proto) = if by_header {
            (format!("{OFFICE},{OTHER},{PROXY}"), "https")
        } else {
            (OTHER.to_owned(), if port == V1 || port == V2 { "http" } else { "https" })
        };
        assert_eq!(seen.values("x-forwarded-for"), [&chain], "{way}");
        assert_eq!(seen.values("x-forwarded-proto"), [proto], "{way}");
        let line = edge.logged(&path)?;
        let (client, peer) = (line["client"].as_str(), line["peer"].as_str());
        let (client, peer) = client.zip(peer).with_context(|| format!("{way}: {line}"))?;
        assert!(peer.starts_with(&format!("{PROXY}:")), "{way}: {line}");
        let client: SocketAddr = client.parse()?;
        assert_eq!(client.ip().to_string(), OTHER, "{way}: {line}");
        // The header knows no ports.
        assert_eq!(client.port() == 0, by_header, "{way}: {line}");
    }
    edge.ledger_holds()
}

#[test]
fn nobody_else_is_believed() -> Result<()> {
    let edge = start(&[])?;
    let get = |from: &str, port: u16, path: &str| -> Result<u16> {
        let text = format!(
            "GET {path} HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: {OFFICE}\r\nX-Forwarded-Proto: https\r\n\r\n"
        );
        Ok(edge.direct(from, port)?.exchange(text.as_bytes(), false)?.status)
    };
    // The host of the proxy by its other address, which is nobody's.
    assert_eq!(get("10.77.0.2", BEHIND_ONE, "/office")?, 403);
    assert_eq!(get("10.77.0.2", BEHIND_ONE, "/through-proxy")?, 403);
    // The proxy itself is believed by the Gateway that says so, and by no other.
    assert_eq!(get(PROXY, BEHIND_ONE, "/office")?, 200);
    edge.setting.origin.take();
    assert_eq!(get(PROXY, 8080, "/x")?, 200);
    assert_eq!(get("10.77.0.2", BEHIND_ONE, "/y")?, 200);
    for (seen, peer) in edge.setting.origin.take().iter().zip([PROXY, "10.77.0.2"]) {
        assert_eq!(seen.values("x-forwarded-for"), [peer], "{seen:?}");
        assert_eq!(seen.values("x-forwarded-proto"), ["http"], "{seen:?}");
    }
    assert!(edge.logged("/y")?["peer"].is_null(), "the peer is the client");
    // A proxy that names nobody, or no address, asks for itself.
    for header in ["", "X-Forwarded-For: unknown\r\n", "X-Forwarded-For: 192.0.2.11:80\r\n"] {
        let text = format!("GET /office HTTP/1.1\r\nHost: a\r\n{header}\r\n");
        let answer = edge.direct(PROXY, BEHIND_ONE)?.exchange(text.as_bytes(), false)?;
        assert_eq!(answer.status, 403, "{header:?}");
    }
    Ok(())
}

/// The fixed part of version 2, and what makes it a header of the office's.
fn v2() -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c".to_vec();
    header.extend_from_slice(&[192, 0, 2, 11, 10, 77, 0, 1, 0x30, 0x39, 0x1f, 0x92]);
    header
}

const GET: &[u8] = b"GET /office HTTP/1.1\r\nHost: gw.example.test\r\n\r\n";

#[test]
fn a_connection_begins_with_a_good_proxy_header_or_ends() -> Result<()> {
    let edge = start(&["--head-timeout", "2"])?;
    let line = |source: &str| format!("PROXY TCP4 {source} 10.77.0.1 12345 8082\r\n").into_bytes();
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec();
    let good = [
        ("version 1", line(OFFICE), 200),
        ("version 1, another client", line(OTHER), 403),
        ("version 1, nobody", b"PROXY UNKNOWN\r\n".to_vec(), 403),
        ("version 2", v2(), 200),
        ("version 2, the proxy itself", local, 403),
    ];
    for (name, header, status) in &good {
        let together = [header, GET].concat();
        let answer = edge.direct(PROXY, EXPECTS)?.exchange(&together, false)?;
        assert_eq!(answer.status, *status, "{name}");
        // A byte at a time.
        let mut client = edge.direct(PROXY, EXPECTS)?;
        header.iter().try_for_each(|byte| client.send(&[*byte]))?;
        assert_eq!(client.exchange(GET, false)?.status, *status, "{name}, in pieces");
        let mut client = edge.direct(PROXY, EXPECTS_TLS)?;
        client.send(header)?;
        let mut client = client.with_tls(&tls(&edge.setting)?, "gw.example.test")?;
        assert_eq!(client.exchange(GET, false)?.status, *status, "{name}, before TLS");
    }
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x10\0"[..], &[0; 64]].concat();
    let endless = [&b"PROXY TCP4 "[..], &[b'1'; 200]].concat();
    let bad: [(&str, &[u8], &str); 6] = [
        ("none", GET, "missing"),
        ("TLS at once", b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0\0\0\0\0\0\0", "missing"),
        ("nonsense", b"PROXY TCP4 everybody everywhere 1 2\r\n", "malformed"),
        ("an unknown command", b"\r\n\r\n\0\r\nQUIT\n\x22\x11\0\0", "malformed"),
        ("too long", &long, "too_long"),
        ("no end", &endless, "too_long"),
    ];
    let mut counts = std::collections::BTreeMap::<&str, u64>::new();
    for (name, bytes, reason) in bad {
        for port in [EXPECTS, EXPECTS_TLS] {
            let mut client = edge.direct(PROXY, port)?;
            client.send(bytes)?;
            assert!(client.ended()?, "{name} at {port}");
            *counts.entry(reason).or_default() += 1;
            edge.closed_for(reason, counts[reason])?;
        }
    }
    // Half a header, then nothing: the time for a head is what there is.
    let half = &v2()[..20];
    for bytes in [half, b"PROXY TCP4 192.0.2.11 ", b""] {
        let mut client = edge.direct(PROXY, EXPECTS)?;
        client.send(bytes)?;
        assert!(client.ended()?, "{bytes:?}");
    }
    edge.closed_for("timeout", 3)?;
    let mut client = edge.direct(PROXY, EXPECTS)?;
    client.send(half)?;
    client.finish()?;
    assert!(client.ended()?);
    edge.closed_for("closed", 1)?;
    // Who may not speak for others says nothing here, however well.
    let mut client = edge.direct("10.77.0.2", EXPECTS)?;
    client.send(&[&v2(), GET].concat())?;
    assert!(client.ended()?);
    edge.closed_for("untrusted_peer", 1)?;
    edge.setting.logs_line(&["connection closed: no good PROXY header", "reason=\"missing\""])?;
    edge.ledger_holds()
}

/// Trusts the gateway's certificate.
fn tls(setting: &Setting) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(&setting.certificate)? {
        roots.add(certificate?)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config =
        ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(Arc::new(config.with_root_certificates(roots).with_no_client_auth()))
}

#[test]
fn a_ban_meets_the_client_and_never_the_proxy() -> Result<()> {
    let budgets = ["--syn-rate", "1000", "--earned-duration", "4"];
    let edge = start(&[&["--bans", "enforce", "--ban-threshold", "5"], &budgets[..]].concat())?;
    let good = format!("Authorization: Bearer {}", token()?);
    let bad = format!("Authorization: Bearer {}", forged()?);
    let mut refused = 0;
    for (client, ways) in [(OFFICE, &WAYS[..2]), (OTHER, &WAYS[2..])] {
        let other = if client == OFFICE { OTHER } else { OFFICE };
        let (port, version) = ways[0];
        for _ in 0..5 {
            assert_eq!(edge.status(client, port, "/x", &[version, "--header", &bad])?, 401);
        }
        let active = format!("{client} banned");
        edge.setting.daemon.until(&active, || {
            let bans = edge.banned_clients().ok()?;
            let bans = bans["clients"].as_array()?;
            bans.iter().any(|ban| ban["source"] == client).then_some(())
        })?;
        for &(port, version) in ways {
            let good = [version, "--header", &good];
            let answer = edge.ask(client, port, "/productpage", &good)?;
            assert_eq!((answer.status, answer.body.as_str()), (403, "RBAC: access denied"));
            refused += 1;
            if client == OFFICE {
                assert_eq!(edge.status(other, port, "/productpage", &good)?, 200, "{port}");
            }
        }
        let line = edge.logged("/productpage")?;
        assert!(line["verdict"] == "denied" || line["client"] != client, "{line}");
    }
    let list = edge.banned_clients()?;
    assert_eq!(list["mode"], "enforce");
    for (ban, client) in list["clients"].as_array().context("no list")?.iter().zip([OFFICE, OTHER])
    {
        assert_eq!((&ban["source"], &ban["strikes"]), (&client.into(), &5.into()), "{list}");
        assert_eq!(ban["reason"], "token_signature", "{list}");
        assert!(ban["requests"].as_u64() > Some(0), "{list}");
        assert!((1..=600).contains(&ban["remaining_seconds"].as_u64().unwrap_or(0)), "{list}");
    }
    let setting = &edge.setting;
    setting.metric_is("gateway_client_bans_total{reason=\"token_signature\"}", 2)?;
    setting.metric_is("gateway_client_bans_active", 2)?;
    setting.metric_is("gateway_client_ban_requests_total{result=\"refused\"}", refused)?;
    setting.metric_is("gateway_request_refusals_total{reason=\"banned_client\"}", refused)?;
    setting.logs_line(&["client behind a proxy banned", OFFICE, "refused=true"])?;
    // The kernel was told of nobody: neither of the proxy nor of its clients, for better or worse.
    assert_eq!(setting.banned(0)?, [] as [Value; 0]);
    setting.metric_is("gateway_bans_total{reason=\"token_signature\"}", 0)?;
    setting.metric_is("gateway_earned_trust_total", 0)?;
    for map in ["BANNED_SOURCES_V4", "BANNED_SOURCES_V6", "EARNED_SOURCES_V4", "EARNED_SOURCES_V6"]
    {
        let pin = format!("{}/{map}", setting.daemon.pins());
        let dump = shell::run("bpftool", &["map", "dump", "pinned", &pin])?;
        assert!(!dump.contains("\"key\""), "{map}: {dump}");
    }
    let direct = format!("GET /productpage HTTP/1.1\r\nHost: a\r\n{good}\r\n\r\n");
    assert_eq!(edge.direct(PROXY, 8080)?.exchange(direct.as_bytes(), false)?.status, 200);
    edge.ledger_holds()
}

#[test]
fn in_audit_mode_a_banned_client_is_only_counted() -> Result<()> {
    let edge = start(&["--ban-threshold", "2"])?;
    let good = format!("Authorization: Bearer {}", token()?);
    let bad = format!("Authorization: Bearer {}", forged()?);
    let strikes = "gateway_ban_strikes_total{reason=\"token_signature\"}";
    // A good token cancels; the proxy's own strikes are nobody's.
    assert_eq!(edge.status(OFFICE, V2, "/x", &["--header", &bad])?, 401);
    edge.setting.metric_is(strikes, 1)?;
    assert_eq!(edge.status(OFFICE, V2, "/x", &["--header", &good])?, 200);
    edge.setting.metric_is("gateway_bans_withheld_total{why=\"forgiven\"}", 1)?;
    for _ in 0..3 {
        let text = format!("GET /x HTTP/1.1\r\nHost: a\r\n{bad}\r\n\r\n");
        let own = [&b"PROXY UNKNOWN\r\n"[..], text.as_bytes()].concat();
        assert_eq!(edge.direct(PROXY, EXPECTS)?.exchange(&own, false)?.status, 401);
        assert_eq!(edge.direct(PROXY, BEHIND_ONE)?.exchange(text.as_bytes(), false)?.status, 401);
    }
    edge.setting.metric_is(strikes, 1)?;
    for _ in 0..2 {
        assert_eq!(edge.status(OFFICE, FOR_H1, "/x", &["--header", &bad])?, 401);
    }
    edge.setting.metric_is("gateway_client_bans_active", 1)?;
    edge.setting.logs_line(&[
        "client behind a proxy banned",
        OFFICE,
        "mode=\"audit\"",
        "refused=false",
    ])?;
    assert_eq!(edge.status(OFFICE, V2, "/productpage", &["--header", &good])?, 200);
    edge.setting.metric_is("gateway_client_ban_requests_total{result=\"audited\"}", 1)?;
    assert_eq!(edge.setting.metric("gateway_client_ban_requests_total{result=\"refused\"}")?, 0);
    assert_eq!(edge.setting.banned(0)?, [] as [Value; 0]);
    Ok(())
}

#[test]
fn who_trusts_proxies_without_saying_which_does_not_start() -> Result<()> {
    let files = [("edge.yaml", edge()?)];
    let started = Options { files: &files, ..Options::default() }.start();
    let error = format!("{:#}", started.err().context("it started")?);
    for gateway in ["Gateway default/behind-one", "Gateway default/expects"] {
        let line = error.lines().find(|line| line.contains(gateway));
        let line = line.with_context(|| format!("{gateway}: {error}"))?;
        assert!(line.contains("--trusted-proxy"), "{line}");
    }
    Ok(())
}
