//! The pure half of the kernel programs: decisions on bytes, without pointers or helpers, so that
//! it builds and is tested on the host too.
#![no_std]
