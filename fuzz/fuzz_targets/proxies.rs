//! What says whom a proxy speaks for: the PROXY protocol at the beginning of a connection, and the headers `Forwarded` and
//! `X-Forwarded-For`. An announcement is taken as a whole or not at all, and nothing that a client writes into a header
//! changes what the proxy has added.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    gastank::web::peer::fuzz(bytes);
});
