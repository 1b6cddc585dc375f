//! Tokens: JWT access tokens after RFC 9068, one valid per account.
//!
//! The first claim is `jti`, and it begins with the session's id. Whoever is shown a token finds its session by decoding
//! forty characters, and then knows by a hash whether it is the one that was issued: no public-key work.
//!
//! `sub` is pairwise: another name for the same account at every audience, so that edges cannot tell who it is.

use std::{borrow::Cow, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};

use crate::{
    engine::{AccountId, ListId, StatusIndex, TokenHash, parse_session, session_text},
    time::{Millis, UnixMs},
    wire::{ClusterSecret, SessionId},
};

use super::{
    keyring::Keyring,
    keys::{Algorithm, KeyError, SigningKey},
};

/// The path of the status lists on the public listener.
pub const STATUS_LISTS: &str = "/oauth/status";

/// The type of every token (RFC 9068, 2.1).
const TOKEN_TYPE: &str = "at+jwt";
/// The type of an ID token.
const ID_TOKEN_TYPE: &str = "JWT";
/// Their type, of logout tokens.
const LOGOUT_TOKEN_TYPE: &str = "logout+jwt";
/// How every payload begins; the session's id follows.
const FIRST_CLAIM: &[u8] = br#"{"jti":""#;
/// Characters of base64url that hold [`FIRST_CLAIM`] and a session id.
const HEAD_CHARS: usize = (FIRST_CLAIM.len() + 22) * 4 / 3;

/// Issues tokens.
pub struct Issuer {
    issuer: String,
    client_id: String,
    /// Where the status lists are; a list's id follows.
    lists: String,
    pairwise: ClusterSecret,
    keyring: Arc<Keyring>,
}

/// What a token is to say.
#[derive(Clone, Copy, Debug)]
pub struct TokenRequest<'a> {
    /// The session it is for.
    pub session: SessionId,
    /// Whose it is.
    pub account: AccountId,
    /// The edge it is for.
    pub audience: &'a str,
    /// When it is issued.
    pub now: UnixMs,
    /// How long it may live. Its end is rounded up to where a second of the wall clock begins.
    pub ttl: Millis,
    /// What makes it unlike every other token of the session.
    pub nonce: [u8; 8],
    /// Where its bit is.
    pub status: StatusIndex,
}

/// A token, as it was issued.
#[derive(Clone)]
pub struct Issued {
    /// The token itself.
    pub text: String,
    /// Its hash, to know it by.
    pub hash: TokenHash,
    /// When it expires.
    pub expires_at: UnixMs,
}

/// Who signed a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Provenance {
    /// This service.
    Ours,
    /// Somebody else, or nobody.
    Forged,
    /// It names a key that is not known here. Another node may just have made it.
    UnknownKey,
}

/// What an ID token of this service says, as far as it matters to who is shown it again.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct IdTokenHint {
    iss: String,
    /// Whose it is: an account's id.
    pub sub: String,
    /// The client that it was given to.
    pub aud: String,
    /// The hub session.
    pub sid: String,
}

/// The claims of an access token (RFC 9068, 2.2).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims<'a> {
    /// The session's id, then what makes the token unique. First, see the module's text.
    #[serde(borrow)]
    pub jti: Cow<'a, str>,
    /// Who issued it.
    #[serde(borrow)]
    pub iss: Cow<'a, str>,
    /// The edge it is for.
    #[serde(borrow)]
    pub aud: Cow<'a, str>,
    /// The account's name at that edge.
    #[serde(borrow)]
    pub sub: Cow<'a, str>,
    /// The client it was issued to.
    #[serde(borrow)]
    pub client_id: Cow<'a, str>,
    /// When it was issued, seconds since 1970.
    pub iat: u64,
    /// When it expires, seconds since 1970.
    pub exp: u64,
    /// Where its status is found.
    #[serde(borrow)]
    pub status: StatusClaim<'a>,
}

/// The claim that leads from a token to its status (draft-ietf-oauth-status-list, 6).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusClaim<'a> {
    /// In a status list.
    #[serde(borrow)]
    pub status_list: StatusReference<'a>,
}

/// A place in a status list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReference<'a> {
    /// The index.
    pub idx: u32,
    /// The list's address, which is also its `sub`.
    #[serde(borrow)]
    pub uri: Cow<'a, str>,
}

impl Claims<'_> {
    /// Whether the texts stand in JSON as they are: they were read from there, and had no escapes to be undone.
    pub fn is_verbatim(&self) -> bool {
        let texts = [&self.jti, &self.iss, &self.aud, &self.sub, &self.client_id];
        texts.iter().all(|text| matches!(text, Cow::Borrowed(_)))
    }

    fn into_owned(self) -> Claims<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let StatusReference { idx, uri } = self.status.status_list;
        Claims {
            jti: owned(self.jti),
            iss: owned(self.iss),
            aud: owned(self.aud),
            sub: owned(self.sub),
            client_id: owned(self.client_id),
            iat: self.iat,
            exp: self.exp,
            status: StatusClaim { status_list: StatusReference { idx, uri: owned(uri) } },
        }
    }
}

