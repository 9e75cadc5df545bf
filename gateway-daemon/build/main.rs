//! Builds the kernel object from `gateway-ebpf` and hands it to `bpf/load.rs`.
//!
//! It takes a compiler that has the source of `core`, and bpf-linker; `cargo xtask setup` installs
//! both. Where one is missing, the daemon is built with an empty object in its place, which
//! refuses to load and says why. `docs/decisions/0011-kernel-object.md` has the reasons.
#![expect(clippy::disallowed_methods, reason = "cargo speaks to build scripts by environment")]

mod btf;

use std::error::Error;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

/// The source of `core`, below a compiler's root.
const CORE: &str = "lib/rustlib/src/rust/library/core/src/lib.rs";
/// Where distributions keep their compiler.
const DISTRIBUTION: &str = "/usr";
/// The target, and so the folder of the result.
const TARGET: &str = "bpfel-unknown-none";

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let workspace = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("..").canonicalize()?;
    let object = PathBuf::from(variable("OUT_DIR")?).join("gateway.o");
    for source in ["gateway-ebpf", "gateway-common", "Cargo.lock"] {
        watch(&workspace.join(source));
    }
    let missing = match (compiler(&workspace)?, linker(&workspace)) {
        (Some(compiler), Some(linker)) => {
            let built = build(&workspace, &compiler, &linker)?;
            let named = btf::name_text(fs::read(&built)?);
            fs::write(&object, named.ok_or("the kernel object has no type i8 in its BTF")?)?;
            println!("cargo:rustc-env=GATEWAY_KERNEL_OBJECT=built");
            return Ok(());
        }
        (None, _) => "no Rust compiler with the source of core, whose LLVM bpf-linker can read",
        (_, None) => "no bpf-linker",
    };
    fs::write(&object, [])?;
    println!("cargo:rustc-env=GATEWAY_KERNEL_OBJECT={missing}");
    println!("cargo:warning=built without the kernel half ({missing}): run `cargo xtask setup`");
    Ok(())
}

/// The linker that set-up installed, else the one on PATH.
fn linker(workspace: &Path) -> Option<PathBuf> {
    let own = workspace.join("target/tools/bin/bpf-linker");
    println!("cargo:rerun-if-env-changed=PATH");
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).map(|folder| folder.join("bpf-linker"));
    let candidates: Vec<_> = [own].into_iter().chain(on_path).collect();
    first(&candidates, Path::exists, Path::to_owned)
}

/// The root of the first compiler that has the source of `core`, and no newer LLVM than the one
/// that bpf-linker is built with: rustup's nightly, then the distribution's.
fn compiler(workspace: &Path) -> Result<Option<PathBuf>> {
    let manifest = fs::read_to_string(workspace.join("Cargo.toml"))?;
    let newest = manifest
        .lines()
        .find_map(|line| line.strip_prefix("llvm = "))
        .and_then(|version| version.trim_matches('"').parse::<u32>().ok())
        .ok_or("Cargo.toml: [workspace.metadata.tools] has no line for llvm")?;
    let roots: Vec<_> = nightly().into_iter().chain([PathBuf::from(DISTRIBUTION)]).collect();
    let usable = |root: &Path| {
        root.join(CORE).exists() && llvm(root).is_some_and(|version| version <= newest)
    };
    Ok(first(&roots, usable, |root| root.join(CORE)))
}

/// The first candidate that will do. Its file is watched; if none will do, all are, so that no
/// stub outlives set-up: cargo runs this script again and again while a watched file is missing.
fn first(
    candidates: &[PathBuf],
    usable: impl Fn(&Path) -> bool,
    file: impl Fn(&Path) -> PathBuf,
) -> Option<PathBuf> {
    let found = candidates.iter().find(|candidate| usable(candidate)).cloned();
    match &found {
        Some(found) => watch(&file(found)),
        None => candidates.iter().for_each(|candidate| watch(&file(candidate))),
    }
    found
}

fn nightly() -> Option<PathBuf> {
    let mut rustup = Command::new("rustup");
    // It would otherwise install what it is asked about.
    rustup.env("RUSTUP_AUTO_INSTALL", "0").env_remove("RUSTUP_TOOLCHAIN");
    let root = answer(rustup.args(["run", "nightly", "rustc", "--print", "sysroot"]))?;
    Some(PathBuf::from(root.trim()))
}

fn llvm(root: &Path) -> Option<u32> {
    let about = answer(Command::new(root.join("bin/rustc")).arg("-vV"))?;
    let version = about.lines().find_map(|line| line.strip_prefix("LLVM version: "))?;
    version.split('.').next()?.parse().ok()
}

/// Builds the object and answers where it is.
///
/// The target directory is the workspace's whatever `CARGO_TARGET_DIR` says, and one of its own,
/// because the outer cargo holds a lock on its own: profiles and target directories share it, so
/// that `core` is built once.
fn build(workspace: &Path, compiler: &Path, linker: &Path) -> Result<PathBuf> {
    let target = workspace.join("target/bpf");
    let mut cargo = Command::new(compiler.join("bin/cargo"));
    // What the outer cargo and rustup set would choose another compiler.
    for name in ["CARGO", "RUSTUP_TOOLCHAIN", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"] {
        cargo.env_remove(name);
    }
    let flags = [
        // What aya-ebpf's bindings choose their registers by.
        format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
        "-Cdebuginfo=2".to_owned(),
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
    ];
    cargo
        .current_dir(workspace)
        .args(["build", "--release", "--package", "gateway-ebpf", "--bin", "gateway"])
        .args(["--features", "bpf", "--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(&target)
        .env("RUSTC", compiler.join("bin/rustc"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    let output = cargo.output()?;
    if !output.status.success() {
        return Err(
            format!("{cargo:?} failed:\n{}", String::from_utf8_lossy(&output.stderr)).into()
        );
    }
    Ok(target.join(TARGET).join("release/gateway"))
}

fn answer(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

fn watch(path: &Path) {
    println!("cargo:rerun-if-changed={}", path.display());
}

fn variable(name: &str) -> Result<String> {
    let value: OsString = env::var_os(name).ok_or_else(|| format!("{name} is not set"))?;
    value.into_string().map_err(|_| format!("{name} is not UTF-8").into())
}
