//! What is left of a deleted person, and how it goes.
//!
//! The act that deletes an account takes the person out of it; from then on nothing of the account is shown. What is left in
//! its partition and elsewhere is erased afterwards. What that is says a row that the act itself writes into the account's
//! partition, so it is there if and only if the account was deleted, whoever else tried. What leads to it ([`leftovers`])
//! is written before.
//!
//! [`leftovers`]: super::leftovers

use crate::{
    engine::AccountId,
    store::{Identity, Owned, Removed, Result, StoreError},
};

use super::{
    ScyllaStore,
    cluster::Values,
    hub::{HANDLES, HUB_SESSIONS},
    logouts::PARTICIPANTS,
    pieces::in_pieces,
    rows::{HeldRow, bytes, entry_name, int, source, there, wall, wall_from},
};

/// Entries that are erased by one decision, each with its name; and names and keys.
const ENTRIES_AT_ONCE: u64 = 50;
const ROWS_AT_ONCE: usize = 100;
/// Entries of a ledger that is erased before a deletion is answered. A longer one is left to housekeeping.
const AT_THE_DOOR: u64 = 500;

/// Kinds of rows in an account's partition.
const NAMES: i8 = 2;
const KEYS: i8 = 4;

/// What a deletion leaves to be erased elsewhere.
pub(super) struct Erasure {
    /// The hash of the identity, if the account had one.
    identity: Option<[u8; 32]>,
    /// The latest credit that was held for it.
    held_until: Option<i64>,
}

/// A row of `deleted, hash, at`.
type ErasureRow = (Option<bool>, Option<Vec<u8>>, Option<i64>);

/// A row of `number, source, external_id`.
type EntryName = (i64, Option<String>, Option<String>);

impl Erasure {
    pub(super) const fn new(identity: Option<[u8; 32]>, held_until: Option<i64>) -> Self {
        Self { identity, held_until }
    }

    /// The values of the row that says so.
    pub(super) fn values<'a>(&self, account: &'a [u8]) -> Values<'a> {
        let identity = self.identity.map_or_else(Vec::new, |name| name.to_vec());
        Box::new((account, identity, self.held_until))
    }
}

impl ScyllaStore {
    /// Writes what leads to an account that is about to be deleted by the act of this name, and answers what will be left
    /// of it elsewhere. Credit that comes later than what is held now is not its own.
    pub(super) async fn prepare_erasure(&self, before: &Owned, act: &[u8; 16]) -> Result<Erasure> {
        let statements = &self.cluster.statements;
        let identity = before.identity.as_ref().map(Identity::digest);
        let mut held_until = None;
        if let Some(identity) = &identity {
            let held: Vec<HeldRow> = self.cluster.rows(&statements.held, (identity.as_slice(),)).await?;
            for row in held.into_iter().filter(HeldRow::is_some) {
                held_until = held_until.max(Some(wall(row.held()?.at)?));
            }
        }
        let id = before.account.id.as_bytes().as_slice();
        let values = (i16::from(id[0]), id, act.as_slice(), int(before.account.version)?);
        self.cluster.write(&statements.point_to_deletion, values).await?;
        Ok(Erasure::new(identity, held_until))
    }

    /// What is left to be erased of an account: `None` if it has not been deleted, or nothing is.
    pub(super) async fn erasure(&self, account: &AccountId) -> Result<Option<Erasure>> {
        let row: Option<ErasureRow> =
            self.cluster.row(&self.cluster.statements.erasure, (account.as_bytes().as_slice(),)).await?;
        let Some((Some(true), Some(identity), held_until)) = row else { return Ok(None) };
        let identity = if identity.is_empty() { None } else { Some(bytes(&identity)?) };
        Ok(Some(Erasure { identity, held_until }))
    }