impl Issuer {
    /// An issuer that goes by the name `issuer`. Its status lists are found at `public_url`, which has no trailing slash.
    pub fn new(issuer: String, client_id: String, public_url: &str, keyring: Arc<Keyring>) -> Self {
        let lists = format!("{public_url}{STATUS_LISTS}/");
        Self { issuer, client_id, lists, pairwise: keyring.pairwise(), keyring }
    }

    /// Its name: the `iss` of every token.
    pub fn name(&self) -> &str {
        &self.issuer
    }

    /// Where a status list is.
    pub fn list_uri(&self, list: &ListId) -> String {
        format!("{}{list}", self.lists)
    }

    /// The keys it signs with.
    pub const fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Signs the claims of an ID token (OpenID Connect Core, 2).
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn sign_id_token(&self, claims: &impl Serialize, now: UnixMs) -> Result<String, KeyError> {
        sign(&self.keyring.signing(now), ID_TOKEN_TYPE, claims, 1024)
    }

    /// Signs the claims of a logout token (OpenID Connect Back-Channel Logout, 2.4).
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn sign_logout_token(&self, claims: &impl Serialize, now: UnixMs) -> Result<String, KeyError> {
        sign(&self.keyring.signing(now), LOGOUT_TOKEN_TYPE, claims, 1024)
    }

    /// The algorithm that tokens are signed with at `now`.
    pub fn algorithm(&self, now: UnixMs) -> Algorithm {
        self.keyring.signing(now).algorithm()
    }

    /// Issues a token.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn issue(&self, request: &TokenRequest<'_>) -> Result<Issued, KeyError> {
        let expires_at = request.now.plus(request.ttl).next_second();
        let claims = Claims {
            jti: format!("{}.{}", session_text(&request.session), URL_SAFE_NO_PAD.encode(request.nonce)).into(),
            iss: (&*self.issuer).into(),
            aud: request.audience.into(),
            sub: self.subject(request.audience, &request.account).into(),
            client_id: (&*self.client_id).into(),
            iat: request.now.as_secs(),
            exp: expires_at.as_secs(),
            status: StatusClaim {
                status_list: StatusReference {
                    idx: request.status.idx,
                    uri: self.list_uri(&request.status.list).into(),
                },
            },
        };
        let text = sign(&self.keyring.signing(request.now), TOKEN_TYPE, &claims, 1024)?;
        Ok(Issued { hash: TokenHash::of(text.as_bytes()), text, expires_at })
    }

    /// What an ID token of this service says, also one that has expired: a client shows it to say who it signs out (OpenID Connect
    /// RP-Initiated Logout 1.0, 2). `None` of any other, and of one whose key is not kept any more.
    pub fn own_id_token(&self, token: &str) -> Option<IdTokenHint> {
        if self.signer(token, ID_TOKEN_TYPE) != Provenance::Ours {
            return None;
        }
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
        let hint: IdTokenHint = serde_json::from_slice(&payload).ok()?;
        (hint.iss == self.issuer).then_some(hint)
    }

    /// Whether this service signed a token. Costs a public-key operation where the token names one of its keys.
    pub fn provenance(&self, token: &str) -> Provenance {
        self.signer(token, TOKEN_TYPE)
    }

    /// Who signed a JWT of the type `wanted`.
    fn signer(&self, token: &str, wanted: &str) -> Provenance {
        #[derive(Deserialize)]
        struct Header<'a> {
            typ: &'a str,
            alg: &'a str,
            kid: &'a str,
        }
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let Some((message, signature)) = token.rsplit_once('.') else { return Provenance::Forged };
        let header = message.split('.').next().filter(|header| header.len() <= MAX_HEADER).and_then(decode);
        let Some(header) = header else { return Provenance::Forged };
        let Ok(Header { typ, alg, kid }) = serde_json::from_slice(&header) else { return Provenance::Forged };
        if typ != wanted {
            return Provenance::Forged;
        }
        let Some(key) = self.keyring.find(kid) else { return Provenance::UnknownKey };
        let ours = alg == key.algorithm().name() && key.verifies(message.as_bytes(), signature);
        if ours { Provenance::Ours } else { Provenance::Forged }
    }

    /// The account's name at an edge.
    fn subject(&self, audience: &str, account: &AccountId) -> String {
        let name = self.pairwise.derive(account.as_bytes(), audience.as_bytes());
        URL_SAFE_NO_PAD.encode(&name[..18])
    }
}

