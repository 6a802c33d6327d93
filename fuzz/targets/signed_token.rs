//! See `api::fuzz::signed_token`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzz::signed_token(bytes));
