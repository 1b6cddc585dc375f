//! Is this JWT an identity token of that provider, now? Pure: keys, rules and the time come in as parameters.
//!
//! What is cheap is looked at first, the signature last: a token that is for somebody else or too old costs neither
//! public-key work nor a look for its key. Nothing in a token says where a key is to be had: `jku`, `x5u`, `x5c` and
//! `jwk` are not even read. The algorithm is one that the configuration allows *and* the key is for (RFC 8725, 3.1).

use std::{fmt, str::FromStr};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{AlgorithmFamily, DecodingKey};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, DeserializeOwned},
};

use super::scope::Required;
use crate::{
    store::Identity,
    time::{Millis, UnixMs},
};

/// Characters of a token.
pub const MAX_TOKEN: usize = 16 * 1024;
/// Characters of a `kid`.
const MAX_KID: usize = 256;
/// Audiences or scopes that a token may name.
const MAX_LIST: usize = 256;

/// A signature algorithm that an identity provider may use. Neither `none` nor one with a shared secret is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    RS256,
    /// RSASSA-PSS with SHA-256.
    PS256,
    /// ECDSA over P-256 with SHA-256.
    ES256,
    /// Ed25519.
    EdDSA,
}

impl Algorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [Self::RS256, Self::PS256, Self::ES256, Self::EdDSA];

    /// The algorithm as the JWT library names it.
    const fn jose(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::RS256 => jsonwebtoken::Algorithm::RS256,
            Self::PS256 => jsonwebtoken::Algorithm::PS256,
            Self::ES256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDSA => jsonwebtoken::Algorithm::EdDSA,
        }
    }

    /// The name in JOSE.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RS256 => "RS256",
            Self::PS256 => "PS256",
            Self::ES256 => "ES256",
            Self::EdDSA => "EdDSA",
        }
    }
}

/// What the header's `typ` may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TokenType {
    /// `at+jwt` or `application/at+jwt` (RFC 9068).
    AccessToken,
    /// `JWT`.
    Jwt,
    /// There is no `typ`.
    Absent,
}

impl TokenType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::AccessToken, Self::Jwt, Self::Absent];

    /// How the configuration calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::AccessToken => "at+jwt",
            Self::Jwt => "JWT",
            Self::Absent => "absent",
        }
    }

    fn of(typ: Option<&str>) -> Option<Self> {
        let Some(typ) = typ else { return Some(Self::Absent) };
        let is = |name: &str| typ.eq_ignore_ascii_case(name);
        if is("at+jwt") || is("application/at+jwt") {
            Some(Self::AccessToken)
        } else {
            (is("jwt") || is("application/jwt")).then_some(Self::Jwt)
        }
    }
}

macro_rules! read_by_name {
    ($($type:ty),+) => {
        $(
            impl FromStr for $type {
                type Err = ();

                fn from_str(name: &str) -> Result<Self, ()> {
                    Self::ALL.into_iter().find(|known| known.name() == name).ok_or(())
                }
            }

            impl fmt::Display for $type {
                fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                    f.write_str(self.name())
                }
            }
        )+
    };
}

read_by_name!(TokenType);

impl FromStr for Algorithm {
    type Err = ();

