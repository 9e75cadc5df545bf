//! The kernel half: program entry points.
#![no_std]
#![no_main]
