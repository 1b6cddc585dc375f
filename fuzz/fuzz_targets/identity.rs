//! What identity providers and who pretends to come from them send: a token as it stands, a token's header and payload
//! on two lines, an event token likewise, a key set. Nothing may crash the readers, and no token without a public key's algorithm may count.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let (_, forged) = gastank::identity::fuzzing::token(bytes);
    assert!(!forged, "an algorithm without a public key counts");
    gastank::identity::fuzzing::event(bytes);
    gastank::identity::fuzzing::key_set(bytes);
});
