//! Sizes, alignments and offsets, asserted at compile time.

use core::mem::{align_of, offset_of, size_of};

use crate::abi;
use crate::bans::{Ban, GuardSettings, SourceV4, SourceV6};
use crate::budget::{CpuState, Earned, Event, SynBucket};
use crate::counters::{PacketCounters, RequestCounters, Volume, WireCounters};
use crate::path::PathName;
use crate::reasons::ReasonCounters;
use crate::steering::{GatewayPort, GatewayPortEntry, ListenerName, Reopening, Tuple};
use crate::verdict::{PacketVerdict, RequestVerdict};

const _: () = {
    assert!(size_of::<Volume>() == 16);
    assert!(size_of::<PacketCounters>() == 256 && align_of::<PacketCounters>() == 64);
    assert!(size_of::<RequestCounters>() == 192 && align_of::<RequestCounters>() == 64);
    assert!(size_of::<WireCounters>() == 32);
    assert!(size_of::<ReasonCounters>() == 8 * ReasonCounters::WORDS);
    assert!(size_of::<ReasonCounters>() == 384 && align_of::<ReasonCounters>() == 64);
    assert!(size_of::<PathName>() == 8 + abi::PATH_NAME_BYTES);
    assert!(size_of::<PathName>().is_multiple_of(8));
    assert!(size_of::<ListenerName>() == 8 + abi::LISTENER_NAME_BYTES);
    assert!(size_of::<ListenerName>().is_multiple_of(8));
    assert!(size_of::<GatewayPort>() == 20);
    assert!(size_of::<GatewayPortEntry>() == 16);
    assert!(size_of::<Tuple>() == 40 && size_of::<Reopening>() == 16);
    assert!(size_of::<SourceV4>() == 4 && size_of::<SourceV6>() == 8);
    assert!(size_of::<Ban>() == 32);
    assert!(size_of::<GuardSettings>() == 40);
    assert!(size_of::<SynBucket>() == 16 && size_of::<Earned>() == 8);
    assert!(size_of::<CpuState>() == 64);
    assert!(size_of::<Event>() == 32);
};

// A verdict's number is its place in the row: the first and the last hold for all between.
const _: () = {
    assert!(offset_of!(PacketCounters, seen) == 0);
    assert!(offset_of!(PacketCounters, other) == 8 * PacketCounters::word(PacketVerdict::Other));
    assert!(
        offset_of!(PacketCounters, syn_limited)
            == 8 * PacketCounters::word(PacketVerdict::SynLimited)
    );
    assert!(offset_of!(RequestCounters, requests) == 0);
    assert!(
        offset_of!(RequestCounters, allowed) == 8 * RequestCounters::word(RequestVerdict::Allowed)
    );
    assert!(
        offset_of!(RequestCounters, aborted) == 8 * RequestCounters::word(RequestVerdict::Aborted)
    );
};
