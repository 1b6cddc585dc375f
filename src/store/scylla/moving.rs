//! A keyspace that another store is moved into.
//!
//! Nobody serves from it meanwhile, so all but what says so is written plainly. What the service decides on afterwards is
//! written as of the first microsecond of 1970: any decision comes after it, whatever the clocks were then, and a row that
//! is written again is the same row.

use std::{ops::Range, sync::Arc};

use async_trait::async_trait;
use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::{SerializeRow, statement::prepared::PreparedStatement};

use crate::{
    engine::{AccountId, Entry, bucket},
    entropy::Entropy,
    store::{
        AccountKey, AuditRecord, HandleRecord, HeldCredit, HubSessionRecord, Identity, Owned, Participant, Person,
        ProviderFacts, Result, RewardKey, RewardRecord, SealedKey, StatusLease, StoreError, facts_json,
        moving::{Mark, Moving, OpenSession, RememberedSession, Row, Target},
    },
    time::{Millis, UnixMs},
};

use super::{
    ScyllaOptions, ScyllaStore,
    audit::ttl_at,
    cluster::Values,
    hub, logouts,
    rows::{
        AccountCells, Cell, PutEdge, bytes, cell, entering, entry_name, int, meter, name_of, shard, there, unsigned,
        wall, wall_from,
    },
    target::ScyllaTarget,
};

/// Rows, or entries of one account together, that are on their way at a time.
const AT_ONCE: usize = 32;
/// Bytes of a batch, about, and rows: clusters warn of 5 KB.
const BATCH_BYTES: usize = 4096;
const BATCH_ROWS: usize = 16;
/// How long a row of the audit log stays at the least, in seconds, however old it is: none goes before it was compared.
const AUDIT_STAYS: i32 = 7 * 86_400;
/// How long a row of the hub stays at the least: none goes before it was compared.
const HUB_ROWS_STAY: Millis = Millis::from_secs(7 * 86_400);

/// The tables that have nothing in them before anything moves in.
const TABLES: [&str; 28] = [
    "accounts",
    "identities",
    "directory",
    "sessions",
    "account_keys",
    "checkpoints",
    "clock",
    "edges",
    "signing_keys",
    "status_lists",
    "held_credit",
    "erasures",
    "deletions",
    "provider_facts",
    "audit",
    "audit_of_accounts",
    "history",
    "nodes",
    "eras",
    "changes",
    "list_owners",
    "list_copies",
    "hub_pointers",
    "hub_provider_sessions",
    "reward_records",
    "hub_clients",
    "hub_codes",
    "hub_logouts",
];

/// A row of `source, name, reached, ended`.
type MovingRow = (Option<Vec<u8>>, Option<String>, Option<i64>, Option<i64>);

/// What `account` writes.
#[derive(SerializeRow)]
struct MovedAccount<'a> {
    #[scylla(flatten)]
    account: AccountCells<'a>,
    created_at: i64,
    issuer: Cell<&'a str>,
    subject: Cell<&'a str>,
}

impl<'a> MovedAccount<'a> {
    fn new(Owned { account, identity, created_at }: &'a Owned) -> Result<Self> {
        Ok(Self {
            account: AccountCells::new(None, account)?,
            created_at: wall(*created_at)?,
            issuer: cell(false, identity.as_ref().map(|identity| identity.issuer.as_str())),
            subject: cell(false, identity.as_ref().map(|identity| identity.subject.as_str())),
        })
    }
}

impl ScyllaStore {
    /// What the keyspace says of being moved into.
    pub(super) async fn read_moving(&self) -> Result<Option<Moving>> {
        let row: Option<MovingRow> = self.cluster.row(&self.cluster.statements.moving, ()).await?;
        let Some((source, name, reached, ended)) = row else { return Ok(None) };
        Ok(Some(Moving {
            source: bytes(&there(source)?)?,
            // Told to people as it is.
            name: there(name)?.replace(char::is_control, "\u{fffd}"),
            rows: unsigned(reached)?,
            ended: ended.map(|at| wall_from(Some(at))).transpose()?,
        }))
    }
}

impl ScyllaTarget {
    /// Opens a keyspace to be moved into. It is made if it is missing.
    ///
    /// # Errors
    ///
    /// As of [`ScyllaStore::open`], which refuses what has been moved into in part.
    pub async fn open(options: &ScyllaOptions, entropy: Arc<dyn Entropy>, now: UnixMs) -> Result<Self> {
        let store = Box::pin(ScyllaStore::reach(options, entropy)).await?;
        let statements = store.cluster.moving_statements(options).await?;
        Ok(Self { store, statements, keyspace: options.keyspace.clone(), now })
    }

