//! People: who shows a token of an identity provider, and which account is theirs.
//!
//! A token is a JWT, which is verified here with the provider's keys, or opaque, and then the provider is asked. People are
//! known by `(issuer, subject)` and by nothing else: never by an email address, which changes hands. When the provider
//! cannot say, the answer is that nobody can tell now; it is never that the token is bad.

mod endpoints;
mod error;
mod fetch;
mod jwks;
mod logout;
mod opaque;
mod provider;
mod relying;
mod scope;
mod set;
pub mod verify;

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;

use crate::{
    engine::Credit,
    store::Identity,
    telemetry::{SignIn, Telemetry},
    time::{Clock, Millis, UnixMs},
};
use logout::UnverifiedLogout;
use provider::{Provider, TokenError};
use set::UnverifiedSet;
use verify::{Fault, Unverified, looks_like_jwt};

pub use error::ProviderError;
pub(crate) use fetch::{Fetcher, is_safe};
pub use logout::{LoggedOut, ProviderLogout};
pub use provider::{CapabilityCredit, EventSettings, ProviderSettings};
pub use relying::{Authentication, AuthorizationRequest, Redemption, RelyingSettings};
pub use scope::Required as RequiredScopes;
pub use set::{Event, EventKind, MAX_CAPABILITY};

/// Why nobody is signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is not good.
    #[error("the identity token is not accepted")]
    Rejected,
    /// The provider is needed to tell, and cannot.
    #[error("the identity provider is unavailable")]
    Unavailable,
    /// The provider does not take our client id and secret.
    #[error("the identity provider does not take our client id and secret")]
    Misconfigured,
}

/// Somebody who has proved who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedIn {
    /// Who.
    pub identity: Identity,
    /// What their account begins with, if it is made now.
    pub starting_credit: Credit,
    /// The instant before which the token was issued that proves it, if it tells.
    pub issued_before: Option<UnixMs>,
    /// Rises when the person changes their password at Firefox Accounts; `None` elsewhere.
    pub generation: Option<u64>,
    /// What their subscriptions give.
    pub gives: Arc<[CapabilityCredit]>,
}

/// A provider that people can sign in with on our pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignInOption<'a> {
    /// The provider.
    pub issuer: &'a str,
    /// What it is called.
    pub name: &'a str,
}

/// What a provider told of somebody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEvents {
    /// Of whom.
    pub identity: Identity,
    /// What happened.
    pub events: Vec<Event>,
    /// What their subscriptions give.
    pub gives: Arc<[CapabilityCredit]>,
}

/// Why nothing is heard in what is said to be told by a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// It is not good.
    #[error("the event is not accepted: {0}")]
    Refused(Fault),
    /// The provider's keys are needed to tell, and cannot be had.
    #[error("the identity provider is unavailable")]
    Unavailable,
}

/// Reads what providers tell of people.
#[async_trait]
pub trait EventReader: Send + Sync + 'static {
    /// Whether events are taken of anybody.
    fn takes_events(&self) -> bool;

    /// What an event token (RFC 8417) says at `now`.
    ///
    /// # Errors
    ///
    /// [`EventError`].
    async fn read(&self, set: &str, now: UnixMs) -> Result<ProviderEvents, EventError>;
}

/// Whether a provider may be asked at this URL: by HTTPS, or by plain HTTP on this machine.
pub fn may_be_asked(url: &str) -> bool {
    reqwest::Url::parse(url).is_ok_and(|url| is_safe(&url))
}

/// Tells who shows a token.
#[async_trait]
pub trait Authenticator: Send + Sync + 'static {
    /// Who shows this bearer token at `now`.
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    async fn authenticate(&self, bearer: &str, now: UnixMs) -> Result<SignedIn, AuthError>;
}

/// The identity providers that are configured.
pub struct Providers {
    list: Vec<Provider>,
    telemetry: Telemetry,
}

/// How fresh the providers' keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyAges {
    /// How long ago the oldest set was fetched.
    pub oldest: Millis,
    /// Providers without any keys.
    pub missing: usize,
}

