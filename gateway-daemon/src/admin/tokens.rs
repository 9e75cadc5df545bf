//! Token caches, for `/metrics`: what each worker's did so far, and holds now.

use super::metrics::Page;
use crate::authn::{CacheCounters, StoreStats};

/// A value of one store.
type Value = fn(&StoreStats) -> u64;

/// The families about token caches, by worker.
pub(super) fn families(page: &mut Page, caches: &[CacheCounters]) {
    let workers: Vec<_> = (0_u32..).map(|id| id.to_string()).zip(caches).collect();
    page.family(
        "gateway_token_cache_misses_total",
        "counter",
        "Tokens that the worker did not know: parsed, and their signatures checked where need be.",
    );
    for (worker, cache) in &workers {
        let misses = cache.read().misses;
        page.sample("gateway_token_cache_misses_total", &[("worker", worker)], misses);
    }
    let families: [(&str, &str, &str, Value); 4] = [
        (
            "gateway_token_cache_hits_total",
            "counter",
            "Tokens that the worker knew: no signature was checked.",
            |store| store.hits,
        ),
        (
            "gateway_token_cache_evictions_total",
            "counter",
            "Tokens that were forgotten for want of room.",
            |store| store.evictions,
        ),
        ("gateway_token_cache_entries", "gauge", "Tokens known now.", |store| store.entries),
        (
            "gateway_token_cache_bytes",
            "gauge",
            "Memory that the tokens known now take, as accounted.",
            |store| store.bytes,
        ),
    ];
    for (name, kind, help, value) in families {
        page.family(name, kind, help);
        for (worker, cache) in &workers {
            let stats = cache.read();
            for (store, stats) in [("verified", stats.accepted), ("refused", stats.refused)] {
                let labels = [("worker", worker.as_str()), ("store", store)];
                page.sample(name, &labels, value(&stats));
            }
        }
    }
}
