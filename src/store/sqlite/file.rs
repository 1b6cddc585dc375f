//! Opening the data file: whose it is, whether it is one, and how SQLite is to treat it.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read},
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags};

use crate::store::{Result, StoreError};

use super::options::SqliteOptions;

/// Every step from an empty file to what this program works with. Steps are only ever added.
const MIGRATIONS: &[&str] = &[
    include_str!("schema.sql"),
    include_str!("schema-2.sql"),
    include_str!("schema-3.sql"),
    include_str!("schema-4.sql"),
    include_str!("schema-5.sql"),
    include_str!("schema-6.sql"),
    include_str!("schema-7.sql"),
    include_str!("schema-8.sql"),
    include_str!("schema-9.sql"),
];

/// Says in the file's header whose it is: "gtnk".
const APPLICATION_ID: i32 = 0x6774_6e6b;

/// The proof that no other process uses the data file. Given up when dropped, or with the process, however that ends.
///
/// SQLite's own locks would let two processes take turns. Each would then hold a hot table of its own, and vouch for
/// what the other has ended.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    pub(super) fn take(data: &Path) -> Result<Self> {
        let path = beside(data, ".lock");
        let file =
            private().create(true).truncate(false).open(&path).map_err(|error| cannot("write", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(StoreError::Refused(format!(
                "another gastank is using {}; stop it or choose another --data-dir",
                directory(data).display()
            ))),
            Err(TryLockError::Error(error)) => Err(cannot("lock", &path, &error)),
        }
    }
}

/// Whether a process serves from this data file.
pub fn is_in_use(data: &Path) -> bool {
    let lock = File::open(beside(data, ".lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

/// Makes the data file, or makes sure that it is one.
///
/// SQLite must not have it open yet: POSIX takes all of a process's locks on a file away when the process closes any
/// descriptor of it.
pub(super) fn prepare(data: &Path, _lock: &Lock) -> Result<()> {
    let mut header = Vec::new();
    match File::open(data) {
        Ok(file) => file.take(100).read_to_end(&mut header).map_err(|error| cannot("read", data, &error))?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // What SQLite puts beside the file gets the same mode.
            private().create_new(true).open(data).map_err(|error| cannot("create", data, &error))?;
            0
        }
        Err(error) => return Err(cannot("read", data, &error)),
    };
    if !header.is_empty() && !header.starts_with(b"SQLite format 3\0") {
        return Err(foreign(data));
    }
    Ok(())
}

/// The connection that writes, with the file brought up to this program's version.
pub(super) fn writing(data: &Path, options: &SqliteOptions) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn = Connection::open_with_flags(data, flags)?;
    settle_in(&mut conn, data, options).map_err(|error| advise(data, error))?;
    Ok(conn)
}

/// A database in memory, for tests.
pub(super) fn in_memory(options: &SqliteOptions) -> Result<Connection> {
    let mut conn = Connection::open_in_memory()?;
    settle_in(&mut conn, Path::new(":memory:"), options)?;
    Ok(conn)
}

/// A connection that only reads. The file is open for writing already, and has its schema.
pub(super) fn reading(data: &Path, busy: Duration) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(data, flags)?;
    conn.busy_timeout(busy)?;
    conn.set_prepared_statement_cache_capacity(64);
    // The same reasons as for the writer. Recovery visits most pages of `accounts` in no order: what is more than their inner
    // pages would have to be as much as the table.
    conn.execute_batch(
        "PRAGMA query_only = ON; PRAGMA mmap_size = 0; PRAGMA cache_size = -2048; PRAGMA trusted_schema = OFF;",
    )?;
    Ok(conn)
}

/// How hard a transaction is to be pressed onto the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// A power cut does not undo it: the log is synced before anyone is answered.
    Full,
    /// A crash of the process does not undo it; a power cut may, the latest first. The log is synced by the next full
    /// transaction or checkpoint of the log.
    Normal,
}

/// Sets how durable the transactions from now on are. Must be called between transactions.
///
/// Never through a prepared statement that is kept: SQLite executes this pragma while it *compiles* it, so running a
/// compiled one again would silently change nothing. Mixing the two is sound: the log is one file, written in order and
/// chained by checksums, so the sync of a full transaction covers the normal ones before it.
pub(super) fn set_durability(conn: &Connection, durability: Durability) -> rusqlite::Result<()> {
    conn.execute_batch(match durability {
        Durability::Full => "PRAGMA synchronous = FULL",
        Durability::Normal => "PRAGMA synchronous = NORMAL",
    })
}

