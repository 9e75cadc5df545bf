//! The admin listener: readiness, metrics, statistics; read-only, on loopback.

use anyhow::{Context, Result};
use gateway_tests::curl::{Answer, curl};
use gateway_tests::environment::daemon_binary;
use gateway_tests::shell;

use crate::setting::{HTTP, Options, Setting, token};

/// The setting, and where its admin listener is: port 0 takes a free port and the log says which.
fn start() -> Result<(Setting, String)> {
    start_with(&["--admin", "127.0.0.1:0"])
}

pub(crate) fn start_with(arguments: &[&str]) -> Result<(Setting, String)> {
    let setting = Options { arguments, ..Options::default() }.start()?;
    let log = setting.daemon.log();
    let line = log.lines().find(|line| line.contains("admin listener")).context("no admin line")?;
    let address = line.rsplit("address=").next().unwrap_or_default().trim().to_owned();
    Ok((setting, format!("http://{address}")))
}

pub(crate) fn ask(setting: &Setting, arguments: &[&str]) -> Result<Answer> {
    curl(Some(&setting.pair.gateway), arguments)
}

#[test]
fn shows_health_readiness_and_statistics() -> Result<()> {
    let (setting, admin) = start()?;
    assert_eq!(ask(&setting, &[&format!("{admin}/healthz")])?.body, "ok\n");
    let ready = ask(&setting, &[&format!("{admin}/readyz")])?;
    assert_eq!(
        (ready.status, ready.body.as_str()),
        (200, "ready\ndatapath: ebpf\ngeneration: 1\n")
    );
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    setting.verdicts(1)?;
    let stats = ask(&setting, &[&format!("{admin}/stats")])?;
    let stats: serde_json::Value = serde_json::from_str(&stats.body)?;
    assert_eq!(crate::setting::sum_verdicts(&stats)["allowed"], 1);
    for method in ["POST", "PUT", "DELETE"] {
        let answer = ask(&setting, &["--request", method, &format!("{admin}/stats")])?;
        assert_eq!(answer.status, 405, "{method}");
    }
    assert_eq!(ask(&setting, &[&format!("{admin}/other")])?.status, 404);
    // A broken reload shows in the detail, and the gateway stays ready.
    setting.manifests.write("broken.yaml", "kind: ]\n")?;
    let ready = setting.daemon.until("the failed reload", || {
        let ready = ask(&setting, &[&format!("{admin}/readyz")]).ok()?;
        ready.body.contains("last reload failed").then_some(ready)
    })?;
    assert_eq!(ready.status, 200);
    Ok(())
}

#[test]
fn labels_metrics_with_configured_words_only() -> Result<()> {
    let (setting, admin) = start()?;
    for path in ["/secret-of-a-stranger", "/productpage"] {
        setting.curl(&[&format!("{HTTP}{path}")])?;
    }
    setting.verdicts(2)?;
    let metrics = ask(&setting, &[&format!("{admin}/metrics")])?;
    assert_eq!(metrics.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    let text = metrics.body;
    for line in [
        "gateway_requests_total{path=\"PathPrefix /\",verdict=\"allowed\"} 1",
        "gateway_requests_total{path=\"Exact /productpage\",verdict=\"denied\"} 1",
        "gateway_connections_total 2",
        "gateway_configuration_generation 1",
        "gateway_datapath_ebpf 1",
    ] {
        assert!(text.lines().any(|l| l == line), "no {line} in\n{text}");
    }
    assert!(
        text.contains(
            "gateway_packets_total{hook=\"tc_ingress\",listener=\"*:8080\",verdict=\"steered\"} 2"
        ),
        "{text}"
    );
    assert!(!text.contains("stranger"), "{text}");
    // Every sample belongs to a family with help and type.
    let documents = gateway_tests::manifests::workspace_file("docs/operations.md")?;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap_or_default();
        assert!(text.contains(&format!("# TYPE {name} ")), "{name} has no type");
        assert!(documents.contains(&format!("`{name}`")), "docs/operations.md knows no {name}");
    }
    Ok(())
}

#[test]
fn token_caches_tell_hits_misses_and_evictions() -> Result<()> {
    let arguments = ["--admin", "127.0.0.1:0", "--refused-token-cache", "8"];
    let (setting, admin) = start_with(&arguments)?;
    // One connection, hence one worker.
    let mut client = setting.connect()?;
    let mut show = |token: &str, status| -> Result<()> {
        let head = "GET /productpage HTTP/1.1\r\nhost: gw.example.test";
        let request = format!("{head}\r\nauthorization: Bearer {token}\r\n\r\n");
        assert_eq!(client.exchange(request.as_bytes(), false)?.status, status, "{token}");
        Ok(())
    };
    for _ in 0..3 {
        show(&token()?, 200)?;
    }
    for _ in 0..2 {
        show("bad", 401)?;
    }
    for number in 0..9 {
        show(&format!("{number}.bad"), 401)?;
    }
    let metrics = ask(&setting, &[&format!("{admin}/metrics")])?.body;
    for (family, labels, value) in [
        ("hits_total", "store=\"verified\"", 2),
        ("hits_total", "store=\"refused\"", 1),
        ("misses_total", "", 11),
        ("evictions_total", "store=\"verified\"", 0),
        ("evictions_total", "store=\"refused\"", 2),
        ("entries", "store=\"verified\"", 1),
        ("entries", "store=\"refused\"", 8),
    ] {
        let name = format!("gateway_token_cache_{family}{{");
        let both = |line: &&str| line.starts_with(&name) && line.contains(labels);
        let values = metrics.lines().filter(both).filter_map(|line| line.rsplit_once(' '));
        let values: Vec<u64> = values.map(|(_, value)| value.parse()).collect::<Result<_, _>>()?;
        // The other worker saw none of it.
        assert_eq!((values.len(), values.iter().sum::<u64>()), (2, value), "{family} {labels}");
        assert!(values.contains(&value), "{family} {labels}: {values:?}");
    }
    Ok(())
}

