//! The rows of the hub: people as its clients see them, and their hub sessions.
//!
//! A hub session is one sign-in of one browser. It goes by the SHA-256 of its secret, which nobody keeps. All rows of a
//! person lie with their account: whoever deletes the account deletes them.

use std::{fmt, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{
    engine::AccountId,
    time::{Millis, UnixMs},
};

use super::{Identity, Result, StoreError};

/// Bytes of a claim of a profile, at most.
const MAX_CLAIM: usize = 512;
/// Bytes of `acr`, and of each of the [`MAX_AMR`] values of `amr`, at most.
const MAX_REFERENCE: usize = 128;
/// Values of `amr` that are kept.
const MAX_AMR: usize = 8;

/// The SHA-256 of a secret with 256 random bits: what the store and the token cache know it by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SecretDigest([u8; 32]);

/// What clients and pages are told of a person. A claim is in it as the identity provider last gave it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Profile {
    /// The person's name as it is shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The name that they would like to be called by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_username: Option<String>,
    /// Their e-mail address. Nobody is found by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// Whether the provider has seen that the address is theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email_verified: Option<bool>,
    /// Where their picture is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub picture: Option<String>,
    /// Their language, as a tag of BCP 47.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub locale: Option<String>,
    /// Their time zone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zoneinfo: Option<String>,
}

/// What the hub keeps of an account's owner.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Person {
    /// Sessions of an earlier epoch are over.
    pub epoch: u64,
    /// How often the profile has changed; 0 of who has never signed in.
    pub version: u64,
    /// The profile.
    pub profile: Profile,
}

/// What a person's device is called: at most [`Self::MAX`] bytes without control characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceText(Arc<str>);

/// How and when a person proved to their identity provider who they are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authentication {
    /// When, on the wall clock, in milliseconds; not there where the provider does not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    auth_time: Option<u64>,
    /// The class of it (`acr`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    acr: Option<String>,
    /// The methods (`amr`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    amr: Vec<String>,
}

/// A hub session, as the store keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubSessionRecord {
    /// What it goes by.
    pub digest: SecretDigest,
    /// Whose it is.
    pub account: AccountId,
    /// When it began, on the wall clock.
    pub created_at: UnixMs,
    /// When it ends at the latest.
    pub ends_at: UnixMs,
    /// When it was last used, as far as that has been written.
    pub last_seen: UnixMs,
    /// How the person signed in.
    pub authentication: Authentication,
    /// The identity provider.
    pub issuer: String,
    /// What the provider calls its own session (`sid`), if it said so.
    pub provider_sid: Option<String>,
    /// The device, as people recognise it.
    pub device: DeviceText,
    /// The person's epoch, read before the session was made.
    pub epoch: u64,
}

/// A hub session with the person it is of, read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHubSession {
    /// The session.
    pub session: HubSessionRecord,
    /// The person.
    pub person: Person,
    /// Who they are at their identity provider.
    pub identity: Identity,
}

/// Whether a client of the hub can keep a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// It runs on a server and proves who it is by a secret.
    Confidential,
    /// It runs on the person's device, or in a page.
    Public,
}

/// A client of the hub, as the store keeps it: never its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubClient {
    /// Its id.
    pub client_id: String,
    /// A name for people.
    pub name: String,
    /// Whether it can keep a secret.
    pub kind: ClientKind,
    /// SHA-256 of each secret that is good now.
    pub secret_hashes: Vec<[u8; 32]>,
    /// Where browsers are sent back to.
    pub redirect_uris: Vec<String>,
    /// Where they are sent after the client has signed somebody out.
    pub post_logout_redirect_uris: Vec<String>,
    /// Whether its handles may open tanks.
    pub tank: bool,
    /// Where it is told that hub sessions have ended.
    pub backchannel_logout_uri: Option<String>,
    /// When it was registered, on the wall clock.
    pub created_at: UnixMs,
}

/// What a client has for one hub session, as the store keeps it: never the handle itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HandleRecord {
    /// What it goes by.
    pub digest: SecretDigest,
    /// Whose it is.
    pub account: AccountId,
    /// The hub session that it lives and ends with.
    pub session: SecretDigest,
    /// The client that it was given to.
    pub client_id: String,
    /// What it is good for: names with spaces between them.
    pub scope: String,
    /// When it was made, on the wall clock.
    pub created_at: UnixMs,
    /// When it ends at the latest.
    pub ends_at: UnixMs,
}

