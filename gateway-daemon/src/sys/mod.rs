//! The unsafe fence: the few things that safe Rust cannot say, each behind a safe function.
//!
//! Must not know: maps by name, requests, configuration.

pub mod addresses;
pub mod allocator;
pub mod bpf;
pub mod caps;
pub mod channel;
pub mod kernel;
pub mod link;
pub mod memory;
pub mod mmap;
pub mod mount;
mod netlink;
pub mod pace;
pub mod route;
pub mod socket;
