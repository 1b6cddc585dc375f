//! What peers of WebTransport send: datagrams that name their session, and capsules on the session's own stream. However they
//! are cut, they mean the same, and nothing of them is kept.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    gastank::ingest::quic::fuzz(bytes);
});
