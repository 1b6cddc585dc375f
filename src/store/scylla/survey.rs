//! What a keyspace that was moved into ought to have, and what it has: each table from its first row to its last.
//!
//! These reads look through tables from end to end. What a pointer leads to is not followed; that it is the right one
//! is seen by its being the one that is expected.

use scylla::DeserializeRow;

use crate::{
    engine::{AccountId, Credit, Entry, bucket},
    store::{
        AccountKey, Identity, Participant, Result, RewardKey, RewardRecord, StoreError,
        moving::{Mark, Marked, OpenSession, RememberedSession, Row, Table, audited},
    },
    wire::SessionId,
};

use super::{
    audit::AuditRow,
    facts::FactsRow,
    handles,
    hub::{self, PersonRow},
    logouts::LogoutRow,
    rows::{
        self, AccountRow, EndRow, HeldRow, bytes, entry_name, int, kind, meter, meter_from, name_of, shard, source,
        there, unsigned, wall, wall_from,
    },
    target::ScyllaTarget,
};

/// What only who serves writes.
const FOREIGN: [&str; 5] = ["nodes", "eras", "changes", "erasures", "deletions"];

/// A row of an account's partition, of any kind.
#[derive(DeserializeRow)]
struct PartRow {
    id: Vec<u8>,
    kind: Option<i8>,
    number: Option<i64>,
    name: Option<Vec<u8>>,
    entry_kind: Option<String>,
    amount: Option<i64>,
    owed: Option<i64>,
    source: Option<String>,
    external_id: Option<String>,
    reason: Option<String>,
    at: Option<i64>,
    entry: Option<i64>,
    opened_at: Option<i64>,
    ended_reason: Option<String>,
    ended_at: Option<i64>,
    ended_at_wall: Option<i64>,
    ended_last_seen: Option<i64>,
    key_id: Option<String>,
    hash: Option<Vec<u8>>,
    key_created_at: Option<i64>,
    hub_record: Option<String>,
    hub_seen: Option<i64>,
    key_scope: Option<String>,
}

/// A row of `identity, name, held, kind, amount, source, external_id, reason, at`.
type HeldPart = (
    Vec<u8>,
    Option<Vec<u8>>,
    Option<i32>,
    Option<String>,
    Option<i64>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i64>,
);

/// A row of `identity, revision, gone_at, password_changed_at, capabilities, events`.
type FactsOf = (Vec<u8>, Option<i64>, Option<i64>, Option<i64>, Option<String>, Option<String>);

type Note<'a> = &'a mut (dyn FnMut(Mark) + Send);

/// The marks that a row leaves in a keyspace.
pub(super) fn expect(row: &Row, note: Note<'_>) -> Result<()> {
    match row {
        Row::SigningKey(key) => note(key.into()),
        Row::Edge(edge) => note(edge.into()),
        Row::StatusList(lease) => note(lease.into()),
        Row::Account(owned) => {
            note((&**owned).into());
            if !owned.account.deleted {
                let id = owned.account.id.as_bytes();
                note(listed(id));
                if let Some(identity) = &owned.identity {
                    note(identity_of(&identity.digest(), identity, id, wall(owned.created_at)?));
                }
            }
        }
        Row::Entry(account, entry) => {
            note((account, entry).into());
            let name = entry_name(entry.source, &entry.external_id);
            note(entry_named(account.as_bytes(), &name, int(entry.number)?));
        }
        Row::Session(session) => {
            note(session.into());
            note(session_pointer(session.id.as_bytes(), session.account.as_bytes(), meter(session.started)?));
        }
        Row::AccountKey(key) => {
            note(key.into());
            note(key_pointer(&key.hash, key.account.as_bytes(), &name_of(&[&key.key_id])));
        }
        Row::Checkpoint(open) => note(open.into()),
        Row::Held(identity, credits) => {
            let identity = identity.digest();
            credits.iter().for_each(|held| note((&identity, held).into()));
        }
        Row::Facts(identity, facts) => note((identity, facts).into()),
        Row::Audit(row) => {
            note(audited(Table::Audit, row));
            if row.account.is_some() {
                note(audited(Table::AuditOfAccount, row));
            }
        }
        Row::Person(account, person) => note((account, person).into()),
        Row::HubSession(session) => {
            note((&**session).into());
            let (digest, account) = (session.digest.as_bytes(), session.account.as_bytes());
            note(hub_pointer(digest, account));
            if let Some(name) = session.provider_name() {
                note(provider_pointer(&name, digest, account));
            }
        }
        Row::Reward(key, record) => note((key, record).into()),
        Row::HubClient(client) => note(client.into()),
        Row::Handle(handle) => {
            note(handle.into());
            note(hub_pointer(handle.digest.as_bytes(), handle.account.as_bytes()));
        }
        Row::Participant(participant) => note(participant.into()),
        Row::Logout(logout) => note(logout.into()),
        Row::Clock(clock) => note(clock.into()),
    }
    Ok(())
}

