//! The tools for people, as people call them.

use std::process::Output;

use anyhow::{Context, Result};
use gateway_tests::curl::curl;
use gateway_tests::daemon::{Daemon, Start};
use gateway_tests::environment::daemon_binary;
use gateway_tests::manifests::{self, Manifests};
use gateway_tests::netns::Netns;
use gateway_tests::origin::Origin;
use gateway_tests::shell;

use crate::setting::{policy, token};

/// Name, what is asked, further arguments, exit status, words that are printed.
type Row<'r> = (&'r str, &'r str, &'r [&'r str], i32, &'r [&'r str]);

/// Runs the daemon's binary.
fn tool(arguments: &[&str]) -> Result<Output> {
    let binary = daemon_binary()?;
    shell::output(binary.to_str().context("path is not UTF-8")?, arguments)
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// A directory with Gateway, route, the demo issuer and `/productpage` protected, and the token.
fn configuration() -> Result<Manifests> {
    let manifests = Manifests::new()?;
    let listener = manifests::http_listener("http", 8080);
    let upstream = ([127, 0, 0, 1], 9).into();
    manifests.write("base.yaml", &manifests::base(&listener, upstream))?;
    manifests.write("policy.yaml", &policy()?)?;
    manifests.write("token", &token()?)?;
    Ok(manifests)
}

fn path(manifests: &Manifests, name: &str) -> Result<String> {
    let path = manifests.path().join(name);
    Ok(path.to_str().context("path is not UTF-8")?.to_owned())
}

#[test]
fn explain_tells_what_decides() -> Result<()> {
    let manifests = configuration()?;
    let (config, token) = (path(&manifests, "")?, path(&manifests, "token")?);
    let rows: [Row<'_>; 7] = [
        (
            "token",
            "/productpage",
            &["--token-file", &token],
            0,
            &["accepted", "forwarded to Service"],
        ),
        (
            "no token",
            "/x/../productpage",
            &[],
            1,
            &["matches, and decides", "policy_denied", "403"],
        ),
        (
            "bad token",
            "/x",
            &["--header", "Authorization: Bearer x"],
            1,
            &["token_malformed", "401", "error=\"invalid_token\""],
        ),
        ("open", "/x", &[], 0, &["does not match: to[0].operation.paths"]),
        ("malformed", "/x%00", &[], 1, &["path_invalid", "400"]),
        (
            "grpc",
            "/productpage",
            &["--header", "content-type: application/grpc"],
            1,
            &["grpc-status: 7", "grpc-message: RBAC: access denied"],
        ),
        ("peer", "/x", &["--peer", "192.0.2.9"], 0, &["x-forwarded-for: 192.0.2.9"]),
    ];
    for (name, target, more, status, wanted) in rows {
        let request = format!("GET http://gw.example.test:8080{target}");
        let mut arguments = vec!["explain", "--config", &config, "--request", &request];
        arguments.extend(more);
        let output = tool(&arguments)?;
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(status), "{name}: {output:?}");
        for words in wanted {
            assert!(text.contains(words), "{name}: no {words:?} in\n{text}");
        }
        arguments.push("--json");
        let json: serde_json::Value = serde_json::from_slice(&tool(&arguments)?.stdout)?;
        let verdict = if status == 0 { "forwarded" } else { "refused" };
        assert_eq!(json["outcome"]["verdict"], verdict, "{name}");
    }
    Ok(())
}

#[test]
fn explain_and_verify_follow_a_jwt_policy() -> Result<()> {
    let plain = Plain::start("off")?;
    plain.manifests.write(
        "jwt-policy.yaml",
        "apiVersion: policy.gateway.internal/v1alpha1
kind: JWTPolicy
metadata: { name: p, namespace: default }
spec:
  targetRefs: [ { group: gateway.networking.k8s.io, kind: Gateway, name: ingress } ]
  ignoreTokenPaths: [ /health ]
  missingToken: { status: 401 }
",
    )?;
    let (config, token) = (path(&plain.manifests, "")?, path(&plain.manifests, "token")?);
    let rows: [Row<'_>; 2] = [
        ("missing", "/productpage", &[], 1, &["token_missing", "401", "Jwt is missing"]),
        ("exempt", "/health", &["--header", "authorization: Bearer x"], 0, &["not looked at"]),
    ];
    for (name, target, more, status, wanted) in rows {
        let request = format!("GET http://gw.example.test:8080{target}");
        let mut arguments = vec!["explain", "--config", &config, "--request", &request];
        arguments.extend(more);
        let output = tool(&arguments)?;
        assert_eq!(output.status.code(), Some(status), "{name}: {output:?}");
        let text = printed(&output);
        for words in wanted {
            assert!(text.contains(words), "{name}: no {words:?} in\n{text}");
        }
    }
    let binary = daemon_binary()?;
    let binary = binary.to_str().context("path is not UTF-8")?;
    let url = "http://127.0.0.1:8080/productpage";
    let verify = ["verify", "--config", &config, "--url", url, "--token-file", &token];
    // The daemon has to see the new file first.
    let text = plain.daemon.until("a verified table", || plain.netns.run(binary, &verify).ok())?;
    assert!(text.lines().nth(2).is_some_and(|line| line.matches("401").count() == 3), "{text}");
    Ok(())
}

#[test]
fn explain_says_what_is_wrong_with_a_question() -> Result<()> {
    let manifests = configuration()?;
    let config = path(&manifests, "")?;
    let rows: [(&str, &[&str], &str); 5] = [
        ("/x", &[], "METHOD URL"),
        ("GET gw.example.test/x", &[], "https://gw.example.test:8443/path"),
        ("GET http://gw.example.test/x", &[], "8080 (http)"),
        ("GET https://gw.example.test:8080/x", &[], "begins with http://"),
        ("GET http://gw.example.test:8080/x", &["--header", "nonsense"], "Name: value"),
    ];
    for (request, more, complaint) in rows {
        let mut arguments = vec!["explain", "--config", &config, "--request", request];
        arguments.extend(more);
        let output = tool(&arguments)?;
        let error = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{request}");
        assert!(error.contains(complaint), "{request}: no {complaint:?} in {error}");
    }
    Ok(())
}

#[test]
fn token_inspect_names_the_check_that_fails() -> Result<()> {
    let manifests = configuration()?;
    let config = path(&manifests, "")?;
    let good = token()?;
    let (rest, signature) = good.rsplit_once('.').context("no signature")?;
    let rows = [
        ("good", good.clone(), 0, "accepts it"),
        ("signature", format!("{rest}.AAAA{}", &signature[4..]), 1, "failed  signature"),
        ("form", "x.y".to_owned(), 1, "failed  form"),
        (
            "issuer",
            format!("{}.eyJpc3MiOiJ4In0.{signature}", &rest[..rest.find('.').unwrap_or(0)]),
            1,
            "failed  issuer",
        ),
    ];
    for (name, token, status, wanted) in rows {
        manifests.write("other", &format!("Bearer {token}\n"))?;
        let file = path(&manifests, "other")?;
        for json in [false, true] {
            let mut arguments =
                vec!["token", "inspect", "--config", &config, "--token-file", &file];
            arguments.extend(json.then_some("--json"));
            let output = tool(&arguments)?;
            let text = printed(&output);
            assert_eq!(output.status.code(), Some(status), "{name}: {output:?}");
            assert!(json || text.contains(wanted), "{name}: no {wanted:?} in\n{text}");
            assert!(!text.contains(&signature[8..]), "{name}: the signature is printed");
        }
    }
    Ok(())
}

/// A gateway without the kernel half, its namespace, and its manifests: HTTP on 8080, HTTPS on 8443.
struct Plain {
    daemon: Daemon,
    netns: Netns,
    manifests: Manifests,
    _origin: Origin,
}

impl Plain {
    fn start(admin: &str) -> Result<Self> {
        let netns = Netns::new()?;
        let origin = Origin::echo(Some(&netns))?;
        let manifests = configuration()?;
        let (secret, pem) = manifests::certificate("https", &["gw.example.test"])?;
        let listeners = manifests::http_listener("http", 8080)
            + &manifests::https_listener("https", 8443, None);
        manifests.write("base.yaml", &manifests::base(&listeners, origin.address))?;
        manifests.write("secret.yaml", &secret)?;
        manifests.write("ca.pem", &pem)?;
        let arguments = ["--datapath", "off", "--admin", admin, "--workers", "1"];
        let start = Start { netns: Some(&netns), config: manifests.path(), arguments: &arguments };
        let daemon = start.ready()?;
        Ok(Self { daemon, netns, manifests, _origin: origin })
    }
}

#[test]
fn grpc_clients_are_refused_in_grpc_and_reasons_are_counted() -> Result<()> {
    let plain = Plain::start("127.0.0.1:9901")?;
    let base = "http://127.0.0.1:8080";
    let bad = "authorization: Bearer x";
    let rows = [
        ("no token", "/productpage", None, "7", Some("RBAC: access denied"), None),
        (
            "bad token",
            "/a.B/c",
            Some(bad),
            "16",
            Some("Jwt is not in the form of Header.Payload.Signature with two dots and 3 sections"),
            Some("Bearer realm=\"http://127.0.0.1:8080/a.B/c\", error=\"invalid_token\""),
        ),
        ("malformed", "/x%00", None, "13", None, None),
    ];
    for (name, path, header, code, message, challenge) in rows {
        for protocol in ["--http1.1", "--http2-prior-knowledge"] {
            let url = format!("{base}{path}");
            let mut arguments =
                vec![protocol, "--request", "POST", "--header", "content-type: application/grpc"];
            arguments.extend(header.map(|header| ["--header", header]).iter().flatten());
            arguments.push(&url);
            let answer = curl(Some(&plain.netns), &arguments)?;
            assert_eq!(answer.status, 200, "{name}: {answer:?}");
            assert_eq!(answer.header("content-type"), Some("application/grpc"), "{name}");
            assert_eq!(answer.header("grpc-status"), Some(code), "{name}");
            assert_eq!(answer.header("grpc-message"), message, "{name}");
            assert_eq!(answer.header("www-authenticate"), challenge, "{name}");
            assert_eq!(answer.body, "", "{name}");
        }
    }
    plain.daemon.until("the reasons", || {
        let page = curl(Some(&plain.netns), &["http://127.0.0.1:9901/metrics"]).ok()?.body;
        let counts = |reason: &str| {
            page.contains(&format!("gateway_request_refusals_total{{reason=\"{reason}\"}} 2\n"))
        };
        ["policy_denied", "token_malformed", "path_invalid"].into_iter().all(counts).then_some(())
    })
}

#[test]
fn verify_runs_the_four_rows() -> Result<()> {
    let Plain { daemon: _daemon, netns, manifests, _origin } = Plain::start("off")?;
    let (config, token, ca) =
        (path(&manifests, "")?, path(&manifests, "token")?, path(&manifests, "ca.pem")?);
    let binary = daemon_binary()?;
    let net = format!("--net={}", netns.path());
    let common =
        [&net, "--", binary.to_str().context("path is not UTF-8")?, "verify", "--config", &config];
    let http = "http://127.0.0.1:8080/productpage";
    let https = "https://gw.example.test:8443/productpage";
    let connect = ["--connect", "127.0.0.1:8443"];
    let trusting = [&connect[..], &["--token-file", &token, "--cacert", &ca]].concat();
    let insecure = [&connect[..], &["--token-file", &token, "--insecure"]].concat();
    let suspicious = [&connect[..], &["--token-file", &token]].concat();
    let unprotected = ["--token-file", &token, "--path", "/open"];
    let rows: [Row<'_>; 6] = [
        ("http", http, &["--token-file", &token], 0, &["403", "401", "200"]),
        ("private CA", https, &trusting, 0, &["403", "401", "200"]),
        ("any certificate", https, &insecure, 0, &["403"]),
        ("unknown certificate", https, &suspicious, 1, &["DIFFER", "TLS: "]),
        ("no token", http, &[], 1, &["--token-file"]),
        (
            "not protected",
            http,
            &unprotected,
            1,
            &["DIFFER", "the configuration says so too: it is forwarded"],
        ),
    ];
    for (name, url, more, status, wanted) in rows {
        let mut arguments = common.to_vec();
        arguments.extend(["--url", url]);
        arguments.extend(more);
        let output = shell::output("nsenter", &arguments)?;
        let text = printed(&output);
        assert_eq!(output.status.code(), Some(status), "{name}: {output:?}");
        for words in wanted {
            assert!(text.contains(words), "{name}: no {words:?} in\n{text}");
        }
    }
    Ok(())
}

#[test]
fn generate_writes_what_check_accepts() -> Result<()> {
    let manifests = Manifests::new()?;
    let listener = manifests::http_listener("http", 8080);
    manifests.write("base.yaml", &manifests::base(&listener, ([127, 0, 0, 1], 9).into()))?;
    let key = r#"{"kty":"oct","k":"c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA","kid":"it's"}"#;
    manifests.write("keys", &format!("{{\"keys\":[{key}]}}"))?;
    let (config, keys) = (path(&manifests, "")?, path(&manifests, "keys")?);
    let everything = [
        "--jwks-file",
        &keys,
        "--name",
        "a",
        "--gateway",
        "ingress",
        "--audience",
        "https://a.test: #x",
        "--from-header",
        "X-Token=JWT ",
        "--from-param",
        "token",
        "--passthrough",
        "--payload-header",
        "x-payload",
        "--claim-header",
        "a.b=x-claim",
        "--match",
        "bypass-auth-if-matched",
        "--rule",
        "path=/login method=GET",
        "--rule",
        "host=*.example.test path=/{*}/open",
    ];
    let rows: [(&str, &[&str]); 3] = [
        ("least", &["--jwks-file", &keys]),
        ("keys elsewhere", &["--jwks-uri", "https://issuer.test/jwks.json"]),
        ("everything", &everything),
    ];
    for (name, more) in rows {
        let issuer = "https://issuer.test/: yes";
        let mut arguments = vec!["generate", "jwt", "--issuer", issuer];
        arguments.extend(more);
        let output = tool(&arguments)?;
        assert_eq!(output.status.code(), Some(0), "{name}: {output:?}");
        manifests.write("generated.yaml", &printed(&output))?;
        let check = tool(&["check", "--config", &config])?;
        assert_eq!(check.status.code(), Some(0), "{name}: {check:?}");
    }
    let output = tool(&["generate", "jwt", "--name", "x"])?;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--issuer"), "{output:?}");
    Ok(())
}
