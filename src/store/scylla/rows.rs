//! Between rows and the types of the engine.

use scylla::{DeserializeRow, SerializeRow, serialize, value::MaybeUnset};
use sha2::{Digest, Sha256};

use crate::{
    engine::{
        Account, AccountId, ActivationNames, Credit, Earnings, End, Entry, EntryKind, ListId, ListSeed, ListSize,
        NewEntry, RenewalName, Session, Source, StatusIndex, TokenHash, Tokens,
    },
    store::{AccountKey, Edge, HeldCredit, Identity, KeyScope, Owned, Result, SealedKey, StatusLease, StoreError},
    time::{ClockFact, MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

/// The columns of an [`AccountRow`] but the id.
macro_rules! account_columns {
    () => {
        "version, balance, debt, entry_count, created_at, deleted, issuer, subject, session, started, started_at, \
         audience, token_now, token_before, token_expires_at, status_list, status_idx, end_reason, end_at, \
         end_at_wall, end_last_seen, token_expires_meter, renewed_clock, renewed_seq, activations, uncharged, \
         earnings"
    };
}
pub(super) use account_columns;

/// The SHA-256 of some texts, told apart from each other: what stands for them in keys.
pub(super) fn name_of(texts: &[&str]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
    hash.finalize().into()
}

/// What stands for the name of an entry.
pub(super) fn entry_name(source: Source, external_id: &str) -> [u8; 32] {
    name_of(&[source.name(), external_id])
}

/// CQL's integers are signed; all of ours are far from where that matters.
pub(super) fn int(value: u64) -> Result<i64> {
    i64::try_from(value).map_err(|_| StoreError::Damaged(format!("{value} is beyond what the store can hold")))
}

pub(super) fn meter(time: MeterTime) -> Result<i64> {
    int(time.as_ms())
}

pub(super) fn wall(time: UnixMs) -> Result<i64> {
    int(time.as_ms())
}

/// As much as a `LIMIT` takes.
pub(super) fn at_most(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

/// A blob of a fixed length.
pub(super) fn bytes<const N: usize>(blob: &[u8]) -> Result<[u8; N]> {
    blob.try_into().map_err(|_| StoreError::Damaged(format!("{} bytes where {N} were written", blob.len())))
}

/// The static columns of an account.
#[derive(DeserializeRow)]
pub(super) struct AccountRow {
    id: Vec<u8>,
    version: Option<i64>,
    balance: Option<i64>,
    debt: Option<i64>,
    entry_count: Option<i64>,
    created_at: Option<i64>,
    deleted: Option<bool>,
    issuer: Option<String>,
    subject: Option<String>,
    session: Option<Vec<u8>>,
    started: Option<i64>,
    started_at: Option<i64>,
    audience: Option<String>,
    token_now: Option<Vec<u8>>,
    token_before: Option<Vec<u8>>,
    token_expires_at: Option<i64>,
    status_list: Option<Vec<u8>>,
    status_idx: Option<i64>,
    end_reason: Option<String>,
    end_at: Option<i64>,
    end_at_wall: Option<i64>,
    end_last_seen: Option<i64>,
    token_expires_meter: Option<i64>,
    renewed_clock: Option<i64>,
    renewed_seq: Option<i64>,
    activations: Option<Vec<u8>>,
    uncharged: Option<i64>,
    earnings: Option<Vec<u8>>,
}

impl AccountRow {
    /// The account; `None` where rows are left of what never was one.
    pub(super) fn owned(self) -> Result<Option<Owned>> {
        if self.version.is_none() {
            return Ok(None);
        }
        let session = self.session()?;
        let account = Account {
            id: AccountId::from_bytes(bytes(&self.id)?),
            version: unsigned(self.version)?,
            balance: Credit::from_ms(there(self.balance)?),
            debt: Credit::from_ms(there(self.debt)?),
            entries: unsigned(self.entry_count)?,
            session,
            deleted: there(self.deleted)?,
            earnings: match &self.earnings {
                Some(bytes) => Earnings::from_bytes(bytes)
                    .ok_or_else(|| StoreError::Damaged("what an account has earned, which is none".to_owned()))?,
                None => Earnings::NONE,
            },
        };
        let identity = self.issuer.zip(self.subject).map(|(issuer, subject)| Identity { issuer, subject });
        Ok(Some(Owned { account, identity, created_at: wall_from(self.created_at)? }))
    }

    fn session(&self) -> Result<Option<Session>> {
        let Some(id) = &self.session else { return Ok(None) };
        let ended = EndRow {
            ended_reason: self.end_reason.clone(),
            ended_at: self.end_at,
            ended_at_wall: self.end_at_wall,
            ended_last_seen: self.end_last_seen,
        };
        Ok(Some(Session {
            id: SessionId::from_bytes(bytes(id)?),
            started: meter_from(self.started)?,
            started_at: wall_from(self.started_at)?,
            audience: there(self.audience.clone())?,
            tokens: Tokens {
                current: TokenHash::from_bytes(bytes(there(self.token_now.as_deref())?)?),
                previous: self
                    .token_before
                    .as_deref()
                    .map(|hash| bytes(hash).map(TokenHash::from_bytes))
                    .transpose()?,
                expires_at: wall_from(self.token_expires_at)?,
                expires: self.token_expires_meter.map(|at| meter_from(Some(at))).transpose()?,
                uncharged: Millis::new(self.uncharged.map_or(Ok(0), |ms| unsigned(Some(ms)))?),
                renewed: match self.renewed_clock {
                    Some(_) => {
                        Some(RenewalName { clock: meter_from(self.renewed_clock)?, seq: small(self.renewed_seq)? })
                    }
                    None => None,
                },
                status: StatusIndex {
                    list: ListId::from_bytes(bytes(there(self.status_list.as_deref())?)?),
                    idx: small(self.status_idx)?,
                },
            },
            names: match &self.activations {
                Some(bytes) => ActivationNames::from_bytes(bytes)
                    .ok_or_else(|| StoreError::Damaged("names of activations that are none".to_owned()))?,
                None => ActivationNames::default(),
            },
            end: ended.end()?,
        }))
    }
}

/// What may not be there. What was not there before either stays unset: to write that it is not there would leave a
/// tombstone.
pub(super) type Cell<T> = MaybeUnset<Option<T>>;

/// What `is` there now, where something may have been there before.
pub(super) fn cell<T>(was_there: bool, is: Option<T>) -> Cell<T> {
    match is {
        None if !was_there => MaybeUnset::Unset,
        is => MaybeUnset::Set(is),
    }
}

/// An account in the columns that its partition has once, but for those that never change.
#[derive(SerializeRow)]
pub(super) struct AccountCells<'a> {
    id: &'a [u8],
    version: i64,
    balance: i64,
    debt: i64,
    entry_count: i64,
    deleted: bool,
    session: Cell<&'a [u8]>,
    started: Cell<i64>,
    started_at: Cell<i64>,
    audience: Cell<&'a str>,
    token_now: Cell<&'a [u8]>,
    token_before: Cell<&'a [u8]>,
    token_expires_at: Cell<i64>,
    status_list: Cell<&'a [u8]>,
    status_idx: Cell<i64>,
    end_reason: Cell<&'static str>,
    end_at: Cell<i64>,
    end_at_wall: Cell<i64>,
    end_last_seen: Cell<i64>,
    token_expires_meter: Cell<i64>,
    renewed_clock: Cell<i64>,
    renewed_seq: Cell<i64>,
    activations: Cell<Vec<u8>>,
    uncharged: Cell<i64>,
    earnings: Cell<Vec<u8>>,
}

impl<'a> AccountCells<'a> {
    /// Makes `after` of `before`, or of nothing.
    pub(super) fn new(before: Option<&Account>, after: &'a Account) -> Result<Self> {
        let was = before.and_then(|account| account.session.as_ref());
        let (opened, renewed) = (was.is_some(), was.is_some_and(|session| session.tokens.previous.is_some()));
        let ended = was.is_some_and(|session| session.end.is_some());
        let session = after.session.as_ref();
        let tokens = session.map(|session| &session.tokens);
        let previous = tokens.and_then(|tokens| tokens.previous.as_ref());
        let end = session.and_then(|session| session.end);
        let named = was.is_some_and(|session| session.tokens.renewed.is_some());
        let by = tokens.and_then(|tokens| tokens.renewed);
        let earned = before.is_some_and(|account| account.earnings != Earnings::NONE);
        let earnings = Some(after.earnings.to_bytes()).filter(|bytes| !bytes.is_empty());
        Ok(Self {
            id: after.id.as_bytes(),
            version: int(after.version)?,
            balance: after.balance.as_ms(),
            debt: after.debt.as_ms(),
            entry_count: int(after.entries)?,
            deleted: after.deleted,
            session: cell(opened, session.map(|session| session.id.as_bytes().as_slice())),
            started: cell(opened, session.map(|session| meter(session.started)).transpose()?),
            started_at: cell(opened, session.map(|session| wall(session.started_at)).transpose()?),
            audience: cell(opened, session.map(|session| session.audience.as_str())),
            token_now: cell(opened, tokens.map(|tokens| tokens.current.as_bytes().as_slice())),
            token_before: cell(renewed, previous.map(|hash| hash.as_bytes().as_slice())),
            token_expires_at: cell(opened, tokens.map(|tokens| wall(tokens.expires_at)).transpose()?),
            status_list: cell(opened, tokens.map(|tokens| tokens.status.list.as_bytes().as_slice())),
            status_idx: cell(opened, tokens.map(|tokens| tokens.status.idx.into())),
            end_reason: cell(ended, end.map(|end| end.reason.name())),
            end_at: cell(ended, end.map(|end| meter(end.at)).transpose()?),
            end_at_wall: cell(ended, end.map(|end| wall(end.at_wall)).transpose()?),
            end_last_seen: cell(ended, end.map(|end| meter(end.last_seen)).transpose()?),
            token_expires_meter: cell(opened, tokens.and_then(|tokens| tokens.expires).map(meter).transpose()?),
            renewed_clock: cell(named, by.map(|by| meter(by.clock)).transpose()?),
            renewed_seq: cell(named, by.map(|by| by.seq.into())),
            activations: cell(opened, session.map(|session| session.names.to_bytes())),
            uncharged: cell(opened, tokens.map(|tokens| int(tokens.uncharged.get())).transpose()?),
            earnings: cell(earned, earnings),
        })
    }
}

/// The values of an entry of the ledger.
pub(super) fn entering<'a>(
    account: &'a [u8],
    entry: &'a Entry,
) -> Result<impl serialize::row::SerializeRow + Send + Sync + use<'a>> {
    Ok((
        account,
        int(entry.number)?,
        entry.kind.name(),
        entry.amount.as_ms(),
        entry.owed.as_ms(),
        entry.source.name(),
        entry.external_id.as_str(),
        cell(false, entry.reason.as_deref()),
        wall(entry.at)?,
    ))
}