    /// Notes what is left of an account that was deleted without saying so.
    pub(super) async fn note_erasure(&self, account: &AccountId, left: &Erasure) -> Result<()> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let _turn = self.cluster.turn(account.as_bytes()).await;
        self.decide_on_deleted(id, vec![(&statements.begin_erasure, left.values(id))]).await
    }

    /// Erases what is left of a deleted account, before its deletion is answered, if that is soon done.
    pub(super) async fn erase_at_once(&self, before: &Owned) -> Result<()> {
        if before.account.entries > AT_THE_DOOR { Ok(()) } else { self.erase(&before.account.id).await }
    }

    /// Erases what is left of an account, if it has been deleted. May be repeated, and done by several at once.
    pub(super) async fn erase(&self, account: &AccountId) -> Result<()> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let Some(Erasure { identity, held_until }) = self.erasure(account).await? else { return Ok(()) };
        self.erase_rows(account).await?;
        self.erase_history(account).await?;
        if let Some(identity) = identity {
            self.let_go(identity, held_until).await?;
            self.forget_facts(identity).await?;
            let _turn = self.cluster.turn(&identity).await;
            self.cluster.decide(&statements.free_identity, (identity.as_slice(), id)).await?;
        }
        self.cluster.write(&statements.unlist_account, (i16::from(id[0]), id)).await?;
        {
            let _turn = self.cluster.turn(account.as_bytes()).await;
            self.decide_on_deleted(id, vec![(&statements.end_erasure, Box::new((id,)))]).await?;
        }
        self.cluster.write(&statements.drop_attempts, (i16::from(id[0]), id)).await
    }

    /// Erases the ledger and the keys, and what points to the keys.
    async fn erase_rows(&self, account: &AccountId) -> Result<()> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let Some(owned) = self.read_account(account).await? else { return Ok(()) };
        let _turn = self.cluster.turn(account.as_bytes()).await;
        // Entries have numbers without gaps: no read passes more than it asks for, whatever was erased before.
        let mut after = 0;
        while after < owned.account.entries {
            let until = after.saturating_add(ENTRIES_AT_ONCE);
            let rows: Vec<EntryName> =
                self.cluster.rows(&statements.erasable_entries, (id, int(after)?, int(until)?)).await?;
            let mut erased: Vec<(_, Values<'_>)> = Vec::with_capacity(2 * rows.len());
            for (number, of, external_id) in rows {
                let name = entry_name(source(of)?, &there(external_id)?);
                erased.push((&statements.erase_row, Box::new((id, NAMES, 0_i64, name.to_vec()))));
                erased.push((&statements.erase_row, Box::new((id, 1_i8, number, Vec::<u8>::new()))));
            }
            if !erased.is_empty() {
                self.decide_on_deleted(id, erased).await?;
            }
            after = until;
        }
        for kind in [NAMES, KEYS] {
            let rows = in_pieces(|from, to| {
                self.cluster.pages::<(Vec<u8>, Option<Vec<u8>>)>(
                    &statements.erasable_names,
                    (id, kind, from, to),
                    usize::MAX,
                )
            })
            .await?;
            for some in rows.chunks(ROWS_AT_ONCE) {
                let mut erased: Vec<(_, Values<'_>)> = Vec::with_capacity(some.len());
                for (name, hash) in some {
                    if let Some(hash) = hash {
                        self.cluster.write(&statements.unpoint_key, (hash,)).await?;
                    }
                    erased.push((&statements.erase_row, Box::new((id, kind, 0_i64, name.clone()))));
                }
                self.decide_on_deleted(id, erased).await?;
            }
        }
        // What participants are owed is written before they go.
        self.owe(&self.read_participants(account).await?, true).await?;
        for kind in [HUB_SESSIONS, HANDLES, PARTICIPANTS] {
            for some in self.unpoint_hub_rows(account, kind).await?.chunks(ROWS_AT_ONCE) {
                let erase = |digest: &Vec<u8>| -> (_, Values<'_>) {
                    (&statements.erase_row, Box::new((id, kind, 0_i64, digest.clone())))
                };
                self.decide_on_deleted(id, some.iter().map(erase).collect()).await?;
            }
        }
        Ok(())
    }

    /// Decides on the condition that the account has been deleted. In its turn.
    async fn decide_on_deleted<'a>(
        &'a self,
        id: &'a [u8],
        what: Vec<(&'a scylla::statement::prepared::PreparedStatement, Values<'a>)>,
    ) -> Result<()> {
        let mut decision: Vec<(_, Values<'_>)> = vec![(&self.cluster.statements.is_deleted, Box::new((id,)))];
        decision.extend(what);
        if self.cluster.decide_all(decision).await? {
            return Ok(());
        }
        Err(StoreError::Damaged("an account that was deleted is not any more".to_owned()))
    }

    /// Lets go of credit that was held for a person until then.
    async fn let_go(&self, name: [u8; 32], held_until: Option<i64>) -> Result<()> {
        let Some(until) = held_until else { return Ok(()) };
        let until = wall_from(Some(until))?;
        let held: Vec<HeldRow> = self.cluster.rows(&self.cluster.statements.held, (name,)).await?;
        for row in held.into_iter().filter(HeldRow::is_some) {
            let held = row.held()?;
            if held.at <= until {
                match self.release(name, entry_name(held.entry.source, &held.entry.external_id)).await? {
                    Removed::Done | Removed::NotThere => {}
                }
            }
        }
        Ok(())
    }
}
