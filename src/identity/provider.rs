//! Identity providers as they are configured.

use std::sync::Arc;

use reqwest::Url;

use super::{
    Telemetry,
    error::ProviderError,
    fetch::{Fetcher, is_safe},
    jwks::{KeySource, Keys, NoKey},
    logout::{ProviderLogout, UnverifiedLogout},
    opaque::{Opaque, OpaqueError},
    relying::{Authentication, AuthorizationRequest, Redemption, Relying, RelyingError, RelyingSettings},
    scope::Required,
    set::{Event, SetRules, UnverifiedSet},
    verify::{Algorithm, AudienceClaim, Claims, Fault, Key, Rules, SignedWith, TokenType, Unverified},
};
use crate::{
    engine::Credit,
    time::{Clock, Millis, UnixMs},
};

/// What is configured of an identity provider.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderSettings {
    /// Its name, to the letter as it stands in tokens. An HTTPS URL, or HTTP on this machine.
    pub issuer: String,
    /// Whom tokens must be for.
    pub audience: String,
    /// Which claim says so.
    pub audience_claim: AudienceClaim,
    /// Scopes that a token must have, with spaces between them.
    pub scope: String,
    /// The algorithms that may sign its tokens.
    pub algorithms: Vec<Algorithm>,
    /// What a token's `typ` may be.
    pub types: Vec<TokenType>,
    /// Where its keys are, if discovery does not tell.
    pub jwks_uri: Option<String>,
    /// Where it is asked about opaque tokens, if it has such.
    pub verify_url: Option<String>,
    /// How far its clock may be from ours.
    pub leeway: Millis,
    /// What an account begins with that is made at first sight.
    pub starting_credit: Credit,
    /// Its account events, if they are taken.
    pub events: Option<EventSettings>,
    /// What its people's subscriptions give.
    pub gives: Vec<CapabilityCredit>,
    /// What we are there as a relying party, if people sign in to our pages with it.
    pub relying: Option<RelyingSettings>,
}

/// What is configured of a provider's account events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventSettings {
    /// Its name there, to the letter: it may differ from that in identity tokens, by a slash at the end.
    pub issuer: String,
    /// Whom events must be for: our client id.
    pub audience: String,
}

/// What a subscription gives: so much credit for each period that it is active in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CapabilityCredit {
    /// What is subscribed to, by the provider's name.
    pub capability: String,
    /// What it gives for a period.
    pub credit: Credit,
    /// How long a period is.
    pub period: Millis,
}

/// Why somebody is not signed in by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Refused(Fault),
    /// It names a key that the provider did not have when it was last asked, and cannot be asked about again yet.
    Undecided,
    Unavailable,
    /// The provider does not take our client id and secret.
    Misconfigured,
}

impl From<RelyingError> for TokenError {
    fn from(error: RelyingError) -> Self {
        match error {
            RelyingError::Refused(fault) => Self::Refused(fault),
            RelyingError::Unavailable => Self::Unavailable,
            RelyingError::Misconfigured => Self::Misconfigured,
        }
    }
}

/// An identity provider.
pub(super) struct Provider {
    rules: Rules,
    /// The rules of its account events, if they are taken.
    events: Option<SetRules>,
    gives: Arc<[CapabilityCredit]>,
    starting_credit: Credit,
    keys: Arc<Keys>,
    opaque: Option<Opaque>,
    /// What we are there as a relying party, and the rules of its ID tokens.
    relying: Option<(Relying, Rules)>,
}

impl Provider {
    pub(super) fn new(
        settings: ProviderSettings,
        clock: &Arc<dyn Clock>,
        telemetry: &Telemetry,
    ) -> Result<Self, ProviderError> {
        let url =
            |name: &'static str, text: &str| Url::parse(text).ok().filter(is_safe).ok_or(ProviderError::Url(name));
        let home = url("the issuer", &settings.issuer)?;
        let source = match &settings.jwks_uri {
            Some(uri) => KeySource::KeySet(url("`jwks_uri`", uri)?),
            None => KeySource::discovery(&settings.issuer).ok_or(ProviderError::Url("the issuer"))?,
        };
        let asked = match &source {
            KeySource::KeySet(uri) => uri,
            KeySource::Discovery { .. } => &home,
        };
        let keys = Keys::new(source.clone(), Fetcher::new(asked)?, Arc::clone(clock), telemetry.clone());
        let scope = Required::new(&settings.scope);
        let opaque = match &settings.verify_url {
            None => None,
            Some(text) => {
                let url = url("`verify_url`", text)?;
                let fetcher = Fetcher::new(&url)?;
                Some(Opaque::new(url, fetcher, scope.clone(), Arc::clone(clock)))
            }
        };
        let relying = match settings.relying {
            None => None,
            Some(relying) => {
                let rules = Rules {
                    issuer: settings.issuer.clone(),
                    audience: relying.client_id.clone(),
                    audience_claim: AudienceClaim::Audience,
                    scope: Required::new(""),
                    algorithms: settings.algorithms.clone(),
                    types: vec![TokenType::Jwt, TokenType::Absent],
                    leeway: settings.leeway,
                };
                Some((Relying::new(relying, &settings.issuer, &home, Arc::clone(clock))?, rules))
            }
        };
        let events = settings.events.map(|events| SetRules {
            issuer: events.issuer,
            audience: events.audience,
            algorithms: settings.algorithms.clone(),
            leeway: settings.leeway,
        });
        Ok(Self {
            events,
            gives: settings.gives.into(),
            rules: Rules {
                issuer: settings.issuer,
                audience: settings.audience,
                audience_claim: settings.audience_claim,
                scope,
                algorithms: settings.algorithms,
                types: settings.types,
                leeway: settings.leeway,
            },
            starting_credit: settings.starting_credit,
            keys: Arc::new(keys),
            opaque,
            relying,
        })
    }