/// How a session ended, if it has.
#[derive(DeserializeRow)]
pub(super) struct EndRow {
    pub(super) ended_reason: Option<String>,
    pub(super) ended_at: Option<i64>,
    pub(super) ended_at_wall: Option<i64>,
    pub(super) ended_last_seen: Option<i64>,
}

impl EndRow {
    pub(super) fn end(self) -> Result<Option<End>> {
        let Some(name) = self.ended_reason else { return Ok(None) };
        let reason =
            EndReason::ALL.into_iter().find(|reason| reason.name() == name).ok_or_else(|| odd("end reason", &name))?;
        Ok(Some(End {
            reason,
            at: meter_from(self.ended_at)?,
            at_wall: wall_from(self.ended_at_wall)?,
            last_seen: meter_from(self.ended_last_seen)?,
        }))
    }
}

/// An entry of the ledger.
#[derive(DeserializeRow)]
pub(super) struct EntryRow {
    deleted: Option<bool>,
    number: i64,
    entry_kind: Option<String>,
    amount: Option<i64>,
    owed: Option<i64>,
    source: Option<String>,
    external_id: Option<String>,
    reason: Option<String>,
    at: Option<i64>,
}

impl EntryRow {
    /// The entry; `None` if the account has been deleted, and its ledger only waits to be erased.
    pub(super) fn entry(self) -> Result<Option<Entry>> {
        if self.deleted != Some(false) {
            return Ok(None);
        }
        Ok(Some(Entry {
            number: unsigned(Some(self.number))?,
            kind: kind(self.entry_kind)?,
            amount: Credit::from_ms(there(self.amount)?),
            owed: Credit::from_ms(there(self.owed)?),
            source: source(self.source)?,
            external_id: there(self.external_id)?,
            reason: self.reason,
            at: wall_from(self.at)?,
        }))
    }
}

