//! See `api::fuzz::headers`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzz::headers(bytes));
