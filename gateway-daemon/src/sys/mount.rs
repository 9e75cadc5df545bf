//! What kind of file system a path is on. No unsafe code here: rustix has it.

use std::io;
use std::path::Path;

/// Whether `path`, which must exist, is on a BPF file system.
pub fn is_bpffs(path: &Path) -> io::Result<bool> {
    /// `BPF_FS_MAGIC` of `linux/magic.h`.
    const BPFFS: u32 = 0xcafe_4a11;
    Ok(u32::try_from(rustix::fs::statfs(path)?.f_type) == Ok(BPFFS))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_is_not_bpffs_and_a_missing_path_is_an_error() {
        assert!(!is_bpffs(Path::new("/proc")).unwrap());
        assert!(is_bpffs(Path::new("/no/such/path")).is_err());
    }
}
