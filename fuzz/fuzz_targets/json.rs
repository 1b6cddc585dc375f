//! Bodies from outside: a heartbeat in JSON, the body of an act, the form of an introspection. Nothing may crash their
//! readers, however deep, long or odd it is.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let heartbeat = gastank::ingest::fuzz_json(bytes);
    let body = gastank::control::http::fuzzing::json_body(bytes);
    gastank::control::http::fuzzing::introspection_form(bytes);
    if heartbeat || body {
        let value: serde_json::Value = serde_json::from_slice(bytes).expect("what was read as JSON is JSON");
        assert!(value.is_object() || value.is_array(), "a bare value was taken for a body");
    }
});