    /// The first tables that have rows.
    async fn occupied(&self) -> Result<Vec<&'static str>> {
        let mut occupied = Vec::new();
        for table in TABLES {
            if self.store.cluster.has_rows(table).await? {
                occupied.push(table);
            }
        }
        Ok(occupied)
    }

    fn not_empty(&self, tables: &[&str]) -> StoreError {
        StoreError::Refused(format!(
            "the keyspace {} is not empty: it has rows in {}. Only an empty one can be moved into; choose another, or drop \
             this one if nobody needs it",
            self.keyspace,
            tables.join(", ")
        ))
    }

    async fn put(&self, rows: &[Row]) -> Result<()> {
        match rows {
            [Row::SigningKey(key)] => self.put_signing_key(key).await,
            [Row::Edge(edge)] => self.plainly(&self.statements.edge, PutEdge::new(edge)?).await,
            [Row::StatusList(lease)] => self.put_list(lease).await,
            [Row::Account(owned)] => self.put_account(owned).await,
            [Row::Session(session)] => self.put_session(session).await,
            [Row::AccountKey(key)] => self.put_key(key).await,
            [Row::Checkpoint(open)] => self.put_checkpoint(open).await,
            [Row::Held(identity, credits)] => self.put_held(identity, credits).await,
            [Row::Facts(identity, facts)] => self.put_facts(identity, facts).await,
            [Row::Audit(row)] => self.put_audit(row).await,
            [Row::Person(account, person)] => self.put_person(account, person).await,
            [Row::HubSession(session)] => self.put_hub_session(session).await,
            [Row::Reward(key, record)] => self.put_reward_record(key, record).await,
            [Row::HubClient(client)] => {
                self.plainly(&self.statements.hub_client, (client.client_id.as_str(), client.to_json())).await
            }
            [Row::Handle(handle)] => self.put_handle(handle).await,
            [Row::Participant(participant)] => self.put_participant(participant).await,
            [Row::Logout(logout)] => self.plainly(&self.statements.logout, logouts::values(logout)?).await,
            [Row::Clock(clock)] => self.store.raise_clock(clock.last_alive, clock.wall).await,
            entries => self.put_entries(entries).await,
        }
    }

    async fn plainly(
        &self,
        statement: &PreparedStatement,
        values: impl scylla::serialize::row::SerializeRow,
    ) -> Result<()> {
        self.store.cluster.write(statement, values).await
    }

    async fn put_account(&self, owned: &Owned) -> Result<()> {
        let id = owned.account.id.as_bytes().as_slice();
        self.plainly(&self.statements.account, MovedAccount::new(owned)?).await?;
        if owned.account.deleted {
            return Ok(());
        }
        if let Some(identity) = &owned.identity {
            let values =
                (identity.digest(), identity.issuer.as_str(), identity.subject.as_str(), id, wall(owned.created_at)?);
            self.plainly(&self.statements.identity, values).await?;
        }
        self.plainly(&self.store.cluster.statements.list_account, (i16::from(id[0]), id)).await
    }

    /// Entries of one account.
    async fn put_entries(&self, rows: &[Row]) -> Result<()> {
        let mut batch: Vec<(_, Values<'_>)> = Vec::with_capacity(2 * rows.len());
        for row in rows {
            let Row::Entry(account, entry) = row else { continue };
            let (id, number) = (account.as_bytes().as_slice(), int(entry.number)?);
            let name = entry_name(entry.source, &entry.external_id);
            batch.push((&self.statements.entry_name, Box::new((id, name, number))));
            batch.push((&self.statements.entry, Box::new(entering(id, entry)?)));
        }
        self.store.cluster.write_together(batch).await
    }

    async fn put_session(&self, session: &RememberedSession) -> Result<()> {
        let (id, account) = (session.id.as_bytes().as_slice(), session.account.as_bytes().as_slice());
        let started = meter(session.started)?;
        let end = session.end.as_ref();
        let values = (
            account,
            started,
            id,
            wall(session.started_at)?,
            cell(false, end.map(|end| end.reason.name())),
            cell(false, end.map(|end| meter(end.at)).transpose()?),
            cell(false, end.map(|end| wall(end.at_wall)).transpose()?),
            cell(false, end.map(|end| meter(end.last_seen)).transpose()?),
        );
        self.plainly(&self.statements.session, values).await?;
        self.plainly(&self.store.cluster.statements.point_to_session, (id, account, started)).await
    }

    async fn put_key(&self, key: &AccountKey) -> Result<()> {
        let (id, name) = (key.account.as_bytes().as_slice(), name_of(&[&key.key_id]));
        let values = (id, name, key.key_id.as_str(), key.hash, wall(key.created_at)?, key.scope.name());
        self.plainly(&self.statements.key, values).await?;
        self.plainly(&self.store.cluster.statements.point_to_key, (key.hash, id, name)).await
    }

    async fn put_checkpoint(&self, OpenSession { session, account, last_seen }: &OpenSession) -> Result<()> {
        let (of, at) = (bucket(session), meter(*last_seen)?);
        let values = (shard(of), i16::from(of), session.as_bytes().as_slice(), account.as_bytes().as_slice(), at, at);
        self.plainly(&self.store.cluster.statements.point_to_checkpoint, values).await
    }

    async fn put_signing_key(&self, key: &SealedKey) -> Result<()> {
        let values = (
            key.kid.as_str(),
            key.algorithm.as_str(),
            key.sealed.as_slice(),
            wall(key.created_at)?,
            wall(key.signs_from)?,
            cell(false, key.retires_at.map(wall).transpose()?),
        );
        self.plainly(&self.statements.signing_key, values).await
    }

    async fn put_list(&self, lease: &StatusLease) -> Result<()> {
        let values = (
            lease.id.as_bytes().as_slice(),
            i64::from(lease.size.entries()),
            lease.seed.expose_bytes().as_slice(),
            i64::from(lease.granted),
            wall(lease.leased_at)?,
            cell(false, lease.retires_at.map(wall).transpose()?),
        );
        self.plainly(&self.statements.list, values).await
    }

    async fn put_held(&self, identity: &Identity, credits: &[HeldCredit]) -> Result<()> {
        let (of, count) = (identity.digest(), i32::try_from(credits.len()).unwrap_or(i32::MAX));
        for HeldCredit { entry, at } in credits {
            let values = (
                of,
                entry_name(entry.source, &entry.external_id),
                count,
                entry.kind.name(),
                entry.amount.as_ms(),
                entry.source.name(),
                entry.external_id.as_str(),
                cell(false, entry.reason.as_deref()),
                wall(*at)?,
            );
            self.plainly(&self.statements.held, values).await?;
        }
        Ok(())
    }

    async fn put_facts(&self, identity: &[u8; 32], facts: &ProviderFacts) -> Result<()> {
        let values = (
            *identity,
            int(facts.revision)?,
            cell(false, facts.gone_at.map(wall).transpose()?),
            cell(false, facts.password_changed_at.map(wall).transpose()?),
            facts_json::capabilities(facts),
            facts_json::events(facts),
        );
        self.plainly(&self.statements.facts, values).await
    }

    async fn put_person(&self, account: &AccountId, person: &Person) -> Result<()> {
        let written = |value: u64| -> Result<_> { Ok(cell(false, (value > 0).then(|| int(value)).transpose()?)) };
        let profile = cell(false, (person.version > 0).then(|| person.profile.to_json()));
        let values = (written(person.epoch)?, written(person.version)?, profile, account.as_bytes().as_slice());
        self.plainly(&self.statements.person, values).await
    }

    async fn put_hub_session(&self, session: &HubSessionRecord) -> Result<()> {
        let ttl = hub::ttl_of_moved(session.ends_at, self.now, HUB_ROWS_STAY);
        let (id, digest) = (session.account.as_bytes().as_slice(), session.digest.as_bytes().as_slice());
        self.plainly(&self.statements.hub_session, (id, digest, session.to_json(), ttl)).await?;
        self.store.write_sighting(hub::sighting(session), ttl).await?;
        self.store.point_to_hub_session(session, ttl).await
    }

    async fn put_reward_record(&self, key: &RewardKey, record: &RewardRecord) -> Result<()> {
        let values = (key.part.as_str(), key.name.as_str(), int(record.revision)?, record.content.as_str());
        self.plainly(&self.statements.reward_record, values).await
    }

    async fn put_handle(&self, handle: &HandleRecord) -> Result<()> {
        let ttl = hub::ttl_of_moved(handle.ends_at, self.now, HUB_ROWS_STAY);
        let (id, digest) = (handle.account.as_bytes().as_slice(), handle.digest.as_bytes().as_slice());
        self.plainly(&self.statements.handle, (id, digest, handle.to_json(), ttl)).await?;
        self.plainly(&self.store.cluster.statements.point_to_hub_session, (digest, id, ttl)).await
    }

    async fn put_participant(&self, participant: &Participant) -> Result<()> {
        let ttl = hub::ttl_of_moved(participant.ends_at, self.now, HUB_ROWS_STAY);
        let id = participant.account.as_bytes().as_slice();
        self.plainly(&self.statements.participant, (id, participant.name(), participant.to_json(), ttl)).await
    }

    async fn put_audit(&self, row: &AuditRecord) -> Result<()> {
        let age = i32::try_from(self.now.since(row.key.at).as_secs()).unwrap_or(i32::MAX);
        let rest = self.store.audit_ttl.saturating_sub(age).max(AUDIT_STAYS.min(self.store.audit_ttl));
        self.store.write_audit_for(row, ttl_at(self.now, rest)).await
    }
}

