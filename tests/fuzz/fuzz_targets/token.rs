//! Looks for bytes that `gateway_fuzz::token` does not hold for.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::token::holds(bytes));
