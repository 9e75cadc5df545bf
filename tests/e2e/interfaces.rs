//! Several interfaces, native and generic XDP, an XDP hook that is taken, and interfaces that are
//! removed and made again while the daemon runs.

use anyhow::{Context, Result};
use gateway_tests::curl::curl;
use gateway_tests::netns::Netns;
use gateway_tests::object::{Kind, answering};
use serde_json::Value;
use socket2::{Domain, Protocol, Type};

use crate::setting::{HTTP, Options, Setting, setting};

const ADMIN: &str = "127.0.0.1:9901";

impl Setting {
    /// What the admin listener answers.
    fn admin(&self, path: &str) -> Result<String> {
        Ok(curl(Some(&self.pair.gateway), &[&format!("http://{ADMIN}{path}")])?.body)
    }

    /// What `/stats` says of an interface: how XDP and TC run, and whether it is there.
    fn interface(&self, name: &str) -> Result<(String, String, bool)> {
        let stats: Value = serde_json::from_str(&self.admin("/stats")?)?;
        let mut all = stats["interfaces"].as_array().into_iter().flatten();
        let found = all.find(|found| found["interface"] == name).context("no such interface")?;
        let word = |field: &str| found[field].as_str().unwrap_or_default().to_owned();
        Ok((word("xdp"), word("tc"), found["index"] != 0))
    }

    /// Packets with a verdict at a hook, for every listener together.
    fn seen(&self, hook: &str, verdict: &str) -> Result<u64> {
        let stats = self.daemon.stats()?;
        let rows = stats["listeners"].as_array().context("no listeners")?;
        let rows = rows.iter().filter(|row| row["hook"] == hook);
        Ok(rows.filter_map(|row| row["verdicts"][verdict]["packets"].as_u64()).sum())
    }
}

#[test]
fn every_interface_is_served_in_both_families() -> Result<()> {
    let setting = setting()?;
    // Not attached to: the daemon does not know of it.
    setting.pair.cable("c1", "g1", &["10.79.0.", "fd79::"])?;
    for url in ["http://10.79.0.1:8080/x", "http://[fd79::1]:8080/x"] {
        let error = setting.curl(&[url]).err().with_context(|| format!("{url} was served"))?;
        assert!(format!("{error:#}").contains("connect"), "{error:#}");
    }
    let setting = {
        let Setting { mut daemon, origin, manifests, certificate, pair } = setting;
        daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
        daemon.ended()?;
        let daemon = daemon.again(&["--interface", "g1"])?;
        Setting { daemon, origin, manifests, certificate, pair }
    };
    for url in
        ["http://10.79.0.1:8080/x", "http://[fd79::1]:8080/x", "http://[fd77::1]:8080/x", HTTP]
    {
        assert_eq!(setting.curl(&[url])?.status, 200, "{url}");
    }
    let log = setting.daemon.log();
    for interface in ["g0", "lo", "g1"] {
        let line = format!("interface=\"{interface}\" xdp=\"generic\" tc=\"tcx\"");
        assert!(log.contains(&line), "{line} in {log}");
    }
    assert_eq!(setting.seen("tc_ingress", "steered")?, 4);
    Ok(())
}

#[test]
fn an_interface_that_is_made_again_is_served_again() -> Result<()> {
    let setting = Options { arguments: &["--admin", ADMIN], ..Options::default() }.start()?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    assert_eq!(setting.interface("g0")?, ("generic".to_owned(), "tcx".to_owned(), true));
    let sample = |page: &str, value: u64| {
        let line = "gateway_interface_attached{interface=\"g0\",xdp=\"generic\",tc=\"tcx\"}";
        page.contains(&format!("{line} {value}\n"))
    };
    assert!(sample(&setting.admin("/metrics")?, 1));

    setting.pair.gateway.ip(&["link", "delete", "g0"])?;
    setting
        .daemon
        .until("the loss", || setting.daemon.log().contains("interface lost").then_some(()))?;
    assert!(sample(&setting.admin("/metrics")?, 0));
    let ready = setting.admin("/readyz")?;
    assert!(ready.contains("interface g0: not attached"), "{ready}");
    assert!(!setting.interface("g0")?.2);

    setting.pair.lay()?;
    setting.daemon.until("the return", || {
        setting.daemon.log().contains("interface back: kernel half attached").then_some(())
    })?;
    for url in [&format!("{HTTP}/x"), "http://[fd77::1]:8080/x"] {
        assert_eq!(setting.curl(&[url])?.status, 200, "{url}");
    }
    assert!(setting.interface("g0")?.2);
    assert!(sample(&setting.admin("/metrics")?, 1));
    assert_eq!(setting.seen("tc_ingress", "steered")?, 3, "counters go on");
    Ok(())
}

