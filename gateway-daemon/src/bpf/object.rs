//! The kernel object: its types and maps into the kernel, its programs made ready for it.
//!
//! This is what aya's loader does, but for two things. That one first reads the types of the whole
//! kernel, which this object has no use for and which takes longer than all of this. And it makes
//! every map before any program; here those that take longest are made when XDP needs them, while
//! other programs are being attached.

use std::collections::{HashMap, HashSet};
use std::error::Error;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::PathBuf;

use aya::maps::{Map, MapData};
use aya::programs::ProgramError;
use aya_obj::generated::{bpf_insn, bpf_map_type};
use aya_obj::{Function, Program, VerifierLog};
use gateway_common::abi::{map, program};

use super::BpfError;
use super::pins::PinDirectory;
use crate::sys::bpf::{self, Records};

/// Maps that nobody but XDP refers to, and that the kernel fills with free entries when they are
/// made.
const LATE: [&str; 4] =
    [map::SYN_BUCKETS_V4, map::SYN_BUCKETS_V6, map::EARNED_SOURCES_V4, map::EARNED_SOURCES_V6];

/// `BPF_PROG_TYPE_SCHED_CLS`.
const SCHED_CLS: u32 = 3;
/// `BPF_PROG_TYPE_XDP`, and `BPF_XDP`, which goes with it.
const XDP: (u32, u32) = (6, 37);

/// `BPF_PROG_TYPE_SK_LOOKUP`, and `BPF_SK_LOOKUP`, which goes with it.
const SK_LOOKUP: (u32, u32) = (30, 36);

/// Maps that belong to the programs of one start, and are not pinned.
const PRIVATE: [&str; 1] = [map::REOPENED];

/// The number of no file.
const NO_FILE: RawFd = -1;

/// An object whose programs are not in the kernel yet.
pub(super) struct Object {
    parsed: aya_obj::Object,
    /// Sections of code.
    code: HashSet<usize>,
    types: OwnedFd,
    directory: PathBuf,
    /// Programs that are still to be loaded.
    programs: HashMap<String, (Program, Function)>,
    /// Definitions of the maps that are still to be opened or made.
    missing: HashMap<String, aya_obj::Map>,
    /// Those of the others, and their files.
    made: Vec<(String, aya_obj::Map, OwnedFd)>,
}

/// Maps, open.
pub(super) struct OpenMaps {
    maps: HashMap<String, Map>,
    /// None of them was pinned before.
    pub(super) fresh: bool,
}

impl OpenMaps {
    /// A map, once.
    pub(super) fn take(&mut self, name: &str) -> Option<Map> {
        self.maps.remove(name)
    }
}

impl Object {
    /// Reads an object and takes its types into the kernel. `entries`: maps that have another
    /// number of them than it says.
    pub(super) fn parse(
        bytes: &[u8],
        pins: &PinDirectory,
        entries: &[(&str, u32)],
    ) -> Result<Self, BpfError> {
        let mut object = aya_obj::Object::parse(bytes).map_err(BpfError::from_load)?;
        let types = match aya::features().btf() {
            Some(features) => object.fixup_and_sanitize_btf(features),
            None => return Err(BpfError::from_load(NoTypes)),
        };
        let types =
            types.map_err(BpfError::from_load)?.ok_or_else(|| BpfError::from_load(NoTypes))?;
        let types = bpf::load_types(&types.to_bytes()).map_err(BpfError::from_load)?;
        for (name, entries) in entries {
            if let Some(map) = object.maps.get_mut(*name) {
                map.set_max_entries(*entries);
            }
        }
        let code = object.functions.keys().map(|(section, _)| *section).collect();
        let mut programs = HashMap::new();
        for (name, program) in object.programs.drain() {
            if let Some(function) = object.functions.remove(&program.function_key()) {
                programs.insert(name, (program, function));
            }
        }
        let directory = pins.path().to_owned();
        let missing = std::mem::take(&mut object.maps);
        Ok(Self { parsed: object, code, types, directory, programs, missing, made: Vec::new() })
    }

    /// Opens the pinned maps and makes those that are missing, but for the late ones.
    pub(super) fn maps(&mut self) -> Result<OpenMaps, BpfError> {
        self.open(|name| !LATE.contains(&name))
    }

