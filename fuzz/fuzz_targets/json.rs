//! Bodies from outside: a heartbeat in JSON, the body of an act, the form of an introspection. Nothing may crash their
//! readers, however deep, long or odd it is.

#![no_main]

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;

fuzz_target!(|bytes: &[u8]| {
    let heartbeat = gastank::ingest::fuzz_json(bytes);
    let body = gastank::control::http::fuzzing::json_body(bytes);
    gastank::control::http::fuzzing::introspection_form(bytes);
    if heartbeat || body {
        // Not a `Value`: a number that no field takes may be beyond what a `Value` holds.
        serde_json::from_slice::<IgnoredAny>(bytes).expect("what was read as JSON is JSON");
        let first = bytes.trim_ascii_start().first();
        assert!(matches!(first, Some(b'{' | b'[')), "a bare value was taken for a body");
    }
});
