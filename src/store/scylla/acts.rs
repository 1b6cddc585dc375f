//! Acts: one decision in the account's partition, on the condition that it still has the version they were decided on.
//!
//! Before it, what points to a session that opens is written: where to find it, and its row among the checkpoints; and
//! what leads to an account that is deleted. After it, the row of a session that closed goes, the clock is raised, and what
//! is left of a deleted person is erased; if it was refused, what points to the session that did not open goes. Whoever
//! finds a pointer asks the account, and [`ScyllaStore::read_clock`] looks at the checkpoints, so nothing depends on the
//! writes after the decision being made: housekeeping finds what was left ([`super::leftovers`]).
//!
//! A decision that is not answered may have been made, or may still be made: the coordinator may be slow. So its outcome
//! is not just read but *settled*: if the account still has the version that the act expects, it is given another one,
//! without any other change. Then the act's condition can never hold again.

use scylla::SerializeRow;

use crate::{
    engine::{Account, AccountId, Act, End, Session, bucket},
    entropy::draw,
    store::{AuditRecord, Commit, Owned, Result, StoreError, fits::fits},
    wire::SessionId,
};

use super::{
    ScyllaStore,
    cluster::Values,
    erasure::Erasure,
    pending::Doubt,
    rows::{AccountCells, EndRow, entering, entry_name, int, meter, shard, wall},
};

/// How often a settlement starts anew because others changed the account.
const TRIES: usize = 8;

/// A row of `id, version, act`.
pub(super) type Version = (Vec<u8>, Option<i64>, Option<Vec<u8>>);

/// What `fence` writes.
#[derive(SerializeRow)]
struct Fence<'a> {
    id: &'a [u8],
    expects: i64,
    version: i64,
    act: &'a [u8],
}

/// What `put_account` writes.
#[derive(SerializeRow)]
struct PutAccount<'a> {
    #[scylla(flatten)]
    account: AccountCells<'a>,
    expects: i64,
    act: &'a [u8],
}

impl ScyllaStore {
    /// The account; if an act on it was not answered, after that has been settled.
    pub(super) async fn settled_account(&self, id: &AccountId) -> Result<Option<Owned>> {
        let doubt = self.doubts.lock().get(id).copied();
        if let Some(doubt) = doubt {
            self.settle(id, doubt).await?;
        }
        self.read_account(id).await
    }

    pub(super) async fn commit_act(&self, act: &Act, audit: Option<&AuditRecord>) -> Result<Commit> {
        let turn = self.cluster.turn(act.account.as_bytes()).await;
        let Some(before) = self.read_account(&act.account).await? else { return Ok(Commit::Conflict) };
        if before.account.version != act.expects || before.account.deleted {
            return Ok(Commit::Conflict);
        }
        fits(&before.account, act).map_err(|what| StoreError::Damaged(format!("refused {what}")))?;
        if let Some(session) = &act.opens {
            self.point_to_session(&act.account, session).await?;
        }
        let name: [u8; 16] = draw(&*self.entropy);
        let erasure = if act.deletes { Some(self.prepare_erasure(&before, &name).await?) } else { None };
        let after = before.account.clone().after(act);
        match self.decide_act(&before.account, act, &after, &name, erasure).await {
            Ok(true) => {}
            Ok(false) => {
                self.forget_pointers(act).await;
                return self.refused(act).await;
            }
            Err(unanswered) if unanswered.maybe => {
                let doubt = Doubt { act: name, expects: act.expects };
                self.doubts.lock().insert(act.account, doubt);
                // Others may have gone on from it before it was looked for.
                let done = match self.settle(&act.account, doubt).await {
                    Ok(false) => self.has_happened(act).await,
                    settled => settled,
                };
                match done {
                    Ok(true) => {}
                    Ok(false) => {
                        self.forget_pointers(act).await;
                        return Err(unanswered.error);
                    }
                    Err(_) => return Err(unanswered.error),
                }
            }
            Err(unanswered) => return Err(unanswered.error),
        }
        drop(turn);
        // Before the audit log, which may not answer.
        self.follow_up(act, &before).await;
        if let Some(row) = audit {
            self.write_audit(row).await?;
        }
        Ok(Commit::Done(after))
    }

