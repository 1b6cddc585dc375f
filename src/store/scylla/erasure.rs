//! What is left of a deleted person, and how it goes.
//!
//! The act that deletes an account takes the person out of it; from then on nothing of the account is shown. What is left in
//! its partition and elsewhere is erased afterwards. A row of `erasures`, written before the act, sees to it that this
//! is finished even if the process dies: the next start looks.

use crate::{
    engine::AccountId,
    store::{Identity, Owned, Result, StoreError},
};

use super::{
    ScyllaStore,
    cluster::Values,
    rows::{HeldRow, bytes, entry_name, wall, wall_from},
};

/// Rows that are erased by one decision.
const ROWS_AT_ONCE: i32 = 100;

/// A row of `erasures`: the account, its identity's name, the latest credit that was held for it.
type Erasure = (Vec<u8>, Option<Vec<u8>>, Option<i64>);

/// A row of an account: kind, number, name, and the hash if it is a key.
type Erasable = (i8, i64, Vec<u8>, Option<Vec<u8>>);

impl ScyllaStore {
    /// Remembers that an account is about to be deleted. Credit that comes later than what is held now is not its own.
    pub(super) async fn begin_erasure(&self, before: &Owned) -> Result<()> {
        let statements = &self.cluster.statements;
        let name = before.identity.as_ref().map(Identity::digest);
        let mut held_until = None;
        if let Some(name) = &name {
            let held: Vec<HeldRow> = self.cluster.rows(&statements.held, (name.as_slice(),)).await?;
            for row in held.into_iter().filter(HeldRow::is_some) {
                held_until = held_until.max(Some(wall(row.held()?.at)?));
            }
        }
        let values = (before.account.id.as_bytes().as_slice(), name.as_ref().map(<[u8; 32]>::as_slice), held_until);
        self.cluster.write(&statements.begin_erasure, values).await
    }

    pub(super) async fn forget_erasure(&self, account: &AccountId) -> Result<()> {
        self.cluster.write(&self.cluster.statements.end_erasure, (account.as_bytes().as_slice(),)).await
    }

    /// Finishes what a process that is gone began.
    pub(super) async fn finish_erasures(&self) -> Result<()> {
        for (account, ..) in self.erasures().await? {
            self.erase(&AccountId::from_bytes(bytes(&account)?)).await?;
        }
        Ok(())
    }

    /// Erases what is left of a deleted account.
    pub(super) async fn erase(&self, account: &AccountId) -> Result<()> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let Some((_, name, held_until)) = self.erasures().await?.into_iter().find(|(of, ..)| of == id) else {
            return Ok(());
        };
        if self.read_account(account).await?.is_none_or(|owned| !owned.account.deleted) {
            return self.forget_erasure(account).await;
        }
        self.erase_rows(account).await?;
        self.erase_history(account).await?;
        if let Some(name) = &name {
            self.let_go(bytes(name)?, held_until).await?;
            self.forget_facts(bytes(name)?).await?;
            let _turn = self.cluster.turn(&bytes::<32>(name)?).await;
            self.cluster.decide(&statements.free_identity, (name.as_slice(), id)).await?;
        }
        self.cluster.write(&statements.unlist_account, (i16::from(id[0]), id)).await?;
        self.forget_erasure(account).await
    }

    async fn erasures(&self) -> Result<Vec<Erasure>> {
        self.cluster.pages(&self.cluster.statements.erasures, (), usize::MAX).await
    }

    /// Erases the ledger and the keys, and what points to the keys.
    async fn erase_rows(&self, account: &AccountId) -> Result<()> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let _turn = self.cluster.turn(account.as_bytes()).await;
        loop {
            let rows: Vec<Erasable> = self.cluster.rows(&statements.erasable, (id, ROWS_AT_ONCE)).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut decision: Vec<(_, Values<'_>)> = vec![(&statements.is_deleted, Box::new((id,)))];
            for (kind, number, name, hash) in rows {
                if let Some(hash) = hash {
                    self.cluster.write(&statements.unpoint_key, (hash,)).await?;
                }
                decision.push((&statements.erase_row, Box::new((id, kind, number, name))));
            }
            if !self.cluster.decide_all(decision).await? {
                return Err(StoreError::Damaged("an account that was deleted is not any more".to_owned()));
            }
        }
    }

    /// Lets go of credit that was held for a person until then.
    async fn let_go(&self, name: [u8; 32], held_until: Option<i64>) -> Result<()> {
        let Some(until) = held_until else { return Ok(()) };
        let until = wall_from(Some(until))?;
        let held: Vec<HeldRow> = self.cluster.rows(&self.cluster.statements.held, (name,)).await?;
        for row in held.into_iter().filter(HeldRow::is_some) {
            let held = row.held()?;
            if held.at <= until {
                self.release(name, entry_name(held.entry.source, &held.entry.external_id)).await?;
            }
        }
        Ok(())
    }
}
