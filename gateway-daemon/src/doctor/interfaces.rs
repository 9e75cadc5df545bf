//! Interfaces: whether the kernel half can be attached, how XDP will run, who is there already.

use super::Report;
use crate::bpf;
use crate::cli::attach::AttachArgs;
use crate::cli::doctor::DoctorArgs;
use crate::model::attachment::{TcOrder, XdpPlace, XdpWish};
use crate::sys::link::{self, Link};

/// `ARPHRD_ETHER` and `ARPHRD_LOOPBACK`.
const ETHERNET: [u16; 2] = [1, 772];
/// Largest MTU with which a driver runs XDP on packets of one page, roughly: a page without
/// headroom and the kernel's own data. Drivers that take more need programs for several pages.
const XDP_MTU: u32 = 3_498;

pub(super) fn look(report: &mut Report, arguments: &DoctorArgs) {
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
    for name in &arguments.interface {
        match links.iter().find(|link| link.name == *name) {
            Some(link) => interface(report, link, arguments),
            None => report.fault(
                format!("interface {name}"),
                "does not exist",
                "name one of `ip link` with --interface",
            ),
        }
    }
}

fn interface(report: &mut Report, link: &Link, arguments: &DoctorArgs) {
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
    mode(report, &topic, link, arguments.attach);
    let ours = bpf::pinned_programs(&arguments.pin.pin_directory);
    xdp(report, &topic, link, &ours, arguments.attach.xdp());
    for ingress in [true, false] {
        tcx(report, &topic, link, &ours, ingress, arguments.attach.order());
    }
}

/// How XDP will run, as the kernel half is attached (`bpf/hooks.rs`).
fn mode(report: &mut Report, topic: &str, link: &Link, attach: AttachArgs) {
    let mtu = link.mtu;
    if attach.xdp() == XdpWish::Off {
        return report.good(topic, format!("XDP will not run, as --xdp off asks; MTU {mtu}"));
    }
    let kind = link.kind.as_deref().unwrap_or("no device");
    let behind = match &link.device {
        Some(device) => format!("driver {}", device.driver().as_deref().unwrap_or("unknown")),
        None => format!("a virtual interface ({kind}) has no driver that gains by it"),
    };
    let (mode, native) = match (attach.place(), &link.device) {
        (XdpPlace::Native, _) => ("native or not at all, as --xdp-mode asks", true),
        (XdpPlace::Generic, _) => ("in generic mode, as --xdp-mode asks", false),
        (XdpPlace::Best, Some(_)) => ("native if the driver takes it", true),
        (XdpPlace::Best, None) => ("in generic mode", false),
    };
    report.good(topic, format!("XDP will run {mode}: {behind}; MTU {mtu}"));
    if native && mtu > XDP_MTU {
        let otherwise = match attach.place() {
            XdpPlace::Native => "the gateway does not start then",
            _ => "XDP then runs in generic mode",
        };
        report.note(
            topic,
            format!("MTU {mtu} is more than most drivers take for native XDP"),
            format!("{otherwise}; lower the MTU to {XDP_MTU} for native"),
        );
    }
}

/// Another program on the hook that takes one only.
fn xdp(report: &mut Report, topic: &str, link: &Link, ours: &[u32], wish: XdpWish) {
    let Some(attached) = link.xdp else { return };
    let name = bpf::program_name(attached.program);
    let name = name.as_deref().unwrap_or("unnamed");
    let mode = if attached.native { "native" } else { "generic" };
    let seen = format!("XDP program {name} (id {}) is attached, {mode}", attached.program);
    if ours.contains(&attached.program) {
        return report.good(topic, format!("{seen}, ours"));
    }
    let seen = format!("{seen}, not ours, and an interface takes one");
    match wish {
        XdpWish::Require => report.fault(
            topic,
            seen,
            format!(
                "remove it with `ip link set dev {} xdp off`, or carry on without dropping sources \
                 there: --xdp auto",
                link.name
            ),
        ),
        XdpWish::Auto => report.note(
            topic,
            seen,
            "--xdp auto carries on without: --deny-source, --bans and --syn-rate drop nothing that \
             arrives there",
        ),
        XdpWish::Off => {}
    }
}

/// Other programs of the same hook: those before ours may keep packets from it.
fn tcx(report: &mut Report, topic: &str, link: &Link, ours: &[u32], ingress: bool, order: TcOrder) {
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
    let action = match order {
        TcOrder::Last => {
            "ours is attached behind them and sees what they answer TCX_NEXT for; a program that \
             accepts packets of gateway ports itself keeps them from being steered: --tc-order first \
             puts ours before it"
        }
        TcOrder::First => {
            "ours is attached before them, as --tc-order first asks, and passes every packet on"
        }
    };
    report.note(
        topic,
        format!("other TC programs at {hook}, in order: {}", foreign.join(", ")),
        action,
    );
}
