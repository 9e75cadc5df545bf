//! Kernel tests: packets in, verdict and counter delta out; every program passes the verifier;
//! pins continue, and are refused where they do not fit; connections are steered.
//!
//! Needs root. Each test runs on a thread with a network and a mount namespace of its own, which
//! the kernel takes away when the thread ends: nothing is attached to a real interface, and
//! nothing is left behind.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test ends at its first surprise")]
#![expect(clippy::disallowed_methods, reason = "tests measure time where clock.rs is not asked")]

mod attaching;
mod bans;
mod budget;
mod dump;
mod fuzz;
mod packet;
mod pins;
mod ports;
mod privilege;
mod sandbox;
mod steering;
mod succession;
mod verdicts;
