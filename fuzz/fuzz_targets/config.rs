//! Configuration files: nothing may crash their reader, and what is accepted keeps the rule that a session outlives the
//! checkpoints and heartbeats that carry it.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = gastank::config::Config::from_toml(text) {
        let needed = config.checkpoint.interval().plus(config.heartbeat.interval());
        assert!(needed < config.heartbeat.timeout(), "a session would time out between two checkpoints");
    }
});