impl ScyllaTarget {
    /// Notes the marks of all there is.
    pub(super) async fn survey_all(&self, note: Note<'_>) -> Result<()> {
        self.store.read_signing_keys().await?.iter().for_each(|key| note(key.into()));
        self.store.read_edges().await?.iter().for_each(|edge| note(edge.into()));
        self.store.read_hub_clients().await?.iter().for_each(|client| note(client.into()));
        self.store.read_lists().await?.iter().for_each(|lease| note(lease.into()));
        let clock: Option<(Option<i64>, Option<i64>)> =
            self.store.cluster.row(&self.store.cluster.statements.clock, ()).await?;
        if let Some(clock) = clock.map(rows::clock).transpose()? {
            note((&clock).into());
        }
        self.survey_accounts(note).await?;
        self.survey_pointers(note).await?;
        self.survey_people(note).await?;
        let cluster = &self.store.cluster;
        cluster
            .each(&self.statements.audit, |row: AuditRow| {
                note(audited(Table::Audit, &row.record()?));
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.audit_of_accounts, |row: AuditRow| {
                note(audited(Table::AuditOfAccount, &row.record()?));
                Ok(())
            })
            .await?;
        type RewardPart = (String, String, Option<i64>, Option<String>);
        cluster
            .each(&self.statements.all_reward_records, |(part, name, revision, content): RewardPart| {
                let record = RewardRecord { revision: unsigned(revision)?, content: there(content)? };
                note((&RewardKey { part, name }, &record).into());
                Ok(())
            })
            .await?;
        for table in FOREIGN {
            if cluster.has_rows(table).await? {
                note(foreign(table.as_bytes()));
            }
        }
        Ok(())
    }

    /// The accounts' own partitions.
    async fn survey_accounts(&self, note: Note<'_>) -> Result<()> {
        let cluster = &self.store.cluster;
        cluster
            .each(&self.statements.accounts, |row: AccountRow| {
                if let Some(owned) = row.owned()? {
                    note((&owned).into());
                }
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.people, |row: PersonRow| {
                if let Some((account, person)) = row.written()? {
                    note((&account, &person).into());
                }
                Ok(())
            })
            .await?;
        cluster.each(&self.statements.parts, |row: PartRow| row.note(note)).await
    }

    /// What leads to accounts.
    async fn survey_pointers(&self, note: Note<'_>) -> Result<()> {
        type IdentityPart = (Vec<u8>, Option<String>, Option<String>, Option<Vec<u8>>, Option<i64>);
        type CheckpointPart = (i8, i16, Vec<u8>, Option<Vec<u8>>, Option<i64>);
        let cluster = &self.store.cluster;
        cluster
            .each(&self.statements.identities, |(name, issuer, subject, account, created_at): IdentityPart| {
                let identity = Identity { issuer: there(issuer)?, subject: there(subject)? };
                note(identity_of(&name, &identity, &there(account)?, there(created_at)?));
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.directory, |(shard, id): (i16, Vec<u8>)| {
                note(if id.first().map(|first| i16::from(*first)) == Some(shard) { listed(&id) } else { foreign(&id) });
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.sessions, |(id, account, started): (Vec<u8>, Option<Vec<u8>>, Option<i64>)| {
                note(session_pointer(&id, &there(account)?, there(started)?));
                Ok(())
            })
            .await?;
        cluster
            .each(
                &self.statements.account_keys,
                |(hash, account, name): (Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>)| {
                    note(key_pointer(&hash, &there(account)?, &there(name)?));
                    Ok(())
                },
            )
            .await?;
        cluster
            .each(&self.statements.logouts, |row: LogoutRow| {
                note((&row.logout()?).into());
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.hub_pointers, |(digest, account): (Vec<u8>, Option<Vec<u8>>)| {
                note(hub_pointer(&digest, &there(account)?));
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.provider_pointers, |(name, digest, account): (Vec<u8>, Vec<u8>, Option<Vec<u8>>)| {
                note(provider_pointer(&name, &digest, &there(account)?));
                Ok(())
            })
            .await?;
        cluster
            .each(&self.statements.checkpoints, |(of, within, session, account, last_seen): CheckpointPart| {
                let session = SessionId::from_bytes(bytes(&session)?);
                let account = AccountId::from_bytes(bytes(&there(account)?)?);
                let open = OpenSession { session, account, last_seen: meter_from(last_seen)? };
                let place = bucket(&session);
                let found = (of, within) == (shard(place), i16::from(place));
                note(if found { (&open).into() } else { foreign(session.as_bytes()) });
                Ok(())
            })
            .await
    }

    /// What is known of people by the hash of who they are.
    async fn survey_people(&self, note: Note<'_>) -> Result<()> {
        let cluster = &self.store.cluster;
        // How many there are says a column of the whole partition.
        let mut of: Option<(Vec<u8>, i32, i32)> = None;
        cluster
            .each(&self.statements.all_held, |row: HeldPart| {
                let (identity, name, count, kind, amount, source, external_id, reason, at) = row;
                match &mut of {
                    Some((whose, counted, _)) if *whose == identity => *counted += 1,
                    _ => miscounted(of.replace((identity.clone(), 1, count.unwrap_or(0))), note),
                }
                let Some(name) = name else {
                    // There is a count, and nothing else.
                    if let Some((_, counted, _)) = &mut of {
                        *counted = 0;
                    }
                    return Ok(());
                };
                let held = HeldRow { kind, amount, source, external_id, reason, at }.held()?;
                let right = entry_name(held.entry.source, &held.entry.external_id).as_slice() == name;
                note(if right { (&bytes(&identity)?, &held).into() } else { foreign(&identity) });
                Ok(())
            })
            .await?;
        miscounted(of, note);
        cluster
            .each(&self.statements.all_facts, |row: FactsOf| {
                let (identity, revision, gone_at, password_changed_at, capabilities, events) = row;
                let facts = FactsRow { revision, gone_at, password_changed_at, capabilities, events }.facts()?;
                note((&bytes(&identity)?, &facts).into());
                Ok(())
            })
            .await
    }
}

impl PartRow {
    fn note(self, note: Note<'_>) -> Result<()> {
        // A partition that has nothing but the account.
        let Some(of) = self.kind else { return Ok(()) };
        let account = AccountId::from_bytes(bytes(&self.id)?);
        let (number, name) = (there(self.number)?, there(self.name)?);
        match of {
            1 => {
                let entry = Entry {
                    number: unsigned(Some(number))?,
                    kind: kind(self.entry_kind)?,
                    amount: Credit::from_ms(there(self.amount)?),
                    owed: Credit::from_ms(there(self.owed)?),
                    source: source(self.source)?,
                    external_id: there(self.external_id)?,
                    reason: self.reason,
                    at: wall_from(self.at)?,
                };
                note((&account, &entry).into());
            }
            2 => note(entry_named(&self.id, &name, there(self.entry)?)),
            3 => {
                let end = EndRow {
                    ended_reason: self.ended_reason,
                    ended_at: self.ended_at,
                    ended_at_wall: self.ended_at_wall,
                    ended_last_seen: self.ended_last_seen,
                };
                let session = RememberedSession {
                    id: SessionId::from_bytes(bytes(&name)?),
                    account,
                    started: meter_from(Some(number))?,
                    started_at: wall_from(self.opened_at)?,
                    end: end.end()?,
                };
                note((&session).into());
            }
            4 => {
                let key_id = there(self.key_id)?;
                let right = name == name_of(&[&key_id]);
                let hash = bytes(&there(self.hash)?)?;
                let (created_at, scope) = (wall_from(self.key_created_at)?, rows::key_scope(self.key_scope)?);
                let key = AccountKey { key_id, account, hash, created_at, scope };
                note(if right { (&key).into() } else { foreign(&self.id) });
            }
            5 => note((&hub::session(account, &name, &there(self.hub_record)?, self.hub_seen)?).into()),
            7 => note((&Participant::from_json(account, &name, &there(self.hub_record)?)?).into()),
            6 => note((&handles::handle(account, &name, &there(self.hub_record)?)?).into()),
            other => return Err(StoreError::Damaged(format!("a row of kind {other} in an account's partition"))),
        }
        Ok(())
    }
}

/// A count of what is held for somebody that is not how many there are.
fn miscounted(of: Option<(Vec<u8>, i32, i32)>, note: Note<'_>) {
    if let Some((identity, counted, count)) = of
        && counted != count
    {
        note(foreign(&identity));
    }
}

fn identity_of(name: &[u8], identity: &Identity, account: &[u8], created_at: i64) -> Mark {
    Marked::new(Table::Identity, &[name]).with(identity).with(account).with(created_at).done()
}

fn listed(account: &[u8]) -> Mark {
    Marked::new(Table::Directory, &[account]).done()
}

fn entry_named(account: &[u8], name: &[u8], number: i64) -> Mark {
    Marked::new(Table::EntryName, &[account, name]).with(number).done()
}

fn session_pointer(session: &[u8], account: &[u8], started: i64) -> Mark {
    Marked::new(Table::SessionPointer, &[session]).with(account).with(started).done()
}

fn key_pointer(hash: &[u8], account: &[u8], name: &[u8]) -> Mark {
    Marked::new(Table::KeyPointer, &[hash]).with(account).with(name).done()
}

fn hub_pointer(digest: &[u8], account: &[u8]) -> Mark {
    Marked::new(Table::HubPointer, &[digest]).with(account).done()
}

fn provider_pointer(name: &[u8], digest: &[u8], account: &[u8]) -> Mark {
    Marked::new(Table::ProviderPointer, &[name, digest]).with(account).done()
}

/// What nothing that moves in leaves.
fn foreign(what: &[u8]) -> Mark {
    Marked::new(Table::Foreign, &[what]).done()
}
