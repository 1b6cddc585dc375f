//! Tests that cannot be done on this machine say so, and so does the run that they are part of, in its last line.

use std::{
    fs::OpenOptions,
    io::{Write, stdout},
};

/// Tells that a test, or a part of one, is skipped, and why. `make test` names a file in `SKIPPED_TESTS`, whose lines it ends with.
pub(crate) fn skipped(why: &str) {
    // Not by `println!`: what a test that passes prints is not shown.
    writeln!(stdout(), "skipped: {why}").expect("there is an output");
    let Some(path) = std::env::var_os("SKIPPED_TESTS") else { return };
    let mut file = OpenOptions::new().create(true).append(true).open(path).expect("the file can be made");
    // In one write: tests run side by side.
    file.write_all(format!("{why}\n").as_bytes()).expect("it can be written");
}
