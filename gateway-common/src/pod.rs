//! `Pod` for the types that the user half writes with a map update. The only unsafe code of this
//! crate. Counters and names are read and written through a memory mapping and need none.
#![expect(unsafe_code, reason = "aya's marker trait for plain data is unsafe to implement")]

use crate::bans::{Ban, GuardSettings, SourceV4, SourceV6};
use crate::budget::Earned;
use crate::steering::{GatewayPort, GatewayPortEntry};

// SAFETY: `repr(C)`, integers only, no padding (layout.rs), every bit pattern valid.
unsafe impl aya::Pod for GatewayPort {}
// SAFETY: as above.
unsafe impl aya::Pod for GatewayPortEntry {}
// SAFETY: as above.
unsafe impl aya::Pod for SourceV4 {}
// SAFETY: as above.
unsafe impl aya::Pod for SourceV6 {}
// SAFETY: as above.
unsafe impl aya::Pod for Ban {}
// SAFETY: as above.
unsafe impl aya::Pod for GuardSettings {}
// SAFETY: as above.
unsafe impl aya::Pod for Earned {}
