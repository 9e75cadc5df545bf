//! Reload on SIGHUP and on file change: new routes and ports are served, a broken configuration
//! leaves the last good one in force.

use std::net::SocketAddr;

use anyhow::Result;
use gateway_tests::manifests::{http_listener, https_listener};
use nix::sys::signal::Signal;

use crate::setting::{HTTP, setting};

#[test]
fn a_broken_configuration_leaves_the_last_good_one() -> Result<()> {
    let setting = setting()?;
    for (name, broken, complaint) in [
        ("yaml", "kind: Gateway\nspec: ]\n", "broken.yaml:2"),
        (
            "unknown field",
            "apiVersion: v1\nkind: Service\nmetadata: {name: s, namespace: default}\nspec: {prots: []}\n",
            "prots",
        ),
        (
            "unknown kind",
            "apiVersion: example.test/v1\nkind: Surprise\nmetadata: {name: s}\n",
            "Surprise",
        ),
    ] {
        setting.manifests.write("broken.yaml", broken)?;
        setting.daemon.until(name, || setting.daemon.log().contains(complaint).then_some(()))?;
        assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200, "{name}");
        assert_eq!(setting.curl(&[&format!("{HTTP}/productpage")])?.status, 403, "{name}");
    }
    std::fs::remove_file(setting.manifests.path().join("broken.yaml"))?;
    setting.daemon.until("recovery", || {
        setting.daemon.log().contains("configuration published").then_some(())
    })?;
    Ok(())
}

#[test]
fn a_port_is_added_and_removed_without_touching_others() -> Result<()> {
    let setting = setting()?;
    let mut kept = setting.connect()?;
    let get = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(kept.exchange(get, false)?.status, 200);
    let base = std::fs::read_to_string(setting.manifests.path().join("base.yaml"))?;
    let https = https_listener("https", 8443, None);
    let added = base.replace(&https, &(https.clone() + &http_listener("more", 8090)));
    setting.manifests.write("base.yaml", &added)?;
    let address = SocketAddr::from(([10, 77, 0, 1], 8090));
    let mut on_new = setting.daemon.until("the new port", || {
        let mut client = setting.connect_to(address).ok()?;
        (client.exchange(get, false).ok()?.status == 200).then_some(client)
    })?;
    assert_eq!(kept.exchange(get, false)?.status, 200);
    setting.manifests.write("base.yaml", &base)?;
    setting
        .daemon
        .until("the port to be gone", || setting.connect_to(address).is_err().then_some(()))?;
    assert_eq!(kept.exchange(get, false)?.status, 200, "another listener's connection goes on");
    // A connection of the removed listener is told that there is nothing behind it any more.
    assert_eq!(on_new.exchange(get, false)?.status, 404);
    Ok(())
}

#[test]
fn sighup_reads_again() -> Result<()> {
    let setting = setting()?;
    setting.daemon.signal(Signal::SIGHUP)?;
    setting
        .daemon
        .until("generation 2", || setting.daemon.log().contains("generation=2").then_some(()))?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    Ok(())
}
