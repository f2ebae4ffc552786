#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| paravane_fuzz_entries::rules(bytes));