/// A handle with the hub session that it is of, read together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundHandle {
    /// The handle.
    pub handle: HandleRecord,
    /// Its session.
    pub session: FoundHubSession,
}

/// What became of an authorization code that was to be redeemed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the code may have been redeemed before"]
pub enum Redeemed {
    /// By this call, for this handle.
    Now,
    /// Before, for this handle of this account.
    Before(AccountId, SecretDigest),
}

/// When a hub session was last used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HubSighting {
    /// Whose session.
    pub account: AccountId,
    /// The session.
    pub digest: SecretDigest,
    /// When it was used.
    pub at: UnixMs,
    /// When it ends at the latest.
    pub ends_at: UnixMs,
}

impl SecretDigest {
    /// The digest of a secret, as it is written.
    pub fn of(secret: &str) -> Self {
        Self(Sha256::digest(secret).into())
    }

    /// The digest with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Profile {
    /// The profile that the standard claims of OpenID Connect say. A claim that is missing, of another type, longer than 512
    /// bytes or not fit to be shown is left out.
    pub fn from_claims(claims: &serde_json::Map<String, serde_json::Value>) -> Self {
        let text = |name: &str| Some(shown(claims.get(name)?.as_str()?)?.to_owned());
        Self {
            name: text("name"),
            preferred_username: text("preferred_username"),
            email: text("email"),
            email_verified: claims.get("email_verified").and_then(serde_json::Value::as_bool),
            picture: text("picture"),
            locale: text("locale"),
            zoneinfo: text("zoneinfo"),
        }
    }

    pub(super) fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text is always JSON")
    }

    pub(super) fn from_json(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| StoreError::Damaged(format!("a profile cannot be read: {error}")))
    }
}

/// A claim that may be kept and shown.
fn shown(text: &str) -> Option<&str> {
    (!text.is_empty() && text.len() <= MAX_CLAIM && !text.chars().any(char::is_control)).then_some(text)
}

impl DeviceText {
    /// Bytes, at most.
    pub const MAX: usize = 256;

