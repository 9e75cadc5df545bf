//! Looks for bytes that `gateway_fuzz::clients` does not hold for.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gateway_fuzz::clients::holds(bytes));
