//! What can go wrong between the daemon and the kernel, and what to do about it.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::programs::tc::TcError;
use aya::programs::xdp::XdpError;

use crate::counters::RegionError;

/// The end of every message about the datapath that cannot start.
const WITHOUT: &str = "or serve without the kernel half: --datapath off";

/// Why the kernel half cannot be loaded, attached or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BpfError {
    /// This binary has only the stub.
    #[error(
        "this gateway-daemon was built without the kernel object ({reason}): run `cargo xtask \
         setup`, then build again, {WITHOUT}"
    )]
    NoKernelObject {
        /// Why the build left it out.
        reason: &'static str,
    },
    /// More workers than rows.
    #[error("--workers {workers} is out of range: use 1 to {most}")]
    Workers {
        /// What was asked for.
        workers: u32,
        /// What the layout allows.
        most: u32,
    },
    /// More CPUs than rows.
    #[error(
        "this machine may have {cpus} CPUs, more than the {most} that can be counted: {WITHOUT}"
    )]
    Cpus {
        /// Possible CPUs.
        cpus: usize,
        /// What the layout allows.
        most: u32,
    },
    /// More denied or trusted sources than the maps hold.
    #[error("{flag}: at most {most} blocks of an address family, not {found}")]
    TooManyBlocks {
        /// Which.
        flag: &'static str,
        /// Blocks of one family.
        found: usize,
        /// What the map holds.
        most: u32,
    },
    /// No BPF file system where the pins go.
    #[error(
        "{} is not on a BPF file system: run `mount -t bpf bpf /sys/fs/bpf`, {WITHOUT}",
        path.display()
    )]
    NoBpffs {
        /// The nearest existing directory of the pin path.
        path: PathBuf,
    },
    /// The pin directory cannot be made or read.
    #[error("cannot {action} {}: {source}; {WITHOUT}", path.display())]
    PinDirectory {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// Another daemon holds the pins.
    #[error(
        "another gateway-daemon uses {}: stop it first, {WITHOUT}",
        directory.display()
    )]
    Busy {
        /// The pin directory.
        directory: PathBuf,
    },
    /// A daemon that runs has fewer rows than this one needs.
    #[error(
        "--workers {workers} is more than the {rows} that the running gateway-daemon has counters \
         for, which can only be added while none runs: use --workers {rows} or fewer, or stop it \
         first"
    )]
    Rows {
        /// What was asked for.
        workers: u32,
        /// What there is.
        rows: u32,
    },
    /// A daemon that runs has not all the maps that this one needs.
    #[error(
        "the running gateway-daemon has no map {}: it is of another version, and cannot be taken \
         over. Stop it first, then start this one",
        path.display()
    )]
    NotShared {
        /// Where the map would be.
        path: PathBuf,
    },
    /// Programs of another layout are attached.
    #[error(
        "{} at {}, whose maps have another layout and cannot be shared. {}",
        if *running { "a gateway-daemon runs" } else { "a gateway-daemon left its programs attached" },
        directory.display(),
        if *running {
            "Stop it first, then start this one".to_owned()
        } else {
            format!("`gateway-daemon unload --pin-directory {}` removes them", directory.display())
        }
    )]
    OtherLayout {
        /// Its pin directory.
        directory: PathBuf,
        /// Whether it runs.
        running: bool,
    },
    /// A pinned map has another layout.
    #[error(
        "the pinned map {} has {property} {found}, this version needs {expected}: another version \
         made it. `gateway-daemon unload` removes it with its counts, {WITHOUT}",
        path.display()
    )]
    Layout {
        /// The pin.
        path: PathBuf,
        /// What differs.
        property: &'static str,
        /// In the pinned map.
        found: String,
        /// In this version.
        expected: String,
    },
    /// The kernel refused for lack of privilege.
    #[error(
        "the kernel refuses to {action} (operation not permitted): run as root or with \
         CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON, {WITHOUT}"
    )]
    NotPermitted {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The kernel refused the object, a map or a program.
    #[error(
        "the kernel cannot {action}: {}; it needs Linux 6.1 or later with BPF, BTF and TC \
         (CONFIG_BPF_SYSCALL, CONFIG_DEBUG_INFO_BTF, CONFIG_NET_CLS_ACT), {WITHOUT}",
        chain(source.as_ref())
    )]
    Kernel {
        /// What was tried.
        action: String,
        /// The kernel's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No such interface.
    #[error("interface {interface} does not exist: see `ip link` for --interface, {WITHOUT}")]
    NoInterface {
        /// Its name.
        interface: String,
    },
    /// Not a link layer that the parser knows.
    #[error(
        "interface {interface} does not carry Ethernet frames (ARP hardware type {kind}): choose \
         another --interface, {WITHOUT}"
    )]
    NotEthernet {
        /// Its name.
        interface: String,
        /// `ARPHRD_*`.
        kind: u16,
    },
    /// The kernel does not list interfaces.
    #[error("cannot list the interfaces: {source}; {WITHOUT}")]
    Interfaces {
        /// The kernel's answer.
        source: io::Error,
    },
    /// Somebody else's XDP program.
    #[error(
        "interface {interface} has an XDP program already{program}, and takes one only: `ip link \
         set dev {interface} xdp off` removes it, --xdp auto carries on without dropping sources \
         there, {WITHOUT}"
    )]
    XdpBusy {
        /// Its name.
        interface: String,
        /// Name and number of the program, in brackets, where they are known.
        program: String,
    },
    /// The driver does not run our XDP program.
    #[error(
        "the driver of interface {interface} takes no native XDP ({}): lower its MTU, or ask for \
         --xdp-mode best",
        chain(source.as_ref())
    )]
    NoNativeXdp {
        /// Its name.
        interface: String,
        /// The kernel's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// No room for another listener.
    #[error(
        "more than {most} pairs of address and port: give listeners with many ports a range of them, \
         or Gateways fewer addresses"
    )]
    TooManyPorts {
        /// What the map holds.
        most: u32,
    },
    /// No room for another ban.
    #[error(
        "map {map} is full: `gateway-daemon bans list` shows what is in it, `bans remove` and \
         `bans clear` make room"
    )]
    TooManyBans {
        /// The map's name.
        map: &'static str,
    },
    /// A map could not be written or mapped.
    #[error("cannot {action} map {map}: {}", chain(source.as_ref()))]
    Map {
        /// What was tried.
        action: &'static str,
        /// The map's name.
        map: &'static str,
        /// The kernel's answer.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The daemon never ran, or was unloaded.
    #[error(
        "there are no counters at {}: no gateway-daemon with the kernel half ran here since the \
         last boot or `unload`",
        path.display()
    )]
    NotPinned {
        /// The missing pin.
        path: PathBuf,
    },
    /// The mapped counters do not fit together.
    #[error(transparent)]
    Region(#[from] RegionError),
}

