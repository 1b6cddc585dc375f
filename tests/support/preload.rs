//! A program under test whose wall clock is off, or whose connections go through somebody else's hands.
//!
//! The built program knows nothing of it: a library of a few lines is put before the C library's `clock_gettime` and
//! `connect`.

use std::{fs, os::unix::fs::FileExt, path::Path, process::Command, sync::LazyLock};

use tempfile::TempDir;

/// The library, built once. It outlives everybody who was started with it.
static LIBRARY: LazyLock<String> = LazyLock::new(|| {
    let built = format!("{}/preload-{}.so", env!("CARGO_TARGET_TMPDIR"), std::process::id());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/preload.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-Wall", "-Werror", "-shared", "-fPIC", "-o", &built]).arg(source).arg("-ldl");
    assert!(compiler.status().expect("cc is missing: run tests/setup.sh").success());
    built
});

/// What a service is started with, so that what it connects to at one port is at another.
pub(crate) fn detour(from: u16, to: u16) -> [(&'static str, String); 2] {
    [("LD_PRELOAD", LIBRARY.clone()), ("CONNECT_INSTEAD", format!("{from} {to}"))]
}

/// A wall clock that can be set.
pub(crate) struct Wall {
    dir: TempDir,
    off_by: fs::File,
}

impl Wall {
    /// A clock that is right.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        let off_by = fs::File::create(dir.path().join("off_by")).expect("it can be made");
        let wall = Self { dir, off_by };
        wall.set(0);
        wall
    }

    /// The variables of a service that goes by it.
    pub(crate) fn variables(&self) -> [(&'static str, String); 2] {
        let path = self.dir.path().join("off_by").into_os_string().into_string().expect("it is UTF-8");
        [("LD_PRELOAD", LIBRARY.clone()), ("WALL_OFF_BY", path)]
    }

    /// Is off by so many seconds from now on.
    pub(crate) fn set(&self, off_by_s: i64) {
        self.off_by.write_all_at(format!("{off_by_s:<16}").as_bytes(), 0).expect("it can be written");
    }
}