#[async_trait]
impl Target for ScyllaTarget {
    async fn moving(&self) -> Result<Option<Moving>> {
        self.store.read_moving().await
    }

    async fn begin(&self, moving: &Moving) -> Result<()> {
        let cluster = &self.store.cluster;
        match self.store.read_moving().await? {
            // It had not been answered that it was done.
            Some(known) if known.source == moving.source => {}
            Some(_) => return Err(self.not_empty(&["moving"])),
            None => {
                let occupied = self.occupied().await?;
                if !occupied.is_empty() {
                    return Err(self.not_empty(&occupied));
                }
                let values = (moving.source, moving.name.as_str(), int(moving.rows)?);
                if !cluster.decide(&self.statements.begin, values).await? {
                    return Err(StoreError::Unavailable("another copy into the keyspace has begun".to_owned()));
                }
            }
        }
        // A service that had started before it was said may have begun to write.
        let occupied = self.occupied().await?;
        if occupied.is_empty() {
            return Ok(());
        }
        cluster.decide(&self.statements.give_up, (moving.source,)).await?;
        Err(self.not_empty(&occupied))
    }

    async fn write(&self, rows: &[Row]) -> Result<()> {
        stream::iter(together(rows))
            .map(|at| async move { self.put(&rows[at]).await })
            .buffer_unordered(AT_ONCE)
            .try_collect()
            .await
    }