/// Whose account an identity has.
#[derive(DeserializeRow)]
pub(super) struct IdentityRow {
    pub(super) issuer: Option<String>,
    pub(super) subject: Option<String>,
    account: Option<Vec<u8>>,
    created_at: Option<i64>,
}

impl IdentityRow {
    pub(super) fn account(&self) -> Result<AccountId> {
        Ok(AccountId::from_bytes(bytes(there(self.account.as_deref())?)?))
    }

    pub(super) fn created_at(&self) -> Result<UnixMs> {
        wall_from(self.created_at)
    }
}

/// A row of `kind, amount, source, external_id, reason, at`.
#[derive(DeserializeRow)]
pub(super) struct HeldRow {
    pub(super) kind: Option<String>,
    pub(super) amount: Option<i64>,
    pub(super) source: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) at: Option<i64>,
}

impl HeldRow {
    /// Whether it is credit. A partition without any has one row all the same, for its static column.
    pub(super) const fn is_some(&self) -> bool {
        self.kind.is_some()
    }

    pub(super) fn held(self) -> Result<HeldCredit> {
        Ok(HeldCredit {
            entry: NewEntry {
                kind: kind(self.kind)?,
                amount: Credit::from_ms(there(self.amount)?),
                source: source(self.source)?,
                external_id: there(self.external_id)?,
                reason: self.reason,
            },
            at: wall_from(self.at)?,
        })
    }
}

