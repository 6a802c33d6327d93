//! See `api::fuzz::api_key`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| api::fuzz::api_key(bytes));
