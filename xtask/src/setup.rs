//! `cargo xtask setup`: finds or installs what the build and the tests need.
//!
//! Each need is looked at first, and met only if it is not met yet: distribution packages, bpffs,
//! bpf-linker, and the crates that building `core` for BPF takes. Packages and the mount are the
//! only things outside this workspace that it touches. Without a way to become root it names the
//! commands to run and stops.

use std::fs;
use std::io::{self, IsTerminal as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::command::{self, Privilege, say};
use crate::workspace;

const BPFFS: &str = "/sys/fs/bpf";
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// Programs that the build or the tests call, and the Debian packages they come in.
const PROGRAMS: &[(&str, &str)] = &[
    ("curl", "curl"),
    ("ip", "iproute2"),
    ("bpftool", "bpftool"),
    ("jq", "jq"),
    ("unshare", "util-linux"),
    ("valgrind", "valgrind"),
    ("haproxy", "haproxy"),
];

/// Debian's packages for compiling to BPF, where rustup has no nightly that can.
const COMPILER_PACKAGES: &[&str] = &["rustc-web", "cargo-web", "rust-web-src"];

/// Sets up; says nothing but one line if all is there.
pub(crate) fn run() -> Result<()> {
    let linker = Linker::pinned()?;
    let mut packages: Vec<String> = PROGRAMS
        .iter()
        .filter(|(program, _)| command::find(program).is_none())
        .map(|(_, package)| (*package).to_owned())
        .collect();
    if Compiler::find(&linker).is_none() {
        packages.extend(COMPILER_PACKAGES.iter().map(|package| (*package).to_owned()));
    }
    if !linker.runs() && !linker.llvm_prefix().join("lib/libLLVM.so").exists() {
        packages.push(format!("llvm-{}-dev", linker.llvm));
    }
    let mount = !bpffs_is_mounted(&fs::read_to_string("/proc/mounts")?);

    meet_privileged(&packages, mount)?;

    let Some(compiler) = Compiler::find(&linker) else {
        bail!(
            "no Rust compiler with the source of `core` was found, neither rustup's nightly with \
             rust-src nor Debian's {}",
            COMPILER_PACKAGES.join(" ")
        );
    };
    if !linker.runs() {
        linker.install()?;
    }
    compiler.fetch_core()?;
    if !Path::new(KERNEL_BTF).exists() {
        say(&format!("warning: this kernel has no BTF ({KERNEL_BTF}); the kernel half needs it"));
    }
    say(&format!("set-up is complete: {}, bpf-linker {}", compiler.version, linker.version));
    Ok(())
}

/// Installs Debian packages, or says which commands do.
pub(crate) fn packages(missing: &[String]) -> Result<()> {
    meet_privileged(missing, false)
}

/// Installs packages and mounts bpffs, or says which commands do.
fn meet_privileged(packages: &[String], mount: bool) -> Result<()> {
    if packages.is_empty() && !mount {
        return Ok(());
    }
    let privilege = Privilege::find();
    if privilege == Privilege::None {
        bail!("{}", what_root_must_do(packages, mount).trim_end());
    }
    if !packages.is_empty() {
        install(privilege, packages)?;
    }
    if mount {
        let mut command = privileged(privilege, &["mount", "-t", "bpf", "bpf", BPFFS])?;
        command::run(&mut command).with_context(|| format!("cannot mount bpffs on {BPFFS}"))?;
        say(&format!("mounted bpffs on {BPFFS}"));
    }
    Ok(())
}

fn what_root_must_do(packages: &[String], mount: bool) -> String {
    let mut text = String::from(
        "set-up needs root for the following, and found neither root nor a sudo that works here. \
         Run this as root, then call again:\n",
    );
    if !packages.is_empty() {
        text += "    apt-get update && apt-get install -y --no-install-recommends ";
        text += &packages.join(" ");
        text += "\n";
    }
    if mount {
        text += "    mount -t bpf bpf ";
        text += BPFFS;
        text += "\n";
    }
    text
}

fn privileged(privilege: Privilege, words: &[&str]) -> Result<Command> {
    privilege.command(words).with_context(|| format!("`{}` needs root", words.join(" ")))
}

/// Installs Debian packages, asking nothing and removing nothing.
fn install(privilege: Privilege, packages: &[String]) -> Result<()> {
    if command::find("apt-get").is_none() {
        bail!(
            "there is no apt-get here; install what Debian 12 packages as: {}",
            packages.join(" ")
        );
    }
    if privilege == Privilege::Sudo && io::stdin().is_terminal() {
        say("sudo may ask for your password, to install Debian packages");
        command::run(&mut privileged(privilege, &["true"])?)?;
    }
    let apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-y"];
    let wait = ["-o", "DPkg::Lock::Timeout=600", "-o", "Dpkg::Use-Pty=0"];
    let update = [&apt[..], &wait, &["update"]].concat();
    let log = log_file("apt-update");
    // A source that cannot be reached is no reason to stop: the packages may come from another.
    if let Err(error) =
        command::run_logged("refreshing package lists", &mut privileged(privilege, &update)?, &log)
    {
        say(&format!("warning: {error:#}"));
    }
    let names: Vec<&str> = packages.iter().map(String::as_str).collect();
    let install =
        [&apt[..], &wait, &["--no-install-recommends", "--no-remove", "install"], &names].concat();
    command::run_logged(
        &format!("installing Debian packages {}", names.join(" ")),
        &mut privileged(privilege, &install)?,
        &log_file("apt-install"),
    )
}

fn bpffs_is_mounted(mounts: &str) -> bool {
    mounts.lines().any(|line| {
        let mut words = line.split(' ').skip(1);
        words.next() == Some(BPFFS) && words.next() == Some("bpf")
    })
}

fn log_file(name: &str) -> PathBuf {
    workspace::tools_dir().join("log").join(format!("{name}.log"))
}

/// bpf-linker as pinned, built for this workspace against the pinned LLVM.
struct Linker {
    version: &'static str,
    llvm: &'static str,
}

impl Linker {
    fn pinned() -> Result<Self> {
        Ok(Self { version: workspace::pin("bpf-linker")?, llvm: workspace::pin("llvm")? })
    }

    fn llvm_prefix(&self) -> PathBuf {
        PathBuf::from(format!("/usr/lib/llvm-{}", self.llvm))
    }

    fn runs(&self) -> bool {
        has_version(&workspace::tools_dir().join("bin/bpf-linker"), self.version)
    }

    fn install(&self) -> Result<()> {
        let feature = format!("llvm-{}", self.llvm);
        let mut cargo =
            command::cargo(["install", "--no-default-features", "--features", &feature]);
        cargo.env("LLVM_PREFIX", self.llvm_prefix());
        install_crate(cargo, "bpf-linker", self.version)?;
        if !self.runs() {
            bail!("bpf-linker was built, but its `--version` does not say {}", self.version);
        }
        Ok(())
    }
}

/// cargo-deny as pinned. Only `ci` needs it.
pub(crate) fn cargo_deny() -> Result<PathBuf> {
    cargo_tool("cargo-deny")
}

/// cargo-fuzz as pinned. Only the suite `fuzz` needs it.
pub(crate) fn cargo_fuzz() -> Result<PathBuf> {
    cargo_tool("cargo-fuzz")
}

/// A program from crates.io as pinned, from PATH or built into `target/tools`.
fn cargo_tool(name: &str) -> Result<PathBuf> {
    let version = workspace::pin(name)?;
    let own = workspace::tools_dir().join("bin").join(name);
    let candidates = [Some(own.clone()), command::find(name)];
    if let Some(found) =
        candidates.into_iter().flatten().find(|program| has_version(program, version))
    {
        return Ok(found);
    }
    install_crate(command::cargo(["install"]), name, version)?;
    Ok(own)
}

fn has_version(program: &Path, version: &str) -> bool {
    command::output(Command::new(program).arg("--version"))
        .is_some_and(|answer| answer.split(' ').any(|word| word == version))
}

/// Builds a program from crates.io into `target/tools`, and removes what only building it took.
fn install_crate(mut cargo: Command, name: &str, version: &str) -> Result<()> {
    let tools = workspace::tools_dir();
    let build = tools.join(format!("build-{name}"));
    cargo.args([name, "--version", version, "--locked", "--force"]);
    cargo.arg("--root").arg(&tools).arg("--target-dir").arg(&build).env_remove("RUSTFLAGS");
    let what = format!("building {name} {version} into target/tools");
    command::run_logged(&what, &mut cargo, &log_file(name))?;
    fs::remove_dir_all(&build).with_context(|| build.display().to_string())
}

/// A Rust compiler that can build `core` for BPF: it has the source of `core`, and no newer LLVM
/// than the linker, which reads its bitcode. The daemon's build script looks in the same order.
struct Compiler {
    /// The words before `rustc` or `cargo`.
    words: Vec<String>,
    version: String,
    library: PathBuf,
}

impl Compiler {
    fn find(linker: &Linker) -> Option<Self> {
        let nightly = ["rustup", "run", "nightly"].map(str::to_owned).to_vec();
        Self::check(nightly, "rustc", linker)
            .or_else(|| Self::check(vec![], "/usr/bin/rustc", linker))
    }

    fn check(words: Vec<String>, rustc: &str, linker: &Linker) -> Option<Self> {
        let ask = |what: &str| {
            let mut asked = program(&words, rustc);
            // rustup would otherwise install the toolchain it is asked about.
            asked.env("RUSTUP_AUTO_INSTALL", "0").env_remove("RUSTUP_TOOLCHAIN");
            command::output(asked.args(what.split(' ')))
        };
        let library = PathBuf::from(ask("--print sysroot")?).join("lib/rustlib/src/rust/library");
        if !library.join("core/src/lib.rs").exists() {
            return None;
        }
        let about = ask("-vV")?;
        let llvm = about.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
        let major = |version: &str| version.split('.').next()?.parse::<u32>().ok();
        if major(llvm)? > major(linker.llvm)? {
            return None;
        }
        let version = about.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
        Some(Self { words, version, library })
    }

    /// Fetches the crates that `core` names, so that the first build does not stall on them.
    fn fetch_core(&self) -> Result<()> {
        let stamp = workspace::tools_dir().join("core-fetched-for");
        if fs::read_to_string(&stamp).is_ok_and(|done| done == self.version) {
            return Ok(());
        }
        let system = self.words.is_empty();
        let mut cargo = program(&self.words, if system { "/usr/bin/cargo" } else { "cargo" });
        if system {
            cargo.env("RUSTC", "/usr/bin/rustc");
        }
        // The library's manifest uses unstable features of cargo.
        cargo.env("RUSTC_BOOTSTRAP", "1").env_remove("RUSTUP_TOOLCHAIN").env_remove("CARGO");
        cargo.args(["fetch", "--locked", "--manifest-path"]).arg(self.library.join("Cargo.toml"));
        let what = format!("fetching the crates that `core` of {} takes", self.version);
        command::run_logged(&what, &mut cargo, &log_file("fetch-core"))?;
        fs::write(&stamp, &self.version).with_context(|| stamp.display().to_string())
    }
}

fn program(words: &[String], last: &str) -> Command {
    let mut all = words.iter().map(String::as_str).chain([last]);
    let mut command = Command::new(all.next().unwrap_or(last));
    command.args(all);
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpffs_is_known_by_place_and_type() {
        assert!(bpffs_is_mounted("bpf /sys/fs/bpf bpf rw,nosuid 0 0\n"));
        assert!(bpffs_is_mounted("none /sys/fs/bpf bpf rw 0 0\n"));
        assert!(!bpffs_is_mounted("tmpfs /sys/fs/bpf tmpfs rw 0 0\n"));
        assert!(!bpffs_is_mounted("bpf /run/bpf bpf rw 0 0\n"));
    }

    #[test]
    fn who_cannot_become_root_is_told_each_command() {
        let text = what_root_must_do(&["curl".to_owned(), "bpftool".to_owned()], true);
        assert!(text.contains("install -y --no-install-recommends curl bpftool\n"), "{text}");
        assert!(text.contains("mount -t bpf bpf /sys/fs/bpf\n"), "{text}");
        assert!(!what_root_must_do(&[], true).contains("apt-get"));
    }
}
