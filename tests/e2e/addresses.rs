//! Gateways with addresses that the node does not own: local routes come, go with a reload, and
//! are left to no one.

use anyhow::{Context, Result, ensure};
use gateway_tests::environment::daemon_binary;
use gateway_tests::shell;
use nix::sys::signal::Signal;

use crate::setting::{Options, Setting, setting};

/// Nobody's addresses; routers send packets for them to the gateway.
const ROUTED: [&str; 2] = ["203.0.113.7", "2001:db8:7::1"];
/// In the network of `g0`, and no interface's.
const NEIGHBOUR: &str = "10.77.0.99";

/// A setting whose Gateway has no address yet, with routes to the node at the client.
fn start(arguments: &[&str]) -> Result<Setting> {
    let setting = Options { arguments, ..Options::default() }.start()?;
    for (net, by) in [("203.0.113.0/24", "10.77.0.1"), ("2001:db8:7::/64", "fd77::1")] {
        setting.pair.client.ip(&["route", "add", net, "via", by])?;
    }
    Ok(setting)
}

/// The same, started again with these addresses of its Gateway.
fn start_at(addresses: &[&str], arguments: &[&str]) -> Result<Setting> {
    let Setting { mut daemon, origin, manifests, certificate, pair } = start(&[])?;
    daemon.signal(Signal::SIGTERM)?;
    ensure!(daemon.ended()?.success());
    let setting = Setting { daemon, origin, manifests, certificate, pair };
    setting.move_to(addresses)?;
    let Setting { daemon, origin, manifests, certificate, pair } = setting;
    let daemon = daemon.again(arguments)?;
    Ok(Setting { daemon, origin, manifests, certificate, pair })
}

impl Setting {
    /// Gives the Gateway these addresses.
    fn move_to(&self, addresses: &[&str]) -> Result<()> {
        let base = std::fs::read_to_string(self.manifests.path().join("base.yaml"))?;
        let lines = base.lines().filter(|line| !line.starts_with("  addresses:"));
        let list: Vec<String> = addresses.iter().map(|a| format!("{{ value: \"{a}\" }}")).collect();
        let line = format!("  addresses: [ {} ]", list.join(", "));
        let moved: Vec<&str> = lines
            .flat_map(|one| match one {
                "  gatewayClassName: default" if !addresses.is_empty() => vec![one, &line],
                _ => vec![one],
            })
            .collect();
        self.manifests.write("base.yaml", &(moved.join("\n") + "\n"))?;
        Ok(())
    }

    fn status_at(&self, address: &str) -> Result<u16> {
        let host = if address.contains(':') { format!("[{address}]") } else { address.to_owned() };
        let url = format!("http://{host}:8080/x");
        Ok(self.curl(&["--connect-timeout", "2", &url])?.status)
    }

    /// The addresses that the node has local routes of ours for.
    fn local_routes(&self) -> Result<Vec<String>> {
        let gateway = &self.pair.gateway;
        let mut all = Vec::new();
        for family in ["-4", "-6"] {
            let show = ["route", "show", "table", "local", "proto", "103"];
            let text = gateway.ip(&[&[family], &show[..]].concat())?;
            all.extend(text.lines().filter_map(|line| Some(line.split(' ').nth(1)?.to_owned())));
        }
        Ok(all)
    }

    fn logs(&self, what: &str) -> Result<()> {
        self.daemon.until(what, || self.daemon.log().contains(what).then_some(()))
    }
}

#[test]
fn addresses_that_no_interface_has_are_served() -> Result<()> {
    let mut setting = start_at(&ROUTED, &[])?;
    assert_eq!(setting.local_routes()?, ROUTED);
    for address in ROUTED {
        assert_eq!(setting.status_at(address)?, 200, "{address}");
    }
    let other = setting.status_at("10.77.0.1").err().context("another address was served")?;
    assert!(format!("{other:#}").contains("connect"), "{other:#}");
    // Nothing is left, nor taken from anybody.
    setting.daemon.signal(Signal::SIGTERM)?;
    assert!(setting.daemon.ended()?.success());
    assert_eq!(setting.local_routes()?, [] as [String; 0]);
    Ok(())
}

