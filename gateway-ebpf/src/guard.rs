//! What is done about a source: denied for good, banned for a while, or over its budget.

use aya_ebpf::btf_maps::lpm_trie::Key;
use gateway_common::bans::{Ban, BanMode, DenyFilter, SourceV4, SourceV6};
use gateway_common::budget::EventKind;
use gateway_common::steering::Family;
use gateway_common::verdict::PacketVerdict;
use gateway_ebpf::classify::Arrival;
use gateway_ebpf::parse::Segment;

use crate::maps::{
    BANNED_SOURCES_V4, BANNED_SOURCES_V6, DENY_FILTER, DENY_SOURCES_V4, DENY_SOURCES_V6,
    GUARD_SETTINGS,
};
use crate::{budget, clock, events};

/// The verdict on a segment for a gateway port, by its source.
#[inline(always)]
pub(crate) fn judge(segment: &Segment) -> PacketVerdict {
    if is_denied(segment) {
        return PacketVerdict::DeniedSource;
    }
    let Some(settings) = GUARD_SETTINGS.get(0) else { return PacketVerdict::Passed };
    let mut verdict = PacketVerdict::Passed;
    if settings.ban_mode != BanMode::Off as u32 && is_banned(segment) {
        if settings.ban_mode == BanMode::Enforce as u32 {
            return PacketVerdict::BannedSource;
        }
        verdict = PacketVerdict::BanAudit;
    }
    if settings.syn_cost != 0
        && segment.headers.arrival() == Arrival::Opens
        && !budget::has_room(segment)
    {
        return PacketVerdict::SynLimited;
    }
    verdict
}

/// Whether the source is in the static deny list.
#[inline(always)]
fn is_denied(segment: &Segment) -> bool {
    match segment.headers.family {
        Family::V4 => {
            let [.., a, b, c, d] = segment.source;
            may_be_denied(DenyFilter::v4(u16::from_be_bytes([a, b])))
                && DENY_SOURCES_V4.get(&Key::new(32, [a, b, c, d])).is_some()
        }
        Family::V6 => {
            let [a, b, c, d, ..] = segment.source;
            may_be_denied(DenyFilter::v6(u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
                && DENY_SOURCES_V6.get(&Key::new(128, segment.source)).is_some()
        }
    }
}

/// Whether some denied prefix is where a source is: a trie is asked only then.
#[inline(always)]
fn may_be_denied(DenyFilter { row, shift }: DenyFilter) -> bool {
    DENY_FILTER.get(row).is_some_and(|row| *row >> shift & 1 == 1)
}

/// Whether a ban of the source is in force; counts the packet for it.
#[inline(always)]
fn is_banned(segment: &Segment) -> bool {
    let Some(ban) = ban(segment) else { return false };
    // SAFETY: the kernel frees an entry no earlier than the program has ended (RCU). The daemon
    // replaces entries whole; what a packet adds to one that is replaced meanwhile is lost.
    unsafe {
        let now = clock::now();
        if (*ban).expires <= now {
            return false;
        }
        if (*ban).packets == 0 {
            events::tell(EventKind::BanHit, segment.headers.family, segment.source, now);
        }
        (*ban).packets += 1;
    }
    true
}

#[inline(always)]
fn ban(segment: &Segment) -> Option<*mut Ban> {
    match segment.headers.family {
        Family::V4 => {
            let [.., a, b, c, d] = segment.source;
            BANNED_SOURCES_V4.get_ptr_mut(SourceV4 { address: [a, b, c, d] })
        }
        Family::V6 => {
            let &prefix = segment.source.first_chunk()?;
            BANNED_SOURCES_V6.get_ptr_mut(SourceV6 { prefix })
        }
    }
}
