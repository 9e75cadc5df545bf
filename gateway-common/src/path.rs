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