    /// The text without control characters, cut to [`Self::MAX`] bytes.
    pub fn new(text: &str) -> Self {
        let mut kept: String = text.chars().filter(|char| !char.is_control()).take(Self::MAX).collect();
        kept.truncate(kept.floor_char_boundary(Self::MAX));
        Self(kept.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Authentication {
    /// At `at`, if the provider tells. References that are longer than 128 bytes or have control characters are left out, and
    /// so is each value of `amr` after the eighth.
    pub fn new(at: Option<UnixMs>, acr: Option<&str>, amr: &[String]) -> Self {
        let fits = |text: &&str| text.len() <= MAX_REFERENCE && shown(text).is_some();
        Self {
            auth_time: at.map(UnixMs::as_ms),
            acr: acr.filter(fits).map(ToOwned::to_owned),
            amr: amr.iter().map(String::as_str).filter(fits).take(MAX_AMR).map(ToOwned::to_owned).collect(),
        }
    }

    /// When; `None` where the provider does not tell.
    pub fn at(&self) -> Option<UnixMs> {
        self.auth_time.map(UnixMs::from_ms)
    }

    /// The class of it.
    pub fn acr(&self) -> Option<&str> {
        self.acr.as_deref()
    }

    /// The methods.
    pub fn amr(&self) -> &[String] {
        &self.amr
    }
}

/// A session as it is written, but for its key and when it was last used.
#[derive(Serialize, Deserialize)]
struct Document {
    created_at: u64,
    ends_at: u64,
    #[serde(flatten)]
    authentication: Authentication,
    issuer: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    provider_sid: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    device: String,
    epoch: u64,
}

impl HubSessionRecord {
    /// Characters of a provider's `sid`, at most.
    pub const MAX_SID: usize = 256;

    /// How long the row is kept from its making on.
    pub(super) const fn lifetime(&self) -> Millis {
        self.ends_at.since(self.created_at)
    }

    /// What leads from the provider's session to this one.
    pub(super) fn provider_name(&self) -> Option<[u8; 32]> {
        self.provider_sid.as_ref().map(|sid| provider_session(&self.issuer, sid))
    }

    /// `{"created_at":ms,"ends_at":ms,"auth_time":ms,"acr":"…","amr":["…"],"issuer":"…","provider_sid":"…","device":"…","epoch":n}`
    pub(super) fn to_json(&self) -> String {
        let document = Document {
            created_at: self.created_at.as_ms(),
            ends_at: self.ends_at.as_ms(),
            authentication: self.authentication.clone(),
            issuer: self.issuer.clone(),
            provider_sid: self.provider_sid.clone(),
            device: self.device.as_str().to_owned(),
            epoch: self.epoch,
        };
        serde_json::to_string(&document).expect("text and numbers are always JSON")
    }

    /// Reads it back. Without a sighting, it was last used when it began.
    pub(super) fn from_json(
        account: AccountId,
        digest: SecretDigest,
        text: &str,
        last_seen: Option<UnixMs>,
    ) -> Result<Self> {
        let document: Document = serde_json::from_str(text).map_err(|error| unreadable("session", &error))?;
        let created_at = UnixMs::from_ms(document.created_at);
        Ok(Self {
            digest,
            account,
            created_at,
            ends_at: UnixMs::from_ms(document.ends_at),
            last_seen: last_seen.map_or(created_at, |seen| seen.max(created_at)),
            authentication: document.authentication,
            issuer: document.issuer,
            provider_sid: document.provider_sid,
            device: DeviceText(document.device.into()),
            epoch: document.epoch,
        })
    }
}

/// A client as it is written, but for its id.
#[derive(Serialize, Deserialize)]
struct ClientDocument {
    name: String,
    kind: ClientKind,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    secret_hashes: Vec<String>,
    redirect_uris: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    post_logout_redirect_uris: Vec<String>,
    tank: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    backchannel_logout_uri: Option<String>,
    created_at: u64,
}

impl HubClient {
    /// `{"name":"…","kind":"confidential","secret_hashes":["base64url"],"redirect_uris":["…"],"post_logout_redirect_uris":["…"],
    /// "tank":false,"backchannel_logout_uri":"…","created_at":ms}`
    pub(super) fn to_json(&self) -> String {
        let document = ClientDocument {
            name: self.name.clone(),
            kind: self.kind,
            secret_hashes: self.secret_hashes.iter().map(|hash| URL_SAFE_NO_PAD.encode(hash)).collect(),
            redirect_uris: self.redirect_uris.clone(),
            post_logout_redirect_uris: self.post_logout_redirect_uris.clone(),
            tank: self.tank,
            backchannel_logout_uri: self.backchannel_logout_uri.clone(),
            created_at: self.created_at.as_ms(),
        };
        serde_json::to_string(&document).expect("text and numbers are always JSON")
    }

    /// Reads it back.
    pub(super) fn from_json(client_id: String, text: &str) -> Result<Self> {
        let document: ClientDocument = serde_json::from_str(text).map_err(|error| unreadable("client", &error))?;
        let hash = |text: &String| {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok().and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| unreadable("client", &"a hash"))
        };
        Ok(Self {
            client_id,
            name: document.name,
            kind: document.kind,
            secret_hashes: document.secret_hashes.iter().map(hash).collect::<Result<_>>()?,
            redirect_uris: document.redirect_uris,
            post_logout_redirect_uris: document.post_logout_redirect_uris,
            tank: document.tank,
            backchannel_logout_uri: document.backchannel_logout_uri,
            created_at: UnixMs::from_ms(document.created_at),
        })
    }
}

/// A handle as it is written, but for its key.
#[derive(Serialize, Deserialize)]
struct HandleDocument {
    session: String,
    client_id: String,
    scope: String,
    created_at: u64,
    ends_at: u64,
}

impl HandleRecord {
    /// How long the row is kept from its making on.
    pub(super) const fn lifetime(&self) -> Millis {
        self.ends_at.since(self.created_at)
    }

    /// `{"session":"base64url","client_id":"…","scope":"…","created_at":ms,"ends_at":ms}`
    pub(super) fn to_json(&self) -> String {
        let document = HandleDocument {
            session: URL_SAFE_NO_PAD.encode(self.session.0),
            client_id: self.client_id.clone(),
            scope: self.scope.clone(),
            created_at: self.created_at.as_ms(),
            ends_at: self.ends_at.as_ms(),
        };
        serde_json::to_string(&document).expect("text and numbers are always JSON")
    }

    /// Reads it back.
    pub(super) fn from_json(account: AccountId, digest: SecretDigest, text: &str) -> Result<Self> {
        let document: HandleDocument = serde_json::from_str(text).map_err(|error| unreadable("handle", &error))?;
        let session = URL_SAFE_NO_PAD.decode(&document.session).ok().and_then(|bytes| bytes.try_into().ok());
        Ok(Self {
            digest,
            account,
            session: SecretDigest(session.ok_or_else(|| unreadable("handle", &"a digest"))?),
            client_id: document.client_id,
            scope: document.scope,
            created_at: UnixMs::from_ms(document.created_at),
            ends_at: UnixMs::from_ms(document.ends_at),
        })
    }
}

fn unreadable(what: &str, why: &dyn fmt::Display) -> StoreError {
    StoreError::Damaged(format!("a {what} of the hub cannot be read: {why}"))
}

/// What stands for a session of an identity provider.
pub(super) fn provider_session(issuer: &str, sid: &str) -> [u8; 32] {
    let mut sha = Sha256::new_with_prefix(b"gastank/provider-session/v1");
    for text in [issuer, sid] {
        sha.update((text.len() as u64).to_le_bytes());
        sha.update(text);
    }
    sha.finalize().into()
}

/// What a hub session is called where its digest would say too much: 16 bytes, in base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct HubSessionId([u8; 16]);

impl HubSessionId {
    /// The id of the session with this digest.
    pub fn of(digest: &SecretDigest) -> Self {
        let sha = Sha256::new_with_prefix(b"gastank/hub-session-id/v1").chain_update(digest.0).finalize();
        let mut id = [0; 16];
        id.copy_from_slice(&sha[..16]);
        Self(id)
    }

    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = (text.len() == 22).then(|| URL_SAFE_NO_PAD.decode(text).ok())??;
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for HubSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for HubSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hub-session:{self}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_text_makes_a_device_that_fits_and_reads_back(text: String, sid: Option<String>, seen: Option<u32>) {
            let device = DeviceText::new(&text);
            prop_assert!(device.as_str().len() <= DeviceText::MAX);
            prop_assert!(!device.as_str().chars().any(char::is_control));
            let record = HubSessionRecord {
                digest: SecretDigest::of(&text),
                account: AccountId::from_bytes([1; 16]),
                created_at: UnixMs::from_ms(7),
                ends_at: UnixMs::from_ms(u64::MAX),
                last_seen: UnixMs::from_ms(7).max(UnixMs::from_ms(seen.unwrap_or(0).into())),
                authentication: Authentication::new(Some(UnixMs::from_ms(3)), Some(&text), std::slice::from_ref(&text)),
                issuer: text.clone(),
                provider_sid: sid,
                device,
                epoch: 9,
            };
            let seen = seen.map(|at| UnixMs::from_ms(at.into()));
            let read = HubSessionRecord::from_json(record.account, record.digest, &record.to_json(), seen);
            prop_assert_eq!(read, Ok(record));
        }
    }

    #[test]
    fn claims_that_do_not_fit_are_left_out() {
        let claims = serde_json::json!({
            "name": "Ada", "email": "a".repeat(513), "email_verified": "yes", "picture": "x\ny", "locale": "", "zoneinfo": 7,
        });
        let profile = Profile::from_claims(claims.as_object().unwrap());
        assert_eq!(profile, Profile { name: Some("Ada".to_owned()), ..Profile::default() });
        assert_eq!(Profile::from_json(&profile.to_json()), Ok(profile));
    }

    #[test]
    fn an_id_reads_back_and_does_not_give_the_digest_away() {
        let digest = SecretDigest::of("gts_1_x");
        let id = HubSessionId::of(&digest);
        assert_eq!(HubSessionId::parse(&id.to_string()), Some(id));
        assert!(!digest.as_bytes().starts_with(&id.0));
        assert_eq!(HubSessionId::parse("A"), None);
    }
}
