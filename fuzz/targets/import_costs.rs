//! See `convolog::fuzz::import_costs`.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| convolog::fuzz::import_costs(bytes));
