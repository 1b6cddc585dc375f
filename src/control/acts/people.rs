//! Accounts come and go: at the first sight of a person, by an operator, and for good.

use std::time::Duration;

use crate::{
    control::hooks::events::Admission,
    engine::{AccountId, Credit, EntryKind, NewEntry, Source},
    entropy::draw,
    identity::SignedIn,
    store::{AuditAct, Created, Identity, ProviderFacts},
    wire::SessionId,
};

use super::{ActError, Acts, Credited, Deed};

/// How soon it is tried again to take a session back: at first, and at the latest.
const RETRY: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// The name of the credit that an account begins with.
const CREATION: &str = "gastank:creation";

impl Acts {
    /// The account of somebody who has proved who they are. Made at first sight, with `starting` credit in its tank and
    /// what was held for its owner.
    ///
    /// The starting credit is the one that an account may be created with: entered once, whoever asks and however often.
    /// It is given until an account is activated for the first time, so that a crash after the account was made does not
    /// cost anybody theirs. The owner of an account that an operator deleted is not remembered, and somebody new when they
    /// return; who is gone by their provider's word does not return.
    ///
    /// # Errors
    ///
    /// [`ActError::BadCredentials`] of who is gone or shows a token from before they changed their password,
    /// [`ActError::Store`], and those of [`Self::credit`].
    pub async fn first_sight(&self, somebody: &SignedIn) -> Result<AccountId, ActError> {
        let (identity, starting) = (&somebody.identity, somebody.starting_credit);
        let mut facts = self.admitted(somebody).await?;
        let account = match self.store.account_of(identity).await? {
            Some(known) => known,
            None => {
                let id = AccountId::from_bytes(draw(&*self.entropy));
                let (account, made) = self.create(id, identity).await?;
                if made == Created::New {
                    // Whoever was told meanwhile that the person is gone may have looked for an account before there was
                    // one. Whatever else comes of looking again, the account stays: what was bought for it is theirs.
                    facts = self.admitted(somebody).await?;
                }
                account
            }
        };
        if starting > Credit::ZERO && self.may_begin(&account).await? {
            match self.begin_with(&account, starting).await {
                // An operator was faster, with another amount.
                Ok(_) | Err(ActError::IdReused) => {}
                Err(error) => return Err(error),
            }
        }
        self.welcome(&account, identity).await?;
        self.give_what_is_due(&account, &facts, &somebody.gives).await?;
        Ok(account)
    }

    /// What their provider has told of somebody who may come in. Of who is gone, an account that is still there is deleted:
    /// it was made by who did not know yet.
    async fn admitted(&self, somebody: &SignedIn) -> Result<ProviderFacts, ActError> {
        match self.admit(somebody).await? {
            Admission::Admitted(facts) => Ok(facts),
            Admission::Outdated => Err(ActError::BadCredentials),
            Admission::Gone => {
                self.delete_gone(&somebody.identity).await?;
                Err(ActError::BadCredentials)
            }
        }
    }

    /// Deletes the account of somebody who is gone by their provider's word, if there is one. Answers which it was.
    pub(in crate::control) async fn delete_gone(&self, identity: &Identity) -> Result<Option<AccountId>, ActError> {
        let account = self.store.account_of(identity).await?;
        if let Some(account) = &account {
            self.write_down(Deed { account: Some(*account), ..Deed::new(AuditAct::PersonDeleted) }).await?;
            match self.delete(account).await {
                Ok(()) | Err(ActError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(account)
    }

    /// Makes an account for `identity`, or answers the one it has, and says which.
    ///
    /// # Errors
    ///
    /// [`ActError::Gone`] and [`ActError::Store`].
    pub async fn create(&self, id: AccountId, identity: &Identity) -> Result<(AccountId, Created), ActError> {
        if self.store.facts(identity).await?.gone_at.is_some() {
            return Err(ActError::Gone);
        }
        let (owned, made) = self.store.create_account(id, identity, self.clock.wall()).await?;
        let account = owned.account.id;
        if made == Created::New {
            self.write_down(Deed::new(AuditAct::AccountCreated).on(account)).await?;
        }
        Ok((account, made))
    }

    /// Whether an account has neither been activated nor begun with credit.
    async fn may_begin(&self, account: &AccountId) -> Result<bool, ActError> {
        let owned = self.store.account(account).await?.ok_or(ActError::NotFound("account"))?;
        if owned.account.session.is_some() {
            return Ok(false);
        }
        Ok(self.store.entry(account, Source::Admin, CREATION).await?.is_none())
    }

    /// Enters the credit that an account begins with, once.
    ///
    /// # Errors
    ///
    /// Those of [`Self::credit`]; [`ActError::IdReused`] when it began with another amount.
    pub async fn begin_with(&self, account: &AccountId, amount: Credit) -> Result<Credited, ActError> {
        let new = NewEntry {
            kind: EntryKind::Grant,
            amount,
            source: Source::Admin,
            external_id: CREATION.to_owned(),
            reason: None,
        };
        self.credit(account, new).await
    }

    /// Ends a session whose token nobody has been given, where it began: nobody was vouched for, and nobody pays. Where the
    /// store fails this is tried again in the background.
    pub async fn take_back(&self, account: &AccountId, session: &SessionId) {
        let (mut wait, longest) = RETRY;
        let (this, account, session) = (Self { deadline: None, ..self.clone() }, *account, *session);
        let task = tokio::spawn(async move {
            while this.in_time(this.try_take_back(&account, &session)).await.is_err() {
                tokio::time::sleep(wait).await;
                wait = longest.min(wait * 2);
            }
        });
        // Whoever waits for it need not wait for long.
        if self.in_time(async { task.await.map_err(|_| ActError::Contended) }).await.is_err() {
            tracing::warn!(?account, "a session that nobody was given the token of is not taken back yet");
        }
    }

    async fn try_take_back(&self, account: &AccountId, session: &SessionId) -> Result<(), ActError> {
        let _turn = self.turn(account).await?;
        let Some(account) = self.commits.read(account).await? else { return Ok(()) };
        if account.open().is_some_and(|open| open.id == *session) {
            self.commits.take_back(&account, self.peers.as_ref()).await?;
        }
        Ok(())
    }

    /// Deletes an account for good.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn delete(&self, account: &AccountId) -> Result<(), ActError> {
        let policy = *self.engine.policy();
        self.act(account, |account, moment| Ok(account.delete(moment, &policy).into())).await?;
        Ok(())
    }
}