#[test]
fn routes_change_hands_with_a_takeover() -> Result<()> {
    let mut setting = start_at(&ROUTED, &["--drain-timeout", "0.5"])?;
    // A successor that fails takes nothing along.
    let (status, log) = setting.daemon.again_fails(&["--access-log", "/no/such/directory/log"])?;
    ensure!(!status.success(), "{log}");
    assert_eq!(setting.local_routes()?, ROUTED);
    assert_eq!(setting.status_at(ROUTED[0])?, 200);
    // The old one is not told of this: it reads no configuration any more.
    setting.daemon.signal(Signal::SIGSTOP)?;
    setting.move_to(&ROUTED[1..])?;
    let mut next = setting.daemon.beside(&[])?;
    setting.daemon.signal(Signal::SIGCONT)?;
    next.ready()?;
    let mut old = std::mem::replace(&mut setting.daemon, next);
    ensure!(old.ended()?.success(), "{}", old.log());
    assert_eq!(setting.status_at(ROUTED[1])?, 200, "it stays");
    setting.daemon.until("the other route to be gone", || {
        (setting.local_routes().ok()? == ROUTED[1..]).then_some(())
    })?;
    setting.daemon.signal(Signal::SIGTERM)?;
    ensure!(setting.daemon.ended()?.success());
    assert_eq!(setting.local_routes()?, [] as [String; 0]);
    Ok(())
}

#[test]
fn a_reload_brings_and_takes_routes() -> Result<()> {
    let setting = start_at(&ROUTED[..1], &["--drain-timeout", "0.5"])?;
    assert!(setting.daemon.log().contains("keeping CAP_NET_ADMIN"));
    setting.move_to(&ROUTED)?;
    setting.daemon.until("the second address", || {
        (setting.status_at(ROUTED[1]).ok()? == 200).then_some(())
    })?;
    let from = (ROUTED[0].parse::<std::net::IpAddr>()?, 8080).into();
    let mut kept = setting.connect_to(from)?;
    let get = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n";
    assert_eq!(kept.exchange(get, false)?.status, 200);
    setting.move_to(&ROUTED[1..])?;
    setting.logs("local route removed")?;
    assert_eq!(setting.local_routes()?, ROUTED[1..]);
    assert_eq!(setting.status_at(ROUTED[1])?, 200, "the other address is not touched");
    Ok(())
}

#[test]
fn without_privilege_a_reload_that_needs_a_route_is_refused() -> Result<()> {
    let setting = start(&[])?;
    setting.move_to(&ROUTED)?;
    setting.logs("configuration not published")?;
    let log = setting.daemon.log();
    for part in
        ["203.0.113.7 is not an address of this node", "ip route add local 203.0.113.7 dev lo"]
    {
        assert!(log.contains(part), "{part}: {log}");
    }
    assert_eq!(setting.status_at("10.77.0.1")?, 200, "the last good one stays");
    // Told beforehand, it keeps the privilege.
    let setting = start(&["--local-routes", "always"])?;
    setting.move_to(&ROUTED)?;
    setting
        .daemon
        .until("the address", || (setting.status_at(ROUTED[0]).ok()? == 200).then_some(()))?;
    Ok(())
}

#[test]
fn an_address_that_a_neighbour_may_have_is_not_taken_unless_told_so() -> Result<()> {
    let setting = start_at(&[NEIGHBOUR], &[])?;
    assert!(setting.daemon.log().contains("another node may have it"));
    assert_eq!(setting.local_routes()?, [] as [String; 0]);
    assert!(setting.status_at(NEIGHBOUR).is_err());
    // As keepalived does when this node becomes the one that has it.
    setting.pair.gateway.ip(&["address", "add", &format!("{NEIGHBOUR}/32"), "dev", "g0"])?;
    setting
        .daemon
        .until("the address", || (setting.status_at(NEIGHBOUR).ok()? == 200).then_some(()))?;

    let setting = start_at(&[NEIGHBOUR], &["--local-routes", "always"])?;
    assert_eq!(setting.local_routes()?, [NEIGHBOUR]);
    assert_eq!(setting.status_at(NEIGHBOUR)?, 200);
    Ok(())
}

