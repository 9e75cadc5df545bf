//! `doctor`: what is in the way is a fault and says what to do, what is not is none.

use std::fs;

use anyhow::{Context, Result, ensure};
use gateway_tests::environment::daemon_binary;
use gateway_tests::netns::{Netns, Pair};
use gateway_tests::shell::{output, run};
use serde_json::Value;

use crate::setting::setting;

/// Runs `doctor --json` in a namespace: whether it exits 0, and what it found.
fn doctor(netns: &Netns, arguments: &[&str]) -> Result<(bool, Value)> {
    let binary = daemon_binary()?;
    let net = format!("--net={}", netns.path());
    let mut all = vec![net.as_str(), "--", binary.to_str().context("path")?, "doctor", "--json"];
    all.extend(arguments);
    let output = output("nsenter", &all)?;
    let text = String::from_utf8_lossy(&output.stdout);
    let report: Value = serde_json::from_str(&text)
        .with_context(|| format!("{text}{}", String::from_utf8_lossy(&output.stderr)))?;
    ensure!(report["good"].as_bool() == Some(output.status.success()), "{report:#}");
    Ok((output.status.success(), report))
}

/// Asserts that there is a finding of a level and topic whose words contain `seen`, and that it
/// says what to do unless it is good.
fn assert_found(report: &Value, level: &str, topic: &str, seen: &str) {
    let findings = report["findings"].as_array().map(Vec::as_slice).unwrap_or_default();
    let found = findings.iter().find(|finding| {
        finding["level"] == level
            && finding["topic"] == topic
            && finding["seen"].as_str().is_some_and(|words| words.contains(seen))
    });
    let Some(found) = found else { panic!("no {level} about {topic}: {seen}\n{report:#}") };
    assert_eq!(found["action"] == "", level == "good", "{found:#}");
}

/// A pin directory that no daemon has; removed when dropped.
struct Pins(String);

impl Pins {
    fn new() -> Result<Self> {
        let name = tempfile::tempdir()?.path().file_name().context("name")?.to_owned();
        let name = name.to_string_lossy().replace('.', "-");
        let pins = format!("/sys/fs/bpf/gateway-test/doctor{name}");
        fs::create_dir_all(format!("{pins}/v9"))?;
        Ok(Self(pins))
    }
}

impl Drop for Pins {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("cannot remove {}: {error}", self.0);
        }
    }
}

#[test]
fn a_machine_that_can_run_the_gateway_has_no_fault() -> Result<()> {
    let pair = Pair::new()?;
    let pins = Pins::new()?;
    let directory = format!("{}/v9", pins.0);
    let arguments = ["--interface", "g0", "--interface", "lo", "--pin-directory", &directory];
    let (good, report) = doctor(&pair.gateway, &arguments)?;
    assert!(good, "{report:#}");
    for (topic, seen) in [
        ("kernel feature", "bpf_sk_assign (since 5.7)"),
        ("kernel feature", "ring buffers, CAP_BPF and the boot clock (since 5.8)"),
        ("BTF", "is there"),
        ("privilege", "CAP_NET_ADMIN"),
        ("bpffs", "is on one"),
        ("pins", "counters begin at zero"),
        ("interface g0", "XDP will run in generic mode: a virtual interface (veth)"),
        ("interface lo", "MTU 65536"),
        ("admin address", "127.0.0.1:9901 is free"),
    ] {
        assert_found(&report, "good", topic, seen);
    }
    // The setting is the machine's, and this is a namespace.
    assert_found(&report, "note", "JIT", "not to be seen from this network namespace");
    Ok(())
}

#[test]
fn what_is_in_the_way_is_named() -> Result<()> {
    let setting = setting()?;
    let netns = &setting.pair.gateway;
    // The daemon that runs is no fault to itself.
    let own = ["--interface", "g0", "--pin-directory", setting.daemon.pins()];
    let (good, report) = doctor(netns, &own)?;
    assert!(good, "{report:#}");
    assert_found(&report, "note", "pins", "a gateway-daemon runs with");
    assert_found(&report, "good", "interface g0", "ours");

    // To one with other pins its program is foreign.
    let pins = Pins::new()?;
    let directory = format!("{}/v9", pins.0);
    fs::create_dir(format!("{}/v8", pins.0))?;
    let config = setting.manifests.path().to_str().context("path")?;
    let other = ["--interface", "g0", "--pin-directory", &directory];
    let (good, report) = doctor(netns, &other)?;
    assert!(!good);
    assert_found(&report, "fault", "interface g0", "gateway_xdp");
    assert_found(
        &report,
        "note",
        "interface g0",
        "other TC programs at ingress, in order: gateway",
    );
    assert_found(&report, "note", "pins", "pins of another layout at");
    // In nobody's way who can do without, or goes first.
    let (good, report) = doctor(netns, &[&other[..], &["--xdp", "auto"]].concat())?;
    assert!(good, "{report:#}");
    assert_found(&report, "note", "interface g0", "gateway_xdp");
    let more = ["--xdp", "off", "--tc-order", "first"];
    let (good, report) = doctor(netns, &[&other[..], &more[..]].concat())?;
    assert!(good, "{report:#}");
    assert_found(&report, "good", "interface g0", "XDP will not run");
    let native = [&other[..], &["--xdp", "auto", "--xdp-mode", "native"]].concat();
    assert_found(&doctor(netns, &native)?.1, "good", "interface g0", "native or not at all");

    let (good, report) = doctor(netns, &[&other[..], &["--interface", "nothere0"]].concat())?;
    assert!(!good);
    assert_found(&report, "fault", "interface nothere0", "does not exist");

    // A map of another layout.
    let map = format!("{directory}/PATH_NAMES");
    let layout = "type array key 4 value 256 entries 16384 name x flags 1024";
    run(
        "bpftool",
        &[&["map", "create", &map], &layout.split(' ').collect::<Vec<_>>()[..]].concat(),
    )?;
    let (good, report) = doctor(netns, &[&other[..], &["--interface", "lo"]].concat())?;
    assert!(!good);
    assert_found(&report, "fault", "pins", "PATH_NAMES has value size 256");

    // Ports, where the daemon would bind them.
    let _taken = netns.inside(|| {
        let port = |port: u16| std::net::TcpListener::bind(("0.0.0.0", port));
        Ok((port(8080)?, port(9901)?))
    })?;
    let off = ["--datapath", "off", "--config", config, "--pin-directory", &directory];
    let (good, report) = doctor(netns, &off)?;
    assert!(!good);
    assert_found(&report, "fault", "port", "another process listens on *:8080");
    assert_found(&report, "good", "port", "*:8443 is free");
    assert_found(&report, "fault", "admin address", "cannot listen on 127.0.0.1:9901");
    Ok(())
}