/// An account key in its account's partition.
#[derive(DeserializeRow)]
pub(super) struct KeyRow {
    deleted: Option<bool>,
    key_id: Option<String>,
    hash: Option<Vec<u8>>,
    key_created_at: Option<i64>,
    key_scope: Option<String>,
}

impl KeyRow {
    /// The key; `None` if the account has been deleted.
    pub(super) fn key(self, account: &AccountId) -> Result<Option<AccountKey>> {
        if self.deleted != Some(false) {
            return Ok(None);
        }
        Ok(Some(AccountKey {
            key_id: there(self.key_id)?,
            account: *account,
            hash: bytes(&there(self.hash)?)?,
            created_at: wall_from(self.key_created_at)?,
            scope: key_scope(self.key_scope)?,
        }))
    }
}

/// What a key is good for. Those from before there were others do not say.
pub(super) fn key_scope(name: Option<String>) -> Result<KeyScope> {
    name.map_or(Ok(KeyScope::Account), |name| KeyScope::parse(&name).ok_or_else(|| odd("scope of a key", &name)))
}

/// A registered edge.
#[derive(DeserializeRow)]
pub(super) struct EdgeRow {
    client_id: Option<String>,
    name: Option<String>,
    audience: Option<String>,
    secret_hashes: Option<Vec<u8>>,
    created_at: Option<i64>,
}

impl EdgeRow {
    pub(super) fn edge(self) -> Result<Edge> {
        let hashes = self.secret_hashes.unwrap_or_default();
        let (secret_hashes, rest) = hashes.as_chunks::<32>();
        if !rest.is_empty() {
            return Err(StoreError::Damaged("an edge's secret hashes are not whole".to_owned()));
        }
        Ok(Edge {
            client_id: there(self.client_id)?,
            name: there(self.name)?,
            audience: there(self.audience)?,
            secret_hashes: secret_hashes.to_vec(),
            created_at: wall_from(self.created_at)?,
        })
    }
}

/// What `add_edge` and `change_edge` write.
#[derive(SerializeRow)]
pub(super) struct PutEdge<'a> {
    name_hash: [u8; 32],
    client_id: &'a str,
    name: &'a str,
    audience: &'a str,
    secret_hashes: &'a [u8],
    created_at: i64,
}

impl<'a> PutEdge<'a> {
    pub(super) fn new(edge: &'a Edge) -> Result<Self> {
        Ok(Self {
            name_hash: name_of(&[&edge.client_id]),
            client_id: &edge.client_id,
            name: &edge.name,
            audience: &edge.audience,
            secret_hashes: edge.secret_hashes.as_flattened(),
            created_at: wall(edge.created_at)?,
        })
    }
}

/// A signing key.
#[derive(DeserializeRow)]
pub(super) struct SigningKeyRow {
    kid: String,
    algorithm: Option<String>,
    sealed: Option<Vec<u8>>,
    created_at: Option<i64>,
    signs_from: Option<i64>,
    retires_at: Option<i64>,
}

