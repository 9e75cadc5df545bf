//! Interfaces: whether the kernel half can be attached, how XDP will run, who is there already.

use std::fs;
use std::path::Path;

use super::Report;
use crate::bpf;
use crate::sys::link::{self, Link};

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`.
const ETHERNET: [u16; 2] = [1, 772];
/// Largest MTU with which a driver runs XDP on packets of one page, roughly: a page without
/// headroom and the kernel's own data. Drivers that take more need programs for several pages.
const XDP_MTU: u32 = 3_498;

pub(super) fn look(report: &mut Report, interfaces: &[String], pins: &Path) {
    let links = match link::links() {
        Ok(links) => links,
        Err(error) => {
            return report.fault(
                "interfaces",
                format!("the kernel does not list them: {error}"),
                "look with `ip link`",
            );
        }
    };
    for name in interfaces {
        match links.iter().find(|link| link.name == *name) {
            Some(link) => interface(report, link, pins),
            None => report.fault(
                format!("interface {name}"),
                "does not exist",
                "name one of `ip link` with --interface",
            ),
        }
    }
}

fn interface(report: &mut Report, link: &Link, pins: &Path) {
    let topic = format!("interface {}", link.name);
    if !ETHERNET.contains(&link.hardware) {
        report.fault(
            topic,
            format!("carries no Ethernet frames (ARP hardware type {})", link.hardware),
            "choose another --interface, or serve with --datapath off",
        );
        return;
    }
    if !link.up {
        report.note(topic.as_str(), "is down", format!("`ip link set {} up`", link.name));
    }
    let (mode, why) = mode(link);
    report.good(topic.as_str(), format!("XDP will run {mode}: {why}; MTU {}", link.mtu));
    if mode == "native if the driver takes it" && link.mtu > XDP_MTU {
        report.note(
            topic.as_str(),
            format!("MTU {} is more than most drivers take for native XDP", link.mtu),
            format!("XDP then runs in generic mode; lower the MTU to {XDP_MTU} for native"),
        );
    }
    let ours = bpf::pinned_programs(pins);
    xdp(report, &topic, link, &ours);
    for ingress in [true, false] {
        tcx(report, &topic, link, &ours, ingress);
    }
}

/// As `bpf::attach` decides.
fn mode(link: &Link) -> (&'static str, String) {
    let device = Path::new("/sys/class/net").join(&link.name).join("device");
    if device.exists() {
        let driver = fs::read_link(device.join("driver")).ok();
        let driver = driver.as_deref().and_then(Path::file_name);
        let driver = driver.map_or("unknown".into(), |name| name.to_string_lossy().into_owned());
        return ("native if the driver takes it", format!("driver {driver}"));
    }
    let kind = link.kind.as_deref().unwrap_or("no device");
    ("in generic mode", format!("a virtual interface ({kind}) has no driver that gains by it"))
}

fn xdp(report: &mut Report, topic: &str, link: &Link, ours: &[u32]) {
    let Some(attached) = link.xdp else { return };
    let name = bpf::program_name(attached.program);
    let name = name.as_deref().unwrap_or("unnamed");
    let seen = format!("XDP program {name} (id {}) is attached", attached.program);
    if ours.contains(&attached.program) {
        report.good(topic, format!("{seen}, ours"));
        return;
    }
    report.fault(
        topic,
        format!("{seen}, not ours, and an interface takes one"),
        format!(
            "remove it with `ip link set dev {} xdp off`, or attach to another --interface",
            link.name
        ),
    );
}

/// Other programs of the same hook: those before ours may keep packets from it.
fn tcx(report: &mut Report, topic: &str, link: &Link, ours: &[u32], ingress: bool) {
    let Some(programs) = bpf::tcx_programs(&link.name, ingress) else { return };
    let hook = if ingress { "ingress" } else { "egress" };
    let foreign: Vec<&str> = programs
        .iter()
        .filter(|(id, _)| !ours.contains(id))
        .map(|(_, name)| name.as_str())
        .collect();
    if foreign.is_empty() {
        return;
    }
    report.note(
        topic,
        format!("other TC programs at {hook}, in order: {}", foreign.join(", ")),
        "ours is attached behind them and sees what they answer TCX_NEXT for; a program that \
         accepts packets of gateway ports itself keeps them from being steered",
    );
}