    /// By its name in JOSE; `Ed25519` (RFC 9864) is the one algorithm that is meant by `EdDSA` here.
    fn from_str(name: &str) -> Result<Self, ()> {
        let name = if name == "Ed25519" { Self::EdDSA.name() } else { name };
        Self::ALL.into_iter().find(|known| known.name() == name).ok_or(())
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which claim says whom a token is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AudienceClaim {
    /// `aud` (RFC 7519, 4.1.3).
    #[default]
    #[serde(rename = "aud")]
    Audience,
    /// `client_id` (RFC 8693, 4.3), of providers whose access tokens have no `aud`.
    #[serde(rename = "client_id")]
    ClientId,
}

/// What an identity token must be.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who issued it, to the letter.
    pub issuer: String,
    /// Whom it is for.
    pub audience: String,
    /// Which claim says so.
    pub audience_claim: AudienceClaim,
    /// What it must be good for.
    pub scope: Required,
    /// The algorithms that may have signed it.
    pub algorithms: Vec<Algorithm>,
    /// What its `typ` may be.
    pub types: Vec<TokenType>,
    /// How far the provider's clock may be from ours, either way.
    pub leeway: Millis,
}

/// Why a token is refused. For figures and logs, never for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is not a JWT.
    #[error("not a JWT")]
    Malformed,
    /// It has more characters than a token may have.
    #[error("too long")]
    TooLong,
    /// A claim that it must have is missing, or a claim is not of the type it must be.
    #[error("a claim is missing or of the wrong type")]
    Claims,
    /// Its header names an extension that must be understood (`crit`), and none is.
    #[error("extension not supported")]
    Critical,
    /// What it says of an event cannot be read.
    #[error("an event does not say what it must")]
    Event,
    /// `alg` is not allowed.
    #[error("algorithm not allowed")]
    Algorithm,
    /// `typ` is not allowed.
    #[error("type not allowed")]
    Type,
    /// It is another provider's.
    #[error("issuer not known")]
    Issuer,
    /// It is for somebody else.
    #[error("for another audience")]
    Audience,
    /// It is not good for what is asked here.
    #[error("scope missing")]
    Scope,
    /// It is over.
    #[error("expired")]
    Expired,
    /// It has not begun, or is from the future.
    #[error("not valid yet")]
    NotYet,
    /// It names nobody.
    #[error("no usable subject")]
    Subject,
    /// No key is named and there are several, or the key is not the provider's.
    #[error("no such key")]
    Key,
    /// The signature is not the key's.
    #[error("bad signature")]
    Signature,
}

/// Who a token is about, and what else it says that matters here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The person's name at the provider.
    pub subject: String,
    /// Rises when the person changes their password at Firefox Accounts.
    pub generation: Option<u64>,
    /// The instant before which the token was issued, if it tells.
    pub issued_before: Option<UnixMs>,
    /// When the token is over.
    pub expires_at: UnixMs,
}

/// A JWT that has been read and whose signature has not been looked at.
#[derive(Debug)]
pub struct Unverified<'a>(Opened<'a, Payload>);

/// The parts of a JWT.
#[derive(Debug)]
pub(super) struct Opened<'a, P> {
    pub(super) header: Header,
    pub(super) payload: P,
    pub(super) message: &'a [u8],
    /// In base64url.
    pub(super) signature: &'a str,
}

/// The header of a JWT, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(super) struct Header {
    alg: String,
    typ: Option<String>,
    kid: Option<String>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

#[derive(Debug, Deserialize)]
struct Payload {
    iss: String,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    exp: NumericDate,
    nbf: Option<NumericDate>,
    iat: Option<NumericDate>,
    scope: Option<OneOrMany>,
    /// What some providers call it.
    scp: Option<OneOrMany>,
    client_id: Option<String>,
    /// Read as it comes: a strange one is no reason to refuse who proved who they are.
    #[serde(rename = "fxa-generation")]
    generation: Option<serde_json::Value>,
}

/// A text, or a list of texts.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// An instant in seconds since 1970 (RFC 7519, 2), which may have a fraction. Kept in milliseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct NumericDate {
    at: UnixMs,
    /// It names a second and no part of it.
    whole: bool,
}

/// Whether a bearer token is to be read as a JWT. Anything else is opaque.
pub fn looks_like_jwt(token: &str) -> bool {
    // `{"` in base64url, at the beginning of every JOSE header that has no space there.
    token.starts_with("ey") && token.bytes().filter(|byte| *byte == b'.').count() == 2
}

/// Takes a JWT in compact form apart. How long it may be is its reader's to say.
pub(super) fn open<P: DeserializeOwned>(token: &str) -> Result<Opened<'_, P>, Fault> {
    let (message, signature) = token.rsplit_once('.').ok_or(Fault::Malformed)?;
    let (header, payload) = message.split_once('.').ok_or(Fault::Malformed)?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| Fault::Malformed);
    let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| Fault::Malformed)?;
    let payload: P = serde_json::from_slice(&decode(payload)?)
        .map_err(|error| if error.is_data() { Fault::Claims } else { Fault::Malformed })?;
    // What must be understood is not (RFC 7515, 4.1.11).
    if header.crit {
        return Err(Fault::Critical);
    }
    decode(signature)?;
    Ok(Opened { header, payload, message: message.as_bytes(), signature })
}

impl Header {
    /// The algorithm that it names, if that is one of those that may sign.
    pub(super) fn allowed(&self, algorithms: &[Algorithm]) -> Result<Algorithm, Fault> {
        let named = self.alg.parse().ok().filter(|named| algorithms.contains(named));
        named.ok_or(Fault::Algorithm)
    }