impl SigningKeyRow {
    pub(super) fn key(self) -> Result<SealedKey> {
        Ok(SealedKey {
            kid: self.kid,
            algorithm: there(self.algorithm)?,
            sealed: there(self.sealed)?,
            created_at: wall_from(self.created_at)?,
            signs_from: wall_from(self.signs_from)?,
            retires_at: self.retires_at.map(|at| wall_from(Some(at))).transpose()?,
        })
    }
}

/// A status list.
#[derive(DeserializeRow)]
pub(super) struct ListRow {
    id: Vec<u8>,
    size: Option<i64>,
    seed: Option<Vec<u8>>,
    granted: Option<i64>,
    leased_at: Option<i64>,
    retires_at: Option<i64>,
}

impl ListRow {
    pub(super) fn lease(self) -> Result<StatusLease> {
        let size = small(self.size)?;
        Ok(StatusLease {
            id: ListId::from_bytes(bytes(&self.id)?),
            size: ListSize::new(size)
                .ok_or_else(|| StoreError::Damaged(format!("a status list of {size} entries cannot be")))?,
            seed: ListSeed::from_bytes(bytes(&there(self.seed)?)?),
            granted: small(self.granted)?,
            leased_at: wall_from(self.leased_at)?,
            retires_at: self.retires_at.map(|at| wall_from(Some(at))).transpose()?,
        })
    }
}

/// A checkpoint. Without an account it is one of a session that is over.
#[derive(DeserializeRow)]
pub(super) struct CheckpointRow {
    pub(super) session: Vec<u8>,
    account: Option<Vec<u8>>,
    pub(super) last_seen: Option<i64>,
    /// The timestamp of it.
    pub(super) written: Option<i64>,
}

/// A checkpoint that may be one of an open session.
pub(super) struct Found {
    pub(super) session: SessionId,
    pub(super) account: AccountId,
    pub(super) last_seen: MeterTime,
    pub(super) written: i64,
}

impl CheckpointRow {
    pub(super) fn found(self) -> Result<Option<Found>> {
        let Some(account) = self.account else { return Ok(None) };
        Ok(Some(Found {
            session: SessionId::from_bytes(bytes(&self.session)?),
            account: AccountId::from_bytes(bytes(&account)?),
            last_seen: meter_from(self.last_seen)?,
            written: there(self.written)?,
        }))
    }
}

/// A row of `last_alive, wall`.
pub(super) fn clock((last_alive, wall): (Option<i64>, Option<i64>)) -> Result<ClockFact> {
    Ok(ClockFact { last_alive: meter_from(last_alive)?, wall: wall_from(wall)? })
}

pub(super) fn kind(name: Option<String>) -> Result<EntryKind> {
    let name = there(name)?;
    EntryKind::parse(&name).ok_or_else(|| odd("kind of entry", &name))
}

pub(super) fn source(name: Option<String>) -> Result<Source> {
    let name = there(name)?;
    Source::parse(&name).ok_or_else(|| odd("source of entries", &name))
}

pub(super) fn meter_from(value: Option<i64>) -> Result<MeterTime> {
    Ok(MeterTime::from_ms(unsigned(value)?))
}

pub(super) fn wall_from(value: Option<i64>) -> Result<UnixMs> {
    Ok(UnixMs::from_ms(unsigned(value)?))
}

pub(super) fn unsigned(value: Option<i64>) -> Result<u64> {
    let value = there(value)?;
    u64::try_from(value).map_err(|_| StoreError::Damaged(format!("{value} where no negative number can be")))
}

fn small(value: Option<i64>) -> Result<u32> {
    let value = there(value)?;
    u32::try_from(value).map_err(|_| StoreError::Damaged(format!("{value} where a small number should be")))
}

/// What is always written together with what was found.
pub(super) fn there<T>(value: Option<T>) -> Result<T> {
    value.ok_or_else(|| StoreError::Damaged("a row without something that all rows have".to_owned()))
}

pub(super) fn odd(what: &str, name: &str) -> StoreError {
    StoreError::Damaged(format!("`{}` is no {what}", name.chars().take(32).collect::<String>().escape_debug()))
}

/// The partition that a bucket is in.
pub(super) fn shard(bucket: u8) -> i8 {
    i8::try_from(bucket / 16).expect("a sixteenth of a byte")
}
