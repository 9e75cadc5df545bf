//! Shared memory as words: a memory-mapped BPF array, or an anonymous file of the same form.
#![expect(unsafe_code, reason = "mmap(2), and a slice over what it returned")]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr::{self, NonNull};
use std::slice;
use std::sync::atomic::AtomicU64;

use rustix::fs::{
    MemfdFlags, SealFlags, SeekFrom, fcntl_add_seals, fcntl_get_seals, fstat, ftruncate,
    memfd_create, seek,
};
use rustix::io::Errno;

/// Memory that others (the kernel, other processes) may read and write while we do.
///
/// It is seen only as aligned 64-bit words with atomic access, so that no write of another's can
/// break a rule of the language.
#[derive(Debug)]
pub struct Mapping {
    base: NonNull<AtomicU64>,
    words: usize,
}

// SAFETY: the memory stays mapped as long as the value lives, is not tied to a thread, and is
// reached through atomics only.
unsafe impl Send for Mapping {}
// SAFETY: as above.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps the first `words` words of a file: a BPF array made with `BPF_F_MMAPABLE`.
    pub fn of_file(file: BorrowedFd<'_>, words: usize) -> io::Result<Self> {
        Self::map(words, file.as_raw_fd())
    }

    fn map(words: usize, fd: libc::c_int) -> io::Result<Self> {
        let bytes = words.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory of ours.
        let base = unsafe { libc::mmap(ptr::null_mut(), bytes, protection, flags, fd, 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { base, words })
    }

    /// The words.
    pub fn words(&self) -> &[AtomicU64] {
        // SAFETY: `base` is page-aligned and maps `words` words until drop; any bit pattern is a
        // valid AtomicU64, and all access to them, the kernel's too, is by whole aligned words.
        unsafe { slice::from_raw_parts(self.base.as_ptr(), self.words) }
    }
}

/// Whether nothing was ever written to a file in memory.
pub fn is_unwritten(file: BorrowedFd<'_>) -> io::Result<bool> {
    match seek(file, SeekFrom::Data(0)) {
        Ok(_) => Ok(false),
        Err(Errno::NXIO) => Ok(true),
        Err(error) => Err(error.into()),
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `map` with this length, and no borrow of it outlives `self`.
        let _unmapped = unsafe { libc::munmap(self.base.as_ptr().cast(), self.words * 8) };
    }
}

/// A zeroed file in memory, which nobody finds and whose length nobody changes.
pub fn memory_file(name: &str, words: usize) -> io::Result<OwnedFd> {
    let bytes = words.checked_mul(8).ok_or(io::ErrorKind::InvalidInput)?;
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes as u64)?;
    // A mapping of a file that shrinks faults where the file ends.
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

/// The words of a file that [`memory_file`] made, here or in another process.
pub fn words_of(file: BorrowedFd<'_>) -> io::Result<usize> {
    if !fcntl_get_seals(file)?.contains(SealFlags::SHRINK) {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let bytes = u64::try_from(fstat(file)?.st_size).unwrap_or(0);
    usize::try_from(bytes / 8).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;

    #[test]
    fn a_memory_file_is_zero_and_keeps_its_length() {
        let file = memory_file("test", 1000).unwrap();
        assert_eq!(words_of(file.as_fd()).unwrap(), 1000);
        let mapping = Mapping::of_file(file.as_fd(), 1000).unwrap();
        assert!(mapping.words().iter().all(|word| word.load(Relaxed) == 0));
        mapping.words()[999].store(7, Relaxed);
        assert_eq!(mapping.words()[999].load(Relaxed), 7);
        assert!(ftruncate(&file, 8).is_err());
        assert!(words_of(tempfile::tempfile().unwrap().as_fd()).is_err(), "no such file");
    }

    #[test]
    fn two_mappings_of_a_file_share_their_words() {
        let file = memory_file("test", 512).unwrap();
        let one = Mapping::of_file(file.as_fd(), 512).unwrap();
        let two = Mapping::of_file(file.as_fd(), 512).unwrap();
        one.words()[3].store(9, Relaxed);
        assert_eq!(two.words()[3].load(Relaxed), 9);
    }

    #[test]
    fn a_failed_mapping_is_an_error() {
        let file = memory_file("test", 1).unwrap();
        assert!(Mapping::of_file(file.as_fd(), usize::MAX).is_err());
        assert!(Mapping::of_file(file.as_fd(), 0).is_err());
    }
}