    /// What kind of token it says this is.
    pub(super) fn typ(&self) -> Option<&str> {
        self.typ.as_deref()
    }

    /// The key that it names, if it does.
    pub(super) fn kid(&self) -> Result<Option<&str>, Fault> {
        let kid = self.kid.as_deref();
        if kid.is_some_and(|kid| kid.is_empty() || kid.len() > MAX_KID) { Err(Fault::Key) } else { Ok(kid) }
    }
}

impl<'a> Unverified<'a> {
    /// Reads a JWT in compact form.
    ///
    /// # Errors
    ///
    /// [`Fault::Malformed`], [`Fault::TooLong`], [`Fault::Claims`] and [`Fault::Critical`].
    pub fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_TOKEN {
            return Err(Fault::TooLong);
        }
        open(token).map(Self)
    }

    /// Who says to have issued it.
    pub fn issuer(&self) -> &str {
        &self.0.payload.iss
    }

    /// Holds everything but the signature against the rules. Answers what signed it, if it did.
    ///
    /// # Errors
    ///
    /// [`Fault`].
    pub fn check(&self, rules: &Rules, now: UnixMs) -> Result<SignedWith<'_>, Fault> {
        let Opened { header, payload, .. } = &self.0;
        let algorithm = header.allowed(&rules.algorithms)?;
        let typ = TokenType::of(header.typ()).ok_or(Fault::Type)?;
        if !rules.types.contains(&typ) {
            return Err(Fault::Type);
        }
        if payload.iss != rules.issuer {
            return Err(Fault::Issuer);
        }
        let is_for_us = match rules.audience_claim {
            AudienceClaim::Audience => payload.aud.as_ref().is_some_and(|aud| aud.names(&rules.audience)),
            AudienceClaim::ClientId => payload.client_id.as_ref() == Some(&rules.audience),
        };
        if !is_for_us {
            return Err(Fault::Audience);
        }
        self.check_times(rules.leeway, now)?;
        self.subject()?;
        let granted = [&payload.scope, &payload.scp].into_iter().flatten();
        let granted = granted.flat_map(|scopes| scopes.as_slice().iter().take(MAX_LIST));
        if !rules.scope.met_by(granted.flat_map(|one| one.split(' '))) {
            return Err(Fault::Scope);
        }
        Ok(SignedWith { algorithm, kid: header.kid()? })
    }

    /// Looks for the signature of one of `keys`, and answers what the token says. To be asked after [`Self::check`].
    ///
    /// # Errors
    ///
    /// [`Fault::Signature`].
    pub fn verify(self, algorithm: Algorithm, keys: &[Key]) -> Result<Claims, Fault> {
        if !keys.iter().any(|key| key.verifies(algorithm, self.0.message, self.0.signature)) {
            return Err(Fault::Signature);
        }
        let subject = self.subject()?.to_owned();
        let generation = self.0.payload.generation.as_ref().and_then(serde_json::Value::as_u64);
        let issued_before = self.0.payload.iat.map(NumericDate::end);
        Ok(Claims { subject, generation, issued_before, expires_at: self.0.payload.exp.at })
    }

    fn check_times(&self, leeway: Millis, now: UnixMs) -> Result<(), Fault> {
        let latest = now.plus(leeway);
        if now >= self.0.payload.exp.at.plus(leeway) {
            return Err(Fault::Expired);
        }
        let begins = [self.0.payload.nbf, self.0.payload.iat].into_iter().flatten().map(|date| date.at);
        if begins.into_iter().any(|begin| begin > latest) { Err(Fault::NotYet) } else { Ok(()) }
    }

    fn subject(&self) -> Result<&str, Fault> {
        self.0.payload.sub.as_deref().filter(|subject| is_subject(subject)).ok_or(Fault::Subject)
    }
}

/// Whether a provider may call somebody this.
pub(super) fn is_subject(text: &str) -> bool {
    Identity::is_name(text)
}

/// What a token says to be signed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SignedWith<'a> {
    /// The algorithm. It is allowed.
    pub algorithm: Algorithm,
    /// The key's name, if the token tells it.
    pub kid: Option<&'a str>,
}

/// A public key of a provider.
#[derive(Clone)]
pub struct Key {
    verifier: DecodingKey,
    /// The one algorithm that its JWK names, if it does.
    only: Option<Algorithm>,
}