impl Providers {
    /// These providers. None are asked before [`Self::start`], or before a token needs them.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub fn new(
        settings: impl IntoIterator<Item = ProviderSettings>,
        clock: &Arc<dyn Clock>,
        telemetry: &Telemetry,
    ) -> Result<Self, ProviderError> {
        let list = settings.into_iter().map(|settings| Provider::new(settings, clock, telemetry));
        Ok(Self { list: list.collect::<Result<_, _>>()?, telemetry: telemetry.clone() })
    }

    /// What keeps the keys of each provider fresh, for as long as it runs. It may begin anew.
    pub fn keepers(&self) -> impl Iterator<Item = impl Fn() -> BoxFuture<'static, ()> + Send + use<>> {
        self.list.iter().map(|provider| {
            let keys = Arc::clone(provider.keys());
            move || -> BoxFuture<'static, ()> { Box::pin(Arc::clone(&keys).keep_fresh()) }
        })
    }

    /// How fresh the keys are.
    pub fn key_ages(&self) -> KeyAges {
        let ages = || self.list.iter().map(|provider| provider.keys().age());
        KeyAges { oldest: ages().flatten().max().unwrap_or_default(), missing: ages().filter(Option::is_none).count() }
    }

    /// The providers that people can sign in with on our pages.
    pub fn sign_in_options(&self) -> impl Iterator<Item = SignInOption<'_>> {
        self.list.iter().filter_map(|provider| {
            let name = provider.relying()?.settings().name.as_str();
            Some(SignInOption { issuer: provider.issuer(), name })
        })
    }

    /// Where a browser is sent to sign in with one of [`Self::sign_in_options`].
    ///
    /// # Errors
    ///
    /// [`AuthError`]; [`AuthError::Rejected`] if nobody signs in there.
    pub async fn authorization_url(&self, issuer: &str, asked: &AuthorizationRequest<'_>) -> Result<String, AuthError> {
        let provider = self.list.iter().find(|provider| provider.issuer() == issuer).ok_or(AuthError::Rejected)?;
        provider.authorization_url(asked).await.map_err(TokenError::into_auth)
    }

    /// Who has signed in at a provider, by the code that their browser brings. `named` is the issuer that the provider's answer
    /// names (RFC 9207).
    ///
    /// # Errors
    ///
    /// [`AuthError`].
    pub async fn redeem(
        &self,
        issuer: &str,
        named: Option<&str>,
        with: &Redemption<'_>,
        now: UnixMs,
    ) -> Result<(SignedIn, Authentication), AuthError> {
        let provider = self.list.iter().find(|provider| provider.issuer() == issuer).ok_or(AuthError::Rejected)?;
        let redeemed = provider.redeem(named, with, now).await;
        self.count(redeemed.as_ref().err().copied());
        let authentication = redeemed.map_err(TokenError::into_auth)?;
        let signed_in = SignedIn {
            identity: Identity { issuer: issuer.to_owned(), subject: authentication.subject.clone() },
            starting_credit: provider.starting_credit(),
            issued_before: authentication.issued_before,
            generation: None,
            gives: Arc::clone(provider.gives()),
        };
        Ok((signed_in, authentication))
    }

    /// What a provider that people can sign in with on our pages tells of a sign-out there, by a logout token.
    ///
    /// # Errors
    ///
    /// [`EventError`].
    pub async fn read_logout(&self, token: &str, now: UnixMs) -> Result<ProviderLogout, EventError> {
        let token = UnverifiedLogout::parse(token).map_err(EventError::Refused)?;
        let known = |provider: &&Provider| provider.issuer() == token.issuer();
        let provider = self.list.iter().find(known).ok_or(EventError::Refused(Fault::Issuer))?;
        provider.hear_logout(token, now).await.map_err(TokenError::into_event)
    }

    /// Counts a sign-in, and why it failed.
    fn count(&self, failed: Option<TokenError>) {
        let outcome = match failed {
            None => SignIn::Accepted,
            Some(TokenError::Undecided) => SignIn::Undecided,
            Some(TokenError::Unavailable | TokenError::Misconfigured) => SignIn::Unavailable,
            Some(TokenError::Refused(fault)) => outcome_of(fault),
        };
        self.telemetry.sign_ins(outcome).increment(1);
    }

    async fn identify(&self, bearer: &str, now: UnixMs) -> Result<SignedIn, TokenError> {
        let refused = |fault| TokenError::Refused(fault);
        if bearer.len() > verify::MAX_TOKEN {
            return Err(refused(Fault::TooLong));
        }
        let (provider, subject, issued_before, generation) = if looks_like_jwt(bearer) {
            let token = Unverified::parse(bearer).map_err(refused)?;
            let provider = self.list.iter().find(|provider| provider.issuer() == token.issuer());
            let provider = provider.ok_or(refused(Fault::Issuer))?;
            let claims = provider.verify(token, now).await?;
            (provider, claims.subject, claims.issued_before, claims.generation)
        } else {
            // The configuration has one such provider at most: an opaque token does not say whose it is.
            let provider = self.list.iter().find(|provider| provider.has_opaque());
            let provider = provider.ok_or(refused(Fault::Malformed))?;
            (provider, provider.ask(bearer).await?, None, None)
        };
        let identity = Identity { issuer: provider.issuer().to_owned(), subject };
        let (starting_credit, gives) = (provider.starting_credit(), Arc::clone(provider.gives()));
        Ok(SignedIn { identity, starting_credit, issued_before, generation, gives })
    }
}

#[async_trait]
impl Authenticator for Providers {
    async fn authenticate(&self, bearer: &str, now: UnixMs) -> Result<SignedIn, AuthError> {
        let identified = self.identify(bearer, now).await;
        self.count(identified.as_ref().err().copied());
        identified.map_err(TokenError::into_auth)
    }
}

#[async_trait]
impl EventReader for Providers {
    fn takes_events(&self) -> bool {
        self.list.iter().any(|provider| provider.events().is_some())
    }

