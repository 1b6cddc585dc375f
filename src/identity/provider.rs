//! Identity providers as they are configured.

use std::sync::Arc;

use reqwest::Url;

use super::{
    Telemetry,
    fetch::{Fetcher, is_safe},
    jwks::{KeySource, Keys, NoKey},
    opaque::{Opaque, OpaqueError},
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

/// Why a provider cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// A URL is none, or not HTTPS.
    #[error("{0} of an identity provider must be an HTTPS URL, or an HTTP one on this machine")]
    Url(&'static str),
    /// There is no HTTP client.
    #[error("no HTTP client for an identity provider: {0}")]
    Client(#[from] reqwest::Error),
}

/// Why somebody is not signed in by a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TokenError {
    Refused(Fault),
    /// It names a key that the provider did not have when it was last asked, and cannot be asked about again yet.
    Undecided,
    Unavailable,
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