/// A JWK as it is written (RFC 7517), as far as it matters here. Private members are not read.
#[derive(Deserialize)]
pub(super) struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    pub(super) kid: Option<String>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
}

impl Key {
    /// The key of a JWK; `None` for those that cannot verify what is allowed here.
    pub(super) fn of(jwk: &Jwk) -> Option<Self> {
        let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig");
        let verifies = jwk.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"));
        if !signs || !verifies {
            return None;
        }
        let bytes = |member: &Option<String>| URL_SAFE_NO_PAD.decode(member.as_ref()?).ok();
        // RFC 7518, 6.3.1.1 forbids zero octets before a number. Some write one, and the library takes none.
        let number = |member: &Option<String>| {
            let written = bytes(member)?;
            let zeros = written.iter().take_while(|octet| **octet == 0).count();
            Some(written[zeros..].to_vec())
        };
        let verifier = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
            ("RSA", _) => {
                let (n, e) = (number(&jwk.n)?, number(&jwk.e)?);
                // 2048 to 8192 bits; the library checks it to the bit.
                if !(256..=1024).contains(&n.len()) || e.is_empty() || e.len() > 8 {
                    return None;
                }
                DecodingKey::from_rsa_raw_components(&n, &e)
            }
            ("EC", Some("P-256")) => {
                let mut point = [4; 65];
                point[1..33].copy_from_slice(&sized::<32>(bytes(&jwk.x)?)?);
                point[33..].copy_from_slice(&sized::<32>(bytes(&jwk.y)?)?);
                DecodingKey::from_ec_der(&point)
            }
            ("OKP", Some("Ed25519")) => DecodingKey::from_ed_der(&sized::<32>(bytes(&jwk.x)?)?),
            _ => return None,
        };
        // A key that names an algorithm is for nothing else, not even for none of those known here.
        let only = jwk.alg.as_deref().map(str::parse::<Algorithm>).transpose().ok()?;
        let key = Self { verifier, only };
        Algorithm::ALL.into_iter().any(|algorithm| key.is_for(algorithm)).then_some(key)
    }

    /// Whether it may verify signatures of this algorithm.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        let fits = match self.verifier.family() {
            AlgorithmFamily::Rsa => matches!(algorithm, Algorithm::RS256 | Algorithm::PS256),
            AlgorithmFamily::Ec => algorithm == Algorithm::ES256,
            AlgorithmFamily::Ed => algorithm == Algorithm::EdDSA,
            AlgorithmFamily::Hmac => false,
        };
        fits && self.only.is_none_or(|only| only == algorithm)
    }

    /// Whether it made a signature, which is in base64url.
    pub(super) fn verifies(&self, algorithm: Algorithm, message: &[u8], signature: &str) -> bool {
        self.is_for(algorithm)
            && jsonwebtoken::crypto::verify(signature, message, &self.verifier, algorithm.jose()).unwrap_or(false)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(…)")
    }
}

fn sized<const N: usize>(bytes: Vec<u8>) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(one) => std::slice::from_ref(one),
            Self::Many(many) => many,
        }
    }

    /// Whether this is the only one.
    pub(super) fn is_only(&self, wanted: &str) -> bool {
        matches!(self.as_slice(), [one] if one == wanted)
    }

    /// Whether this is among them.
    pub(super) fn names(&self, wanted: &str) -> bool {
        self.as_slice().iter().take(MAX_LIST).any(|one| one == wanted)
    }
}

impl NumericDate {
    /// The instant.
    pub(super) const fn instant(self) -> UnixMs {
        self.at
    }

    /// The first instant after all that it may mean: one of whole seconds may be from the very end of its second.
    pub(super) const fn end(self) -> UnixMs {
        self.at.plus(if self.whole { Millis::from_secs(1) } else { Millis::new(1) })
    }
}

impl<'de> Deserialize<'de> for NumericDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Beyond this no whole second can be told from the next; the year 285 428 751 is.
        const MAX_S: f64 = 9e15;
        let seconds = f64::deserialize(deserializer)?;
        if !(0.0..=MAX_S).contains(&seconds) {
            return Err(de::Error::custom("not an instant"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
        let ms = (seconds * 1000.0) as u64;
        Ok(Self { at: UnixMs::from_ms(ms), whole: seconds.fract() == 0.0 })
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    de::IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests;
