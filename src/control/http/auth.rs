//! Who asks: account keys, identity tokens, session tokens, the administration's token, client credentials.
//!
//! Secrets are known by their SHA-256, and hashes are compared in constant time. Account keys are looked up by their
//! hash: what the time of a lookup tells is about a hash that nobody can aim at.

use axum::http::request::Parts as RequestParts;
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use hyper::{HeaderMap, header::AUTHORIZATION};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::{
    control::{acts::Acts, hooks::events::Admission},
    engine::AccountId,
    entropy::{Entropy, draw},
    identity::{AuthError, SignedIn},
    store::{Actor, ActorKind, Surface},
    web::{admission::Trust, peer::Peer},
    wire::SessionId,
};

use super::{
    Shared,
    instruments::{Phase, now},
    limits::LimitedBy,
    problem::{ErrorCode, Problem, for_owner},
    receive::network_of,
};

/// How every account key begins.
const ACCOUNT_KEY_PREFIX: &str = "gtk_";
/// How every client secret begins.
const CLIENT_SECRET_PREFIX: &str = "gts_";

/// The SHA-256 of a secret of at least 128 random bits.
#[derive(Clone, Copy)]
pub(super) struct SecretHash([u8; 32]);

impl SecretHash {
    pub(super) fn of(secret: &[u8]) -> Self {
        Self(Sha256::digest(secret).into())
    }

    pub(super) const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Compares with every one of `hashes`, in a time that does not depend on their content.
    pub(super) fn is_any_of(&self, hashes: &[[u8; 32]]) -> bool {
        hashes.iter().fold(Choice::from(0), |any, hash| any | self.0.ct_eq(hash)).into()
    }
}

/// Draws an account key; answers it with its hash.
pub(super) fn new_account_key(entropy: &dyn Entropy) -> (String, SecretHash) {
    new_secret(entropy, ACCOUNT_KEY_PREFIX)
}

/// Draws a client secret; answers it with its hash.
pub(super) fn new_client_secret(entropy: &dyn Entropy) -> (String, SecretHash) {
    new_secret(entropy, CLIENT_SECRET_PREFIX)
}

/// Draws a short id: sixteen hexadecimal digits.
pub(super) fn new_short_id(entropy: &dyn Entropy) -> String {
    format!("{:016x}", u64::from_be_bytes(draw(entropy)))
}

fn new_secret(entropy: &dyn Entropy, prefix: &str) -> (String, SecretHash) {
    let secret = format!("{prefix}{}", URL_SAFE_NO_PAD.encode(draw::<32>(entropy)));
    let hash = SecretHash::of(secret.as_bytes());
    (secret, hash)
}

/// The `Authorization` header, in one of the schemes that mean something here.
pub(super) enum Authorization<'a> {
    /// There is none.
    Missing,
    /// `Bearer`.
    Bearer(&'a str),
    /// `Basic`, still encoded.
    Basic(&'a str),
}

impl<'a> Authorization<'a> {
    /// Reads the header.
    ///
    /// Two of them are refused: whoever passes them on may have checked the other one.
    pub(super) fn of(headers: &'a HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Missing) };
        if values.next().is_some() {
            return Err(Problem::bad_request("there is more than one Authorization header"));
        }
        Self::parse(value.as_bytes())
    }

    /// Reads the header's value.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, Problem> {
        let text =
            std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).ok_or_else(Problem::bad_credentials)?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(Problem::bad_credentials)?;
        let rest = rest.trim();
        match scheme {
            _ if rest.is_empty() => Err(Problem::bad_credentials()),
            scheme if scheme.eq_ignore_ascii_case("bearer") => Ok(Self::Bearer(rest)),
            scheme if scheme.eq_ignore_ascii_case("basic") => Ok(Self::Basic(rest)),
            _ => Err(Problem::bad_credentials()),
        }
    }

    /// The bearer token.
    pub(super) fn bearer(headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        match Self::of(headers)? {
            Self::Bearer(token) => Ok(token),
            Self::Missing | Self::Basic(_) => Err(Problem::bad_credentials()),
        }
    }
}

