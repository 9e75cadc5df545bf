//! Pins: bpffs, layouts, other daemons.

use std::path::Path;

use super::Report;
use crate::bpf::{self, PinState};
use crate::sys::mount;

pub(super) fn look(report: &mut Report, directory: &Path) {
    let existing = directory.ancestors().find(|path| path.exists()).unwrap_or(directory);
    if !mount::is_bpffs(existing).unwrap_or(false) {
        report.fault(
            "bpffs",
            format!("{} is not on a BPF file system", existing.display()),
            "run `mount -t bpf bpf /sys/fs/bpf`, or give a --pin-directory on one",
        );
        return;
    }
    report.good("bpffs", format!("{} is on one", existing.display()));
    let place = directory.display();
    match bpf::pin_state(directory) {
        PinState::Absent => report.good("pins", format!("none at {place}; counters begin at zero")),
        PinState::Ours { running: true } => report.note(
            "pins",
            format!("a gateway-daemon runs with {place}"),
            "`run` takes over from it; daemons side by side need a --pin-directory each",
        ),
        PinState::Ours { running: false } => {
            report.good("pins", format!("counters at {place} will be continued"));
        }
        PinState::Other(error) => report.fault(
            "pins",
            error.to_string(),
            format!("`gateway-daemon unload --pin-directory {place}` removes them"),
        ),
    }
    others(report, directory);
}

/// Pins of other layouts stand beside ours, as `v1` beside `v2`.
fn others(report: &mut Report, directory: &Path) {
    for path in bpf::other_layouts(directory) {
        let running = bpf::is_running(&path);
        let doing = if running { ", in use by a running daemon" } else { "" };
        report.note(
            "pins",
            format!("pins of another layout at {}{doing}", path.display()),
            if running {
                "counters of different layouts cannot be shared: stop that daemon before this \
                 version starts"
                    .to_owned()
            } else {
                format!("`gateway-daemon unload --pin-directory {}` removes them", path.display())
            },
        );
    }
}
