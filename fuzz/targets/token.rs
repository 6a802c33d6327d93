//! See `api::fuzz::token`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzz::token(bytes));
