//! A store that fails while the service runs.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use rusqlite::Connection;

use crate::{
    outage::Bench,
    skips,
    support::{Home, Service},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_data_file_is_locked_beats_and_verdicts_go_on_and_acts_are_put_off() {
    let home = Home::new();
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let mut bench = Bench::new(&service, &home).await;
    let intruder = Connection::open(home.data_dir().join("gastank.db")).unwrap();
    intruder.execute_batch("BEGIN EXCLUSIVE").unwrap();
    bench.suffers().await;
    intruder.execute_batch("ROLLBACK").unwrap();
    drop(intruder);
    bench.heals().await;
    assert!(service.stop().success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_disk_is_full_beats_and_verdicts_go_on_and_acts_are_put_off() {
    let home = Home::new();
    let Some(disk) = SmallDisk::mount(&home.data_dir()) else {
        skips::skipped("mounting a small file system is not allowed here");
        return;
    };
    let service = Service::start_with(&home, &[("GASTANK_HEARTBEAT_TIMEOUT_MS", "60000")]);
    let mut bench = Bench::new(&service, &home).await;
    disk.fill();
    bench.suffers().await;
    disk.free();
    bench.heals().await;
    assert!(service.stop().success());
    drop(disk);
}

/// A file system of 8 MB, gone when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=8m,mode=700", "gastank-test"]).arg(at);
        mount.output().is_ok_and(|output| output.status.success()).then(|| Self(at.to_owned()))
    }

    fn fill(&self) {
        // In ever smaller pieces, until not a byte fits.
        let path = self.0.join("ballast");
        let mut file = fs::File::create(path).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; size]).is_ok() {}
        }
    }

    fn free(&self) {
        fs::remove_file(self.0.join("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: when a test fails, the service may still be on it.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}
