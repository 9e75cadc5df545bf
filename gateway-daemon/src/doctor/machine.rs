//! The machine: kernel, privileges, limits.

use std::fs;
use std::path::Path;

use super::Report;
use crate::bpf::{self, NEEDED};
use crate::sys::{caps, kernel};

/// The oldest kernel that is supported.
const OLDEST: (u32, u32) = (6, 1);

/// Since when kernels have it, what it is, and what happens without. What the oldest supported kernel
/// has is here too: kernels of distributions have it from elsewhere, and others lack more than one.
const FEATURES: &[((u32, u32), &str, &str)] = &[
    (
        (5, 5),
        "arrays that are mapped into memory",
        "nothing can be counted: serve with --datapath off",
    ),
    ((5, 7), "bpf_sk_assign", "nothing can be steered: serve with --datapath off"),
    (
        (5, 8),
        "ring buffers, CAP_BPF and the boot clock",
        "the kernel half does not load: serve with --datapath off",
    ),
    ((5, 9), "XDP links", "XDP cannot be attached: serve with --datapath off"),
    (
        (5, 11),
        "maps accounted to memory cgroups",
        "`ulimit -l` has to be raised, LimitMEMLOCK=infinity in a unit",
    ),
    (
        (6, 6),
        "TCX links",
        "TC programs are clsact filters there: they stay after a kill until the next start, and detaching \
         keeps CAP_NET_ADMIN",
    ),
];

pub(super) fn kernel(report: &mut Report) {
    let release = kernel::release();
    match kernel::version() {
        Some(version) if version >= OLDEST => report.good("kernel", release),
        _ => report.fault(
            "kernel",
            format!("{release}, older than {}.{}", OLDEST.0, OLDEST.1),
            "install a newer kernel, or serve with --datapath off",
        ),
    }
    for (since, feature, without) in FEATURES {
        if kernel::version() >= Some(*since) {
            report.good("kernel feature", format!("{feature} (since {}.{})", since.0, since.1));
        } else {
            let seen = format!("no {feature}, which came with {}.{}", since.0, since.1);
            report.note("kernel feature", seen, *without);
        }
    }
    if Path::new("/sys/kernel/btf/vmlinux").exists() {
        report.good("BTF", "/sys/kernel/btf/vmlinux is there");
    } else {
        report.fault(
            "BTF",
            "/sys/kernel/btf/vmlinux is missing",
            "use a kernel with CONFIG_DEBUG_INFO_BTF, or serve with --datapath off",
        );
    }
    match fs::read_to_string("/proc/sys/net/core/bpf_jit_enable").as_deref().map(str::trim) {
        Ok("0") => report.note(
            "JIT",
            "programs are interpreted",
            "set net.core.bpf_jit_enable=1; interpreted, a packet costs several times as much",
        ),
        Ok(_) => report.good("JIT", "on"),
        Err(_) => report.note(
            "JIT",
            "not to be seen from this network namespace",
            "look in the machine's own: `sysctl net.core.bpf_jit_enable` should not be 0",
        ),
    }
    if let Some(reason) = bpf::missing_object() {
        report.fault(
            "kernel object",
            format!("this binary was built without it ({reason})"),
            "run `cargo xtask setup`, then build again, or serve with --datapath off",
        );
    }
}

pub(super) fn privileges(report: &mut Report) {
    for capability in NEEDED {
        match caps::effective(capability) {
            Ok(true) => report.good("privilege", capability.to_string()),
            _ => report.fault(
                "privilege",
                format!("no {capability}"),
                "run as root, or give the service CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON",
            ),
        }
    }
}

/// What a connection needs: one descriptor for the client, one for the upstream.
const FILES_PER_CONNECTION: u64 = 2;
/// Connections that the kernel completes before they are accepted (`sys::socket`).
const BACKLOG: u64 = 4_096;

pub(super) fn limits(report: &mut Report, max_connections: u32) {
    let wanted = u64::from(max_connections) * FILES_PER_CONNECTION;
    match kernel::open_files() {
        Some(files) if files < wanted => report.note(
            "open files",
            format!(
                "{files} at most; --max-connections {max_connections} may need {wanted} a port"
            ),
            "raise LimitNOFILE or `ulimit -n`, or lower --max-connections: without descriptors \
             connections wait",
        ),
        Some(files) => report.good("open files", format!("{files} at most")),
        None => report.good("open files", "any number"),
    }
    if let Ok(text) = fs::read_to_string("/proc/sys/net/core/somaxconn")
        && let Ok(most) = text.trim().parse::<u64>()
    {
        if most < BACKLOG {
            report.note(
                "accept queue",
                format!("net.core.somaxconn is {most}"),
                format!("set it to {BACKLOG} for bursts of new connections"),
            );
        } else {
            report.good("accept queue", format!("net.core.somaxconn is {most}"));
        }
    }
}
