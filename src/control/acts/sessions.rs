//! Acts on sessions: each is opened, renewed and ended by one.

use crate::{
    control::{
        keys::KeyError,
        status::Ticket,
        tokens::{Provenance, TokenRequest, session_of},
    },
    engine::{
        Account, AccountId, ActivationName, ActivationNames, Moment, Refusal, RenewalName, Session, TokenHash, Tokens,
    },
    entropy::draw,
    time::{Millis, UnixMs},
    wire::{EndReason, SessionId},
};

use super::{ActError, Activation, Acts, Decision, Renewal, Token};

impl Acts {
    /// Opens a session for an account, in place of the one that is open.
    ///
    /// # Errors
    ///
    /// [`ActError::Refused`] when the tank is empty, [`ActError::NotFound`], [`ActError::Store`].
    pub async fn activate(&self, account: &AccountId, audience: &str) -> Result<Activation, ActError> {
        self.activate_named(account, audience, None).await
    }

    /// The same, under a name: while the session is open that it opened, a repeated activation answers that session with
    /// another token, and opens nothing.
    ///
    /// # Errors
    ///
    /// Those of [`Self::activate`]; [`ActError::Refused`] as well for a repeated one that may not be answered again.
    pub async fn activate_named(
        &self,
        account: &AccountId,
        audience: &str,
        name: Option<ActivationName>,
    ) -> Result<Activation, ActError> {
        let policy = *self.engine.policy();
        let mut ticket = self.in_time(self.statuses.draw()).await?;
        let outcome = self
            .act(account, |account, moment| {
                let again = name.map(|name| account.may_answer_again(moment, &policy, name, audience)).transpose()?;
                if let Some((known, remaining)) = again.flatten() {
                    let (text, tokens) = self.token(known.id, account.id, audience, moment, remaining, &mut ticket)?;
                    let tokens = Tokens {
                        previous: Some(known.tokens.current),
                        renewed: Some(RenewalName::ANSWERED_AGAIN),
                        ..tokens
                    };
                    let answer = (known.id, text, remaining, known.names.superseded);
                    return Ok(Decision::Write(account.renew(moment, tokens), answer));
                }
                let remaining = account.may_activate(moment, &policy)?;
                let (secret, _) = self.engine.secrets().current();
                let id = SessionId::new(secret, draw(&*self.entropy));
                let (text, tokens) = self.token(id, account.id, audience, moment, remaining, &mut ticket)?;
                let session = Session {
                    id,
                    started: moment.now,
                    started_at: moment.wall,
                    audience: audience.to_owned(),
                    tokens,
                    names: ActivationNames::default(),
                    end: None,
                };
                let mut act = account.activate(moment, &policy, session);
                let superseded = act.closes.is_some_and(|(_, end)| end.reason == EndReason::Superseded);
                if let Some(session) = &mut act.opens {
                    let before = account.session.as_ref().map(|before| &before.names);
                    session.names = ActivationNames::then(before, name, superseded);
                }
                Ok(Decision::Write(act, (id, text, remaining, superseded)))
            })
            .await?;
        let (session, text, remaining, superseded) = outcome.answer;
        // It was given the current secret, now or when it was opened; then that may have been retired since.
        let key = self.engine.secrets().session_key(&session).ok_or(ActError::NotFound("session"))?;
        let token = self.live(text, &outcome.account, &outcome.moment);
        Ok(Activation { session, key, token, now: outcome.moment.now, remaining, superseded })
    }

    /// Gives the current session of a token another token. `frame` proves that the client holds the session's key.
    ///
    /// # Errors
    ///
    /// [`ActError::BadFrame`], [`ActError::BadCredentials`], [`ActError::Refused`] with the reason the session ended for,
    /// [`ActError::Store`].
    pub async fn renew(&self, token: &str, frame: &[u8]) -> Result<Renewal, ActError> {
        let (session, name) = self.engine.renewal(frame, self.clock.now()).map_err(ActError::BadFrame)?;
        if session_of(token.as_bytes()) != Some(session) {
            return Err(ActError::BadCredentials);
        }
        // Whoever has caught a frame, but not its token, is not worth a read of the store.
        if self.issuer.provenance(token) == Provenance::Forged {
            return Err(ActError::BadCredentials);
        }
        let record = self.in_time(self.store.session(&session)).await?.ok_or(ActError::BadCredentials)?;
        if let Some(end) = record.end {
            return Err(Refusal::SessionEnded(end.reason).into());
        }
        let policy = *self.engine.policy();
        let presented = TokenHash::of(token.as_bytes());
        let mut ticket = self.in_time(self.statuses.draw()).await?;
        let outcome = self
            .act(&record.account, |account, moment| {
                let (known, remaining) = account.may_renew(moment, &policy, session, presented, name)?;
                let (text, tokens) =
                    self.token(session, account.id, &known.audience, moment, remaining, &mut ticket)?;
                let tokens = Tokens { previous: Some(presented), renewed: Some(name), ..tokens };
                Ok(Decision::Write(account.renew(moment, tokens), (text, remaining)))
            })
            .await;
        match outcome {
            Ok(outcome) => {
                let (text, remaining) = outcome.answer;
                Ok(Renewal { token: self.live(text, &outcome.account, &outcome.moment), remaining })
            }
            // The session ended between the two reads.
            Err(ActError::Refused(Refusal::WrongToken)) => {
                match self.in_time(self.store.session(&session)).await?.and_then(|s| s.end) {
                    Some(end) => Err(Refusal::SessionEnded(end.reason).into()),
                    None => Err(ActError::BadCredentials),
                }
            }
            Err(error) => Err(error),
        }
    }