/// A host behind the client, which routes for it over a link of 600 bytes a packet.
fn behind_a_narrow_link(setting: &Setting) -> Result<Netns> {
    let far = Netns::new()?;
    let router = &setting.pair.client;
    let name = far.path();
    let name = name.rsplit('/').next().context("name")?;
    router.ip(&["link", "add", "r0", "type", "veth", "peer", "name", "f0", "netns", name])?;
    for (netns, interface, address) in
        [(router, "r0", "10.80.0.1/24"), (&far, "f0", "10.80.0.2/24")]
    {
        netns.ip(&["link", "set", interface, "up"])?;
        netns.ip(&["addr", "add", address, "dev", interface])?;
    }
    far.ip(&["route", "add", "default", "via", "10.80.0.1"])?;
    setting.pair.gateway.ip(&["route", "add", "10.80.0.0/24", "via", "10.77.0.2"])?;
    router.ip(&["link", "set", "c0", "mtu", "600"])?;
    router.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"])?;
    // Packets that may be fragmented.
    far.run("sh", &["-c", "echo 1 > /proc/sys/net/ipv4/ip_no_pmtu_disc"])?;
    Ok(far)
}

#[test]
fn fragments_and_packets_that_cannot_be_read_pass_and_are_counted() -> Result<()> {
    let setting = setting()?;
    let far = behind_a_narrow_link(&setting)?;
    let body = "x".repeat(120_000);
    let answer = curl(Some(&far), &["--data", &body, &format!("{HTTP}/x")])?;
    assert_eq!(answer.status, 200);
    for hook in ["xdp", "tc_ingress"] {
        let fragments = setting.seen(hook, "fragment")?;
        assert!(fragments >= 150, "{hook}: {fragments} fragments of {} bytes", body.len());
    }
    let seen = setting.origin.take();
    assert_eq!(seen.first().context("no request")?.body.len(), body.len());

    // A TCP header cut off after ten bytes, with the gateway's port.
    let before = setting.seen("tc_ingress", "unparsed")?;
    far.inside(|| {
        let raw = socket2::Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::TCP))?;
        let to = std::net::SocketAddr::from(([10, 77, 0, 1], 0));
        for _ in 0..5 {
            raw.send_to(&[0x9c, 0x40, 0x1f, 0x90, 0, 0, 0, 1, 0, 0], &to.into())?;
        }
        Ok(())
    })?;
    setting.daemon.until("five that cannot be read", || {
        let xdp = setting.seen("xdp", "unparsed").ok()?;
        let ingress = setting.seen("tc_ingress", "unparsed").ok()?;
        (xdp >= 5 && ingress == before + 5).then_some(())
    })?;
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    Ok(())
}

#[test]
fn native_xdp_is_chosen_by_flag_and_shown() -> Result<()> {
    let arguments = ["--admin", ADMIN, "--xdp-mode", "native", "--deny-source", "10.78.0.2"];
    let interfaces = &["g0"];
    let setting = Options { arguments: &arguments, interfaces, ..Options::default() }.start()?;
    assert_eq!(setting.interface("g0")?.0, "native");
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    let denied = setting.curl(&["--interface", "10.78.0.2", "--connect-timeout", "1", HTTP]);
    assert!(denied.is_err(), "a denied source was served");
    assert!(setting.seen("xdp", "denied_source")? >= 1);
    // From the pins too, in the daemon's network namespace.
    let binary = gateway_tests::environment::daemon_binary()?;
    let binary = binary.to_str().context("path")?;
    let words = ["stats", "--pin-directory", setting.daemon.pins()];
    let table = setting.pair.gateway.run(binary, &words)?;
    let line = table.lines().find(|line| line.starts_with("g0")).context("no g0")?;
    let cells: Vec<_> = line.split_whitespace().collect();
    assert_eq!(cells, ["g0", "native", "tcx"]);
    Ok(())
}

#[test]
fn an_xdp_hook_that_is_taken_is_a_reason_not_to_start_unless_told_so() -> Result<()> {
    let setting = setting()?;
    let Setting { mut daemon, origin, manifests, certificate, pair } = setting;
    daemon.signal(nix::sys::signal::Signal::SIGTERM)?;
    daemon.ended()?;
    let object = tempfile::NamedTempFile::new()?;
    std::fs::write(object.path(), answering(Kind::Xdp, "stranger", 2))?;
    let file = object.path().to_str().context("path")?;
    pair.gateway.ip(&["link", "set", "dev", "g0", "xdpgeneric", "obj", file, "sec", "xdp"])?;
    let (status, log) = daemon.again_fails(&[])?;
    assert!(!status.success());
    for part in ["interface g0 has an XDP program already (stranger, id", "--xdp auto"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let daemon = daemon.again(&["--xdp", "auto"])?;
    let setting = Setting { daemon, origin, manifests, certificate, pair };
    let log = setting.daemon.log();
    assert!(log.contains("carrying on without XDP"), "{log}");
    assert!(log.contains("interface=\"g0\" xdp=\"absent\" tc=\"tcx\""), "{log}");
    assert_eq!(setting.curl(&[&format!("{HTTP}/x")])?.status, 200);
    let link = setting.pair.gateway.ip(&["-details", "link", "show", "dev", "g0"])?;
    assert!(link.contains("stranger"), "the other's program stays: {link}");
    Ok(())
}
