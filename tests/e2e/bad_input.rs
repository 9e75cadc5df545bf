//! Bad input at start: the daemon does not start, and says which object and field.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use anyhow::Result;
use gateway_tests::daemon::Start;
use gateway_tests::manifests::{self, Manifests, base, http_listener, https_listener};
use gateway_tests::shell;

fn upstream() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 9))
}

#[test]
fn names_object_and_field() -> Result<()> {
    let good = base(&http_listener("http", 8080), upstream());
    let policy = crate::setting::policy()?;
    let rows: Vec<(&str, String, &[&str])> = vec![
        ("broken YAML", "kind: Gateway\nspec: ]\n".into(), &["config.yaml:2"]),
        (
            "unknown field",
            good.replace("targetPort", "targetPrt"),
            &["Service default/echo", "targetPrt"],
        ),
        (
            "missing secret",
            base(&https_listener("https", 8443, None), upstream()),
            &["Gateway default/ingress", "certificateRefs", "https-cert"],
        ),
        (
            "clashing protocols",
            base(&(http_listener("a", 8080) + &https_listener("b", 8080, None)), upstream()),
            &["Gateway default/ingress", "8080"],
        ),
        (
            "no addresses",
            good.replace("addresses: [ 127.0.0.1 ]", "addresses: []"),
            &["EndpointSlice default/echo-1", "addresses"],
        ),
        (
            "JWKS that is no JSON",
            format!("{good}---\n{}", policy.replace("{ \"keys\"", "{ keys")),
            &["RequestAuthentication default/demo-issuer", "jwks"],
        ),
    ];
    for (name, text, complaints) in rows {
        let manifests = Manifests::new()?;
        manifests.write("config.yaml", &text)?;
        let binary = gateway_tests::environment::daemon_binary()?;
        let path = manifests.path().join("config.yaml");
        let output = shell::output(
            &binary.to_string_lossy(),
            &["check", "--config", &path.to_string_lossy()],
        )?;
        let printed = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{name}: check is content with\n{text}");
        for complaint in complaints {
            assert!(printed.contains(complaint), "{name}: no {complaint:?} in\n{printed}");
        }
    }
    Ok(())
}

#[test]
fn a_key_has_to_fit_its_certificate() -> Result<()> {
    let manifests = Manifests::new()?;
    let (one, _) = manifests::certificate("https", &["a.test"])?;
    let (other, _) = manifests::certificate("https", &["a.test"])?;
    let key = other.lines().find(|line| line.contains("tls.key")).unwrap_or_default();
    let mixed: Vec<&str> =
        one.lines().map(|line| if line.contains("tls.key") { key } else { line }).collect();
    let text = format!(
        "{}---\n{}\n",
        base(&https_listener("https", 8443, None), upstream()),
        mixed.join("\n")
    );
    manifests.write("config.yaml", &text)?;
    let (status, log) = start(&manifests, &[])?;
    assert!(!status.success());
    assert!(log.contains("Secret default/https-cert") && log.contains("tls.key"), "{log}");
    Ok(())
}

#[test]
fn a_missing_file_is_named() -> Result<()> {
    let missing = Manifests::new()?.path().join("nowhere.yaml");
    let arguments = ["--datapath", "off", "--admin", "off"];
    let (status, log) = Start { netns: None, config: &missing, arguments: &arguments }.fails()?;
    assert!(!status.success());
    assert!(log.contains("nowhere.yaml"), "{log}");
    Ok(())
}

#[test]
fn a_taken_port_is_named() -> Result<()> {
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let port = taken.local_addr()?.port();
    let manifests = Manifests::new()?;
    manifests.write("config.yaml", &base(&http_listener("http", port), upstream()))?;
    let (status, log) = start(&manifests, &[])?;
    assert!(!status.success());
    assert!(log.contains(&format!("0.0.0.0:{port}")), "{log}");
    Ok(())
}

#[test]
fn a_missing_interface_is_named_and_the_way_out() -> Result<()> {
    let manifests = Manifests::new()?;
    manifests.write("config.yaml", &base(&http_listener("http", 8080), upstream()))?;
    let netns = gateway_tests::netns::Netns::new()?;
    let arguments = ["--interface", "nope0", "--admin", "off"];
    let (status, log) =
        Start { netns: Some(&netns), config: manifests.path(), arguments: &arguments }.fails()?;
    assert!(!status.success());
    assert!(log.contains("nope0") && log.contains("--datapath off"), "{log}");
    Ok(())
}

fn start(manifests: &Manifests, more: &[&str]) -> Result<(std::process::ExitStatus, String)> {
    let mut arguments = vec!["--datapath", "off", "--admin", "off"];
    arguments.extend(more);
    Start { netns: None, config: manifests.path(), arguments: &arguments }.fails()
}