    /// Ends the open session of an account, if there is one. Answers what is left to burn.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn end(&self, account: &AccountId, reason: EndReason) -> Result<Millis, ActError> {
        self.end_only(account, reason, None).await
    }

    /// The same; if a session is named, only if it is the one that is open.
    ///
    /// # Errors
    ///
    /// Those of [`Self::end`].
    pub async fn end_only(
        &self,
        account: &AccountId,
        reason: EndReason,
        only: Option<SessionId>,
    ) -> Result<Millis, ActError> {
        let policy = *self.engine.policy();
        let outcome = self
            .act(account, |account, moment| {
                let meant = account.open().is_some_and(|open| only.is_none_or(|only| only == open.id));
                Ok(meant.then(|| account.end(moment, &policy, reason)).flatten().into())
            })
            .await?;
        Ok(outcome.account.remaining(&outcome.moment, policy.timeout))
    }

    /// Revokes a session. Answers what its account has left. A session that is over stays as it is.
    ///
    /// # Errors
    ///
    /// [`ActError::NotFound`] and [`ActError::Store`].
    pub async fn revoke(&self, session: &SessionId) -> Result<Millis, ActError> {
        let record = self.in_time(self.store.session(session)).await?.ok_or(ActError::NotFound("session"))?;
        let policy = *self.engine.policy();
        let outcome = self
            .act(&record.account, |account, moment| {
                let open = account.open().is_some_and(|open| open.id == *session);
                Ok(open.then(|| account.end(moment, &policy, EndReason::Revoked)).flatten().into())
            })
            .await?;
        Ok(outcome.account.remaining(&outcome.moment, policy.timeout))
    }

    /// Revokes the session that a token is the current one of, if it is for this audience. Any other token changes nothing.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`]; the token lives on then, as far as anybody knows.
    pub async fn revoke_token(&self, token: &str, audience: &str) -> Result<(), ActError> {
        let Some(id) = session_of(token.as_bytes()) else { return Ok(()) };
        let record = self.in_time(self.store.session(&id)).await?;
        let Some(record) = record.filter(|record| record.end.is_none()) else { return Ok(()) };
        let (hash, policy) = (TokenHash::of(token.as_bytes()), *self.engine.policy());
        let revoked = self
            .act(&record.account, |account, moment| {
                let open = account
                    .open()
                    .filter(|open| open.id == id && open.audience == audience && open.tokens.current == hash);
                let ends = open.is_some();
                Ok(ends.then(|| account.end(moment, &policy, EndReason::Revoked)).flatten().into())
            })
            .await;
        match revoked {
            Ok(_) | Err(ActError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Ends the open session of an account, if it was opened before `at`.
    ///
    /// # Errors
    ///
    /// [`ActError::Store`].
    pub async fn log_out(&self, account: &AccountId, at: UnixMs) -> Result<(), ActError> {
        let policy = *self.engine.policy();
        let ended = self
            .act(account, |account, moment| {
                let before = account.open().is_some_and(|open| open.started_at < at);
                Ok(before.then(|| account.end(moment, &policy, EndReason::LoggedOut)).flatten().into())
            })
            .await;
        match ended {
            Ok(_) | Err(ActError::NotFound(_)) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn token(
        &self,
        session: SessionId,
        account: AccountId,
        audience: &str,
        moment: &Moment,
        remaining: Millis,
        ticket: &mut Ticket,
    ) -> Result<(String, Tokens), KeyError> {
        let ttl = self.engine.policy().token_ttl(remaining);
        let (nonce, status) = (draw(&*self.entropy), ticket.redeem());
        let issued =
            self.issuer.issue(&TokenRequest { session, account, audience, now: moment.wall, ttl, nonce, status })?;
        let tokens = Tokens {
            current: issued.hash,
            previous: None,
            expires_at: issued.expires_at,
            expires: Some(moment.now.plus(issued.expires_at.since(moment.wall))),
            uncharged: Millis::ZERO,
            renewed: None,
            status,
        };
        Ok((issued.text, tokens))
    }

    fn live(&self, text: String, account: &Account, moment: &Moment) -> Token {
        let expires_at = account.session.as_ref().map_or(moment.wall, |session| session.tokens.expires_at);
        Token { text, expires_in: expires_at.since(moment.wall) }
    }
}
