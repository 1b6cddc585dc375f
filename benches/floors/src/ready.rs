//! How a floor says that it listens, and where.

use std::{
    fmt::Display,
    io::{self, Write},
};

/// Prints the one line that whoever started a floor waits for.
pub(crate) fn announce(addr: impl Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready addr={addr} pid={}", std::process::id())?;
    out.flush()
}

/// One thread for each processor, as the service does.
pub(crate) fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}
