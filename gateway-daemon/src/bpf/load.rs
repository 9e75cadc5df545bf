//! Detached to loaded: the object into the kernel, its maps pinned or continued.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use gateway_common::abi::{self, map};
use gateway_common::counters::PACKET_ROWS_PER_CPU;

use super::maps::Maps;
use super::object::Object;
use super::pins::{self, PinDirectory};
use super::programs::Programs;
use super::{BpfError, Privileged};
use crate::model::policy::Cidr;

/// The kernel object; empty if it could not be built (see `build.rs`).
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gateway.o"));

/// Why this binary has no kernel half; none if it has one.
pub fn missing_object() -> Option<&'static str> {
    OBJECT.is_empty().then_some(env!("GATEWAY_KERNEL_OBJECT"))
}

/// How to load.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    /// Workers; each has a socket per address family and a row per path.
    pub workers: u32,
    /// Sources whose packets to gateway ports are dropped (`--deny-source`).
    pub deny_sources: Vec<Cidr>,
    /// Sources that have no budget of connections (`--trusted-source`, loopback).
    pub trusted_sources: Vec<Cidr>,
    /// Where maps are pinned.
    pub pin_directory: PathBuf,
}

impl LoadOptions {
    /// The usual place, nothing denied.
    pub fn new(workers: u32) -> Self {
        Self {
            workers,
            deny_sources: Vec::new(),
            trusted_sources: Vec::new(),
            pin_directory: abi::PIN_DIRECTORY.into(),
        }
    }
}

/// Nothing in the kernel yet; the pin directory is ours.
#[derive(Debug)]
pub struct Detached {
    options: LoadOptions,
    pins: PinDirectory,
    cpus: u32,
    beside: bool,
}

impl Detached {
    /// Checks what can be checked without loading, and takes the pin directory. Fails if another
    /// daemon uses it.
    pub fn prepare(options: LoadOptions) -> Result<Self, BpfError> {
        let cpus = check(&options)?;
        let pins = PinDirectory::take_or_continue(&options.pin_directory)?;
        Ok(Self { options, pins, cpus, beside: false })
    }

    /// The same beside a daemon that serves and hands over, with the lock of the pin directory:
    /// nothing of what it uses is changed before [`Attached::commit`](super::Attached::commit) but
    /// the programs, and the lists of denied and trusted sources.
    pub fn beside(options: LoadOptions, lock: File) -> Result<Self, BpfError> {
        let cpus = check(&options)?;
        let pins = PinDirectory::share(&options.pin_directory, lock)?;
        Ok(Self { options, pins, cpus, beside: true })
    }

    /// The same beside a daemon that drains and uses nothing but its rows of counters.
    pub fn after(options: LoadOptions, lock: File) -> Result<Self, BpfError> {
        Ok(Self { beside: false, ..Self::beside(options, lock)? })
    }

    /// Loads maps and programs. Pinned maps of the same layout are continued: counters go on where
    /// they were. More workers than before: their rows are added. Steering, worker sockets and the
    /// deny list begin empty, unless another daemon uses them.
    pub fn load(self, privileged: &Privileged) -> Result<Loaded, BpfError> {
        let mut loaded = self.begin(privileged)?;
        loaded.programs.wait()?;
        Ok(loaded)
    }

    /// The same, but answers as soon as the maps are there. The programs are taken into the kernel
    /// meanwhile; what needs one waits for it, and [`Loaded::attach`] for all of them.
    pub fn begin(self, _: &Privileged) -> Result<Loaded, BpfError> {
        let Self { options, pins, cpus, beside } = self;
        let specs = pins::specs(options.workers, cpus);
        let (workers, migration) = if beside {
            (pins.check_beside(&specs, options.workers)?, None)
        } else {
            pins.check(&specs, options.workers)?
        };
        let entries = [
            (map::REQUEST_COUNTERS, workers * abi::MAX_PATHS),
            (map::WIRE_COUNTERS, cpus * abi::MAX_PATHS),
            (map::PACKET_COUNTERS, cpus * PACKET_ROWS_PER_CPU),
        ];
        let mut object = Object::parse(OBJECT, &pins, &entries)?;
        let mut opened = object.maps()?;
        let programs = Programs::begin(object, pins.path()).map_err(BpfError::from_load)?;
        let mut maps = Maps::take(&mut opened, options.workers)?;
        if let Some(migration) = migration {
            migration.finish(&maps)?;
        }
        if !beside {
            if !opened.fresh {
                maps.reset()?;
            }
            maps.set_blocks(&options.deny_sources, &options.trusted_sources)?;
        }
        Ok(Loaded { programs, maps, pins, options, beside })
    }
}

/// Checks what can be checked without the kernel. Answers how many CPUs there may be.
fn check(options: &LoadOptions) -> Result<u32, BpfError> {
    if let Some(reason) = missing_object() {
        return Err(BpfError::NoKernelObject { reason });
    }
    if !(1..=abi::MAX_WORKERS).contains(&options.workers) {
        return Err(BpfError::Workers { workers: options.workers, most: abi::MAX_WORKERS });
    }
    for v4 in [true, false] {
        let family = |cidr: &&Cidr| cidr.address().is_ipv4() == v4;
        for (flag, list, most) in [
            ("--deny-source", &options.deny_sources, abi::MAX_DENY_SOURCES),
            ("--trusted-source", &options.trusted_sources, abi::MAX_TRUSTED_SOURCES),
        ] {
            let found = list.iter().filter(family).count();
            if found > most as usize {
                return Err(BpfError::TooManyBlocks { flag, found, most });
            }
        }
    }
    let cpus = aya::util::nr_cpus().map_err(|(file, source)| BpfError::PinDirectory {
        action: "read",
        path: file.into(),
        source,
    })?;
    u32::try_from(cpus)
        .ok()
        .filter(|&cpus| cpus <= abi::MAX_CPUS)
        .ok_or(BpfError::Cpus { cpus, most: abi::MAX_CPUS })
}

/// Maps are in the kernel, and programs too or on their way there, attached to nothing.
pub struct Loaded {
    pub(super) programs: Programs,
    pub(super) maps: Maps,
    pub(super) pins: PinDirectory,
    pub(super) options: LoadOptions,
    /// Another daemon serves with these maps.
    pub(super) beside: bool,
}

impl Loaded {
    /// The open maps.
    pub fn maps(&mut self) -> &mut Maps {
        &mut self.maps
    }

    /// Where the maps are pinned.
    pub fn pin_directory(&self) -> &std::path::Path {
        self.pins.path()
    }

    /// Names of the pinned maps.
    pub fn pinned(&self) -> BTreeSet<&'static str> {
        pins::names().collect()
    }
}
