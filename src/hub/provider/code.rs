//! Authorization codes: sealed, so that giving one out writes nothing. That one has been redeemed is a row.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::{
    control::seal::{open, seal},
    engine::SecretRing,
    store::SecretDigest,
    time::{Millis, UnixMs},
};

/// How long a code may be redeemed.
pub(super) const LIFETIME: Millis = Millis::from_secs(60);
/// Characters of a code, at most.
const MAX_CHARS: usize = 4096;
const CONTEXT: &str = "gastank/code/v1";

/// What a client asked for, and for whom it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Grant {
    /// The client.
    pub(super) client_id: String,
    /// Where the code was sent to, as the client asked.
    pub(super) redirect_uri: String,
    /// What the verifier is to hash to (S256).
    pub(super) challenge: String,
    /// The hub session, by its digest.
    pub(super) session: [u8; 32],
    /// What it will be good for.
    pub(super) scope: String,
    /// The client's own, for the ID token.
    pub(super) nonce: Option<String>,
    /// When it was given out, in milliseconds since 1970.
    pub(super) issued_at: u64,
}

/// A code, and what it says.
pub(super) struct Code {
    pub(super) grant: Grant,
    /// What it is known by once it has been redeemed.
    pub(super) digest: SecretDigest,
}

impl Grant {
    pub(super) fn new(session: SecretDigest, now: UnixMs) -> Self {
        Self {
            client_id: String::new(),
            redirect_uri: String::new(),
            challenge: String::new(),
            session: *session.as_bytes(),
            scope: String::new(),
            nonce: None,
            issued_at: now.as_ms(),
        }
    }

    pub(super) const fn session(&self) -> SecretDigest {
        SecretDigest::from_bytes(self.session)
    }

    /// The code.
    pub(super) fn seal(&self, secrets: &SecretRing) -> String {
        let (id, secret) = secrets.current();
        let plain = serde_json::to_vec(self).expect("text and numbers are always JSON");
        URL_SAFE_NO_PAD.encode(seal(id, secret, CONTEXT, &plain))
    }

    /// Whether this verifier belongs to the challenge (RFC 7636, 4.6).
    pub(super) fn is_verified_by(&self, verifier: &str) -> bool {
        let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier));
        is_verifier(verifier) && bool::from(hash.as_bytes().ct_eq(self.challenge.as_bytes()))
    }
}

impl Code {
    /// Opens a code. `None` of what is none, or is older than it may be.
    pub(super) fn open(text: &str, secrets: &SecretRing, now: UnixMs) -> Option<Self> {
        if text.len() > MAX_CHARS {
            return None;
        }
        let sealed = URL_SAFE_NO_PAD.decode(text).ok()?;
        let plain = open(|id| secrets.find(id), CONTEXT, &sealed).ok()?;
        let grant: Grant = serde_json::from_slice(&plain).ok()?;
        let issued_at = UnixMs::from_ms(grant.issued_at);
        (now.since(issued_at) < LIFETIME && issued_at.since(now) < LIFETIME)
            .then(|| Self { digest: SecretDigest::of(text), grant })
    }
}

/// Whether a text may be a verifier, or a challenge (RFC 7636, 4.1 and 4.2).
pub(super) fn is_verifier(text: &str) -> bool {
    (43..=128).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{ClusterSecret, SecretId};

    #[test]
    fn a_code_opens_for_a_minute_and_with_the_secret_alone() {
        let ring = |byte| SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([byte; 32]));
        let now = UnixMs::from_ms(1_700_000_000_000);
        let grant = Grant { client_id: "c".to_owned(), ..Grant::new(SecretDigest::of("s"), now) };
        let code = grant.seal(&ring(1));
        let opened = Code::open(&code, &ring(1), now.plus(Millis::new(59_999))).unwrap();
        assert_eq!((opened.grant, opened.digest), (grant, SecretDigest::of(&code)));
        assert!(Code::open(&code, &ring(1), now.plus(LIFETIME)).is_none(), "a minute has passed");
        assert!(Code::open(&code, &ring(2), now).is_none(), "another secret");
        assert!(Code::open(&code[1..], &ring(1), now).is_none());
        assert!(Code::open(&"A".repeat(5000), &ring(1), now).is_none());
    }

    #[test]
    fn only_the_verifier_of_the_challenge_will_do() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let grant = Grant {
            challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
            ..Grant::new(SecretDigest::of("s"), UnixMs::from_ms(0))
        };
        assert!(grant.is_verified_by(verifier));
        for wrong in ["", &grant.challenge, &verifier[1..], &format!("{verifier}A")] {
            assert!(!grant.is_verified_by(wrong), "{wrong}");
        }
    }
}
