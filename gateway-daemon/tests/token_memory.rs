//! What a worker's token cache really takes, as the kernel counts it: a process of its own, because
//! other tests would count too. `cargo bench --bench tokens` does the same with ten million tokens.

#[cfg(test)]
#[path = "token_memory/flood.rs"]
mod flood;

use flood::{Flood, resident};

#[test]
fn memory_stays_bounded_however_many_tokens_are_shown() {
    let before = resident();
    let mut flood = Flood::new();
    // Both stores are full after this.
    flood.go_on(60_000);
    let full = resident();
    let (entries, bytes) = flood.held();
    assert!(entries > 4_000 && bytes > flood.budget() / 3, "{entries} entries of {bytes} bytes");
    let taken = full.saturating_sub(before);
    assert!(taken < flood.budget() * 3 / 2, "{taken} bytes for {bytes} accounted");
    flood.go_on(240_000);
    let grown = resident().saturating_sub(full);
    assert!(grown < flood.budget() / 4, "{grown} bytes more after four times as many tokens");
}
