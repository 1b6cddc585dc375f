//! What operators see of the housekeeping: when it last did all there was to do, and how large the store's files are.

use std::{
    ffi::OsString,
    io,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{
    telemetry::{Housekeeping, Label, StoreFile, Telemetry},
    time::{MeterTime, Millis},
};

/// When each kind of housekeeping last did all there was to do, in meter time.
#[derive(Debug, Default)]
pub struct Rounds([AtomicU64; Housekeeping::ALL.len()]);

impl Rounds {
    /// All of it begins now.
    pub fn begin(&self, now: MeterTime) {
        for task in Housekeeping::ALL {
            self.done(*task, now);
        }
    }

    /// Nothing of this kind was left to do.
    pub fn done(&self, task: Housekeeping, now: MeterTime) {
        self.0[task.index()].store(now.as_ms(), Ordering::Relaxed);
    }

    /// Tells how long ago that was.
    pub fn tell(&self, now: MeterTime, telemetry: &Telemetry) {
        for task in Housekeeping::ALL {
            let done = self.0[task.index()].load(Ordering::Relaxed);
            telemetry.housekeeping(*task, Millis::new(now.as_ms().saturating_sub(done)));
        }
    }
}

/// Tells how large the data file and its log are. There is no log after a clean start, until something is written.
pub async fn tell_sizes(data_file: &Path, telemetry: &Telemetry) {
    let mut log = OsString::from(data_file);
    log.push("-wal");
    for (file, path) in [(StoreFile::Data, data_file), (StoreFile::Log, Path::new(&log))] {
        match tokio::fs::metadata(path).await {
            Ok(found) => telemetry.store_file(file, found.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => telemetry.store_file(file, 0),
            // What was seen last stays.
            Err(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Health;

    fn line<'a>(page: &'a str, series: &str) -> &'a str {
        let line = page.lines().find(|line| line.starts_with(series)).expect("the series is there");
        line.rsplit(' ').next().expect("a value")
    }

    #[test]
    fn what_was_not_done_gets_older_and_what_was_done_does_not() {
        let (rounds, telemetry) = (Rounds::default(), Telemetry::new(Health::default()));
        let after = |seconds: u64| MeterTime::from_ms(1_000_000 + seconds * 1000);
        rounds.begin(after(0));
        rounds.done(Housekeeping::Leftovers, after(300));
        rounds.tell(after(420), &telemetry);
        let page = telemetry.render();
        assert_eq!(line(&page, r#"gastank_housekeeping_age_seconds{task="dates"}"#), "420");
        assert_eq!(line(&page, r#"gastank_housekeeping_age_seconds{task="leftovers"}"#), "120");
    }

    #[tokio::test]
    async fn a_log_that_is_not_there_has_no_size() {
        let (dir, telemetry) = (tempfile::tempdir().expect("a directory"), Telemetry::new(Health::default()));
        let file = dir.path().join("gastank.db");
        std::fs::write(&file, [0; 4096]).expect("it can be written");
        tell_sizes(&file, &telemetry).await;
        let page = telemetry.render();
        assert_eq!(line(&page, r#"gastank_store_file_bytes{file="data"}"#), "4096");
        assert_eq!(line(&page, r#"gastank_store_file_bytes{file="log"}"#), "0");
        std::fs::write(dir.path().join("gastank.db-wal"), [0; 32]).expect("it can be written");
        tell_sizes(&file, &telemetry).await;
        assert_eq!(line(&telemetry.render(), r#"gastank_store_file_bytes{file="log"}"#), "32");
    }
}
