//! Rules for Cargo manifests: every member inherits the lints of the workspace.

use super::{File, Finding};

/// Checks all members that the root manifest names.
pub(super) fn check(files: &[File]) -> Vec<Finding> {
    let Some(root) = files.iter().find(|file| file.path == "Cargo.toml") else {
        return vec![Finding::new("Cargo.toml", 0, "is not there")];
    };
    let mut findings = Vec::new();
    for member in members(&root.text) {
        let path = format!("{member}/Cargo.toml");
        let manifest = files.iter().find(|file| file.path == path);
        if !manifest.is_some_and(|manifest| inherits_lints(&manifest.text)) {
            let what = "does not inherit the lints: add `[lints]` with `workspace = true`";
            findings.push(Finding::new(&path, 0, what));
        }
    }
    findings
}

fn members(manifest: &str) -> Vec<&str> {
    let list = manifest.split_once("\nmembers = [").map_or("", |(_, rest)| rest);
    let list = list.split_once(']').map_or("", |(list, _)| list);
    list.split(',')
        .map(|member| member.trim().trim_matches('"'))
        .filter(|m| !m.is_empty())
        .collect()
}

fn inherits_lints(manifest: &str) -> bool {
    let mut lines = manifest.lines().skip_while(|line| line.trim() != "[lints]").skip(1);
    lines.next().is_some_and(|line| line.trim() == "workspace = true")
}

#[cfg(test)]
mod tests {
    use super::super::{file, whats};
    use super::*;

    #[test]
    fn a_member_without_the_lints_is_found() {
        let files = [
            file("Cargo.toml", "[workspace]\nmembers = [\"a\", \"b\",\n \"c\"]\n"),
            file("a/Cargo.toml", "[package]\n\n[lints]\nworkspace = true\n"),
            file("b/Cargo.toml", "[package]\n[lints.rust]\nunsafe_code = \"deny\"\n"),
        ];
        let found = whats(check(&files));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].starts_with("b/Cargo.toml"), "{found:?}");
        assert!(found[1].starts_with("c/Cargo.toml"), "{found:?}");
    }
}