#[test]
fn with_local_routes_off_it_says_what_to_run_and_that_is_enough() -> Result<()> {
    let setting = start_at(&ROUTED, &["--local-routes", "off"])?;
    let log = setting.daemon.log();
    assert_eq!(setting.local_routes()?, [] as [String; 0]);
    for (address, family) in ROUTED.into_iter().zip(["-4", "-6"]) {
        assert!(setting.status_at(address).is_err(), "{address}");
        let words = ["route", "add", "local", address, "dev", "lo"];
        let told = if family == "-6" { "ip -6 " } else { "ip " }.to_owned() + &words.join(" ");
        assert!(log.contains(&told), "{told}: {log}");
        setting.pair.gateway.ip(&[&[family], &words[..]].concat())?;
        assert_eq!(setting.status_at(address)?, 200, "{address}");
    }
    Ok(())
}

#[test]
fn what_a_killed_daemon_left_is_taken_over_or_unloaded() -> Result<()> {
    let mut setting = start_at(&ROUTED, &[])?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    assert_eq!(setting.local_routes()?, ROUTED);
    setting.daemon = setting.daemon.again(&[])?;
    assert_eq!(setting.status_at(ROUTED[0])?, 200);
    setting.daemon.signal(Signal::SIGTERM)?;
    setting.daemon.ended()?;
    assert_eq!(setting.local_routes()?, [] as [String; 0], "the next one removes them");

    setting.daemon = setting.daemon.again(&[])?;
    setting.daemon.signal(Signal::SIGKILL)?;
    setting.daemon.ended()?;
    let binary = daemon_binary()?;
    let words = ["unload", "--pin-directory", setting.daemon.pins()];
    let gateway = &setting.pair.gateway;
    let told = gateway.run(binary.to_str().context("path")?, &words)?;
    assert!(told.contains("removed the local route of 203.0.113.7\n"), "{told}");
    assert_eq!(setting.local_routes()?, [] as [String; 0]);
    Ok(())
}

#[test]
fn without_the_kernel_half_they_are_bound() -> Result<()> {
    let setting = start_at(&ROUTED, &["--datapath", "off"])?;
    for address in ROUTED {
        assert_eq!(setting.status_at(address)?, 200, "{address}");
    }
    Ok(())
}

#[test]
fn doctor_says_what_will_become_of_an_address() -> Result<()> {
    let setting = setting()?;
    setting.move_to(&[ROUTED[0], NEIGHBOUR, "10.77.0.1"])?;
    let config = setting.manifests.path().to_str().context("path")?.to_owned();
    let binary = daemon_binary()?;
    let net = format!("--net={}", setting.pair.gateway.path());
    let doctor = |more: &[&str]| -> Result<String> {
        let words = [net.as_str(), "--", binary.to_str().context("path")?, "doctor", "--config"];
        let pins = ["--pin-directory", "/sys/fs/bpf/gateway-test/none", "--xdp", "auto"];
        let all = [&words[..], &[&config], &pins, more].concat();
        Ok(String::from_utf8_lossy(&shell::output("nsenter", &all)?.stdout).into_owned())
    };
    let text = doctor(&[])?;
    for line in [
        "good   address 203.0.113.7: is not this node's; it will get a local route",
        "note   address 10.77.0.99: is not this node's, but in a network",
        "good   address 10.77.0.1: is this node's",
    ] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let text = doctor(&["--local-routes", "off"])?;
    let line = "note   address 203.0.113.7: is not this node's, and --local-routes is off";
    assert!(text.contains(line), "{text}");
    Ok(())
}
