//! A copy of a data file while the service writes to it, and whether a copy is good.

use std::{path::Path, time::Duration};

use rusqlite::{
    Connection, OpenFlags,
    backup::{Backup, StepResult},
};

use crate::store::{Result, StoreError};

use super::{SqliteOptions, file};

/// Pages that are copied between two looks at how far it is: four megabytes.
const PAGES: i32 = 1024;
/// How long to wait where the file is locked.
const LOCKED: Duration = Duration::from_millis(50);
/// How often that is waited for: half a minute.
const WAITS: u32 = 600;

/// Copies the data file `from` into `to`, which must not be there, as it is at one instant. The service may be running: it
/// does not wait for this, and what it writes meanwhile is not in the copy. `watch` is told how many pages are done, of how
/// many. Blocks.
///
/// # Errors
///
/// [`StoreError`]; what there is of the copy then is of no use.
pub fn copy_online(from: &Path, to: &Path, watch: &mut dyn FnMut(u64, u64)) -> Result<()> {
    let source = file::reading(from, SqliteOptions::default().busy_timeout)?;
    // One reading transaction over all steps: what is written meanwhile is not seen, so the copy never starts over.
    source.execute_batch("BEGIN; SELECT count(*) FROM sqlite_schema")?;
    let mut target = Connection::open(to)?;
    let copy = Backup::new(&source, &mut target)?;
    let mut waits = 0;
    loop {
        let step = copy.step(PAGES)?;
        let progress = copy.progress();
        let count = |pages: i32| u64::try_from(pages).unwrap_or(0);
        watch(count(progress.pagecount - progress.remaining), count(progress.pagecount));
        match step {
            StepResult::Done => break,
            StepResult::More => waits = 0,
            _ if waits < WAITS => {
                waits += 1;
                std::thread::sleep(LOCKED);
            }
            _ => return Err(StoreError::Unavailable(format!("{} stays locked; try again", from.display()))),
        }
    }
    drop(copy);
    // The whole of it in one file, which nobody has to keep a log beside.
    target.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))?;
    target.close().map_err(|(_, error)| error)?;
    Ok(())
}

/// Reads the whole of a copy: whether it is a data file that this program knows, whole, and whether each balance is the sum
/// of its ledger. Answers its data format. Changes nothing. Blocks.
///
/// # Errors
///
/// [`StoreError`] says what is wrong.
pub fn verify(data: &Path) -> Result<i64> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(data, flags)?;
    file::check_whose(&conn, data)?;
    let format = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let verdict: String = conn.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        return Err(StoreError::Damaged(format!("{}: {verdict}", data.display())));
    }
    let wrong: i64 = conn.query_row(UNBALANCED, [], |row| row.get(0))?;
    if wrong > 0 {
        let text = format!("{}: the balance of {wrong} accounts is not the sum of their ledger", data.display());
        return Err(StoreError::Damaged(text));
    }
    Ok(format)
}

const UNBALANCED: &str = "SELECT count(*) FROM (
    SELECT a.id FROM accounts a LEFT JOIN entries e ON e.account = a.id
    WHERE NOT a.deleted
    GROUP BY a.id HAVING a.balance <> coalesce(sum(e.amount), 0) OR a.entries <> count(e.number))";