impl BpfError {
    /// Whether privilege is what was missing.
    pub fn is_not_permitted(&self) -> bool {
        matches!(self, Self::NotPermitted { .. })
    }

    /// Sorts the answer to loading the object.
    pub(super) fn from_load(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self::kernel("load the kernel object", error)
    }

    /// Sorts aya's answer to loading or attaching a program.
    pub(super) fn from_program(action: String, error: ProgramError) -> Self {
        Self::kernel(action, error)
    }

    /// Sorts aya's answer about a link.
    pub(super) fn from_link(action: String, error: impl Error + Send + Sync + 'static) -> Self {
        Self::kernel(action, error)
    }

    pub(super) fn map(action: &'static str, map: &'static str, error: MapError) -> Self {
        Self::Map { action, map, source: error.into() }
    }

    fn kernel(action: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let (action, source) = (action.into(), source.into());
        let not_permitted = errno(source.as_ref()) == Some(libc::EPERM);
        if not_permitted {
            Self::NotPermitted { action, source }
        } else {
            Self::Kernel { action, source }
        }
    }
}

/// The system error at the root of `error`, if there is one.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut error = Some(error);
    while let Some(current) = error {
        let known = if let Some(io) = current.downcast_ref::<io::Error>() {
            io.raw_os_error()
        } else {
            transparent(current)
        };
        if known.is_some() {
            return known;
        }
        error = current.source();
    }
    None
}

/// The same for those of aya's errors that show another's text as their own: their source is the
/// other's source, so that the other itself is passed over.
fn transparent(error: &(dyn Error + 'static)) -> Option<i32> {
    if let Some(error) = error.downcast_ref::<ProgramError>() {
        match error {
            ProgramError::TcError(error) => errno(error),
            ProgramError::XdpError(XdpError::NetlinkError(error))
            | ProgramError::NetlinkError(error) => error.raw_os_error(),
            ProgramError::MapError(error) => errno(error),
            ProgramError::IOError(error) => error.raw_os_error(),
            _ => None,
        }
    } else if let Some(error) = error.downcast_ref::<TcError>() {
        match error {
            TcError::NetlinkError(error) => error.raw_os_error(),
            TcError::IoError(error) => error.raw_os_error(),
            _ => None,
        }
    } else if let Some(MapError::IoError(error)) = error.downcast_ref::<MapError>() {
        error.raw_os_error()
    } else {
        None
    }
}

/// An error with its causes, on one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(current) = cause {
        let next = current.to_string();
        if !text.ends_with(&next) {
            text = format!("{text}: {next}");
        }
        cause = current.source();
    }
    text
}
