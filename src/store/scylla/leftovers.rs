//! What acts leave behind that were cut off in the middle, and how it is cleared away while the service runs.
//!
//! * Accounts that were deleted and are not erased. They are found by `deletions`, which has a row for each attempt, and by
//!   the identities that still lead to them, which finds also those that nothing else leads to.
//! * Checkpoints of sessions that are over, or never opened.
//!
//! No start waits for any of this, and a part that fails does not hold the others up: it is looked at again in the next
//! round.

use std::{collections::HashSet, ops::Range};

use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    engine::AccountId,
    store::{LEFTOVER_PARTS, Result},
    time::MeterTime,
    wire::SessionId,
};

use super::{
    ScyllaStore,
    checkpoints::MARGIN,
    erasure::Erasure,
    pending::Doubt,
    rows::{CheckpointRow, Found, IdentityRow, bytes, meter_from, there, unsigned},
};

/// Partitions of `deletions`, and parts of other tables, that are read at a time.
const READS_AT_ONCE: usize = 16;
/// Accounts and sessions that are looked at at a time.
const LOOKS_AT_ONCE: usize = 8;

/// A row of `account, attempt, expects`.
type Attempt = (Vec<u8>, Vec<u8>, Option<i64>);

/// A row of `erasures`: the account, its identity's hash, the latest credit that was held for it.
type OldErasure = (Vec<u8>, Option<Vec<u8>>, Option<i64>);

impl ScyllaStore {
    pub(super) async fn clear(&self, now: MeterTime, parts: Range<u16>) -> Result<()> {
        // One by one: none of it is urgent. All of them are tried.
        let done = [
            self.finish_deletions().await,
            self.finish_old_erasures().await,
            self.look_through_identities(&parts).await,
            self.look_through_checkpoints(now, &parts).await,
        ];
        done.into_iter().collect()
    }

    /// Goes after every attempt to delete an account.
    async fn finish_deletions(&self) -> Result<()> {
        let statement = &self.cluster.statements.deletions;
        let attempts = stream::iter(0..=i16::from(u8::MAX))
            .map(|shard| self.cluster.pages::<Attempt>(statement, (shard,), usize::MAX))
            .buffer_unordered(READS_AT_ONCE);
        let found: Vec<Vec<Attempt>> = attempts.try_collect().await?;
        let mut possible = HashSet::new();
        let mut failed = None;
        let mut looks = stream::iter(found.into_iter().flatten())
            .map(|attempt| async move { (attempt.1.clone(), self.finish_deletion(&attempt).await) })
            .buffer_unordered(LOOKS_AT_ONCE);
        while let Some((attempt, looked)) = looks.next().await {
            match looked {
                Ok(true) => {}
                Ok(false) => drop(possible.insert(attempt)),
                Err(error) => failed = Some(error),
            }
        }
        self.remembered.lock().possible = possible;
        failed.map_or(Ok(()), Err)
    }

    /// Goes after an attempt. `false` if it may still succeed.
    async fn finish_deletion(&self, (account, attempt, expects): &Attempt) -> Result<bool> {
        let statements = &self.cluster.statements;
        let id = AccountId::from_bytes(bytes(account)?);
        let now = self.read_account(&id).await?;
        if now.as_ref().is_some_and(|owned| owned.account.deleted) {
            self.erase(&id).await?;
        } else if let Some(owned) = now
            && Some(owned.account.version) == expects.map(|expects| unsigned(Some(expects))).transpose()?
        {
            let seen_before = self.remembered.lock().possible.contains(attempt);
            if !seen_before {
                return Ok(false);
            }
            // Nobody waits for as long for an act. It is not to come about later on.
            let doubt = Doubt::new(bytes(attempt)?, owned.account.version);
            if self.settle_finally(&id, doubt).await? {
                self.erase(&id).await?;
            }
        }
        let shard = i16::from(id.as_bytes()[0]);
        self.cluster.write(&statements.drop_attempt, (shard, account.as_slice(), attempt.as_slice())).await?;
        Ok(true)
    }

    /// Finishes what versions before the fifth began to delete, which may still run.
    async fn finish_old_erasures(&self) -> Result<()> {
        let statements = &self.cluster.statements;
        if self.remembered.lock().no_old_erasures {
            return Ok(());
        }
        let old = super::pieces::in_pieces(|from, to| {
            self.cluster.pages::<OldErasure>(&statements.old_erasures, (from, to), usize::MAX)
        });
        let old = old.await?;
        self.remembered.lock().no_old_erasures = old.is_empty();
        for (account, identity, held_until) in old {
            let id = AccountId::from_bytes(bytes(&account)?);
            if self.read_account(&id).await?.is_none_or(|owned| !owned.account.deleted) {
                continue;
            }
            let identity = identity.map(|identity| bytes(&identity)).transpose()?;
            self.erase_unsaid(&id, &Erasure::new(identity, held_until)).await?;
            self.cluster.write(&statements.drop_old_erasure, (account,)).await?;
        }
        Ok(())
    }