    fn open(&mut self, wanted: impl Fn(&str) -> bool) -> Result<OpenMaps, BpfError> {
        let mut opened = OpenMaps { maps: HashMap::new(), fresh: true };
        for (name, definition) in self.missing.extract_if(|name, _| wanted(name)) {
            let pin = self.directory.join(&name);
            let pinned = !PRIVATE.contains(&name.as_str());
            let data = match MapData::from_pin(&pin) {
                Ok(data) if pinned => {
                    opened.fresh = false;
                    data
                }
                _ => {
                    let types = Some(self.types.as_fd());
                    let data = MapData::create(definition.clone(), &name, types);
                    let data = data.map_err(BpfError::from_load)?;
                    if pinned {
                        data.pin(&pin).map_err(BpfError::from_load)?;
                    }
                    data
                }
            };
            let file = data.fd().as_fd().try_clone_to_owned().map_err(BpfError::from_load)?;
            opened.maps.insert(name.clone(), typed(&definition, data));
            self.made.push((name, definition, file));
        }
        Ok(opened)
    }

    /// Takes a program into the kernel.
    pub(super) fn load(&mut self, name: &'static str) -> Result<OwnedFd, BpfError> {
        let failed = |error| BpfError::from_program(format!("load the program {name}"), error);
        let (kind, attach) = match name {
            program::XDP => XDP,
            program::LOOKUP => SK_LOOKUP,
            _ => (SCHED_CLS, 0),
        };
        if name == program::XDP {
            self.open(|_| true)?;
        }
        let (program, function) =
            self.programs.remove(name).ok_or_else(|| failed(ProgramError::NotLoaded))?;
        let linked = self.link(name, &program, function).map_err(BpfError::from_load)?;
        let instructions: Vec<_> = linked.instructions.iter().copied().map(bytes).collect();
        bpf::load_program(&bpf::Program {
            name,
            kind,
            attach,
            license: &program.license,
            instructions: &instructions,
            types: self.types.as_fd(),
            functions: Records {
                bytes: &linked.func_info.func_info_bytes(),
                size: linked.func_info_rec_size,
            },
            lines: Records {
                bytes: &linked.line_info.line_info_bytes(),
                size: linked.line_info_rec_size,
            },
        })
        .map_err(|bpf::Refusal { error, log }| {
            failed(ProgramError::LoadError { io_error: error, verifier_log: VerifierLog::new(log) })
        })
    }

    /// The code of a program with that of the functions that it calls, referring to maps by file.
    fn link(
        &mut self,
        name: &str,
        program: &Program,
        function: Function,
    ) -> Result<Function, Box<dyn Error + Send + Sync>> {
        let key = program.function_key();
        self.parsed.programs.insert(name.to_owned(), program.clone());
        self.parsed.functions.insert(key, function);
        // Functions are made ready whether this program calls them or not. One that refers to a map
        // that is not there refers to no file, which the kernel would refuse.
        let made = self.made.iter().map(|(name, map, file)| (name.as_str(), file.as_raw_fd(), map));
        let missing = self.missing.iter().map(|(name, map)| (name.as_str(), NO_FILE, map));
        let maps = made.chain(missing);
        self.parsed.relocate_maps(maps, &self.code)?;
        self.parsed.relocate_calls(&self.code)?;
        self.parsed.programs.clear();
        self.parsed.functions.remove(&key).ok_or_else(|| "the program is gone".into())
    }
}

/// A map by its type; of other types this object has none.
fn typed(definition: &aya_obj::Map, data: MapData) -> Map {
    match bpf_map_type::try_from(definition.map_type()) {
        Ok(bpf_map_type::BPF_MAP_TYPE_ARRAY) => Map::Array(data),
        Ok(bpf_map_type::BPF_MAP_TYPE_HASH) => Map::HashMap(data),
        Ok(bpf_map_type::BPF_MAP_TYPE_LPM_TRIE) => Map::LpmTrie(data),
        Ok(bpf_map_type::BPF_MAP_TYPE_LRU_HASH) => Map::LruHashMap(data),
        Ok(bpf_map_type::BPF_MAP_TYPE_RINGBUF) => Map::RingBuf(data),
        Ok(bpf_map_type::BPF_MAP_TYPE_SOCKMAP) => Map::SockMap(data),
        _ => Map::Unsupported(data),
    }
}

/// An instruction as it lies in memory.
fn bytes(instruction: bpf_insn) -> [u8; 8] {
    let [low, high] = instruction.off.to_ne_bytes();
    let [a, b, c, d] = instruction.imm.to_ne_bytes();
    let registers = if cfg!(target_endian = "little") {
        instruction.dst_reg() | instruction.src_reg() << 4
    } else {
        instruction.dst_reg() << 4 | instruction.src_reg()
    };
    [instruction.code, registers, low, high, a, b, c, d]
}

/// Neither the kernel nor the object can do without.
#[derive(Debug, thiserror::Error)]
#[error("there are no types (BTF)")]
struct NoTypes;
