//! TLS: the listener and certificate by server name, names that nobody has, requests that leave
//! their listener, versions, and handshakes that fail.

use anyhow::Result;
use gateway_tests::manifests::{base, certificate, http_listener, https_listener};

use crate::setting::{Setting, setting};

/// Two HTTPS listeners on one port, by hostname, each with a certificate of its own.
fn two_listeners() -> Result<(Setting, [String; 2])> {
    let setting = setting()?;
    let (first, first_pem) = certificate("first", &["a.test"])?;
    let (second, second_pem) = certificate("second", &["x.b.test"])?;
    let listeners = http_listener("http", 8080)
        + &https_listener("first", 8443, Some("a.test"))
        + &https_listener("second", 8443, Some("*.b.test"));
    let text = base(&listeners, setting.origin.address);
    setting.manifests.write("base.yaml", &format!("{text}---\n{first}---\n{second}"))?;
    setting
        .daemon
        .until("generation 2", || setting.daemon.log().contains("generation=2").then_some(()))?;
    let mut files = Vec::new();
    for (name, pem) in [("first.pem", first_pem), ("second.pem", second_pem)] {
        let path = setting.manifests.path().join(name);
        std::fs::write(&path, pem)?;
        files.push(path.display().to_string());
    }
    let [first, second] = [files.remove(0), files.remove(0)];
    Ok((setting, [first, second]))
}

#[test]
fn chooses_listener_and_certificate_by_server_name() -> Result<()> {
    let (setting, [first, second]) = two_listeners()?;
    let to = ["--connect-to", "::10.77.0.1:8443"];
    for (pem, url, host, status) in [
        (&first, "https://a.test:8443/x", None, Some(200)),
        (&second, "https://x.b.test:8443/x", None, Some(200)),
        // The certificate of another listener is not shown.
        (&second, "https://a.test:8443/x", None, None),
        // A name that no listener has.
        (&first, "https://c.test:8443/x", None, None),
        // A request that leaves the listener of its connection.
        (&first, "https://a.test:8443/x", Some("Host: x.b.test"), Some(421)),
        // A host that no listener has, over a connection to one that is there.
        (&first, "https://a.test:8443/x", Some("Host: c.test"), Some(404)),
    ] {
        let mut arguments = vec!["--cacert", pem, url];
        arguments.extend(to);
        if let Some(host) = host {
            arguments.extend(["--header", host]);
        }
        let answer = setting.curl(&arguments);
        match status {
            Some(status) => assert_eq!(answer?.status, status, "{url} {host:?}"),
            None => assert!(answer.is_err(), "{url}: {answer:?}"),
        }
    }
    let stats = setting.daemon.stats()?;
    assert!(stats["connections"]["handshake_failed"].as_u64() >= Some(1), "{stats:#}");
    Ok(())
}

#[test]
fn speaks_tls_12_and_13_and_nothing_else() -> Result<()> {
    let setting = setting()?;
    for (version, good) in [("1.1", false), ("1.2", true), ("1.3", true)] {
        let answer = setting.curl_tls(&[
            &format!("--tlsv{version}"),
            "--tls-max",
            version,
            "https://gw.example.test:8443/x",
        ]);
        assert_eq!(answer.is_ok(), good, "{version}: {answer:?}");
    }
    // HTTP in clear to the TLS port.
    let plain = setting.curl(&["http://10.77.0.1:8443/x"]);
    assert!(plain.is_err(), "{plain:?}");
    Ok(())
}
