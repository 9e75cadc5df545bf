//! Maps that requests look things up in.

use std::collections::HashMap;

/// A map whose keys all come from the configuration.
///
/// The hash function is seeded and quick, and not made to withstand somebody who chooses the keys:
/// strangers only ask for keys, and what they ask for is never entered
/// (`docs/decisions/0103-what-a-refusal-costs.md`).
pub type Lookup<K, V> = HashMap<K, V, foldhash::fast::RandomState>;
