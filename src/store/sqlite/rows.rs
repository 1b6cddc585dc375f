//! Between rows and the types of the engine.

use rusqlite::Row;

use crate::{
    engine::{
        Account, AccountId, ActivationNames, Credit, Earnings, End, Entry, EntryKind, ListId, ListSeed, ListSize,
        NewEntry, RenewalName, Session, Source, StatusIndex, TokenHash, Tokens,
    },
    store::{AccountKey, Edge, HeldCredit, Identity, KeyScope, Owned, Result, SealedKey, StatusLease, StoreError},
    time::{MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

/// The columns that [`account`] reads, of `accounts a`.
macro_rules! account_columns {
    () => {
        "a.id, a.version, a.balance, a.entries, a.deleted, a.session, a.started, a.started_at, a.audience, a.token, \
         a.token_before, a.token_expires_at, a.status_list, a.status_idx, a.end_reason, a.end_at, a.end_at_wall, \
         a.end_last_seen, a.debt, a.token_expires_meter, a.renewed_clock, a.renewed_seq, a.activations, \
         a.uncharged, a.earnings"
    };
}
pub(super) use account_columns;

/// How many columns [`account_columns`] names.
pub(super) const ACCOUNT_WIDTH: usize = 25;

/// SQLite's integers are signed; all of ours are far from where that matters.
pub(super) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Damaged(format!("{value} is beyond what the data file can hold")))
}

pub(super) fn meter(time: MeterTime) -> Result<i64> {
    int(time.as_ms())
}

pub(super) fn wall(time: UnixMs) -> Result<i64> {
    int(time.as_ms())
}

/// A row of [`account_columns`].
pub(super) fn account(row: &Row<'_>) -> Result<Account> {
    Ok(Account {
        id: AccountId::from_bytes(row.get(0)?),
        version: unsigned(row, 1)?,
        balance: Credit::from_ms(row.get(2)?),
        debt: Credit::from_ms(row.get(18)?),
        entries: unsigned(row, 3)?,
        deleted: row.get(4)?,
        session: session(row)?,
        earnings: match row.get::<_, Option<Vec<u8>>>(24)? {
            Some(bytes) => Earnings::from_bytes(&bytes)
                .ok_or_else(|| StoreError::Damaged("what an account has earned, which is none".to_owned()))?,
            None => Earnings::NONE,
        },
    })
}

fn session(row: &Row<'_>) -> Result<Option<Session>> {
    let Some(id) = row.get::<_, Option<[u8; 16]>>(5)? else { return Ok(None) };
    Ok(Some(Session {
        id: SessionId::from_bytes(id),
        started: meter_at(row, 6)?,
        started_at: wall_at(row, 7)?,
        audience: row.get(8)?,
        tokens: Tokens {
            current: TokenHash::from_bytes(row.get(9)?),
            previous: row.get::<_, Option<[u8; 16]>>(10)?.map(TokenHash::from_bytes),
            expires_at: wall_at(row, 11)?,
            expires: meter_if_any(row, 19)?,
            uncharged: uncharged_at(row, 23)?,
            renewed: match meter_if_any(row, 20)? {
                Some(clock) => Some(RenewalName { clock, seq: row.get(21)? }),
                None => None,
            },
            status: StatusIndex { list: ListId::from_bytes(row.get(12)?), idx: row.get(13)? },
        },
        names: match row.get::<_, Option<Vec<u8>>>(22)? {
            Some(bytes) => ActivationNames::from_bytes(&bytes)
                .ok_or_else(|| StoreError::Damaged("names of activations that are none".to_owned()))?,
            None => ActivationNames::default(),
        },
        end: end(row, 14)?,
    }))
}

/// The four columns of an end from `first` on.
pub(super) fn end(row: &Row<'_>, first: usize) -> Result<Option<End>> {
    let Some(name) = row.get::<_, Option<String>>(first)? else { return Ok(None) };
    let reason =
        EndReason::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(|| odd("end reason", &name))?;
    Ok(Some(End {
        reason,
        at: meter_at(row, first + 1)?,
        at_wall: wall_at(row, first + 2)?,
        last_seen: meter_at(row, first + 3)?,
    }))
}

/// A row of [`account_columns`] and then `created_at, issuer, subject`.
pub(super) fn owned(row: &Row<'_>) -> Result<Owned> {
    let issuer: Option<String> = row.get(ACCOUNT_WIDTH + 1)?;
    let subject: Option<String> = row.get(ACCOUNT_WIDTH + 2)?;
    Ok(Owned {
        account: account(row)?,
        created_at: wall_at(row, ACCOUNT_WIDTH)?,
        identity: issuer.zip(subject).map(|(issuer, subject)| Identity { issuer, subject }),
    })
}

