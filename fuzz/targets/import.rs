//! See `convolog::fuzz::import`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| convolog::fuzz::import(bytes));
