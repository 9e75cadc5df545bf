//! Budgets for new connections, per source.

use aya_ebpf::btf_maps::lpm_trie::Key;
use gateway_common::bans::{GuardSettings, SourceV4, SourceV6};
use gateway_common::budget::{Earned, EventKind, SynBucket};
use gateway_common::steering::Family;
use gateway_ebpf::gcra;
use gateway_ebpf::parse::Segment;

use crate::maps::{
    EARNED_SOURCES_V4, EARNED_SOURCES_V6, SYN_BUCKETS_V4, SYN_BUCKETS_V6, TRUSTED_SOURCES_V4,
    TRUSTED_SOURCES_V6,
};
use crate::{clock, events};

/// Nanoseconds for which it is not told again that a source is over its budget.
const SILENCE: u64 = 60_000_000_000;

/// Whether the source of a SYN may open another connection; takes it from its budget.
///
/// Two CPUs that take from one bucket at the same moment may take the same one.
#[inline(always)]
pub(crate) fn has_room(segment: &Segment, settings: &GuardSettings) -> bool {
    let GuardSettings { syn_cost: cost, syn_burst: burst, earned_cost, earned_burst, .. } =
        *settings;
    let now = clock::now();
    let key = SourceKey::of(segment);
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
        if is_trusted(segment) {
            return true;
        }
        if now.wrapping_sub((*bucket).told) > SILENCE {
            (*bucket).told = now;
            events::tell(EventKind::SynLimited, segment, now);
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
    fn of(segment: &Segment) -> Self {
        match segment.headers.family {
            Family::V4 => {
                let [.., a, b, c, d] = segment.source;
                Self::V4(SourceV4 { address: [a, b, c, d] })
            }
            Family::V6 => {
                let mut prefix = [0; 8];
                prefix.copy_from_slice(&segment.source[..8]);
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
fn is_trusted(segment: &Segment) -> bool {
    match segment.headers.family {
        Family::V4 => {
            let [.., a, b, c, d] = segment.source;
            TRUSTED_SOURCES_V4.get(&Key::new(32, [a, b, c, d])).is_some()
        }
        Family::V6 => TRUSTED_SOURCES_V6.get(&Key::new(128, segment.source)).is_some(),
    }
}
