//! The bpf system call, as far as aya does not offer it by itself: types and programs into the
//! kernel, pins of programs and links, links of network namespaces.
#![expect(unsafe_code, reason = "bpf(2)")]

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Commands, from `linux/bpf.h`.
const PROG_LOAD: libc::c_long = 5;
const OBJ_PIN: libc::c_long = 6;
const OBJ_GET: libc::c_long = 7;
const BTF_LOAD: libc::c_long = 18;
const LINK_CREATE: libc::c_long = 28;
const LINK_UPDATE: libc::c_long = 29;
const LINK_DETACH: libc::c_long = 34;

/// `BPF_SK_LOOKUP`.
const SK_LOOKUP: u32 = 36;

/// Bytes of a program's name, with its end.
const NAME: usize = 16;
/// Bytes for what the verifier has to say about a program that it refuses.
const LOG: usize = 1 << 20;

/// A program as the kernel takes it.
#[derive(Debug)]
pub struct Program<'p> {
    /// Its name; what is beyond fifteen bytes is cut.
    pub name: &'p str,
    /// `enum bpf_prog_type`.
    pub kind: u32,
    /// `enum bpf_attach_type`, where the type wants one; else 0.
    pub attach: u32,
    /// What helpers it may call.
    pub license: &'p CStr,
    /// The code, eight bytes each.
    pub instructions: &'p [[u8; 8]],
    /// Types, and records that refer to them.
    pub types: BorrowedFd<'p>,
    /// `struct bpf_func_info`, and the bytes of each.
    pub functions: Records<'p>,
    /// `struct bpf_line_info`, likewise.
    pub lines: Records<'p>,
}

/// Records of equal size.
#[derive(Clone, Copy, Debug)]
pub struct Records<'r> {
    /// All of them.
    pub bytes: &'r [u8],
    /// The bytes of one.
    pub size: usize,
}

/// Why the kernel takes no program.
#[derive(Debug)]
pub struct Refusal {
    /// The kernel's answer.
    pub error: io::Error,
    /// What the verifier said.
    pub log: String,
}

/// `union bpf_attr` of `BPF_BTF_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Types {
    start: u64,
    log: u64,
    size: u32,
    log_size: u32,
    log_level: u32,
    padding: u32,
}

/// `union bpf_attr` of `BPF_PROG_LOAD`.
#[repr(C)]
#[derive(Default)]
struct Load {
    kind: u32,
    instruction_count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; NAME],
    interface: u32,
    attach: u32,
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    line_size: u32,
    lines: u64,
    line_count: u32,
    attach_types: u32,
}

/// `union bpf_attr` of `BPF_OBJ_PIN`.
#[repr(C)]
struct Pin {
    path: u64,
    file: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_CREATE`.
#[repr(C)]
struct Link {
    program: u32,
    target: u32,
    attach: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_LINK_UPDATE`.
#[repr(C)]
struct Replace {
    link: u32,
    program: u32,
    flags: u32,
    old_program: u32,
}

/// `union bpf_attr` of `BPF_LINK_DETACH`.
#[repr(C)]
struct Detach {
    link: u32,
}

/// Takes types (BTF) into the kernel.
pub fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let attributes =
        Types { start: types.as_ptr() as u64, size: length(types.len())?, ..Types::default() };
    // SAFETY: the attributes refer to `types` alone, with its length, and a new file is answered.
    unsafe { opened(BTF_LOAD, &attributes) }
}

/// Takes a program into the kernel. A refused one is offered again, to hear why.
pub fn load_program(program: &Program<'_>) -> Result<OwnedFd, Refusal> {
    let quiet = try_load(program, &mut []);
    if quiet.is_ok() {
        return quiet.map_err(|error| Refusal { error, log: String::new() });
    }
    let mut log = vec![0; LOG];
    try_load(program, &mut log).map_err(|error| {
        let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
        Refusal { error, log: String::from_utf8_lossy(&log[..end]).into_owned() }
    })
}

