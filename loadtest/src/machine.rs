//! What a run was made on.

use std::{fs, thread};

use serde::Serialize;

/// The machine, and the program.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// How many processors this program may use.
    pub processors: usize,
    /// What the system calls the processor.
    pub processor: Option<String>,
    /// How much memory there is, in bytes.
    pub memory: Option<u64>,
    /// The system's name and release.
    pub kernel: String,
    /// The version of this program.
    pub version: &'static str,
    /// The commit that this program was made of, if that was known.
    pub commit: Option<&'static str>,
    /// When the run started, in seconds since 1970.
    pub started_unix_s: u64,
}

impl Machine {
    /// This one.
    pub fn here() -> Self {
        let uname = rustix::system::uname();
        let text = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
        Self {
            processors: thread::available_parallelism().map_or(1, Into::into),
            processor: field("/proc/cpuinfo", "model name"),
            memory: field("/proc/meminfo", "MemTotal")
                .and_then(|kib| Some(1024 * kib.split_ascii_whitespace().next()?.parse::<u64>().ok()?)),
            kernel: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
            version: env!("CARGO_PKG_VERSION"),
            commit: option_env!("GASTANK_COMMIT"),
            started_unix_s: crate::clock::unix_s(),
        }
    }
}

/// The value of the first line `name: value` of a file.
fn field(path: &str, name: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}
