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
    let others = bpf::other_layouts(directory);
    let will_continue =
        |other: &Path| bpf::is_continued(other, directory) && !bpf::is_running(other);
    match bpf::pin_state(directory) {
        // Told with the others.
        PinState::Absent if others.iter().any(|other| will_continue(other)) => {}
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
    for path in &others {
        if will_continue(path) {
            let found = format!("pins of an earlier layout at {}", path.display());
            report.good("pins", format!("{found}; their counters and bans will be continued"));
        } else {
            other(report, path);
        }
    }
}

/// Pins of other layouts stand beside ours, as `v2` beside `v3`.
fn other(report: &mut Report, path: &Path) {
    let running = bpf::is_running(path);
    let doing = if running { ", in use by a running daemon" } else { "" };
    report.note(
        "pins",
        format!("pins of another layout at {}{doing}", path.display()),
        if running {
            "maps of different layouts cannot be shared: stop that daemon before this version \
             starts"
                .to_owned()
        } else {
            format!("`gateway-daemon unload --pin-directory {}` removes them", path.display())
        },
    );
}
