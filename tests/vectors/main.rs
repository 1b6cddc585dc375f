//! The test vectors of the heartbeat protocol, `tests/vectors/heartbeat.json`: written here, replayed here, and held
//! against an independent implementation by `tests/vectors/check.py`.
//!
//! To write the file anew after a change of the protocol:
//!
//! ```text
//! GASTANK_WRITE_VECTORS=1 cargo test --test vectors the_file_is
//! ```

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod file;
mod generate;
mod replay;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/heartbeat.json");

#[test]
fn the_file_is_what_the_generator_writes() {
    let generated = generate::vectors().to_text();
    if std::env::var_os("GASTANK_WRITE_VECTORS").is_some() {
        std::fs::write(PATH, &generated).unwrap();
    }
    let on_disk = std::fs::read_to_string(PATH).unwrap();
    assert!(
        on_disk == generated,
        "heartbeat.json is not what the generator writes; see the top of tests/vectors/main.rs"
    );
}
