//! Acts among other nodes: what they have done since, and what they have heard.

use crate::{
    engine::{Account, AccountId, EndedSession, Moment, Sighting},
    store::{Commit, StoreError},
    wire::SessionId,
};

use super::{ActError, Acts};

impl Acts {
    /// Finds out about a session that this node does not know: how it ended, or that it is open after all, which an act of
    /// unknown outcome may have left behind. Answers whether there is such a session.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`].
    pub async fn look_up(&self, session: &SessionId) -> Result<bool, ActError> {
        let Some(record) = self.store.session(session).await? else { return Ok(false) };
        match record.end {
            Some(end) => self.engine.remember_ended(*session, EndedSession { reason: end.reason, remaining_s: 0 }),
            None => {
                self.refresh(&record.account, &[*session]).await?;
                if self.engine.doubts(session, self.clock.now()) {
                    match self.settle_if_told(&record.account).await {
                        // It stays in doubt for now.
                        Ok(()) | Err(ActError::Untold) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        Ok(true)
    }

    /// Reads an account again that others may have acted on, and brings the engine in line with it. `open` are sessions of
    /// it that were open as far as anybody knew. Answers its version; 0 if there is no such account.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`].
    pub async fn refresh(&self, id: &AccountId, open: &[SessionId]) -> Result<u64, ActError> {
        let _turn = self.turn(id).await?;
        let Some(account) = self.commits.read(id).await? else { return Ok(0) };
        self.catch_up(&account, open).await?;
        Ok(account.version)
    }

    /// Sees to it that an act of another node, which was to bring an account to `version`, has been committed or never will
    /// be. It was sent long ago: what may still bring it would tell nobody. Answers whether that is so already; where not,
    /// the account is to be read again.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`].
    pub async fn forestall(&self, id: &AccountId, version: u64) -> Result<bool, ActError> {
        let _turn = self.turn(id).await?;
        match self.commits.read(id).await? {
            Some(account) if account.version < version && !account.deleted => {
                match self.store.commit(&account.nothing(), None).await? {
                    // The account has another version now, of this act or of another: the awaited one can be no more.
                    Commit::Done(_) | Commit::Conflict | Commit::Repeated(_) => Ok(false),
                }
            }
            _ => Ok(true),
        }
    }

    /// Brings the engine in line with what others have made of an account. To be called in its turn.
    pub(super) async fn catch_up(&self, account: &Account, open: &[SessionId]) -> Result<(), ActError> {
        let Some(peers) = &self.peers else { return Ok(()) };
        let held = self.engine.held_of(&account.id);
        for known in open.iter().chain(&held).filter(|known| account.open().is_none_or(|open| open.id != **known)) {
            let end = match account.session.as_ref().filter(|session| session.id == *known) {
                Some(session) => session.end,
                None => self.store.session(known).await?.and_then(|record| record.end),
            };
            self.engine.conclude(account, known, end, self.clock.now());
        }
        let Some(session) = account.open() else { return Ok(()) };
        if self.engine.lists().find(&session.tokens.status.list).is_none() {
            self.statuses.learn().await?;
        }
        let moment = |this: &Self| Moment { now: this.clock.now(), wall: this.clock.wall(), sighting: None };
        if self.engine.holds(&session.id) {
            self.engine.reconcile(account, None, &moment(self));
        } else {
            let last_seen = peers.last_seen(&session.id).await?.unwrap_or(session.started);
            self.engine.restore(account, last_seen, &moment(self));
        }
        Ok(())
    }

    /// Writes down the end of an account's session, if it is over and every node has told what it has heard of it.
    ///
    /// # Errors
    ///
    /// Those of [`Self::settle`]; [`ActError::Untold`] while somebody has not told yet.
    pub async fn settle_if_told(&self, account: &AccountId) -> Result<(), ActError> {
        let policy = *self.engine.policy();
        self.decide(account, false, |account, moment| Ok(account.settle(moment, &policy).into())).await?;
        Ok(())
    }

    /// Now, and what any node has heard of the account's open session. `None` while another node has not told yet.
    pub(super) async fn moment(&self, account: &Account) -> Result<Option<Moment>, StoreError> {
        let mut heard = None;
        loop {
            let now = self.clock.now();
            let sighting = account.open().and_then(|session| self.engine.sighting(&session.id, now));
            let moment = Moment { now, wall: self.clock.wall(), sighting: sighting.or(heard.map(Sighting::open)) };
            let (Some(peers), Some(_)) = (&self.peers, account.open()) else { return Ok(Some(moment)) };
            let last_seen = moment.sighting.map(|sighting| sighting.last_seen);
            let lapsed = account.lapsed(&moment, self.engine.policy().timeout).is_some();
            if last_seen.is_some() && (!lapsed || last_seen == heard) {
                return Ok(Some(moment));
            }
            heard = peers.hear(account).await?;
            if heard.is_none() {
                return Ok(None);
            }
        }
    }
}
