//! The data file that a killed program left behind, read from a copy: the program is to find the original as it was.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
};

use gastank::{
    engine::{AccountId, session_text},
    wire::SessionId,
};
use rusqlite::Connection;

use crate::{players::Acked, support::Home};

/// What the data file says.
pub(crate) struct Books {
    conn: Connection,
    _copy: tempfile::TempDir,
    /// The latest meter time in it.
    pub(crate) durable_until: u64,
    accounts: BTreeMap<String, Account>,
    sessions: HashMap<String, Session>,
}

#[derive(Default)]
struct Account {
    balance: i64,
    entries: i64,
    ledger: Vec<Entry>,
}

struct Entry {
    amount: i64,
    source: String,
    external_id: String,
}

struct Session {
    account: String,
    started: u64,
    end: Option<(String, u64)>,
}

impl Books {
    /// The books of a home whose program has been killed.
    pub(crate) fn of_the_dead(home: &Home) -> Self {
        let copy = tempfile::tempdir().unwrap();
        for name in ["gastank.db", "gastank.db-wal"] {
            let original = home.data_dir().join(name);
            if original.exists() {
                fs::copy(original, copy.path().join(name)).unwrap();
            }
        }
        let conn = Connection::open(copy.path().join("gastank.db")).unwrap();
        let durable_until = "SELECT max(coalesce((SELECT last_alive FROM clock), 0),
            coalesce((SELECT max(last_seen) FROM checkpoints), 0),
            coalesce((SELECT max(max(started, coalesce(end_at, 0))) FROM sessions), 0))";
        let durable_until = conn.query_row(durable_until, [], |row| row.get::<_, i64>(0)).unwrap();
        let mut books = Self {
            conn,
            _copy: copy,
            durable_until: u64::try_from(durable_until).unwrap(),
            accounts: BTreeMap::new(),
            sessions: HashMap::new(),
        };
        books.read();
        books
    }

    fn read(&mut self) {
        let mut query = self.conn.prepare("SELECT id, balance, entries FROM accounts").unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let account = Account { balance: row.get(1).unwrap(), entries: row.get(2).unwrap(), ledger: Vec::new() };
            self.accounts.insert(account_text(row.get(0).unwrap()), account);
        }
        let mut query = self
            .conn
            .prepare("SELECT account, number, amount, source, external_id FROM entries ORDER BY account, number")
            .unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let account = self.accounts.get_mut(&account_text(row.get(0).unwrap())).expect("an entry has an account");
            let entry =
                Entry { amount: row.get(2).unwrap(), source: row.get(3).unwrap(), external_id: row.get(4).unwrap() };
            account.ledger.push(entry);
            assert_eq!(
                row.get::<_, i64>(1).unwrap(),
                i64::try_from(account.ledger.len()).unwrap(),
                "numbers have gaps"
            );
        }
        let mut query = self.conn.prepare("SELECT id, account, started, end_reason, end_at FROM sessions").unwrap();
        let mut rows = query.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let ms = |at: usize| row.get::<_, Option<i64>>(at).unwrap().map(|ms| u64::try_from(ms).unwrap());
            let session = Session {
                account: account_text(row.get(1).unwrap()),
                started: ms(2).unwrap(),
                end: row.get::<_, Option<String>>(3).unwrap().map(|reason| (reason, ms(4).unwrap())),
            };
            self.sessions.insert(session_text(&SessionId::from_bytes(row.get(0).unwrap())), session);
        }
    }

    /// Holds the books against themselves: sums, usage, open sessions.
    pub(crate) fn balance(&self) {
        let verdict: String = self.conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!(verdict, "ok");
        let mut usage: HashMap<&str, Vec<i64>> = HashMap::new();
        for (id, account) in &self.accounts {
            let mut sum = 0;
            for entry in &account.ledger {
                sum += entry.amount;
                assert!(sum >= 0, "{id} was overdrawn by {}: {sum}", entry.external_id);
                if entry.source == "session" {
                    usage.entry(&entry.external_id).or_default().push(entry.amount);
                }
            }
            assert_eq!(sum, account.balance, "{id}: the balance is not the sum of the entries");
            assert_eq!(account.entries, i64::try_from(account.ledger.len()).unwrap(), "{id}");
        }
        let mut open: HashMap<&str, usize> = HashMap::new();
        for (id, session) in &self.sessions {
            let charged = usage.remove(&**id).unwrap_or_default();
            match &session.end {
                Some((_, end)) => {
                    let burned = i64::try_from(end.checked_sub(session.started).expect("it ends after it began"));
                    assert_eq!(charged, vec![-burned.unwrap()], "{id}: one usage entry for what it burned");
                }
                None => {
                    assert!(charged.is_empty(), "{id} is open and has been charged");
                    *open.entry(&session.account).or_default() += 1;
                }
            }
        }
        assert!(usage.is_empty(), "usage of sessions that never were: {usage:?}");
        assert!(open.values().all(|count| *count == 1), "several sessions of one account are open: {open:?}");
        let watched: i64 = self.conn.query_row("SELECT count(*) FROM checkpoints", [], |row| row.get(0)).unwrap();
        assert_eq!(watched, i64::try_from(open.len()).unwrap(), "as many checkpoints as open sessions");
    }

    /// Everything that was acknowledged must be there.
    pub(crate) fn contain(&self, acked: &Acked) {
        for (account, key, amount) in &acked.credits {
            let found =
                |entry: &&Entry| entry.source == "admin" && entry.external_id == *key && entry.amount == *amount;
            assert_eq!(self.accounts[account].ledger.iter().filter(found).count(), 1, "credit {key}");
        }
        for (id, reason) in &acked.sessions {
            let session = self.sessions.get(id).unwrap_or_else(|| panic!("acknowledged session {id} is not there"));
            if let Some(reason) = reason {
                let (ended, _) = session.end.as_ref().unwrap_or_else(|| panic!("{id} has not ended as {reason}"));
                assert_eq!(ended, reason, "{id}");
            }
        }
    }

    /// And no other credit.
    pub(crate) fn have_exactly_these_credits(&self, acked: &Acked) {
        let known: BTreeSet<(&str, &str)> =
            acked.credits.iter().map(|(account, key, _)| (account.as_str(), key.as_str())).collect();
        for (id, account) in &self.accounts {
            for entry in account.ledger.iter().filter(|entry| entry.source == "admin") {
                let creation = entry.external_id.starts_with("gastank:");
                assert!(
                    creation || known.contains(&(id.as_str(), entry.external_id.as_str())),
                    "{}",
                    entry.external_id
                );
            }
        }
    }

    /// How a session ended, and how many milliseconds were charged for it.
    pub(crate) fn charge_of(&self, session: &str) -> Option<(String, u64)> {
        let session = &self.sessions[session];
        session.end.as_ref().map(|(reason, end)| (reason.clone(), end - session.started))
    }

    pub(crate) fn accounts(&self) -> Vec<String> {
        self.accounts.keys().cloned().collect()
    }

    pub(crate) fn balance_of(&self, account: &str) -> i64 {
        self.accounts[account].balance
    }
}

fn account_text(bytes: [u8; 16]) -> String {
    AccountId::from_bytes(bytes).to_string()
}
