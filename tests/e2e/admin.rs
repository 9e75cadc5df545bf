//! The admin listener: readiness, metrics, statistics; read-only, on loopback.

use anyhow::{Context, Result};
use gateway_tests::curl::{Answer, curl};
use gateway_tests::environment::daemon_binary;
use gateway_tests::shell;

use crate::setting::{HTTP, Options, Setting};

/// The setting, and where its admin listener is: port 0 takes a free port and the log says which.
fn start() -> Result<(Setting, String)> {
    let setting =
        Options { arguments: &["--admin", "127.0.0.1:0"], ..Options::default() }.start()?;
    let log = setting.daemon.log();
    let line = log.lines().find(|line| line.contains("admin listener")).context("no admin line")?;
    let address = line.rsplit("address=").next().unwrap_or_default().trim().to_owned();
    Ok((setting, format!("http://{address}")))
}

fn ask(setting: &Setting, arguments: &[&str]) -> Result<Answer> {
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
