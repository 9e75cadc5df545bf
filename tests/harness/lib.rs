//! The harness: daemon process, network namespaces, origin, token mint, counter deltas.