/// The client id and secret of `Basic`, each of them form-encoded before (RFC 6749, 2.3.1).
pub(super) fn basic_pair(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    if text.bytes().any(|byte| matches!(byte, b'&' | b'=')) {
        // Not form-encoded after all; no secret of ours has such characters, but then it is simply a wrong one.
        return Some(text.to_owned());
    }
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned())
}

/// How the owner of an account proves who they are.
enum Credential<'a> {
    /// An account key.
    AccountKey(&'a str),
    /// A token of an identity provider.
    IdentityToken(&'a str),
}

impl<'a> Credential<'a> {
    fn of(bearer: &'a str) -> Self {
        if bearer.starts_with(ACCOUNT_KEY_PREFIX) { Self::AccountKey(bearer) } else { Self::IdentityToken(bearer) }
    }
}

/// What somebody has proved to be the owner of an account by.
pub(super) enum Proof {
    /// An account key, by its hash.
    Key(SecretHash),
    /// A token of an identity provider.
    Token(Box<SignedIn>),
}

/// Who asks about an account of theirs.
pub(super) struct Owner {
    /// The account.
    pub(super) account: AccountId,
    /// Does acts for them.
    pub(super) acts: Acts,
    /// What they have shown.
    pub(super) proof: Proof,
}

impl Shared {
    /// Refuses while not every session is known: an act would be decided as if nobody had been heard of.
    pub(super) fn warm(&self) -> Result<(), Problem> {
        match self.instruments.phase() {
            Phase::WarmingUp => Err(Problem::because(ErrorCode::WarmingUp, "not every session is known yet")),
            Phase::Ready | Phase::Draining => Ok(()),
        }
    }

    /// Whose account a client asks about. Counts against the limits.
    pub(super) async fn owner(&self, request: &RequestParts) -> Result<Owner, Problem> {
        self.warm()?;
        self.limit_address(request)?;
        let bearer = Authorization::bearer(&request.headers)?;
        let owner = match Credential::of(bearer) {
            Credential::AccountKey(key) => {
                let hash = SecretHash::of(key.as_bytes());
                let key = self.store.account_by_key(hash.as_bytes()).await?;
                let key = key.ok_or_else(Problem::bad_credentials)?;
                let actor = Actor::named(ActorKind::AccountKey, key.key_id, Surface::Http);
                Owner { account: key.account, acts: self.acts.by(actor), proof: Proof::Key(hash) }
            }
            Credential::IdentityToken(token) => self.signed_in(token).await?,
        };
        self.prove(request, Trust::Client);
        self.limit_account(owner.account.as_bytes())?;
        Ok(owner)
    }

    /// Whose account an identity token opens. At first sight there is none, and one is made.
    async fn signed_in(&self, token: &str) -> Result<Owner, Problem> {
        let somebody = self.identity.authenticate(token, self.clock.wall()).await.map_err(|error| match error {
            AuthError::Rejected => Problem::bad_credentials(),
            AuthError::Unavailable => {
                Problem::because(ErrorCode::ProviderUnavailable, "nobody can tell now whether the token is good")
            }
        })?;
        let issuer = somebody.identity.issuer.clone();
        let acts = self.acts.by(Actor::named(ActorKind::IdentityToken, issuer, Surface::Http));
        let account = acts.in_time(acts.first_sight(&somebody)).await.map_err(for_owner)?;
        Ok(Owner { account, acts, proof: Proof::Token(Box::new(somebody)) })
    }

    /// Looks again at what the owner has shown, once a session has been opened by it: a key may have been removed meanwhile,
    /// or a provider may have told of something that outdates a token. Whoever acknowledged that has told everybody that no
    /// session is opened by it any more. So this one is taken back, before anybody was given its token.
    pub(super) async fn confirm(&self, owner: &Owner, session: &SessionId) -> Result<(), Problem> {
        let looked = match &owner.proof {
            Proof::Key(hash) => {
                let key = owner.acts.in_time(self.store.account_by_key(hash.as_bytes())).await;
                key.map(|key| key.is_some_and(|key| key.account == owner.account))
            }
            Proof::Token(somebody) => {
                let admission = owner.acts.in_time(owner.acts.admit(somebody)).await;
                admission.map(|admission| matches!(admission, Admission::Admitted(_)))
            }
        };
        let refused = match looked {
            Ok(true) => return Ok(()),
            Ok(false) => Problem::bad_credentials(),
            // Nobody can tell, so nobody is given the token.
            Err(error) => for_owner(error),
        };
        owner.acts.take_back(&owner.account, session).await;
        Err(refused)
    }

    /// Does acts for an operator.
    pub(super) fn for_operator(&self) -> Acts {
        self.acts.by(Actor::operator())
    }

    /// Remembers that whoever sent this request has proved who they are.
    pub(super) fn prove(&self, request: &RequestParts, trust: Trust) {
        if let Some(from) = network_of(request) {
            self.admission.proven.prove(from, trust, now());
        }
    }

    /// Whether these headers have the administration's token.
    pub(super) fn is_operator(&self, headers: &HeaderMap) -> bool {
        let presented = Authorization::bearer(headers).map(|token| SecretHash::of(token.as_bytes()));
        presented.is_ok_and(|presented| presented.is_any_of(&[*self.settings.admin_token.0.as_bytes()]))
    }

    /// Refuses whoever is no operator, and counts a wrong token.
    pub(super) fn operator(&self, headers: &HeaderMap, peer: Option<Peer>) -> Result<(), Problem> {
        Authorization::bearer(headers)?;
        if self.is_operator(headers) {
            return Ok(());
        }
        self.limits.guess(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Address))?;
        Err(Problem::bad_credentials())
    }

    /// Counts a request against the limit of the address that it came from.
    pub(super) fn limit_address(&self, request: &RequestParts) -> Result<(), Problem> {
        let peer = request.extensions.get::<Peer>().copied();
        self.limits.address(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Address))
    }

    /// Counts a webhook or an event against the limit of the address that it came from.
    pub(super) fn limit_hooks(&self, request: &RequestParts) -> Result<(), Problem> {
        let peer = request.extensions.get::<Peer>().copied();
        self.limits.hook(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Hooks))
    }

    /// Counts a signature that is about to be looked at, unless good ones have come from that address.
    pub(super) fn limit_forgeries(&self, request: &RequestParts) -> Result<(), Problem> {
        let peer = request.extensions.get::<Peer>().copied();
        let trust = peer.and_then(|peer| self.admission.proven.trust(&peer.network(), now()));
        if trust.is_some() {
            return Ok(());
        }
        self.limits.unproven_signature(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Hooks))
    }

    /// Counts a request against the limit of an account or session.
    pub(super) fn limit_account(&self, id: &[u8; 16]) -> Result<(), Problem> {
        self.limits.account(id).inspect_err(|_| self.instruments.limited(LimitedBy::Account))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_credentials_are_form_encoded_inside_basic() {
        let pair = |text: &str| basic_pair(&STANDARD.encode(text));
        assert_eq!(pair("id:secret"), Some(("id".into(), "secret".into())));
        assert_eq!(pair("a%3Ab:c%20d+e"), Some(("a:b".into(), "c d e".into())));
        assert_eq!(pair("id:a&b=c"), Some(("id".into(), "a&b=c".into())));
        assert_eq!(pair("no colon"), None);
        assert_eq!(basic_pair("%%%"), None);
    }

    #[test]
    fn a_secret_is_known_by_its_hash_and_by_nothing_else() {
        let (text, hash) = new_account_key(&crate::entropy::SeededEntropy::new(1));
        assert!(text.starts_with("gtk_") && text.len() == 4 + 43);
        assert!(SecretHash::of(text.as_bytes()).is_any_of(&[[0; 32], *hash.as_bytes()]));
        assert!(!SecretHash::of(&text.as_bytes()[1..]).is_any_of(&[*hash.as_bytes()]));
        assert!(!hash.is_any_of(&[]));
    }
}
