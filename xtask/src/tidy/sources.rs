//! Rules for every Rust file: module docs, length, and `unsafe` only where it is fenced in.

use super::rust::{Token, tokens};
use super::{File, Finding};

/// The longest a file may get; longer ones hold more than one noun or stage.
const MOST_LINES: usize = 700;

/// Where `unsafe` may stand: files, or folders ending in `/`. The part of the kernel half that runs
/// on the host too is not among them.
const UNSAFE: &[&str] = &[
    "gateway-common/src/pod.rs",
    "gateway-daemon/src/sys/",
    "gateway-ebpf/src/budget.rs",
    "gateway-ebpf/src/clock.rs",
    "gateway-ebpf/src/count.rs",
    "gateway-ebpf/src/events.rs",
    "gateway-ebpf/src/guard.rs",
    "gateway-ebpf/src/main.rs",
    "gateway-ebpf/src/maps.rs",
    "gateway-ebpf/src/packet.rs",
    "gateway-ebpf/src/ports.rs",
    "gateway-ebpf/src/reopen.rs",
    "gateway-ebpf/src/steer.rs",
];

/// Checks one file.
pub(super) fn check(file: &File) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !has_module_docs(&file.text) {
        let what =
            "has no module docs: begin with `//!`, say what this is and what it must not know";
        findings.push(Finding::new(&file.path, 1, what));
    }
    let lines = file.text.lines().count();
    if lines > MOST_LINES {
        let what =
            format!("has {lines} lines, more than {MOST_LINES}: is it one noun or one stage?");
        findings.push(Finding::new(&file.path, 0, what));
    }
    if !UNSAFE.iter().any(|fence| file.path.starts_with(fence)) {
        for (token, line) in tokens(&file.text) {
            if token == Token::Word("unsafe") {
                let what = format!("`unsafe` stands only in {}", UNSAFE.join(", "));
                findings.push(Finding::new(&file.path, line, what));
            }
        }
    }
    findings
}

/// Whether `//!` comes before any item; inner attributes may come first.
fn has_module_docs(text: &str) -> bool {
    let first = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with("#!["));
    first.is_some_and(|line| line.starts_with("//!"))
}

#[cfg(test)]
mod tests {
    use super::super::{file, whats};
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        whats(check(&file(path, text)))
    }

    #[test]
    fn module_docs_are_asked_for() {
        assert_eq!(findings("a.rs", "fn f() {}").len(), 1);
        assert_eq!(findings("a.rs", "// not docs\n//! docs").len(), 1);
        assert_eq!(findings("a.rs", "#![no_std]\n\n//! Docs.\n"), Vec::<String>::new());
    }

    #[test]
    fn long_files_are_found() {
        let text = format!("//! Docs.\n{}", "\n".repeat(MOST_LINES));
        assert_eq!(findings("a.rs", &text).len(), 1);
        assert_eq!(findings("a.rs", &text[..text.len() - 1]), Vec::<String>::new());
    }

    #[test]
    fn unsafe_is_fenced_in() {
        let text = "//! Docs.\n#![deny(unsafe_code)] // unsafe\nfn f() { unsafe { g() } }";
        let table = [
            ("gateway-daemon/src/proxy/tls.rs", 1),
            ("gateway-daemon/src/sys/mmap.rs", 0),
            ("gateway-common/src/pod.rs", 0),
            ("gateway-common/src/abi.rs", 1),
            ("gateway-ebpf/src/packet.rs", 0),
            ("gateway-ebpf/src/classify.rs", 1),
        ];
        for (path, expected) in table {
            assert_eq!(findings(path, text).len(), expected, "{path}");
        }
    }
}