/// A row of `number, kind, amount, source, external_id, reason, at, owed`.
pub(super) fn entry(row: &Row<'_>) -> Result<Entry> {
    Ok(Entry {
        number: unsigned(row, 0)?,
        kind: kind(row, 1)?,
        amount: Credit::from_ms(row.get(2)?),
        source: source(row, 3)?,
        external_id: row.get(4)?,
        reason: row.get(5)?,
        at: wall_at(row, 6)?,
        owed: Credit::from_ms(row.get(7)?),
    })
}

/// A row of `kind, amount, source, external_id, reason, at`.
pub(super) fn held_credit(row: &Row<'_>) -> Result<HeldCredit> {
    Ok(HeldCredit {
        entry: NewEntry {
            kind: kind(row, 0)?,
            amount: Credit::from_ms(row.get(1)?),
            source: source(row, 2)?,
            external_id: row.get(3)?,
            reason: row.get(4)?,
        },
        at: wall_at(row, 5)?,
    })
}

fn kind(row: &Row<'_>, column: usize) -> Result<EntryKind> {
    let name: String = row.get(column)?;
    EntryKind::parse(&name).ok_or_else(|| odd("kind of entry", &name))
}

fn source(row: &Row<'_>, column: usize) -> Result<Source> {
    let name: String = row.get(column)?;
    Source::parse(&name).ok_or_else(|| odd("source of entries", &name))
}

/// A row of `key_id, account, hash, created_at, scope`.
pub(super) fn account_key(row: &Row<'_>) -> Result<AccountKey> {
    Ok(AccountKey {
        key_id: row.get(0)?,
        account: AccountId::from_bytes(row.get(1)?),
        hash: row.get(2)?,
        created_at: wall_at(row, 3)?,
        scope: scope(row, 4)?,
    })
}

fn scope(row: &Row<'_>, column: usize) -> Result<KeyScope> {
    let name: String = row.get(column)?;
    KeyScope::parse(&name).ok_or_else(|| odd("scope of a key", &name))
}

/// A row of `client_id, name, audience, secret_hashes, created_at`.
pub(super) fn edge(row: &Row<'_>) -> Result<Edge> {
    let hashes: Vec<u8> = row.get(3)?;
    let (secret_hashes, rest) = hashes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(StoreError::Damaged("an edge's secret hashes are not whole".to_owned()));
    }
    Ok(Edge {
        client_id: row.get(0)?,
        name: row.get(1)?,
        audience: row.get(2)?,
        secret_hashes: secret_hashes.to_vec(),
        created_at: wall_at(row, 4)?,
    })
}

/// A row of `kid, algorithm, sealed, created_at, signs_from, retires_at`.
pub(super) fn sealed_key(row: &Row<'_>) -> Result<SealedKey> {
    let retires_at = wall_if_any(row, 5)?;
    Ok(SealedKey {
        kid: row.get(0)?,
        algorithm: row.get(1)?,
        sealed: row.get(2)?,
        created_at: wall_at(row, 3)?,
        signs_from: wall_at(row, 4)?,
        retires_at,
    })
}

/// A row of `id, entries, seed, granted, leased_at, retires_at`.
pub(super) fn status_lease(row: &Row<'_>) -> Result<StatusLease> {
    let entries: u32 = row.get(1)?;
    let size = ListSize::new(entries)
        .ok_or_else(|| StoreError::Damaged(format!("a status list of {entries} entries cannot be")))?;
    Ok(StatusLease {
        id: ListId::from_bytes(row.get(0)?),
        size,
        seed: ListSeed::from_bytes(row.get(2)?),
        granted: row.get(3)?,
        leased_at: wall_at(row, 4)?,
        retires_at: wall_if_any(row, 5)?,
    })
}

pub(super) fn wall_if_any(row: &Row<'_>, column: usize) -> Result<Option<UnixMs>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => wall_at(row, column).map(Some),
        None => Ok(None),
    }
}

fn meter_if_any(row: &Row<'_>, column: usize) -> Result<Option<MeterTime>> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => meter_at(row, column).map(Some),
        None => Ok(None),
    }
}

fn uncharged_at(row: &Row<'_>, column: usize) -> Result<Millis> {
    match row.get::<_, Option<i64>>(column)? {
        Some(_) => unsigned(row, column).map(Millis::new),
        None => Ok(Millis::ZERO),
    }
}

pub(super) fn meter_at(row: &Row<'_>, column: usize) -> Result<MeterTime> {
    Ok(MeterTime::from_ms(unsigned(row, column)?))
}

pub(super) fn wall_at(row: &Row<'_>, column: usize) -> Result<UnixMs> {
    Ok(UnixMs::from_ms(unsigned(row, column)?))
}

pub(super) fn unsigned(row: &Row<'_>, column: usize) -> Result<u64> {
    let value: i64 = row.get(column)?;
    u64::try_from(value).map_err(|_| StoreError::Damaged(format!("{value} where no negative number can be")))
}

pub(super) fn odd(what: &str, name: &str) -> StoreError {
    StoreError::Damaged(format!("`{}` is no {what}", name.chars().take(32).collect::<String>().escape_debug()))
}
