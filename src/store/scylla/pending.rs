//! What a store remembers of work that is not over.

use std::collections::HashSet;

/// An act whose outcome nobody knows.
#[derive(Clone, Copy)]
pub(super) struct Doubt {
    /// Its name.
    pub(super) act: [u8; 16],
    /// The version it was decided on.
    pub(super) expects: u64,
}

impl Doubt {
    /// An act of this name, decided on this version.
    pub(super) const fn new(act: [u8; 16], expects: u64) -> Self {
        Self { act, expects }
    }
}

/// What housekeeping remembers between two calls.
#[derive(Default)]
pub(super) struct Remembered {
    /// Attempts to delete that were still possible when they were last looked at.
    pub(super) possible: HashSet<Vec<u8>>,
    /// Nothing is left of what versions before the fifth began to delete.
    pub(super) no_old_erasures: bool,
}
