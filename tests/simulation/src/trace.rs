//! What happened, line by line, and its digest: the same seed gives the same.

use std::collections::VecDeque;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

/// Lines that are shown when something went wrong.
const SHOWN: usize = 400;

/// A record of a run.
pub(crate) struct Trace {
    inner: Mutex<Inner>,
    prints: bool,
}

struct Inner {
    digest: Sha256,
    last: VecDeque<String>,
}

impl Trace {
    /// An empty record; `prints` each line as it comes.
    pub(crate) fn new(prints: bool) -> Self {
        Self { inner: Mutex::new(Inner { digest: Sha256::new(), last: VecDeque::new() }), prints }
    }

    /// Something happened at `at` of virtual time.
    #[expect(clippy::print_stdout, reason = "it was asked for")]
    pub(crate) fn note(&self, at: u64, what: &str) {
        let line = format!("{at:>7} {what}");
        let mut inner = self.inner.lock();
        inner.digest.update(line.as_bytes());
        inner.digest.update(b"\n");
        if self.prints {
            println!("{line}");
        }
        inner.last.push_back(line);
        if inner.last.len() > SHOWN {
            inner.last.pop_front();
        }
    }

    /// What all that happened comes to.
    pub(crate) fn digest(&self) -> String {
        let digest = self.inner.lock().digest.clone().finalize();
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}
