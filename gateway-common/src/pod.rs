//! `Pod` for the shared types. The only unsafe code of this crate.
#![expect(unsafe_code, reason = "aya's marker trait for plain data is unsafe to implement")]

use crate::counters::{PacketCounters, RequestCounters, WireCounters};
use crate::path::PathName;
use crate::steering::{GatewayPort, GatewayPortEntry};

// SAFETY: `repr(C)`, integers only, no padding (layout.rs), every bit pattern valid.
unsafe impl aya::Pod for PacketCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for RequestCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for WireCounters {}
// SAFETY: as above.
unsafe impl aya::Pod for PathName {}
// SAFETY: as above.
unsafe impl aya::Pod for GatewayPort {}
// SAFETY: as above.
unsafe impl aya::Pod for GatewayPortEntry {}
