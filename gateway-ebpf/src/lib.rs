//! The pure half of the kernel programs: decisions on bytes, without pointers or helpers, so that
//! it builds and is tested on the host too.
//!
//! [`parse`] reads a packet's headers, [`classify`] says what a TCP segment means for its
//! connection, [`flow`] chooses a worker, [`gcra`] is a budget. Must not know: maps, helpers, contexts.
#![no_std]
#![expect(
    clippy::inline_always,
    reason = "the verifier follows bounds within a function; a call would lose them"
)]

pub mod classify;
pub mod flow;
pub mod gcra;
pub mod parse;
