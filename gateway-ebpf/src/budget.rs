//! Budgets for new connections, per source.

use aya_ebpf::btf_maps::lpm_trie::Key;
use gateway_common::bans::{GuardSettings, SourceV4, SourceV6};
use gateway_common::budget::{Earned, EventKind, SynBucket};
use gateway_common::steering::Family;
use gateway_ebpf::gcra;
use gateway_ebpf::parse::Segment;

use crate::maps::{
    EARNED_SOURCES_V4, EARNED_SOURCES_V6, GUARD_SETTINGS, SYN_BUCKETS_V4, SYN_BUCKETS_V6,
    TRUSTED_SOURCES_V4, TRUSTED_SOURCES_V6,
};
use crate::{clock, events};

/// Nanoseconds for which it is not told again that a source is over its budget.
const SILENCE: u64 = 60_000_000_000;

/// Whether the source of a SYN may open another connection; takes it from its budget.
#[inline(always)]
pub(crate) fn has_room(segment: &Segment) -> bool {
    // An address has both halves; the compiler knows, too.
    let (Some(&high), Some(&low)) = (segment.source.first_chunk(), segment.source.last_chunk())
    else {
        return true;
    };
    let family = segment.headers.family.number().into();
    gateway_budget(family, u64::from_ne_bytes(high), u64::from_ne_bytes(low)) != 0
}

/// The same of a source in numbers: its family, and both halves of its address.
///
/// Not inlined, and visible, so that the verifier looks at it once, by itself (a global function),
/// and not for every way to get there.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn gateway_budget(family: u64, high: u64, low: u64) -> u64 {
    let family = if family == u64::from(Family::V4.number()) { Family::V4 } else { Family::V6 };
    let mut address = [0; 16];
    address[..8].copy_from_slice(&high.to_ne_bytes());
    address[8..].copy_from_slice(&low.to_ne_bytes());
    // Without settings there are no budgets.
    let settings = GUARD_SETTINGS.get(0);
    settings.is_none_or(|settings| take(Source { family, address }, settings)).into()
}

struct Source {
    family: Family,
    /// IPv4 as IPv4-mapped IPv6.
    address: [u8; 16],
}

/// Two CPUs that take from one bucket at the same moment may take the same one.
#[inline(always)]
fn take(source: Source, settings: &GuardSettings) -> bool {
    let GuardSettings { syn_cost: cost, syn_burst: burst, earned_cost, earned_burst, .. } =
        *settings;
    let now = clock::now();
    let key = SourceKey::of(&source);
    let Some(bucket) = key.bucket() else {
        key.open(&SynBucket { due: now.wrapping_add(cost), told: 0 });
        return true;
    };
    // SAFETY: an entry is reused no earlier than the program has ended (RCU), or for another source
    // if the map is full: then that source's budget is about right.
    unsafe {
        let due = (*bucket).due;
        let next = match gcra::take(due, now, cost, burst) {
            None if key.is_earned(now) => gcra::take(due, now, earned_cost, earned_burst),
            next => next,
        };
        if let Some(next) = next {
            (*bucket).due = next;
            return true;
        }
        if is_trusted(&source) {
            return true;
        }
        if now.wrapping_sub((*bucket).told) > SILENCE {
            (*bucket).told = now;
            events::tell(EventKind::SynLimited, source.family, source.address, now);
        }
    }
    false
}

enum SourceKey {
    V4(SourceV4),
    V6(SourceV6),
}

impl SourceKey {
    #[inline(always)]
    fn of(source: &Source) -> Self {
        match source.family {
            Family::V4 => {
                let [.., a, b, c, d] = source.address;
                Self::V4(SourceV4 { address: [a, b, c, d] })
            }
            Family::V6 => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&source.address[..8]);
                Self::V6(SourceV6 { prefix })
            }
        }
    }

    #[inline(always)]
    fn bucket(&self) -> Option<*mut SynBucket> {
        match self {
            Self::V4(key) => SYN_BUCKETS_V4.get_ptr_mut(key),
            Self::V6(key) => SYN_BUCKETS_V6.get_ptr_mut(key),
        }
    }

    /// Makes a bucket. If the kernel has none to give, the source goes without.
    #[inline(always)]
    fn open(&self, bucket: &SynBucket) {
        let _no_matter = match self {
            Self::V4(key) => SYN_BUCKETS_V4.insert(key, bucket, 0),
            Self::V6(key) => SYN_BUCKETS_V6.insert(key, bucket, 0),
        };
    }

    #[inline(always)]
    fn is_earned(&self, now: u64) -> bool {
        let earned: Option<*const Earned> = match self {
            Self::V4(key) => EARNED_SOURCES_V4.get_ptr(key),
            Self::V6(key) => EARNED_SOURCES_V6.get_ptr(key),
        };
        // SAFETY: as in `has_room`.
        earned.is_some_and(|earned| unsafe { (*earned).expires > now })
    }
}

/// Whether the source is loopback or in `--trusted-source`. Asked last: most never come here.
#[inline(always)]
fn is_trusted(source: &Source) -> bool {
    match source.family {
        Family::V4 => {
            let [.., a, b, c, d] = source.address;
            TRUSTED_SOURCES_V4.get(&Key::new(32, [a, b, c, d])).is_some()
        }
        Family::V6 => TRUSTED_SOURCES_V6.get(&Key::new(128, source.address)).is_some(),
    }
}
