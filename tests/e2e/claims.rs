//! Claims as headers, as upstreams of either protocol see them.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Result;
use gateway_tests::issuer::{SigningKey, jwks};
use gateway_tests::manifests::{http_listener, route, service};

use crate::setting::{HTTP, Setting, setting};

/// Header, claim.
const HEADERS: [(&str, &str); 5] = [
    ("x-groups", "groups"),
    ("x-mixed", "mixed"),
    ("x-comma", "comma"),
    ("x-nested", "realm.roles"),
    ("x-object", "realm"),
];

const CLAIMS: &str = r#""sub":"alice","groups":["admins","ops"],"mixed":[true,1,2.5,"é"],"comma":["a,b","c"],"realm":{"roles":["r1"]}"#;

/// Issuer, its form of claims, and the value of each header.
type Row = (&'static str, Option<&'static str>, [Option<&'static str>; HEADERS.len()]);

const ROWS: [Row; 4] = [
    (
        "plain",
        None,
        [
            Some("WyJhZG1pbnMiLCJvcHMiXQ=="),
            Some("W3RydWUsMSwyLjUsIsOpIl0="),
            Some("WyJhLGIiLCJjIl0="),
            Some("WyJyMSJd"),
            Some("eyJyb2xlcyI6WyJyMSJdfQ=="),
        ],
    ),
    (
        "envoy",
        Some("Envoy"),
        [
            Some("WyJhZG1pbnMiLCJvcHMiXQ=="),
            Some("W3RydWUsMSwyLjUsIsOpIl0="),
            Some("WyJhLGIiLCJjIl0="),
            Some("WyJyMSJd"),
            Some("eyJyb2xlcyI6WyJyMSJdfQ=="),
        ],
    ),
    (
        "json",
        Some("JSON"),
        [
            Some(r#"["admins","ops"]"#),
            Some(r#"[true,1,2.5,"é"]"#),
            Some(r#"["a,b","c"]"#),
            Some(r#"["r1"]"#),
            Some(r#"{"roles":["r1"]}"#),
        ],
    ),
    (
        "list",
        Some("CommaList"),
        [
            Some("admins,ops"),
            Some("true,1,2.500000,é"),
            // Whoever splits it would read three items.
            None,
            Some("r1"),
            Some(r#"{"roles":["r1"]}"#),
        ],
    ),
];

/// A rule for each issuer, and a JWTPolicy that gives each its form.
fn policies(key: &SigningKey) -> String {
    let keys = jwks(&[key]);
    let outputs = HEADERS.map(|(header, claim)| format!("{{ header: {header}, claim: {claim} }}"));
    let outputs = outputs.join(", ");
    let mut text = String::from(
        "apiVersion: security.istio.io/v1
kind: RequestAuthentication
metadata: { name: claims, namespace: default }
spec:
  targetRefs: [ { group: gateway.networking.k8s.io, kind: Gateway, name: ingress } ]
  jwtRules:
",
    );
    for (issuer, ..) in ROWS {
        let rule = format!(
            "  - {{ issuer: {issuer}, jwks: '{keys}', outputClaimToHeaders: [ {outputs} ] }}\n"
        );
        text += &rule;
    }
    text += "---
apiVersion: policy.gateway.internal/v1alpha1
kind: JWTPolicy
metadata: { name: claims, namespace: default }
spec:
  targetRefs: [ { group: gateway.networking.k8s.io, kind: Gateway, name: ingress } ]
  issuers:
";
    for (issuer, format, _) in ROWS {
        text += &format.map_or_else(String::new, |format| {
            format!("  - {{ issuer: {issuer}, claimFormat: {format} }}\n")
        });
    }
    text
}

/// A Gateway that no policy targets, as an HTTP/2 upstream of the other: what it gets arrives at the
/// origin unchanged.
fn around() -> String {
    let inner = format!(
        "apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {{ name: inner, namespace: default }}
spec:
  gatewayClassName: default
  listeners:
{}---
",
        http_listener("http", 8081)
    );
    let beyond = route("beyond", "/", "echo").replace("name: ingress", "name: inner");
    let h2c = service("h2c", SocketAddr::from((Ipv4Addr::LOCALHOST, 8081))).replace(
        "{ name: http, port: 8000,",
        "{ name: http, port: 8000, appProtocol: kubernetes.io/h2c,",
    );
    format!("{inner}{beyond}---\n{}---\n{h2c}", route("over-h2", "/over-h2", "h2c"))
}

/// Asks with a client's own headers of the same names beside the token, and gives the output
/// headers that the origin saw.
fn arriving(setting: &Setting, arguments: &[&str], path: &str) -> Result<Vec<Option<String>>> {
    setting.origin.take();
    let url = format!("{HTTP}{path}");
    let spoofed = ["--header", "x-groups: spoofed", "--header", "X_Comma: spoofed"];
    let more = ["--header", "X.Object: spoofed", "--header", "connection: x-groups, x-mixed"];
    let http1 = arguments.contains(&"--http1.1");
    // HTTP/2 has no such header; curl would send it, and the gateway refuse it.
    let more = if http1 { &more[..] } else { &more[..2] };
    let answer = setting.curl(&[arguments, &spoofed, more, &[&url]].concat())?;
    assert_eq!(answer.status, 200, "{path}: {answer:?}");
    let seen = setting.origin.take().remove(0);
    let spellings: Vec<_> = seen.headers.iter().filter(|(_, v)| v.contains("spoofed")).collect();
    assert!(spellings.is_empty(), "{path}: {spellings:?}");
    let value = |(name, _): (&str, &str)| {
        let values = seen.values(name);
        assert!(values.len() < 2, "{name}: {values:?}");
        values.first().map(|value| utf8(value))
    };
    Ok(HEADERS.map(value).into())
}

/// What an origin kept as Latin-1.
fn utf8(latin1: &str) -> String {
    let bytes: Vec<u8> = latin1.chars().filter_map(|c| u8::try_from(c).ok()).collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn upstreams_of_both_protocols_see_claims_as_the_policy_says() -> Result<()> {
    let setting = setting()?;
    let key = SigningKey::new("k")?;
    setting.manifests.write("around.yaml", &around())?;
    setting.manifests.write("claims.yaml", &policies(&key))?;
    setting.daemon.until("the new policies", || {
        let token = key.token(&format!(r#"{{"iss":"list",{CLAIMS}}}"#));
        let header = format!("authorization: Bearer {token}");
        let url = format!("{HTTP}/over-h2");
        let answer = setting.curl(&["--header", &header, &url]).ok()?;
        (answer.status == 200).then_some(())
    })?;
    for (issuer, _, expected) in ROWS {
        let token = key.token(&format!(r#"{{"iss":"{issuer}",{CLAIMS}}}"#));
        let header = format!("authorization: Bearer {token}");
        for protocol in ["--http1.1", "--http2-prior-knowledge"] {
            for path in ["/over-h1", "/over-h2"] {
                let got = arriving(&setting, &[protocol, "--header", &header], path)?;
                let got: Vec<_> = got.iter().map(Option::as_deref).collect();
                assert_eq!(got, expected, "{issuer} {protocol} {path}");
            }
        }
    }
    // Without a token nothing of the kind arrives either.
    for protocol in ["--http1.1", "--http2-prior-knowledge"] {
        for path in ["/over-h1", "/over-h2"] {
            assert_eq!(arriving(&setting, &[protocol], path)?, [const { None }; HEADERS.len()]);
        }
    }
    Ok(())
}

#[test]
fn trailers_cannot_spoof_claims() -> Result<()> {
    let setting = setting()?;
    let key = SigningKey::new("k")?;
    setting.manifests.write("claims.yaml", &policies(&key))?;
    let request = "POST /x HTTP/1.1\r\nHost: a\r\nTrailer: x-groups, x-kept\r\n\
                   Transfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Groups: spoofed\r\n\
                   x_groups: spoofed\r\nAuthorization: spoofed\r\nX-Kept: 1\r\n\r\n";
    let seen = setting.daemon.until("the new policies", || {
        setting.origin.take();
        setting.exchange(request).ok()?;
        let seen = setting.origin.take().pop()?;
        seen.values("trailer:x-groups").is_empty().then_some(seen)
    })?;
    assert_eq!(seen.values("trailer:x-kept"), ["1"], "{seen:?}");
    assert!(!seen.headers.iter().any(|(_, value)| value == "spoofed"), "{seen:?}");
    Ok(())
}
