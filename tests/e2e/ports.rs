//! Ranges of ports, Gateways that share a port at addresses of their own, and listeners that a reload
//! changes without touching the connections of others.

use std::net::SocketAddr;

use anyhow::{Context, Result, ensure};
use gateway_tests::manifests;
use nix::sys::signal::Signal;

use crate::setting::{Options, Setting, setting};

const GET: &[u8] = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";

impl Setting {
    /// Rewrites the first manifest.
    fn edit(&self, edit: impl FnOnce(String) -> String) -> Result<()> {
        let base = std::fs::read_to_string(self.manifests.path().join("base.yaml"))?;
        self.manifests.write("base.yaml", &edit(base))?;
        Ok(())
    }

    /// Gives listener `http`, which begins at 8080, these ports.
    fn widen(&self, last: u16) -> Result<()> {
        self.edit(|base| {
            let plain = "metadata: { name: ingress, namespace: default";
            let (before, after) = base.split_once(plain).unwrap_or_default();
            let (_, rest) = after.split_once('\n').unwrap_or_default();
            let word = "policy.gateway.internal/port-ranges";
            format!("{before}{plain}, annotations: {{ {word}: \"http=8080-{last}\" }} }}\n{rest}")
        })
    }

    fn status_of(&self, address: &str) -> Result<u16> {
        Ok(self.connect_to(address.parse()?)?.exchange(GET, false)?.status)
    }

    /// Waits until an address is served, or is not any more.
    fn served(&self, address: &str, served: bool) -> Result<()> {
        let what = format!("{address} served: {served}");
        self.daemon.until(&what, || {
            let status = self.status_of(address);
            let is_served = status.is_ok_and(|status| status == 200);
            (is_served == served).then_some(())
        })
    }
}

fn with_range(arguments: &[&str], interfaces: &[&str]) -> Result<Setting> {
    let setting = Options { arguments, interfaces, ..Options::default() }.start()?;
    let mut kept = setting.connect()?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    setting.widen(8180)?;
    for address in ["10.77.0.1:8081", "10.77.0.1:8180", "[fd77::1]:8123"] {
        setting.served(address, true)?;
    }
    setting.served("10.77.0.1:8181", false)?;
    setting.served("10.77.0.1:8080", true)?;
    // Longer, while connections are open on its old ports.
    let mut inside = setting.connect_to("10.77.0.1:8150".parse()?)?;
    assert_eq!(inside.exchange(GET, false)?.status, 200);
    setting.widen(8280)?;
    setting.served("10.77.0.1:8280", true)?;
    for client in [&mut kept, &mut inside] {
        assert_eq!(client.exchange(GET, false)?.status, 200, "a reload touched a connection");
    }
    // Shorter.
    setting.widen(8100)?;
    setting.served("10.77.0.1:8101", false)?;
    setting.served("10.77.0.1:8280", false)?;
    setting.served("10.77.0.1:8100", true)?;
    setting.served("10.77.0.1:8080", true)?;
    assert_eq!(kept.exchange(GET, false)?.status, 200, "its port is still there");
    Ok(setting)
}

#[test]
fn a_listener_has_a_range_of_ports() -> Result<()> {
    let setting = with_range(&[], &["g0", "lo"])?;
    let stats = setting.daemon.stats()?;
    let rows = stats["listeners"].as_array().context("rows")?;
    let row =
        |name: &str| rows.iter().find(|row| row["hook"] == "tc_ingress" && row["listener"] == name);
    let range = row("*:8080-8100").context("no row for the range")?;
    assert!(range["verdicts"]["steered"]["packets"].as_u64() >= Some(2), "{range:#}");
    Ok(())
}

#[test]
fn without_the_kernel_half_a_range_is_bound() -> Result<()> {
    with_range(&["--datapath", "off"], &[]).map(drop)
}