    /// Its name.
    pub(super) fn issuer(&self) -> &str {
        &self.rules.issuer
    }

    /// What an account of its people begins with.
    pub(super) const fn starting_credit(&self) -> Credit {
        self.starting_credit
    }

    /// What its people's subscriptions give.
    pub(super) const fn gives(&self) -> &Arc<[CapabilityCredit]> {
        &self.gives
    }

    /// The rules of its account events, if they are taken.
    pub(super) const fn events(&self) -> Option<&SetRules> {
        self.events.as_ref()
    }

    /// Whom an event token of this provider is about, and what it tells.
    pub(super) async fn hear(
        &self,
        rules: &SetRules,
        set: UnverifiedSet<'_>,
        now: UnixMs,
    ) -> Result<(String, Vec<Event>), TokenError> {
        let with = set.check(rules, now).map_err(TokenError::Refused)?;
        let algorithm = with.algorithm;
        let keys = self.keys_for(with).await?;
        set.verify(algorithm, &keys, rules, now).map_err(TokenError::Refused)
    }

    /// Its keys.
    pub(super) const fn keys(&self) -> &Arc<Keys> {
        &self.keys
    }

    /// Whether it has opaque tokens.
    pub(super) const fn has_opaque(&self) -> bool {
        self.opaque.is_some()
    }

    /// What a token of this provider says.
    pub(super) async fn verify(&self, token: Unverified<'_>, now: UnixMs) -> Result<Claims, TokenError> {
        let with = token.check(&self.rules, now).map_err(TokenError::Refused)?;
        let algorithm = with.algorithm;
        let keys = self.keys_for(with).await?;
        token.verify(algorithm, &keys).map_err(TokenError::Refused)
    }

    /// What we are there as a relying party, if anything.
    pub(super) fn relying(&self) -> Option<&Relying> {
        self.relying.as_ref().map(|(relying, _)| relying)
    }

    /// Where a browser is sent to sign in there.
    pub(super) async fn authorization_url(&self, asked: &AuthorizationRequest<'_>) -> Result<String, TokenError> {
        let (relying, _) = self.relying.as_ref().ok_or(TokenError::Refused(Fault::Issuer))?;
        Ok(relying.authorization_url(asked).await?)
    }

    /// Who has signed in there, by the code that their browser brings. `named` is the issuer that the answer names.
    pub(super) async fn redeem(
        &self,
        named: Option<&str>,
        with: &Redemption<'_>,
        now: UnixMs,
    ) -> Result<Authentication, TokenError> {
        let (relying, rules) = self.relying.as_ref().ok_or(TokenError::Refused(Fault::Issuer))?;
        if !relying.is_from_here(named).await? {
            return Err(TokenError::Refused(Fault::Issuer));
        }
        let (id_token, access_token) = relying.redeem(with).await?;
        let token = Unverified::parse(&id_token).map_err(TokenError::Refused)?;
        let signed_with = token.check(rules, now).map_err(TokenError::Refused)?;
        let algorithm = signed_with.algorithm;
        let keys = self.keys_for(signed_with).await?;
        token.verify(algorithm, &keys).map_err(TokenError::Refused)?;
        let mut signed_in = relying.read(&id_token, with.nonce).map_err(TokenError::Refused)?;
        if let Some(access_token) = access_token {
            signed_in.claims.extend(relying.userinfo(&signed_in.subject, &access_token).await?);
        }
        Ok(signed_in)
    }

    /// What it tells of a sign-out, if people sign in to our pages with it.
    pub(super) async fn hear_logout(
        &self,
        token: UnverifiedLogout<'_>,
        now: UnixMs,
    ) -> Result<ProviderLogout, TokenError> {
        let (_, rules) = self.relying.as_ref().ok_or(TokenError::Refused(Fault::Issuer))?;
        let with = token.check(rules, now).map_err(TokenError::Refused)?;
        let algorithm = with.algorithm;
        let keys = self.keys_for(with).await?;
        token.verify(algorithm, &keys).map_err(TokenError::Refused)
    }

    async fn keys_for(&self, with: SignedWith<'_>) -> Result<Vec<Key>, TokenError> {
        self.keys.find(with).await.map_err(|error| match error {
            NoKey::Unknown => TokenError::Refused(Fault::Key),
            NoKey::Undecided => TokenError::Undecided,
            NoKey::Unavailable => TokenError::Unavailable,
        })
    }

    /// Whose an opaque token is.
    pub(super) async fn ask(&self, token: &str) -> Result<String, TokenError> {
        let Some(opaque) = &self.opaque else { return Err(TokenError::Refused(Fault::Malformed)) };
        opaque.subject(token).await.map_err(|error| match error {
            OpaqueError::Refused(fault) => TokenError::Refused(fault),
            OpaqueError::Unavailable => TokenError::Unavailable,
        })
    }
}
