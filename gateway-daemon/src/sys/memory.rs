//! Memory of the process, as the kernel sees it.
#![expect(unsafe_code, reason = "a function of the allocator's")]

use std::io;

/// Asks for memory in small pages from now on.
///
/// The allocator has the kernel back its arenas with pages of 2 MiB. Each is cleared as a whole when its
/// first byte is touched, and stays while one byte of it is in use: an idle daemon had 16 MiB of them.
pub fn small_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Gives back to the kernel what the calling thread has freed, and what others have whole blocks of.
///
/// The allocator does this by itself as long as something is allocated now and then, but not on a
/// thread that has become quiet.
pub fn give_back() {
    // SAFETY: may be called at any time, on any thread; blocks in use are not touched.
    unsafe { libmimalloc_sys::mi_collect(true) }
    // Cryptography allocates by libc.
    #[cfg(target_env = "gnu")]
    // SAFETY: as above.
    unsafe {
        libc::malloc_trim(0);
    }
}