#[test]
fn policies_and_logs_see_the_port_that_was_asked() -> Result<()> {
    let setting = setting()?;
    setting.widen(8100)?;
    setting.manifests.write(
        "ports.yaml",
        "apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: not-8099, namespace: default }
spec:
  targetRefs: [ { group: gateway.networking.k8s.io, kind: Gateway, name: ingress } ]
  action: DENY
  rules: [ { to: [ { operation: { ports: [ \"8099\" ] } } ] } ]
",
    )?;
    setting
        .daemon
        .until("the policy", || (setting.status_of("10.77.0.1:8099").ok()? == 403).then_some(()))?;
    assert_eq!(setting.status_of("10.77.0.1:8098")?, 200);
    Ok(())
}

/// Another Gateway with addresses of its own and a route that answers from elsewhere.
fn other_gateway(port: u16, address: &str, upstream: SocketAddr) -> String {
    let listener = manifests::http_listener("http", port);
    let mut text = manifests::base(&listener, upstream)
        .replace("name: ingress", "name: other")
        .replace("name: all,", "name: other,")
        .replace("name: echo", "name: other")
        .replace(
            "  gatewayClassName: default\n",
            &format!("  gatewayClassName: default\n  addresses: [ {{ value: {address} }} ]\n"),
        )
        .replace("kubernetes.io/service-name: echo", "kubernetes.io/service-name: other");
    let class = text.find("---").unwrap_or_default();
    text.drain(..class + 4);
    text
}

#[test]
fn gateways_share_a_port_at_addresses_of_their_own() -> Result<()> {
    for (arguments, interfaces) in [(&[][..], &["g0", "lo"][..]), (&["--datapath", "off"], &[])] {
        let setting = Options { arguments, interfaces, ..Options::default() }.start()?;
        let mut kept = setting.connect()?;
        assert_eq!(kept.exchange(GET, false)?.status, 200);
        let upstream = gateway_tests::origin::Origin::start(
            Some(&setting.pair.gateway),
            std::sync::Arc::new(|_, stream| {
                std::io::Write::write_all(
                    stream,
                    b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother",
                )?;
                Ok(true)
            }),
        )?;
        setting
            .manifests
            .write("other.yaml", &other_gateway(8080, "10.78.0.1", upstream.address))?;
        let body = |address: &str| -> Result<String> {
            Ok(setting.connect_to(address.parse()?)?.exchange(GET, false)?.body)
        };
        setting.daemon.until("the other Gateway", || {
            (body("10.78.0.1:8080").ok()? == "other").then_some(())
        })?;
        assert_ne!(body("10.77.0.1:8080")?, "other");
        assert_ne!(body("[fd77::1]:8080")?, "other");
        assert_eq!(kept.exchange(GET, false)?.status, 200);
        explain_asks_which(&setting)?;
        // It goes, and its address is everybody's again.
        std::fs::remove_file(setting.manifests.path().join("other.yaml"))?;
        setting
            .daemon
            .until("its end", || (body("10.78.0.1:8080").ok()? != "other").then_some(()))?;
        assert_eq!(kept.exchange(GET, false)?.status, 200);
    }
    Ok(())
}

/// Offline, too, the address decides.
fn explain_asks_which(setting: &Setting) -> Result<()> {
    let binary = gateway_tests::environment::daemon_binary()?;
    let binary = binary.to_str().context("path")?;
    let config = setting.manifests.path().to_str().context("path")?;
    let explain = |more: &[&str]| {
        let request = ["--request", "GET http://a:8080/x"];
        let words = [&["explain", "--config", config], &request[..], more].concat();
        gateway_tests::shell::output(binary, &words)
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let asked = text(&explain(&[])?.stderr);
    ensure!(asked.contains("say which by --address") && asked.contains("10.78.0.1"), "{asked}");
    for (address, gateway) in [("10.78.0.1", "default/other"), ("10.77.0.1", "default/ingress")] {
        let told = explain(&["--address", address])?;
        let told = text(&told.stdout);
        ensure!(told.contains(&format!("{gateway}/http")), "{address}: {told}");
    }
    Ok(())
}

#[test]
fn a_changed_listener_leaves_the_connections_of_others() -> Result<()> {
    let setting = setting()?;
    let mut kept = setting.connect()?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    // Another certificate for the HTTPS listener, and a name.
    let (secret, pem) = manifests::certificate("https", &["other.example.test"])?;
    setting.manifests.write("secret.yaml", &secret)?;
    setting.edit(|base| {
        let plain = manifests::https_listener("https", 8443, None);
        base.replace(&plain, &manifests::https_listener("https", 8443, Some("other.example.test")))
    })?;
    let certificate = setting.manifests.path().join("other.pem");
    std::fs::write(&certificate, pem)?;
    let certificate = certificate.to_str().context("path")?;
    let resolve = "other.example.test:8443:10.77.0.1";
    setting.daemon.until("the new certificate", || {
        let url = "https://other.example.test:8443/x";
        let words = ["--cacert", certificate, "--resolve", resolve, url];
        (setting.curl(&words).ok()?.status == 200).then_some(())
    })?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    // Another port for it.
    setting.edit(|base| base.replace("port: 8443", "port: 8444"))?;
    setting.daemon.until("the new port", || {
        let url = "https://other.example.test:8444/x";
        let words =
            ["--cacert", certificate, "--resolve", "other.example.test:8444:10.77.0.1", url];
        (setting.curl(&words).ok()?.status == 200).then_some(())
    })?;
    setting.daemon.until("the old port to be gone", || {
        setting.connect_to(([10, 77, 0, 1], 8443).into()).is_err().then_some(())
    })?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    let log = setting.daemon.log();
    ensure!(!log.contains("port closed address=*:8080"), "the other listener was touched: {log}");
    setting.daemon.signal(Signal::SIGHUP)?;
    assert_eq!(kept.exchange(GET, false)?.status, 200);
    Ok(())
}