fn settle_in(conn: &mut Connection, data: &Path, options: &SqliteOptions) -> Result<()> {
    conn.busy_timeout(options.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(64);
    // SQLite falls back to reading where it may not write.
    if conn.is_readonly("main")? {
        return Err(StoreError::Refused(format!(
            "{} is read-only; make it writable by the user who runs gastank, or choose another --data-dir",
            data.display()
        )));
    }
    check_whose(conn, data)?;
    conn.execute_batch(PRAGMAS)?;
    if let Some(pages) = options.max_pages {
        conn.query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))?;
    }
    set_durability(conn, Durability::Full)?;
    migrate(conn)?;
    check_content(conn, data, options.verify)
}

const PRAGMAS: &str = "
-- Readers do not wait for the writer, nor the writer for them, and a commit is one append and one sync.
PRAGMA journal_mode = WAL;
-- Copy the log into the file when it has 16 MB: often enough to keep it in the page cache, seldom enough to let many
-- checkpoints of the same page become one write.
PRAGMA wal_autocheckpoint = 4096;
-- Give back what a burst made of it.
PRAGMA journal_size_limit = 67108864;
-- 8 MB hold the inner pages of all tables and the largest transaction. A sweep over the checkpoints of a million sessions
-- visits each of their pages once, in order: to keep them would cost a session 50 bytes and save a `pread` of a page that
-- the system has in memory.
PRAGMA cache_size = -8192;
-- An I/O error under a memory map is a signal that kills the process; under `pread` it is an error to answer with.
PRAGMA mmap_size = 0;
-- What is deleted of a person is overwritten, not just forgotten.
PRAGMA secure_delete = ON;
-- Sorting and the savepoints of refused acts need no files.
PRAGMA temp_store = MEMORY;
-- The file is trusted to be ours, but damage to it should show up as damage.
PRAGMA cell_size_check = ON;
PRAGMA trusted_schema = OFF;
-- No table refers to another by a constraint: the acts keep them in step, in one transaction each.
PRAGMA foreign_keys = OFF;
";

pub(super) fn check_whose(conn: &Connection, data: &Path) -> Result<()> {
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let application: i32 = conn.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if tables > 0 && application != APPLICATION_ID {
        return Err(foreign(data));
    }
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let newest = MIGRATIONS.len();
    match usize::try_from(version) {
        Ok(version) if version <= newest => Ok(()),
        _ => Err(StoreError::Refused(format!(
            "{} has data format {version}, and this gastank knows formats up to {newest}; run the newer gastank that \
             wrote it, or restore the backup from before the upgrade",
            data.display()
        ))),
    }
}

/// Takes every step the file has not taken yet, each in one transaction.
fn migrate(conn: &mut Connection) -> Result<()> {
    let version: i64 = conn.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let done = usize::try_from(version).unwrap_or(0);
    for (step, sql) in MIGRATIONS.iter().enumerate().skip(done) {
        let tx = conn.transaction()?;
        tx.execute_batch(sql)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", i64::try_from(step + 1).unwrap_or(i64::MAX))?;
        tx.commit()?;
    }
    Ok(())
}

/// Reads the root of every table; the whole file only if asked to, since that takes seconds for each gigabyte.
fn check_content(conn: &Connection, data: &Path, whole: bool) -> Result<()> {
    let mut statement = conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")?;
    let tables = statement.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<_>>>()?;
    for table in tables {
        conn.query_row(&format!("SELECT count(*) FROM (SELECT 1 FROM \"{table}\" LIMIT 1)"), [], |_| Ok(()))?;
    }
    if whole {
        let verdict: String = conn.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
        if verdict != "ok" {
            return Err(damaged(data, &verdict));
        }
    }
    Ok(())
}

/// What opening failed by, with what to do about it.
fn advise(data: &Path, error: StoreError) -> StoreError {
    match error {
        StoreError::Damaged(text) if text.contains("not a database") => foreign(data),
        StoreError::Damaged(text) => damaged(data, &text),
        other => other,
    }
}

fn damaged(data: &Path, what: &str) -> StoreError {
    StoreError::Damaged(format!(
        "{}: {what}; keep a copy, then restore a backup, or salvage it with `sqlite3 {} .recover`",
        data.display(),
        data.display()
    ))
}

fn foreign(data: &Path) -> StoreError {
    StoreError::Refused(format!(
        "{} is not a gastank data file; restore a backup, or move it away to start anew, or choose another --data-dir",
        data.display()
    ))
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> StoreError {
    let text = format!(
        "cannot {verb} {}: {error}; the directory must exist and belong to the user who runs gastank",
        path.display()
    );
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreError::Unavailable(text),
        _ => StoreError::Refused(text),
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn beside(data: &Path, suffix: &str) -> PathBuf {
    let mut name = data.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn directory(data: &Path) -> &Path {
    data.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
}
