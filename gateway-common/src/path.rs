//! Path slots: the dense number of a configured path pattern.

use crate::abi;

/// The dense number of a configured path pattern. Slot 0 is *no path*.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[repr(transparent)]
pub struct PathSlot(pub u32);

impl PathSlot {
    /// *No path*: failed handshakes, framing refusals, and requests that match no pattern.
    pub const NONE: Self = Self(0);
}

/// The name row of a path slot, in `PATH_NAMES`: NUL-padded UTF-8, empty when the slot was never
/// used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(C)]
pub struct PathName {
    /// Bytes of the name that are used.
    pub length: u32,
    /// Zero.
    pub reserved: u32,
    /// The pattern as configured, such as `PathPrefix /productpage`. Signed bytes, because those
    /// are shown as text in a map dump.
    pub name: [i8; abi::PATH_NAME_BYTES],
}

/// Packs a path slot and whether the request was permitted into the socket mark that TC egress
/// reads. The upper byte keeps foreign marks apart.
pub const fn mark(path: PathSlot, permitted: bool) -> u32 {
    MARK_TAG | (path.0 << 1) | permitted as u32
}

/// Upper byte of every mark of ours.
pub const MARK_TAG: u32 = 0x6700_0000;
/// The bits of a mark that hold [`MARK_TAG`].
pub const MARK_TAG_MASK: u32 = 0xff00_0000;

/// Reads a mark back, if it is one of ours and in range.
pub const fn unmark(mark: u32) -> Option<(PathSlot, bool)> {
    let slot = (mark & !MARK_TAG_MASK) >> 1;
    if mark & MARK_TAG_MASK != MARK_TAG || slot >= abi::MAX_PATHS {
        return None;
    }
    Some((PathSlot(slot), mark & 1 == 1))
}
