//! The commands of README and of `docs/counters.md`, run as they stand there, one after the other,
//! against what `cargo xtask run` starts.
//!
//! A block after the line `<!-- tested -->` is a transcript: a line that begins with `$ ` is run by
//! the shell, with the lines below it that begin with `> `; what follows must be in what it
//! printed, in that order. `...` in a line stands for any text, alone on a line for any lines. All
//! of it happens in a network and a mount namespace of its own, with a bpffs of its own, so that
//! the ports and pins of this machine stay out of it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
const EXAMPLES: &str = "examples/quickstart";
/// The last thing that `cargo xtask run` prints before it serves.
const SERVES: &str = "Ctrl-C stops the gateway";
/// How often counters are read until they show what was just done, and the pause between.
const READINGS: (u32, Duration) = (50, Duration::from_millis(100));

/// What is run, in this order; the counts that the second shows are those of the first.
const DOCUMENTS: [&str; 2] = ["README.md", "docs/counters.md"];
/// What `docs/counters.md` says that the daemon was started with.
const ARGUMENTS: [&str; 3] = ["--", "--deny-source", "192.0.2.0/24"];

#[test]
fn documents_show_what_happens() -> Result<()> {
    let mut steps = Vec::new();
    for document in DOCUMENTS {
        let found = transcript(document, &fs::read_to_string(Path::new(ROOT).join(document))?);
        ensure!(!found.is_empty(), "{document} has no block marked `<!-- tested -->`");
        steps.extend(found);
    }

    let place = tempfile::tempdir()?;
    copy_examples(place.path())?;
    let demo = program("GATEWAY_DEMO_BIN")?;
    let daemon = program("GATEWAY_DAEMON_BIN")?;
    succeed(Command::new(&demo).arg("certificate").arg(EXAMPLES).current_dir(place.path()))?;

    let room = Room::new(place.path())?;
    let mut serve = room.command(&[&demo.display().to_string(), "serve", "--examples", EXAMPLES]);
    serve.arg("--daemon").arg(&daemon).args(ARGUMENTS);
    let mut running = Running::start(&mut serve)?;
    for step in &steps {
        let line =
            step.command.replace("target/release/gateway-daemon", &daemon.display().to_string());
        check(step, &mut room.command(&["sh", "-c", &line]))?;
    }
    running.interrupt()?;
    let left = succeed(&mut room.command(&["find", "/sys/fs/bpf", "-path", "*gateway*"]))?;
    ensure!(left.is_empty(), "these pins are left after the end: {left}");
    let links = succeed(&mut room.command(&["ip", "-details", "link", "show", "lo"]))?;
    ensure!(!links.contains("xdp"), "a program is left on lo after the end: {links}");
    Ok(())
}

/// A command of a document and what it is said to print.
#[derive(Debug, Eq, PartialEq)]
struct Step {
    document: &'static str,
    command: String,
    output: Vec<String>,
}

fn transcript(document: &'static str, text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let (mut inside, mut marked) = (false, false);
    for line in text.lines() {
        if line.starts_with("```") {
            inside = marked && !inside;
            marked = false;
        } else if !inside {
            // Blank lines may stand between the mark and its block.
            marked = line == "<!-- tested -->" || (marked && line.trim().is_empty());
        } else if let Some(command) = line.strip_prefix("$ ") {
            steps.push(Step { document, command: command.to_owned(), output: Vec::new() });
        } else if let Some(rest) = line.strip_prefix("> ")
            && let Some(step) = steps.last_mut()
        {
            step.command += "\n";
            step.command += rest;
        } else if let Some(step) = steps.last_mut()
            && !line.trim().is_empty()
        {
            step.output.push(line.trim_end().to_owned());
        }
    }
    steps
}

/// The first line that is not there in its turn.
fn missing<'a>(expected: &'a [String], printed: &str) -> Option<&'a str> {
    let mut printed = printed.lines().map(str::trim_end);
    let mut expected = expected.iter().map(String::as_str).filter(|line| *line != "...");
    expected.find(|line| !printed.any(|found| fits(line, found)))
}

/// Whether a line of a document stands for this one.
fn fits(shown: &str, found: &str) -> bool {
    let Some((first, shown)) = shown.split_once("...") else { return shown == found };
    let Some(mut rest) = found.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = shown.split("...").collect();
    let last = parts.pop().unwrap_or_default();
    for part in parts {
        let Some((_, after)) = rest.split_once(part) else { return false };
        rest = after;
    }
    rest.ends_with(last)
}

/// Runs one step; what reads counters is asked again while they settle.
fn check(step: &Step, command: &mut Command) -> Result<()> {
    let (most, pause) =
        if step.command.starts_with("curl") { (1, Duration::ZERO) } else { READINGS };
    let mut readings = 1;
    loop {
        let printed = succeed(command)?;
        let Some(line) = missing(&step.output, &printed) else { return Ok(()) };
        if readings == most {
            bail!(
                "`{}`: {} shows\n{line}\nwhich is not in\n{printed}",
                step.command,
                step.document
            );
        }
        readings += 1;
        std::thread::sleep(pause);
    }
}

