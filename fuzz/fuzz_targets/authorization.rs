//! `Authorization` headers from outside, one a line: nothing may crash their readers, two are never taken for one, and a
//! token's claims are read without trust.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let proves = gastank::control::http::fuzzing::authorization(bytes);
    if proves {
        assert!(!bytes.contains(&b'\n'), "two headers were taken for one");
    }
});