/// A policy that never decides, about one path.
fn shadow_policy(name: &str, annotation: &str, action: &str, path: &str) -> String {
    format!(
        "---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {{ name: {name}, namespace: default{annotation} }}
spec:
  action: {action}
  rules: [ {{ to: [ {{ operation: {{ paths: [ {path} ] }} }} ] }} ]
"
    )
}

#[test]
fn policies_in_dry_run_are_counted_each() -> Result<()> {
    const DRY: &str = ", annotations: { istio.io/dry-run: \"true\" }";
    let (setting, admin) = start()?;
    let shown = |wanted: &[(&str, &str, &str, u64)]| {
        let metrics = ask(&setting, &[&format!("{admin}/metrics")]).ok()?.body;
        let family = "gateway_shadow_policy_requests_total{";
        let samples: Vec<&str> = metrics.lines().filter(|line| line.starts_with(family)).collect();
        let line = |(policy, action, result, count): &(&str, &str, &str, u64)| {
            let labels = format!("policy=\"default/{policy}\",action=\"{action}\"");
            format!("{family}{labels},result=\"{result}\"}} {count}")
        };
        let wanted: Vec<String> = wanted.iter().map(line).collect();
        (samples == wanted).then_some(())
    };
    let policies = shadow_policy("a-allow", DRY, "ALLOW", "/a")
        + &shadow_policy("a-deny", DRY, "DENY", "/a")
        + &shadow_policy("audit", "", "AUDIT", "/a");
    setting.manifests.write("shadow.yaml", &policies)?;
    setting.daemon.until("policies in dry run", || {
        shown(&[
            ("a-allow", "ALLOW", "allowed", 0),
            ("a-allow", "ALLOW", "denied", 0),
            ("a-deny", "DENY", "denied", 0),
            ("a-deny", "DENY", "allowed", 0),
            ("audit", "AUDIT", "matched", 0),
            ("audit", "AUDIT", "unmatched", 0),
        ])
    })?;
    for (path, status) in [("/a", 200), ("/a", 200), ("/b", 200), ("/productpage", 403)] {
        assert_eq!(setting.curl(&[&format!("{HTTP}{path}")])?.status, status, "{path}");
    }
    // A request whose token is refused does not come as far as policies.
    let bad = setting.curl(&["--header", "authorization: Bearer x", &format!("{HTTP}/a")])?;
    assert_eq!(bad.status, 401);
    setting.daemon.until("counted policies", || {
        shown(&[
            ("a-allow", "ALLOW", "allowed", 2),
            ("a-allow", "ALLOW", "denied", 2),
            ("a-deny", "DENY", "denied", 2),
            ("a-deny", "DENY", "allowed", 2),
            ("audit", "AUDIT", "matched", 2),
            ("audit", "AUDIT", "unmatched", 2),
        ])
    })?;
    // A reload that changes one policy, removes another and puts the third in force.
    let policies =
        shadow_policy("a-deny", DRY, "DENY", "/c") + &shadow_policy("a-allow", "", "ALLOW", "/a");
    setting.manifests.write("shadow.yaml", &policies)?;
    setting.daemon.until("the reload", || {
        let counts = [("a-deny", "DENY", "denied", 2), ("a-deny", "DENY", "allowed", 2)];
        shown(&counts)
    })?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/c")])?.status, 403);
    setting.daemon.until("another count", || {
        shown(&[("a-deny", "DENY", "denied", 3), ("a-deny", "DENY", "allowed", 2)])
    })
}

#[test]
fn takes_loopback_addresses_only() -> Result<()> {
    let binary = daemon_binary()?;
    let output = shell::output(
        &binary.to_string_lossy(),
        &["run", "--config", "/nowhere", "--admin", "0.0.0.0:9901"],
    )?;
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("loopback"));
    Ok(())
}

#[test]
fn the_environment_stands_for_flags() -> Result<()> {
    let binary = daemon_binary()?;
    let config = gateway_tests::manifests::root().join("examples/quickstart/backend.yaml");
    let output = shell::output(
        "env",
        &[&format!("GATEWAY_CONFIG={}", config.display()), &binary.to_string_lossy(), "check"],
    )?;
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(printed.contains("Service") && printed.contains("default/bookinfo"), "{printed}");
    Ok(())
}