fn copy_examples(place: &Path) -> Result<()> {
    let (from, to) = (Path::new(ROOT).join(EXAMPLES), place.join(EXAMPLES));
    fs::create_dir_all(&to)?;
    for entry in fs::read_dir(&from)? {
        let path = entry?.path();
        if let Some(name) = path.file_name().filter(|_| path.is_file()) {
            fs::copy(&path, to.join(name))?;
        }
    }
    Ok(())
}

fn program(variable: &str) -> Result<PathBuf> {
    #[expect(clippy::disallowed_methods, reason = "xtask names the programs under test so")]
    let path = env::var_os(variable)
        .with_context(|| format!("{variable} is not set: run `cargo xtask test e2e`"))?;
    Ok(PathBuf::from(path))
}

/// Runs a command and returns what it printed; an unsuccessful end is an error that shows it all.
fn succeed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        let errors = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}\n{printed}{errors}", output.status);
    }
    Ok(printed)
}

/// A network and a mount namespace, there as long as this value is.
struct Room {
    holder: Child,
    /// Where its commands run.
    place: PathBuf,
}

impl Room {
    fn new(place: &Path) -> Result<Self> {
        let script = "mount --make-rprivate / && mount -t bpf bpf /sys/fs/bpf && \
                      ip link set lo up && echo ready && exec cat";
        let mut holder = Command::new("unshare")
            .args(["--net", "--mount", "--", "sh", "-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot run `unshare`: is util-linux installed?")?;
        let mut answer = String::new();
        let stdout = holder.stdout.take().context("the holder has no output")?;
        let room = Self { holder, place: place.to_owned() };
        BufReader::new(stdout).read_line(&mut answer)?;
        ensure!(
            answer == "ready\n",
            "cannot make network and mount namespaces: this test needs root (CAP_SYS_ADMIN)"
        );
        Ok(room)
    }

    /// A command that runs in here.
    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new("nsenter");
        command
            .arg("--target")
            .arg(self.holder.id().to_string())
            .args(["--net", "--mount", "--root"]);
        command.arg(format!("--wdns={}", self.place.display())).arg("--").args(words);
        command
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // `cat` ends with its input.
        drop(self.holder.stdin.take());
        if let Err(error) = self.holder.wait() {
            eprintln!("the namespaces' holder: {error}");
        }
    }
}

/// What `cargo xtask run` ends up as, and all it says.
struct Running {
    child: Child,
    rest: Option<JoinHandle<String>>,
}

impl Running {
    /// Starts it and waits until it says what to try.
    fn start(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("the demo program has no output")?;
        let mut running = Self { child, rest: None };
        let mut lines = BufReader::new(stdout).lines();
        let mut said = String::new();
        for line in &mut lines {
            let line = line?;
            if line.starts_with(SERVES) {
                // The access log goes on; nobody must wait for it to be read.
                running.rest = Some(std::thread::spawn(move || {
                    lines.map_while(Result::ok).collect::<Vec<_>>().join("\n")
                }));
                return Ok(running);
            }
            said += &line;
            said.push('\n');
        }
        bail!("the gateway does not come up; standard output so far:\n{said}");
    }

    /// Ctrl-C, and the wait for a good end.
    fn interrupt(&mut self) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.child.id())?);
        kill(pid, Signal::SIGINT).context("cannot send SIGINT")?;
        let status = self.child.wait()?;
        ensure!(status.success(), "after Ctrl-C it ended with {status}");
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // After a failed step it still runs; it stops the daemon when asked to.
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = self.interrupt()
        {
            eprintln!("cannot stop what the test started: {error:#}");
        }
        if let Some(Ok(log)) = self.rest.take().map(JoinHandle::join) {
            println!("{log}");
        }
    }
}

#[test]
fn a_transcript_is_read_from_marked_blocks_only() {
    let readme = "```console\n$ no\n```\n<!-- tested -->\n\n```console\n$ a b\nc\n\n$ d\n```\n$ e\n\
                  ```console\n$ f\n```\n<!-- tested -->\n```console\n$ g |\n>   h\ni\n```\n";
    let step = |command: &str, output: &[&str]| Step {
        document: "README.md",
        command: command.to_owned(),
        output: output.iter().map(|line| (*line).to_owned()).collect(),
    };
    let expected = [step("a b", &["c"]), step("d", &[]), step("g |\n  h", &["i"])];
    assert_eq!(transcript("README.md", readme), expected);
}

#[test]
fn output_is_compared_line_by_line_in_order() {
    let expected = ["a", "...", "c"].map(str::to_owned);
    assert_eq!(missing(&expected, "a\r\nb\nc\n"), None);
    assert_eq!(missing(&expected, "c\na\n"), Some("c"));
    assert_eq!(missing(&expected, "aa\nc\n"), Some("a"));
}

#[test]
fn dots_in_a_line_stand_for_any_text() {
    for (shown, found, expected) in [
        ("date: ...", "date: today", true),
        ("\"key\": ...,", "\"key\": 16386,", true),
        ("\"key\": ...,", "\"key\": 16386", false),
        ("date: ...", "expires: today", false),
        ("a:...,b:...}", "a:1,b:22}", true),
        ("a:...,b:...}", "a:1,c:22}", false),
    ] {
        assert_eq!(fits(shown, found), expected, "{shown} for {found}");
    }
}
