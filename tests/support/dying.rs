//! A process that dies, as by kill -9, right after something has become durable: between recording and acknowledging.
//!
//! The built program knows nothing of it. A library of a few lines is put before the C library's `fsync` and `fdatasync`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
};

use tempfile::TempDir;

/// What a service is started with to be able to die so.
pub(crate) struct Dying {
    dir: TempDir,
    library: String,
    at: String,
    orders: AtomicU32,
}

impl Dying {
    /// Builds the library.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let path = |name: &str| dir.path().join(name).into_os_string().into_string().expect("it is UTF-8");
        let (library, at) = (path("dying.so"), path("at"));
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/dying.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o", &library]).arg(source).arg("-ldl");
        assert!(compiler.status().expect("cc is missing: run tests/setup.sh").success());
        Self { dir, library, at, orders: AtomicU32::new(0) }
    }

    /// The variables of the service's process.
    pub(crate) fn variables(&self) -> [(&str, &str); 2] {
        [("LD_PRELOAD", &self.library), ("DYING_AT", &self.at)]
    }

    /// From now on the process dies right after it has synced for this many times. If the number is negative, that sync
    /// fails instead.
    pub(crate) fn after(&self, syncs: impl Into<i64>) {
        let syncs: i64 = syncs.into();
        let draft: PathBuf = self.dir.path().join("draft");
        let number = self.orders.fetch_add(1, Ordering::Relaxed) + 1;
        fs::write(&draft, format!("{syncs} {number}")).expect("it can be written");
        fs::rename(&draft, &self.at).expect("it can be put in its place");
    }

    /// The process lives on.
    pub(crate) fn not(&self) {
        let _ = fs::remove_file(&self.at);
    }
}