/// The session that a token says it belongs to. Whether it does is for its hash to tell.
pub fn session_of(token: &[u8]) -> Option<SessionId> {
    let dot = token.iter().take(MAX_HEADER).position(|byte| *byte == b'.')?;
    let head = token.get(dot + 1..dot + 1 + HEAD_CHARS)?;
    let mut decoded = [0; FIRST_CLAIM.len() + 22];
    let length = URL_SAFE_NO_PAD.decode_slice(head, &mut decoded).ok()?;
    let text = decoded[..length].strip_prefix(FIRST_CLAIM)?;
    parse_session(std::str::from_utf8(text).ok()?)
}

/// The claims of a token that is known to be ours by its hash.
pub fn claims_of(token: &str) -> Option<Claims<'static>> {
    let payload = token.split('.').nth(1)?;
    let decoded = URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Claims<'_>>(&decoded).ok().map(Claims::into_owned)
}

/// Bytes of payload that [`claims_in`] has room for: three times what is usual.
pub const PAYLOAD: usize = 1024;

/// The same, decoded into `payload`. `None` also if that is too small.
pub fn claims_in<'a>(token: &str, payload: &'a mut [u8; PAYLOAD]) -> Option<Claims<'a>> {
    let encoded = token.split('.').nth(1)?;
    let length = URL_SAFE_NO_PAD.decode_slice(encoded, payload).ok()?;
    let payload = &payload[..length];
    verbatim(payload).or_else(|| serde_json::from_slice(payload).ok())
}

/// Reads a payload to the letter as [`Issuer::issue`] writes it, if nothing in it is escaped.
fn verbatim(payload: &[u8]) -> Option<Claims<'_>> {
    if memchr::memchr(b'\\', payload).is_some() {
        return None;
    }
    let mut rest = Letters(std::str::from_utf8(payload).ok()?);
    let claims = Claims {
        jti: rest.text(r#"{"jti":""#)?,
        iss: rest.text(r#","iss":""#)?,
        aud: rest.text(r#","aud":""#)?,
        sub: rest.text(r#","sub":""#)?,
        client_id: rest.text(r#","client_id":""#)?,
        iat: rest.number(r#","iat":"#)?,
        exp: rest.number(r#","exp":"#)?,
        status: StatusClaim {
            status_list: StatusReference {
                idx: rest.number(r#","status":{"status_list":{"idx":"#)?.try_into().ok()?,
                uri: rest.text(r#","uri":""#)?,
            },
        },
    };
    (rest.0 == "}}}").then_some(claims)
}

/// What of a payload is not read yet.
struct Letters<'a>(&'a str);

impl<'a> Letters<'a> {
    /// The text after `before`, up to its closing quote.
    fn text(&mut self, before: &str) -> Option<Cow<'a, str>> {
        let rest = self.0.strip_prefix(before)?;
        let end = memchr::memchr(b'"', rest.as_bytes())?;
        self.0 = &rest[end + 1..];
        Some(Cow::Borrowed(&rest[..end]))
    }

    /// The digits after `before`.
    fn number(&mut self, before: &str) -> Option<u64> {
        let rest = self.0.strip_prefix(before)?;
        let end = rest.bytes().position(|byte| !byte.is_ascii_digit())?;
        self.0 = &rest[end..];
        rest[..end].parse().ok()
    }
}

/// No header of ours is longer.
const MAX_HEADER: usize = 256;

/// A JWT of type `typ` and about `length` characters.
pub(super) fn sign(
    key: &SigningKey,
    typ: &'static str,
    claims: &impl Serialize,
    length: usize,
) -> Result<String, KeyError> {
    #[derive(Serialize)]
    struct Header<'a> {
        typ: &'static str,
        alg: &'static str,
        kid: &'a str,
    }

    let header = Header { typ, alg: key.algorithm().name(), kid: key.kid() };
    let mut text = String::with_capacity(length);
    URL_SAFE_NO_PAD.encode_string(json(&header), &mut text);
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(json(claims), &mut text);
    let signature = key.sign(text.as_bytes())?;
    text.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut text);
    Ok(text)
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("strings and integers are always JSON")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn claims_are_read_verbatim_as_they_are_read_with_care(
            text in "[ -~é\\n]{0,20}", other in "[a-z:/.]{0,30}", iat: u64, exp: u64, idx: u32,
        ) {
            let claims = Claims {
                jti: "AAAA.b".into(),
                iss: (&*other).into(),
                aud: (&*text).into(),
                sub: "sub".into(),
                client_id: "gastank".into(),
                iat,
                exp,
                status: StatusClaim { status_list: StatusReference { idx, uri: (&*other).into() } },
            };
            let payload = json(&claims);
            if let Some(read) = verbatim(&payload) {
                prop_assert_eq!(&read, &claims);
            } else {
                prop_assert!(payload.contains(&b'\\'), "nothing is escaped");
            }
            let token = format!("x.{}.y", URL_SAFE_NO_PAD.encode(&payload));
            let mut room = [0; PAYLOAD];
            prop_assert_eq!(&claims_in(&token, &mut room).unwrap(), &claims);
            prop_assert_eq!(claims_of(&token).unwrap(), claims);
        }
    }
}