    /// Erases a deleted account of which nothing says what is left, or whose erasure is under way.
    async fn erase_unsaid(&self, account: &AccountId, left: &Erasure) -> Result<()> {
        if self.erasure(account).await?.is_none() {
            self.note_erasure(account, left).await?;
        }
        self.erase(account).await
    }

    /// Erases the deleted accounts that identities of a part of the ring still lead to.
    async fn look_through_identities(&self, parts: &Range<u16>) -> Result<()> {
        if parts.is_empty() {
            return Ok(());
        }
        let width = 1_u64 << 52;
        let place = |part: u16| (u64::from(part) * width) ^ (1 << 63);
        let (first, last) = (place(parts.start).cast_signed(), (place(parts.end - 1) + (width - 1)).cast_signed());
        let statements = &self.cluster.statements;
        let rows: Vec<(Vec<u8>, Option<Vec<u8>>)> =
            self.cluster.pages(&statements.identities_between, (first, last), usize::MAX).await?;
        stream::iter(rows)
            .map(|(identity, account)| async move {
                let Some(account) = account else { return Ok(()) };
                let id = AccountId::from_bytes(bytes(&account)?);
                if self.read_account(&id).await?.is_none_or(|owned| !owned.account.deleted) {
                    return Ok(());
                }
                // An erasure may just have ended, and the person may be back.
                let leads_to: Option<IdentityRow> =
                    self.cluster.row(&statements.identity, (identity.as_slice(),)).await?;
                if leads_to.map(|row| row.account()).transpose()? != Some(id) {
                    return Ok(());
                }
                self.erase_unsaid(&id, &Erasure::new(Some(bytes(&identity)?), None)).await
            })
            .buffer_unordered(LOOKS_AT_ONCE)
            .try_collect()
            .await
    }

    /// Clears away checkpoints that are of no open session and have not been written for long.
    async fn look_through_checkpoints(&self, now: MeterTime, parts: &Range<u16>) -> Result<()> {
        let per_bucket = LEFTOVER_PARTS / (u16::from(u8::MAX) + 1);
        let buckets = (0..=u8::MAX).filter(|bucket| parts.contains(&(u16::from(*bucket) * per_bucket)));
        stream::iter(buckets)
            .map(|bucket| async move {
                let rows = self.checkpoint_rows(bucket).await?;
                stream::iter(rows)
                    .map(|row| self.clear_checkpoint(now, row))
                    .buffer_unordered(LOOKS_AT_ONCE)
                    .try_collect::<()>()
                    .await
            })
            .buffer_unordered(1)
            .try_collect()
            .await
    }

    async fn clear_checkpoint(&self, now: MeterTime, row: CheckpointRow) -> Result<()> {
        let (session, last_seen, written) = row.place()?;
        if last_seen.plus(MARGIN) >= now {
            return Ok(());
        }
        match row.found()? {
            Some(found) if self.is_open(&found).await? => Ok(()),
            Some(found) => self.clear_away(&found, true).await,
            // It came back: what was written late is not of the whole row.
            None => self.delete_checkpoint(&session, written).await,
        }
    }

    async fn is_open(&self, found: &Found) -> Result<bool> {
        let owned = self.read_account(&found.account).await?;
        Ok(owned.is_some_and(|owned| owned.account.open().is_some_and(|open| open.id == found.session)))
    }

    /// Clears away what points to a session that is over; or, if nobody can be about to open it any more, that never opened.
    pub(super) async fn clear_away(&self, found: &Found, too_late_to_open: bool) -> Result<()> {
        match self.read_session(&found.session).await? {
            Some(record) => match record.end {
                Some(end) => self.drop_checkpoint(&found.session, &end, found.written).await,
                // It opened meanwhile.
                None => Ok(()),
            },
            None if too_late_to_open => self.unpoint_session(&found.session, found.written).await,
            None => Ok(()),
        }
    }

    /// Removes what points to a session that never opens; its checkpoint has this timestamp.
    pub(super) async fn unpoint_session(&self, session: &SessionId, written: i64) -> Result<()> {
        self.delete_checkpoint(session, written).await?;
        self.cluster.write(&self.cluster.statements.unpoint_session, (session.as_bytes().as_slice(),)).await
    }
}

impl CheckpointRow {
    /// Whose it is, what it says, and its timestamp.
    fn place(&self) -> Result<(SessionId, MeterTime, i64)> {
        Ok((SessionId::from_bytes(bytes(&self.session)?), meter_from(self.last_seen)?, there(self.written)?))
    }
}
