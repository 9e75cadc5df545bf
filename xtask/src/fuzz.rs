//! The suite `fuzz`: every target of `tests/fuzz` for a minute, from its seeds and from what earlier
//! runs came up with.
//!
//! It takes rustup's nightly, with whose address sanitizer the targets are built. Where there is no
//! nightly the suite says that it did not run, in the sum too; the unit suite feeds the seeds to the
//! same functions on every machine. Anything else that is missing is a failure.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::command::{self, say};
use crate::test::Tally;
use crate::{setup, workspace};

/// The targets, each a file of `tests/fuzz/fuzz_targets`, with folders of seeds besides its own.
const TARGETS: &[(&str, &[&str])] = &[
    ("token", &[]),
    ("jwks", &[]),
    ("manifest", &["gateway-daemon/src/control/testdata"]),
    ("request", &[]),
    ("clients", &[]),
];

/// How long each target runs, and how long a single input may take, in seconds.
const SECONDS: u32 = 60;
const SLOWEST: u32 = 10;
/// Megabytes that a target may take.
const MEMORY: u32 = 2048;
/// Lines of a log that are shown when its target fails.
const LOG_TAIL: usize = 60;

/// Builds and runs the targets whose names hold one of `filters`; all of them without any.
pub(crate) fn run(filters: &[String]) -> Result<Tally> {
    if command::output(nightly("cargo").arg("-V")).is_none() {
        say("suite fuzz: not run, there is no rustup toolchain nightly \
             (`rustup toolchain install nightly --profile minimal`)");
        return Ok(Tally::not_run("not run: no nightly toolchain"));
    }
    let wanted = |name: &str| filters.is_empty() || filters.iter().any(|part| name.contains(part));
    let targets: Vec<_> = TARGETS.iter().filter(|(name, _)| wanted(name)).collect();
    let programs = build()?;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    for group in targets.chunks(at_once) {
        let mut running = Vec::new();
        for (name, seeds) in group {
            say(&format!("fuzzing {name} for {SECONDS} s"));
            running.push(Run::start(&programs, name, seeds)?);
        }
        for run in running {
            tally = tally.plus(run.end()?);
        }
    }
    Ok(tally)
}

/// A program of the nightly toolchain, without what cargo and rustup set for xtask itself.
fn nightly(program: &str) -> Command {
    let mut command = Command::new("rustup");
    // It would otherwise install the toolchain it is asked about.
    command.env("RUSTUP_AUTO_INSTALL", "0");
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC", "RUSTFLAGS"] {
        command.env_remove(name);
    }
    command.args(["run", "nightly", program]).current_dir(workspace::root());
    command
}

/// Builds all targets; the answer is the folder that they are in.
fn build() -> Result<PathBuf> {
    if command::find("c++").is_none() {
        bail!("the fuzz targets need a C++ compiler: install g++");
    }
    let tool = setup::cargo_fuzz()?;
    let mut build = nightly(&tool.to_string_lossy());
    build.args(["fuzz", "build", "--fuzz-dir", "tests/fuzz", "--target-dir"]).arg(folder());
    command::run_logged("building the fuzz targets", &mut build, &log_of("build"))?;
    Ok(folder().join(format!("{}-unknown-linux-gnu/release", std::env::consts::ARCH)))
}

fn folder() -> PathBuf {
    workspace::root().join("target/fuzz")
}

fn log_of(name: &str) -> PathBuf {
    folder().join("log").join(format!("{name}.log"))
}

/// A running target.
struct Run<'n> {
    name: &'n str,
    child: Child,
    log: PathBuf,
}

impl<'n> Run<'n> {
    fn start(programs: &Path, name: &'n str, seeds: &[&str]) -> Result<Self> {
        let (found, artifacts) = (folder().join("corpus").join(name), folder().join("artifacts"));
        for folder in [&found, &artifacts] {
            fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        let log = log_of(name);
        let file = File::create(&log).with_context(|| log.display().to_string())?;
        let errors = file.try_clone().with_context(|| log.display().to_string())?;
        let mut target = Command::new(programs.join(name));
        target.arg(found).arg(format!("tests/fuzz/seeds/{name}")).args(seeds);
        target.arg(format!("-max_total_time={SECONDS}")).arg(format!("-timeout={SLOWEST}"));
        target.arg(format!("-rss_limit_mb={MEMORY}"));
        target.arg(format!("-artifact_prefix={}/{name}-", artifacts.display()));
        target.current_dir(workspace::root()).stdin(Stdio::null()).stdout(file).stderr(errors);
        let child = target.spawn().with_context(|| command::line(&target))?;
        Ok(Self { name, child, log })
    }

    /// Waits; tells what came of it.
    fn end(mut self) -> Result<Tally> {
        let status = self.child.wait().with_context(|| self.name.to_owned())?;
        let text = fs::read(&self.log).with_context(|| self.log.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        if let Some(done) = done(&text).filter(|_| status.success()) {
            println!("test fuzz {} ... ok ({done})", self.name);
            return Ok(Tally::passed(1));
        }
        let lines: Vec<_> = text.lines().collect();
        for line in &lines[lines.len().saturating_sub(LOG_TAIL)..] {
            eprintln!("    {line}");
        }
        println!("test fuzz {} ... FAILED ({status})", self.name);
        say(&format!(
            "the input is in target/fuzz/artifacts; put it into tests/fuzz/seeds/{} once it is mended",
            self.name
        ));
        Ok(Tally::failed(1))
    }
}

/// What libFuzzer says at the end: `#727374 DONE cov: 11366 ...`.
fn done(log: &str) -> Option<String> {
    let line = log.lines().rev().find(|line| line.starts_with('#') && line.contains("DONE"))?;
    let mut words = line.split_whitespace();
    let runs: u64 = words.next()?.strip_prefix('#')?.parse().ok()?;
    let edges = words.skip_while(|word| *word != "cov:").nth(1)?;
    Some(format!("{runs} inputs, {edges} edges"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_tells_what_was_done() {
        let log =
            "#2\tINITED cov: 9 ft: 1\n#727374\tDONE   cov: 11366 ft: 20695 corp: 1/1b\nDone\n";
        assert_eq!(done(log), Some("727374 inputs, 11366 edges".to_owned()));
        assert_eq!(done("#2\tINITED cov: 9\n==1== ERROR: libFuzzer: deadly signal\n"), None);
    }

    #[test]
    fn every_target_has_its_file_and_seeds() {
        let root = workspace::root().join("tests/fuzz");
        let mut files: Vec<_> = fs::read_dir(root.join("fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        files.sort();
        let mut names: Vec<_> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
        names.sort();
        assert_eq!(files, names);
        for (name, more) in TARGETS {
            assert!(root.join("seeds").join(name).is_dir(), "{name}");
            assert!(more.iter().all(|folder| workspace::root().join(folder).is_dir()), "{name}");
        }
    }
}
