//! The `gastank` program.

fn main() {}
