//! Sizes and alignments, asserted at compile time.

use core::mem::{align_of, size_of};

use crate::counters::{PacketCounters, RequestCounters, Volume, WireCounters};
use crate::path::PathName;
use crate::steering::{GatewayPort, GatewayPortEntry};

const _: () = {
    assert!(size_of::<Volume>() == 16);
    assert!(size_of::<PacketCounters>() == 192 && align_of::<PacketCounters>() == 64);
    assert!(size_of::<RequestCounters>() == 192 && align_of::<RequestCounters>() == 64);
    assert!(size_of::<WireCounters>() == 32);
    assert!(size_of::<PathName>() == 248);
    assert!(size_of::<GatewayPort>() == 20);
    assert!(size_of::<GatewayPortEntry>() == 8);
};
