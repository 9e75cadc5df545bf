//! The contract between the kernel half and the user half: layouts, names and numbers.
//!
//! Everything here is plain data: `repr(C)`, u8/u16/u32/u64 fields, no padding, no enum, bool or
//! `Option` inside a shared struct. A change of any layout, name or meaning raises
//! [`abi::ABI_VERSION`], which is part of the pin path, so that two versions never read each
//! other's maps. Must not know: std, alloc, any sibling crate.
#![no_std]

pub mod abi;
pub mod bans;
pub mod budget;
pub mod counters;
pub mod flow;
pub mod hook;
pub mod layout;
pub mod path;
#[cfg(feature = "user")]
mod pod;
pub mod reasons;
pub mod steering;
pub mod verdict;
