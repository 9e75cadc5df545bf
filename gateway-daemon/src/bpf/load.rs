//! Detached to loaded: the object into the kernel, its maps pinned or continued.

use std::collections::BTreeSet;
use std::fs::File;
use std::path::PathBuf;

use aya::programs::{ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader};
use gateway_common::abi::{self, map, program};
use gateway_common::counters::PACKET_ROWS_PER_CPU;

use super::maps::Maps;
use super::pins::{self, PinDirectory};
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
    pub fn load(self, _: &Privileged) -> Result<Loaded, BpfError> {
        let Self { options, pins, cpus, beside } = self;
        let specs = pins::specs(options.workers, cpus);
        let (workers, migration) = if beside {
            (pins.check_beside(&specs, options.workers)?, None)
        } else {
            pins.check(&specs, options.workers)?
        };
        let mut loader = EbpfLoader::new();
        loader
            .map_max_entries(map::REQUEST_COUNTERS, workers * abi::MAX_PATHS)
            .map_max_entries(map::WIRE_COUNTERS, cpus * abi::MAX_PATHS)
            .map_max_entries(map::PACKET_COUNTERS, cpus * PACKET_ROWS_PER_CPU);
        for spec in &specs {
            loader.map_pin_path(spec.name, pins.path().join(spec.name));
        }
        let mut ebpf = loader.load(OBJECT).map_err(BpfError::from_load)?;
        load_programs(&mut ebpf)?;
        let mut maps = Maps::take(&mut ebpf, options.workers)?;
        if let Some(migration) = migration {
            migration.finish(&maps)?;
        }
        if !beside {
            maps.reset()?;
            maps.set_blocks(&options.deny_sources, &options.trusted_sources)?;
        }
        Ok(Loaded { ebpf, maps, pins, options, beside })
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

fn load_programs(ebpf: &mut Ebpf) -> Result<(), BpfError> {
    let failed =
        |name: &str, error| BpfError::from_program(format!("load the program {name}"), error);
    xdp(ebpf).and_then(Xdp::load).map_err(|error| failed(program::XDP, error))?;
    for name in [program::TC_INGRESS, program::TC_EGRESS] {
        classifier(ebpf, name)
            .and_then(SchedClassifier::load)
            .map_err(|error| failed(name, error))?;
    }
    Ok(())
}

/// The XDP program of the object.
pub(super) fn xdp(ebpf: &mut Ebpf) -> Result<&mut Xdp, ProgramError> {
    ebpf.program_mut(program::XDP).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}

/// A TC program of the object.
pub(super) fn classifier<'a>(
    ebpf: &'a mut Ebpf,
    name: &str,
) -> Result<&'a mut SchedClassifier, ProgramError> {
    ebpf.program_mut(name).ok_or(ProgramError::UnexpectedProgramType)?.try_into()
}

/// Maps and programs are in the kernel, attached to nothing.
pub struct Loaded {
    pub(super) ebpf: Ebpf,
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