    async fn read(&self, set: &str, now: UnixMs) -> Result<ProviderEvents, EventError> {
        let set = UnverifiedSet::parse(set).map_err(EventError::Refused)?;
        let known = |provider: &&Provider| provider.events().is_some_and(|rules| rules.issuer == set.issuer());
        let provider = self.list.iter().find(known).ok_or(EventError::Refused(Fault::Issuer))?;
        let rules = provider.events().ok_or(EventError::Refused(Fault::Issuer))?;
        let (subject, events) = provider.hear(rules, set, now).await.map_err(TokenError::into_event)?;
        let identity = Identity { issuer: provider.issuer().to_owned(), subject };
        Ok(ProviderEvents { identity, events, gives: Arc::clone(provider.gives()) })
    }
}

impl TokenError {
    /// The same of a token that tells something.
    const fn into_event(self) -> EventError {
        match self {
            Self::Refused(fault) => EventError::Refused(fault),
            Self::Undecided | Self::Unavailable | Self::Misconfigured => EventError::Unavailable,
        }
    }

    /// What callers are told of it.
    fn into_auth(self) -> AuthError {
        match self {
            Self::Undecided | Self::Unavailable => AuthError::Unavailable,
            Self::Misconfigured => AuthError::Misconfigured,
            Self::Refused(fault) => {
                tracing::debug!(%fault, "an identity token was refused");
                AuthError::Rejected
            }
        }
    }
}

const fn outcome_of(fault: Fault) -> SignIn {
    match fault {
        Fault::Malformed | Fault::TooLong | Fault::Claims | Fault::Critical | Fault::Event => SignIn::Malformed,
        Fault::Algorithm => SignIn::Algorithm,
        Fault::Type => SignIn::Type,
        Fault::Issuer => SignIn::Issuer,
        Fault::Audience => SignIn::Audience,
        Fault::Scope => SignIn::Scope,
        Fault::Expired => SignIn::Expired,
        Fault::NotYet => SignIn::NotYet,
        Fault::Subject => SignIn::Subject,
        Fault::Key => SignIn::Key,
        Fault::Signature => SignIn::Signature,
    }
}

/// What the fuzzer is shown of this module's readers.
#[cfg(fuzzing)]
pub mod fuzzing {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

    use super::{
        Event, RequiredScopes, UnixMs,
        jwks::KeySet,
        set::{SetRules, UnverifiedSet},
        verify::{Algorithm, AudienceClaim, Fault, Rules, TokenType, Unverified},
    };
    use crate::time::Millis;

    /// Reads a token as it comes, and one that is made of a header and a payload. Whether either would count if its
    /// signature did; and whether an algorithm without a public key was let through.
    pub fn token(bytes: &[u8]) -> (bool, bool) {
        let rules = Rules {
            issuer: "https://id.example".to_owned(),
            audience: "gastank".to_owned(),
            audience_claim: AudienceClaim::Audience,
            scope: RequiredScopes::new("https://a.example/tank"),
            algorithms: Algorithm::ALL.to_vec(),
            types: TokenType::ALL.to_vec(),
            leeway: Millis::from_secs(60),
        };
        let checked = |text: &str| -> Result<(), Fault> {
            Unverified::parse(text)?.check(&rules, UnixMs::from_ms(1_700_000_000_000)).map(drop)
        };
        let raw = std::str::from_utf8(bytes).is_ok_and(|text| checked(text).is_ok());
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n').map(|part| URL_SAFE_NO_PAD.encode(part));
        let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let made = checked(&format!("{header}.{payload}.AA")).is_ok();
        let names = |name: &[u8]| bytes.windows(name.len()).any(|window| window == name);
        let asymmetric = Algorithm::ALL.iter().any(|algorithm| names(algorithm.name().as_bytes()) || names(b"\\u"));
        (raw || made, made && !asymmetric)
    }

    /// Reads an event token that is made of a header and a payload, and the payload as what an event says. Whether the token
    /// would count if its signature did.
    pub fn event(bytes: &[u8]) -> bool {
        let now = UnixMs::from_ms(1_700_000_000_000);
        let rules = SetRules {
            issuer: "https://id.example".to_owned(),
            audience: "gastank".to_owned(),
            algorithms: Algorithm::ALL.to_vec(),
            leeway: Millis::from_secs(60),
        };
        let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
        let (header, payload) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        if let Ok(said) = serde_json::from_slice(payload) {
            for name in ["password-change", "subscription-state-change", "delete-user"] {
                let _ = Event::read(&format!("https://schemas.accounts.firefox.com/event/{name}"), &said, now);
            }
        }
        let token = format!("{}.{}.AA", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
        UnverifiedSet::parse(&token).is_ok_and(|set| set.check(&rules, now).is_ok())
    }

    /// Whether these bytes are a key set that can be used.
    pub fn key_set(bytes: &[u8]) -> bool {
        KeySet::parse(bytes).is_ok()
    }
}