    async fn decide_act(
        &self,
        before: &Account,
        act: &Act,
        after: &Account,
        name: &[u8; 16],
        erasure: Option<Erasure>,
    ) -> std::result::Result<bool, super::error::Unanswered> {
        let all = &self.cluster.statements;
        let id = act.account.as_bytes().as_slice();
        let mut statements: Vec<(_, Values<'_>)> = vec![(
            &all.put_account,
            Box::new(PutAccount {
                account: AccountCells::new(Some(before), after)?,
                expects: int(act.expects)?,
                act: name,
            }),
        )];
        if let Some((session, end)) = &act.closes {
            let started = before.session.as_ref().map_or(Ok(0), |session| meter(session.started))?;
            statements.push((&all.close_session, closing(id, started, session, end)?));
        }
        if let Some(session) = &act.opens {
            let values = (id, meter(session.started)?, session.id.as_bytes().as_slice(), wall(session.started_at)?);
            statements.push((&all.open_session, Box::new(values)));
        }
        for entry in &act.entries {
            let name = entry_name(entry.source, &entry.external_id);
            statements.push((&all.name_entry, Box::new((id, name, int(entry.number)?))));
            statements.push((&all.add_entry, Box::new(entering(id, entry)?)));
        }
        if let Some(left) = erasure {
            statements.push((&all.forget_owner, Box::new((id,))));
            statements.push((&all.begin_erasure, left.values(id)));
        }
        self.cluster.decide_all(statements).await
    }

    /// Why the conditions of an act did not hold.
    async fn refused(&self, act: &Act) -> Result<Commit> {
        let now = self.read_account(&act.account).await?;
        if now.is_none_or(|now| now.account.version != act.expects || now.account.deleted) {
            return Ok(Commit::Conflict);
        }
        for entry in &act.entries {
            if let Some(known) = self.named_entry(&act.account, entry.source, &entry.external_id).await? {
                return Ok(Commit::Repeated(known));
            }
        }
        Ok(Commit::Conflict)
    }

    /// Whether an act was committed that the account shows no more, by what it left in the partition. `false` for one that
    /// leaves nothing there which could be lost.
    async fn has_happened(&self, act: &Act) -> Result<bool> {
        let id = act.account.as_bytes().as_slice();
        if let Some(session) = &act.opens {
            let values = (id, meter(session.started)?, session.id.as_bytes().as_slice());
            let opened: Option<EndRow> = self.cluster.row(&self.cluster.statements.session, values).await?;
            return Ok(opened.is_some());
        }
        let Some(entry) = act.entries.first() else { return Ok(false) };
        let named = self.named_entry(&act.account, entry.source, &entry.external_id).await?;
        Ok(named.as_ref() == Some(entry))
    }

    /// Finds out what became of an act, and sees to it that this is final. `true` if it was the last to be committed.
    async fn settle(&self, id: &AccountId, doubt: Doubt) -> Result<bool> {
        let done = self.settle_finally(id, doubt).await?;
        self.doubts.lock().remove(id);
        Ok(done)
    }

    /// The same, of an act that nobody in this process waits for.
    pub(super) async fn settle_finally(&self, id: &AccountId, doubt: Doubt) -> Result<bool> {
        let statements = &self.cluster.statements;
        let (id_bytes, expects) = (id.as_bytes().as_slice(), int(doubt.expects)?);
        for _ in 0..TRIES {
            let row: Option<Version> = self.cluster.row(&statements.account_serially, (id_bytes,)).await?;
            let (version, by) = row.map_or((None, None), |(_, version, by)| (version, by));
            if version != Some(expects) {
                return Ok(by.as_deref() == Some(&doubt.act));
            }
            let act: [u8; 16] = draw(&*self.entropy);
            let fence = Fence { id: id_bytes, expects, version: expects.saturating_add(1), act: &act };
            self.cluster.decide(&statements.fence, fence).await?;
        }
        Err(StoreError::Unavailable("others kept changing the account".to_owned()))
    }

    /// What points to a session, before it opens.
    async fn point_to_session(&self, account: &AccountId, session: &Session) -> Result<()> {
        let statements = &self.cluster.statements;
        let (account, id) = (account.as_bytes().as_slice(), session.id.as_bytes().as_slice());
        let (started, stamp) = (meter(session.started)?, self.stamped(session.started)?);
        let of = bucket(&session.id);
        tokio::try_join!(
            self.cluster.write(&statements.point_to_session, (id, account, started)),
            self.cluster
                .write(&statements.point_to_checkpoint, (shard(of), i16::from(of), id, account, started, stamp)),
        )?;
        Ok(())
    }

    async fn refused_to_open(&self, session: &Session) -> Result<()> {
        self.unpoint_session(&session.id, self.stamped(session.started)?).await
    }

    /// Removes what points to the session of an act that was not committed and never will be.
    async fn forget_pointers(&self, act: &Act) {
        let Some(session) = &act.opens else { return };
        if let Err(error) = self.refused_to_open(session).await {
            tracing::debug!(%error, "what points to a session that did not open waits until it is found");
        }
    }

    /// What follows from a committed act elsewhere. It is done as far as the cluster can be reached; see the module's text.
    async fn follow_up(&self, act: &Act, before: &Owned) {
        let drop_checkpoint = async {
            if let Some((session, end)) = &act.closes {
                self.drop_checkpoint(session, end, 0).await?;
            }
            Ok(())
        };
        let raise_clock = async {
            let opened = act.opens.as_ref().map(|session| (session.started, session.started_at));
            let closed = act.closes.as_ref().map(|(_, end)| (end.at, end.at_wall));
            match opened.into_iter().chain(closed).max() {
                Some((at, at_wall)) => self.raise_clock(at, at_wall).await,
                None => Ok(()),
            }
        };
        let erase = async { if act.deletes { self.erase_at_once(before).await } else { Ok(()) } };
        let (dropped, raised, erased): (Result<()>, Result<()>, Result<()>) =
            tokio::join!(drop_checkpoint, raise_clock, erase);
        for error in [dropped, raised, erased].into_iter().filter_map(Result::err) {
            tracing::debug!(%error, "what follows from an act waits until it is found");
        }
    }
}

fn closing<'a>(id: &'a [u8], started: i64, session: &'a SessionId, end: &End) -> Result<Values<'a>> {
    let at = (end.reason.name(), meter(end.at)?, wall(end.at_wall)?, meter(end.last_seen)?);
    Ok(Box::new((at.0, at.1, at.2, at.3, id, started, session.as_bytes().as_slice())))
}