    async fn reach(&self, source: &[u8; 32], rows: u64) -> Result<()> {
        self.say(&self.statements.reach, (int(rows)?, *source)).await
    }

    async fn end(&self, source: &[u8; 32], at: UnixMs) -> Result<()> {
        self.say(&self.statements.end, (wall(at)?, *source)).await
    }

    fn expect(&self, row: &Row, note: &mut (dyn FnMut(Mark) + Send)) -> Result<()> {
        super::survey::expect(row, note)
    }

    async fn survey(&self, note: &mut (dyn FnMut(Mark) + Send)) -> Result<()> {
        self.survey_all(note).await
    }
}

impl ScyllaTarget {
    async fn say(&self, statement: &PreparedStatement, values: (i64, [u8; 32])) -> Result<()> {
        if self.store.cluster.decide(statement, values).await? {
            return Ok(());
        }
        Err(StoreError::Refused("the keyspace is not being moved into any more: somebody has emptied it".to_owned()))
    }
}

/// Rows one by one, but for entries of one account, of which some go together.
fn together(rows: &[Row]) -> Vec<Range<usize>> {
    let account = |row: &Row| match row {
        Row::Entry(account, _) => Some(*account),
        _ => None,
    };
    let size = |row: &Row| match row {
        Row::Entry(_, Entry { external_id, reason, .. }) => {
            250 + external_id.len() + reason.as_ref().map_or(0, String::len)
        }
        _ => BATCH_BYTES,
    };
    let mut all = Vec::new();
    let (mut begins, mut bytes, mut of): (usize, usize, Option<AccountId>) = (0, 0, None);
    for (at, row) in rows.iter().enumerate() {
        let joins = of.is_some() && of == account(row) && at - begins < BATCH_ROWS && bytes + size(row) <= BATCH_BYTES;
        if at > begins && !joins {
            all.push(begins..at);
            (begins, bytes) = (at, 0);
        }
        bytes += size(row);
        of = account(row);
    }
    if begins < rows.len() {
        all.push(begins..rows.len());
    }
    all
}