fn try_load(program: &Program<'_>, log: &mut [u8]) -> io::Result<OwnedFd> {
    /// `BPF_LOG_LEVEL1 | BPF_LOG_STATS`.
    const LEVEL: u32 = 1 | 4;
    let Program { kind, attach, functions, lines, .. } = *program;
    let mut name = [0; NAME];
    for (to, from) in name.iter_mut().take(NAME - 1).zip(program.name.bytes()) {
        *to = from;
    }
    let mut attributes = Load {
        kind,
        instruction_count: length(program.instructions.len())?,
        instructions: program.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        name,
        attach,
        types: number(program.types),
        function_size: length(functions.size)?,
        functions: functions.bytes.as_ptr() as u64,
        function_count: functions.count()?,
        line_size: length(lines.size)?,
        lines: lines.bytes.as_ptr() as u64,
        line_count: lines.count()?,
        ..Load::default()
    };
    if !log.is_empty() {
        attributes.log_level = LEVEL;
        attributes.log_size = length(log.len())?;
        attributes.log = log.as_mut_ptr() as u64;
    }
    // SAFETY: the attributes refer to what `program` and `log` borrow, with their lengths, and to
    // a license that ends in zero; only `log` is written. A new file is answered.
    unsafe { opened(PROG_LOAD, &attributes) }
}

/// Lets a program answer lookups of sockets in a network namespace (`BPF_PROG_TYPE_SK_LOOKUP`), as long as
/// the link is open or pinned.
pub fn link_lookup(program: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let attributes =
        Link { program: number(program), target: number(namespace), attach: SK_LOOKUP, flags: 0 };
    // SAFETY: the attributes are numbers, and a new file is answered.
    unsafe { opened(LINK_CREATE, &attributes) }
}

/// Puts a program in the place of a link's.
pub fn replace(link: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    let attributes =
        Replace { link: number(link), program: number(program), flags: 0, old_program: 0 };
    // SAFETY: the attributes are numbers.
    unsafe { bpf(LINK_UPDATE, &attributes) }.map(|_| ())
}

/// Detaches a link, whoever else has it open. It has happened when this answers.
pub fn detach(link: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: the attributes are a number.
    unsafe { bpf(LINK_DETACH, &Detach { link: number(link) }) }.map(|_| ())
}

/// Pins a program or a link in the BPF file system.
pub fn pin(file: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin { path: path.as_ptr() as u64, file: number(file), flags: 0 };
    // SAFETY: the attributes refer to a path that ends in zero.
    unsafe { bpf(OBJ_PIN, &attributes) }.map(|_| ())
}

/// Opens what is pinned here; none if there is nothing.
pub fn pinned(path: &Path) -> io::Result<Option<OwnedFd>> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let attributes = Pin { path: path.as_ptr() as u64, file: 0, flags: 0 };
    // SAFETY: the attributes refer to a path that ends in zero, and a new file is answered.
    match unsafe { opened(OBJ_GET, &attributes) } {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}

impl Records<'_> {
    fn count(&self) -> io::Result<u32> {
        length(self.bytes.len().checked_div(self.size).unwrap_or(0))
    }
}

fn number(file: BorrowedFd<'_>) -> u32 {
    file.as_raw_fd().cast_unsigned()
}

fn length(length: usize) -> io::Result<u32> {
    u32::try_from(length).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// # Safety
///
/// As for [`bpf`]; and the command has to answer a new file.
unsafe fn opened<A>(command: libc::c_long, attributes: &A) -> io::Result<OwnedFd> {
    // SAFETY: by contract.
    unsafe { bpf(command, attributes).map(|file| OwnedFd::from_raw_fd(file)) }
}

/// # Safety
///
/// The attributes are those of the command, and what they refer to is there.
unsafe fn bpf<A>(command: libc::c_long, attributes: &A) -> io::Result<libc::c_int> {
    // SAFETY: by contract; the kernel reads no more than the size says.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<A>()) };
    match libc::c_int::try_from(answer) {
        Ok(answer) if answer >= 0 => Ok(answer),
        _ => Err(io::Error::last_os_error()),
    }
}
