//! `cargo xtask tidy`: the rules of this code base that no lint can express.
//!
//! Each rule is a pure function from the text of files to findings, with tests that prove that it
//! can fail. This file reads the tree and prints what the rules found.

mod documents;
mod layers;
mod manifests;
mod proofs;
mod rust;
mod sources;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, say};
use crate::workspace;

/// One text file of the repository.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    /// Whether its name ends so.
    fn is(&self, extension: &str) -> bool {
        Path::new(&self.path).extension().is_some_and(|found| found == extension)
    }
}

/// Something that breaks a rule.
#[derive(Debug, PartialEq, Eq)]
struct Finding {
    path: String,
    /// Counted from 1; 0 is the whole file.
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.path, self.what),
            line => write!(out, "{}:{line}: {}", self.path, self.what),
        }
    }
}

/// Checks the whole tree; findings are printed, and are an error.
pub(crate) fn run() -> Result<()> {
    let files = read_tree()?;
    let findings = check(&files);
    for finding in &findings {
        eprintln!("{finding}");
    }
    if !findings.is_empty() {
        bail!("tidy found {} things to mend", findings.len());
    }
    say(&format!("tidy: {} files are in order", files.len()));
    Ok(())
}

fn check(files: &[File]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for file in files.iter().filter(|file| file.is("rs")) {
        findings.extend(sources::check(file));
        findings.extend(layers::check(file));
    }
    findings.extend(manifests::check(files));
    findings.extend(proofs::check(files));
    findings.extend(documents::check(files, |path| workspace::root().join(path).exists()));
    findings
}

/// All files that git knows or would add, except those that are not text.
fn read_tree() -> Result<Vec<File>> {
    let list = command::output(Command::new("git").current_dir(workspace::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))
    .context("`git ls-files` failed; tidy works in a git checkout")?;
    let mut files = Vec::new();
    for path in list.lines() {
        let full: PathBuf = workspace::root().join(path);
        // A file that is deleted but not yet committed as such is no longer there.
        if !full.is_file() {
            continue;
        }
        let bytes = std::fs::read(&full).with_context(|| full.display().to_string())?;
        if let Ok(text) = String::from_utf8(bytes) {
            files.push(File { path: path.to_owned(), text });
        }
    }
    Ok(files)
}

#[cfg(test)]
fn file(path: &str, text: &str) -> File {
    File { path: path.to_owned(), text: text.to_owned() }
}

#[cfg(test)]
fn whats(findings: impl IntoIterator<Item = Finding>) -> Vec<String> {
    findings.into_iter().map(|finding| finding.to_string()).collect()
}
