//! What the kernel tells of this process, read when it is asked for.

use std::fs;

/// Memory, processor time and descriptors of this process. A figure that the kernel does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct ProcessFigures {
    pub(super) resident_bytes: Option<u64>,
    pub(super) cpu_ms: Option<u64>,
    pub(super) open_fds: Option<u64>,
}

impl ProcessFigures {
    pub(super) fn read() -> Self {
        Self {
            resident_bytes: fs::read_to_string("/proc/self/status").ok().as_deref().and_then(resident_bytes),
            cpu_ms: fs::read_to_string("/proc/self/stat").ok().as_deref().and_then(cpu_ms),
            // The descriptor that reads the directory is counted by the kernel and is not ours.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|entries| (entries.count() as u64).saturating_sub(1)),
        }
    }
}

/// `VmRSS` of `/proc/self/status`: it is in KiB whatever the size of a page.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// `utime + stime` of `/proc/self/stat`. Linux shows them to programs in hundredths of a second on every machine.
fn cpu_ms(stat: &str) -> Option<u64> {
    const TICK_MS: u64 = 10;
    // The program's name, in brackets, may hold anything; the columns after it are counted from its end.
    let (_, columns) = stat.rsplit_once(')')?;
    let mut columns = columns.split_ascii_whitespace().skip(11);
    let user: u64 = columns.next()?.parse().ok()?;
    let system: u64 = columns.next()?.parse().ok()?;
    user.checked_add(system)?.checked_mul(TICK_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_bytes() {
        assert_eq!(resident_bytes("Name:\tgastank\nVmRSS:\t    3440 kB\nThreads:\t1\n"), Some(3440 * 1024));
        assert_eq!(resident_bytes("Name:\tgastank\n"), None);
        assert_eq!(resident_bytes("VmRSS: lots"), None);
    }

    #[test]
    fn processor_time_is_found_behind_any_program_name() {
        let stat = "7 (a) b (c)) R 1 2 3 4 5 6 7 8 9 10 250 17 0 0 20 0 1 0 123122 3133440";
        assert_eq!(cpu_ms(stat), Some(2670));
        assert_eq!(cpu_ms("7 (gastank) R 1 2"), None);
        assert_eq!(cpu_ms(""), None);
    }

    #[test]
    fn this_process_has_memory_and_descriptors() {
        let figures = ProcessFigures::read();
        assert!(figures.resident_bytes.is_none_or(|bytes| bytes > 1 << 20));
        assert!(figures.open_fds.is_none_or(|fds| fds >= 1));
    }
}
