//! `cargo xtask dist`: the daemon for shipping, compiled with what a run of it taught.
//!
//! Three steps: a daemon that counts which branches it takes; load on it, made by the benchmarks; and the
//! daemon again, laid out by those counts (profile-guided optimization). What it brings stands in
//! `docs/decisions/0100-profile-guided.md`.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::bench::{self, peers};
use crate::command::{self, say};
use crate::{build, setup, workspace};

/// What the daemon is taught by: every way that bytes take through it, seconds each.
const LESSONS: &[&str] =
    &["S1", "S2", "S3", "S5", "S6D", "S7", "S8", "S9", "S9R", "S10", "S10T", "S13"];
/// Milliseconds of load in each.
const LESSON_MS: &str = "2000";

/// Sets up, builds, and says where the program is.
pub(crate) fn run() -> Result<()> {
    setup::run()?;
    say(&format!("built {}", daemon()?.display()));
    Ok(())
}

/// Builds the daemon in three steps and returns its path.
pub(crate) fn daemon() -> Result<PathBuf> {
    let host = host()?;
    let folder = workspace::target_dir()?.join("dist");
    let counts = folder.join("counts");
    // Counts of another program would be added to.
    if counts.exists() {
        fs::remove_dir_all(&counts).with_context(|| counts.display().to_string())?;
    }
    let profile = folder.join("gateway-daemon.profdata");
    peers::install_load()?;
    let teller = bench::program()?;

    say("1 of 3: the daemon that counts");
    let counting = compile(&host, &folder.join("counting"), "generate", &counts)?;
    say("2 of 3: load on it");
    teach(&teller, &counting, &folder)?;
    merge(&counts, &profile)?;
    say("3 of 3: the daemon laid out by what was counted");
    let built = compile(&host, &workspace::target_dir()?, "use", &profile)?;

    let daemon = build::with_kernel_object(built)?;
    let shipped = folder.join("gateway-daemon");
    fs::copy(&daemon, &shipped).with_context(|| shipped.display().to_string())?;
    Ok(shipped)
}

/// The triple of this machine. Named to cargo, so that what is said to the compiler is not said of
/// build scripts and macros too.
fn host() -> Result<String> {
    let about = command::output(Command::new("rustc").arg("-vV")).context("rustc does not run")?;
    let host = about.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("`rustc -vV` names no host")
}

/// Compiles the daemon, with `-Cprofile-generate` or `-Cprofile-use`.
fn compile(host: &str, target: &Path, what: &str, value: &Path) -> Result<PathBuf> {
    let value = value.to_str().context("the target directory's path is not UTF-8")?;
    let flag = format!("target.{host}.rustflags=[{:?}]", format!("-Cprofile-{what}={value}"));
    let mut cargo = command::cargo(["build", "--profile", "dist", "--package", "gateway-daemon"]);
    cargo.args(["--target", host, "--config", &flag, "--target-dir"]).arg(target);
    command::run(&mut cargo)?;
    Ok(target.join(host).join("dist").join("gateway-daemon"))
}

/// Puts load on the daemon that counts.
fn teach(teller: &Path, daemon: &Path, folder: &Path) -> Result<()> {
    let results = folder.join("lessons.json");
    if results.exists() {
        fs::remove_file(&results).with_context(|| results.display().to_string())?;
    }
    let mut words: Vec<OsString> = vec!["run".into(), "--daemon".into(), daemon.into()];
    words.extend(["--folder".into(), folder.join("lessons").into_os_string()]);
    words.extend(["--into".into(), results.into_os_string()]);
    words.extend(["--peers", "ours", "--rounds", "1", "--load", LESSON_MS].map(OsString::from));
    words.extend(LESSONS.iter().map(OsString::from));
    command::run(&mut bench::as_root(teller, &words)?)
}

/// Makes one profile of what was counted, by the tool of the compiler's LLVM.
fn merge(counts: &Path, profile: &Path) -> Result<()> {
    let tool = format!("/usr/lib/llvm-{}/bin/llvm-profdata", workspace::pin("llvm")?);
    let found = fs::read_dir(counts).map(|entries| entries.flatten().map(|entry| entry.path()));
    let found: Vec<PathBuf> = found.map(Iterator::collect).unwrap_or_default();
    if found.is_empty() {
        bail!("the daemon that counts left nothing in {}", counts.display());
    }
    let mut merge = Command::new(tool);
    command::run(merge.args(["merge", "--output"]).arg(profile).args(found))
}
