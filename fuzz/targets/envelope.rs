//! See `domain::fuzz::envelope`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| domain::fuzz::envelope(bytes));
