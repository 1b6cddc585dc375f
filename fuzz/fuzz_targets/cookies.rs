//! `Cookie` headers from outside, one a line: nothing may crash their reader, and it finds no name or value that a browser could
//! not have been told to keep.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    assert!(gastank::hub::fuzzing::cookies(bytes), "a cookie that is none was read");
});
