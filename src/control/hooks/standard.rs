//! Standard Webhooks 1.0: who sent this, and is it what they sent?
//!
//! A message is signed as `id.timestamp.body`, with HMAC-SHA256 (`v1`) or Ed25519 (`v1a`). The body is what came over the
//! wire, byte for byte: to parse it and write it anew would be another message. Several secrets are good at once, and a
//! message may carry several signatures, so that secrets can be changed without losing one.
//!
//! What protects what: the signature binds all three parts. An id or a timestamp with a full stop in it could be cut in
//! two ways, so neither may have one. The timestamp bounds how long a message that somebody recorded is of use; that one
//! is not entered twice is the ledger's doing, by its id. Every secret is tried on every signature, in a time that does
//! not tell how near a wrong one came.

use aws_lc_rs::{
    hmac,
    signature::{ED25519, UnparsedPublicKey},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, STANDARD_NO_PAD},
};
use subtle::{Choice, ConstantTimeEq};
use zeroize::Zeroizing;

use crate::time::{Millis, UnixMs};

/// Bytes of a `webhook-id`.
pub const MAX_ID: usize = 256;
/// Bytes of a `webhook-signature`, which may have one signature for each secret the sender has.
const MAX_SIGNATURES: usize = 4096;
/// Signatures that are looked at.
const MOST_SIGNATURES: usize = 16;
/// Public-key operations for one delivery: two signatures of a sender whose key rotates, against all the keys there may be.
const MOST_VERIFICATIONS: usize = 2 * MOST_KEYS;
/// Digits of a timestamp: some thirty thousand years.
const MAX_DIGITS: usize = 12;
/// Secrets that are good at once.
pub const MOST_KEYS: usize = 16;
/// Bytes of a symmetric secret.
const SECRET_LEN: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a delivery cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The id.
    #[error("`webhook-id` is 1 to {MAX_ID} visible ASCII characters without a full stop")]
    Id,
    /// The timestamp.
    #[error("`webhook-timestamp` is a whole number of seconds since 1970")]
    Timestamp,
    /// The signatures.
    #[error(
        "`webhook-signature` is a list of `version,signature`, separated by spaces, {MAX_SIGNATURES} bytes at most"
    )]
    Signatures,
}

/// Why a delivery is not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// It was sent too long ago, or in the future.
    #[error("the timestamp is too far from now")]
    Untimely,
    /// No signature fits any secret.
    #[error("no signature fits")]
    Unsigned,
}

/// Characters of a sender's name.
const MAX_SENDER: usize = 32;

/// Why a list of secrets cannot be used. Never says what stands there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    /// A line is none of ours.
    #[error("line {0} has neither a `whsec_` nor a `whpk_`")]
    Prefix(usize),
    /// A sender's name cannot be this.
    #[error("line {0} names its sender by other than 1 to {MAX_SENDER} letters, digits, `-` and `_`")]
    Sender(usize),
    /// A private key, which only the sender should have.
    #[error("line {0} is a private key (`whsk_`): it stays with the sender; put the public key (`whpk_`) here")]
    PrivateKey(usize),
    /// Not base64, or of the wrong length.
    #[error("line {0} is not base64 of the right length: 24 to 64 bytes for `whsec_`, 32 bytes for `whpk_`")]
    Length(usize),
    /// More than can be good at once.
    #[error("there are more than {MOST_KEYS} secrets")]
    TooMany,
}

/// The secrets that are good now.
#[derive(Default)]
pub struct Verifier {
    symmetric: Vec<(hmac::Key, Option<Sender>)>,
    public: Vec<([u8; 32], Option<Sender>)>,
}

/// The name of a sender. The ids of its messages are its own; those that have no name share theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sender(String);

impl Sender {
    fn parse(text: &str) -> Option<Self> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        ((1..=MAX_SENDER).contains(&text.len()) && text.bytes().all(legal)).then(|| Self(text.to_owned()))
    }

    /// The name that an entry has by a message of `sender`. No id has a full stop, so that no two messages have one name.
    pub fn entry_name(sender: Option<&Self>, id: &str) -> String {
        sender.map_or_else(|| id.to_owned(), |Self(name)| format!("{name}.{id}"))
    }
}

/// What the headers of a delivery say.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    id: &'a str,
    timestamp: &'a str,
    signatures: &'a str,
    sent_s: u64,
}

impl Verifier {
    /// Reads secrets, one a line: `whsec_` and 24 to 64 bytes, or `whpk_` and an Ed25519 public key, in base64. The sender's
    /// name may stand before it. Empty lines and lines that begin with `#` are skipped.
    ///
    /// # Errors
    ///
    /// [`SecretError`], with the number of the line.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let mut verifier = Self::default();
        // Some editors put a byte order mark before what they save.
        let text = text.trim_start_matches('\u{feff}');
        for (line, number) in text.lines().map(str::trim).zip(1..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (sender, line) = match line.split_once(char::is_whitespace) {
                None => (None, line),
                Some((name, rest)) => {
                    (Some(Sender::parse(name).ok_or(SecretError::Sender(number))?), rest.trim_start())
                }
            };
            if let Some(secret) = line.strip_prefix("whsec_") {
                let secret = decode(secret).filter(|secret| SECRET_LEN.contains(&secret.len()));
                let secret = secret.ok_or(SecretError::Length(number))?;
                verifier.symmetric.push((hmac::Key::new(hmac::HMAC_SHA256, &secret), sender));
            } else if let Some(key) = line.strip_prefix("whpk_") {
                let key = decode(key).and_then(|key| key.as_slice().try_into().ok());
                verifier.public.push((key.ok_or(SecretError::Length(number))?, sender));
            } else if line.starts_with("whsk_") {
                return Err(SecretError::PrivateKey(number));
            } else {
                return Err(SecretError::Prefix(number));
            }
        }
        if verifier.len() > MOST_KEYS { Err(SecretError::TooMany) } else { Ok(verifier) }
    }

    /// How many secrets there are.
    pub const fn len(&self) -> usize {
        self.symmetric.len() + self.public.len()
    }

    /// Whether there are none: nothing can be accepted.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Accepts a delivery that one of the secrets signed, sent no more than `tolerance` before or after `now`. Both count
    /// in whole seconds. Answers who sent it, by the secret's name.
    ///
    /// # Errors
    ///
    /// [`Rejected`].
    pub fn verify(
        &self,
        delivery: &Delivery<'_>,
        body: &[u8],
        now: UnixMs,
        tolerance: Millis,
    ) -> Result<Option<&Sender>, Rejected> {
        if !delivery.is_timely(now, tolerance) {
            return Err(Rejected::Untimely);
        }
        let parts = [delivery.id.as_bytes(), b".", delivery.timestamp.as_bytes(), b".", body];
        let (symmetric, public) = (self.symmetric_signer(delivery, &parts), self.public_signer(delivery, &parts));
        symmetric.or(public).ok_or(Rejected::Unsigned)
    }

    fn symmetric_signer(&self, delivery: &Delivery<'_>, parts: &[&[u8]]) -> Option<Option<&Sender>> {
        let signatures: Vec<[u8; 32]> = delivery.signatures("v1").collect();
        if signatures.is_empty() {
            return None;
        }
        // Every key and every signature is compared before any is looked for that fitted.
        let fits: Vec<(Choice, Option<&Sender>)> = self
            .symmetric
            .iter()
            .map(|(key, sender)| {
                let mut context = hmac::Context::with_key(key);
                parts.iter().for_each(|part| context.update(part));
                let tag = context.sign();
                let none = Choice::from(0);
                (signatures.iter().fold(none, |fits, signature| fits | tag.as_ref().ct_eq(signature)), sender.as_ref())
            })
            .collect();
        fits.into_iter().find(|(fits, _)| bool::from(*fits)).map(|(_, sender)| sender)
    }

    fn public_signer(&self, delivery: &Delivery<'_>, parts: &[&[u8]]) -> Option<Option<&Sender>> {
        let signatures: Vec<[u8; 64]> = delivery.signatures("v1a").collect();
        if signatures.is_empty() || self.public.is_empty() {
            return None;
        }
        let signed = parts.concat();
        let pairs = signatures.iter().flat_map(|signature| self.public.iter().map(move |signer| (signer, signature)));
        let mut pairs = pairs.take(MOST_VERIFICATIONS);
        let signed_by = |key: &[u8; 32], signature: &[u8; 64]| {
            UnparsedPublicKey::new(&ED25519, key).verify(&signed, signature).is_ok()
        };
        let signer = pairs.find(|((key, _), signature)| signed_by(key, signature));
        signer.map(|((_, sender), _)| sender.as_ref())
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({} secrets)", self.len())
    }
}

impl<'a> Delivery<'a> {
    /// Reads the headers `webhook-id`, `webhook-timestamp` and `webhook-signature`, each of which there is one of.
    ///
    /// # Errors
    ///
    /// [`Malformed`].
    pub fn parse(id: &'a str, timestamp: &'a str, signatures: &'a str) -> Result<Self, Malformed> {
        let legal = (1..=MAX_ID).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'.');
        if !legal {
            return Err(Malformed::Id);
        }
        let digits = (1..=MAX_DIGITS).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
        let sent_s = timestamp.parse().ok().filter(|_| digits).ok_or(Malformed::Timestamp)?;
        if signatures.len() > MAX_SIGNATURES || !signatures.contains(',') {
            return Err(Malformed::Signatures);
        }
        Ok(Self { id, timestamp, signatures, sent_s })
    }

    /// Whether it was sent no more than `tolerance` before or after `now`, in whole seconds.
    pub fn is_timely(&self, now: UnixMs, tolerance: Millis) -> bool {
        now.as_secs().abs_diff(self.sent_s) <= tolerance.as_secs()
    }

    /// The message's id: the same at every attempt to deliver it.
    pub const fn id(&self) -> &'a str {
        self.id
    }

    /// The signatures of a version. Others, and what is none, are passed over: a sender may have newer ones.
    fn signatures<const LEN: usize>(&self, version: &str) -> impl Iterator<Item = [u8; LEN]> {
        let listed = self.signatures.split(' ').filter(|item| !item.is_empty()).take(MOST_SIGNATURES);
        listed.filter_map(move |item| {
            let (of, signature) = item.split_once(',')?;
            if of != version {
                return None;
            }
            STANDARD.decode(signature).ok()?.try_into().ok()
        })
    }
}

/// Base64, with or without its padding.
fn decode(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    STANDARD_NO_PAD.decode(text.trim_end_matches('=')).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use proptest::prelude::*;

    use super::*;

    const TOLERANCE: Millis = Millis::from_secs(300);
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SENT: &str = "1614265330";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const SIGNATURE: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
    const NOW: UnixMs = UnixMs::from_ms(1_614_265_330_000);

    fn check(verifier: &Verifier, id: &str, sent: &str, signatures: &str, body: &[u8]) -> Result<(), Rejected> {
        verifier.verify(&Delivery::parse(id, sent, signatures).unwrap(), body, NOW, TOLERANCE).map(drop)
    }

    fn sign(secret: &[u8], id: &str, sent: &str, body: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", sent.as_bytes(), b".", body].concat();
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), &signed);
        format!("v1,{}", STANDARD.encode(tag))
    }

    fn pair(seed: [u8; 32]) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).unwrap();
        let public = format!("whpk_{}", STANDARD.encode(pair.public_key()));
        (pair, public)
    }

    fn sign_publicly(pair: &Ed25519KeyPair, id: &str, sent: &str, body: &[u8]) -> String {
        let signed = [id.as_bytes(), b".", sent.as_bytes(), b".", body].concat();
        format!("v1a,{}", STANDARD.encode(pair.sign(&signed)))
    }

    #[test]
    fn the_standards_own_vector_is_accepted() {
        let verifier = Verifier::parse(SECRET).unwrap();
        assert_eq!(check(&verifier, ID, SENT, SIGNATURE, BODY), Ok(()));
        let others = format!("v1,AAAA v2,whatever {SIGNATURE}  v1a,{}", STANDARD.encode([7; 64]));
        assert_eq!(check(&verifier, ID, SENT, &others, BODY), Ok(()));
        assert_eq!(check(&verifier, ID, SENT, SIGNATURE, br#"{"test":2432232314}"#), Err(Rejected::Unsigned));
    }

    #[test]
    fn the_tolerance_counts_both_ways_to_the_second() {
        let verifier = Verifier::parse(SECRET).unwrap();
        let delivery = Delivery::parse(ID, SENT, SIGNATURE).unwrap();
        let at = |ms: u64| verifier.verify(&delivery, BODY, UnixMs::from_ms(ms), TOLERANCE).map(drop);
        let sent = NOW.as_ms();
        assert_eq!(at(sent + 300_999), Ok(()));
        assert_eq!(at(sent + 301_000), Err(Rejected::Untimely));
        assert_eq!(at(sent - 300_000), Ok(()));
        assert_eq!(at(sent - 300_001), Err(Rejected::Untimely));
        assert_eq!(at(0), Err(Rejected::Untimely));
        assert_eq!(at(u64::MAX), Err(Rejected::Untimely));
    }

    #[test]
    fn every_secret_of_the_list_is_good() {
        let (pair, public) = pair([3; 32]);
        let (old, new) = ([1; 24], [2; 64]);
        let text =
            format!("# old\nwhsec_{}\n\n  whsec_{}  \r\n{public}\n", STANDARD.encode(old), STANDARD_NO_PAD.encode(new));
        let verifier = Verifier::parse(&text).unwrap();
        assert_eq!(verifier.len(), 3);
        for signature in
            [sign(&old, "a", SENT, b"x"), sign(&new, "a", SENT, b"x"), sign_publicly(&pair, "a", SENT, b"x")]
        {
            assert_eq!(check(&verifier, "a", SENT, &signature, b"x"), Ok(()), "{signature}");
            assert_eq!(check(&Verifier::default(), "a", SENT, &signature, b"x"), Err(Rejected::Unsigned));
            let renamed = signature.replacen("v1a,", "v1;", 1).replacen("v1,", "v1a,", 1).replacen("v1;", "v1,", 1);
            assert_eq!(check(&verifier, "a", SENT, &renamed, b"x"), Err(Rejected::Unsigned), "{renamed}");
        }
        assert_eq!(check(&verifier, "a", SENT, &sign(&[9; 32], "a", SENT, b"x"), b"x"), Err(Rejected::Unsigned));
    }

    #[test]
    fn a_message_is_of_the_sender_that_its_secret_is_named_for() {
        let (pair, public) = pair([3; 32]);
        let [one, other, nobody] = [[1; 24], [2; 24], [4; 24]];
        let of = |secret: &[u8]| format!("whsec_{}", STANDARD.encode(secret));
        let text = format!("shop-a {}\n  shop_b\t{}\nshop_b {public}\n{}\n", of(&one), of(&other), of(&nobody));
        let verifier = Verifier::parse(&text).unwrap();
        let name = |signature: &str| {
            let delivery = Delivery::parse(ID, SENT, signature).unwrap();
            let sender = verifier.verify(&delivery, BODY, NOW, TOLERANCE).unwrap();
            Sender::entry_name(sender, ID)
        };
        assert_eq!(name(&sign(&one, ID, SENT, BODY)), format!("shop-a.{ID}"));
        assert_eq!(name(&sign(&other, ID, SENT, BODY)), format!("shop_b.{ID}"));
        assert_eq!(name(&sign_publicly(&pair, ID, SENT, BODY)), format!("shop_b.{ID}"));
        assert_eq!(name(&sign(&nobody, ID, SENT, BODY)), ID);
        let long = "a".repeat(MAX_SENDER + 1);
        for bad in ["a.b", "shop:", "\u{e9}", &long] {
            assert_eq!(Verifier::parse(&format!("{bad} {}", of(&one))).unwrap_err(), SecretError::Sender(1), "{bad}");
        }
        assert_eq!(Verifier::parse("shop hunter2").unwrap_err(), SecretError::Prefix(1));
    }

    #[test]
    fn secrets_that_cannot_be_are_named_by_their_line_and_not_repeated() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        assert!(Verifier::parse(&of(24)).is_ok() && Verifier::parse(&of(64)).is_ok());
        assert_eq!(Verifier::parse(&of(23)).unwrap_err(), SecretError::Length(1));
        assert_eq!(Verifier::parse(&format!("\n{}", of(65))).unwrap_err(), SecretError::Length(2));
        assert_eq!(Verifier::parse("whsec_hunter2!!").unwrap_err(), SecretError::Length(1));
        assert_eq!(Verifier::parse("whpk_AAAA").unwrap_err(), SecretError::Length(1));
        assert_eq!(Verifier::parse("#\nhunter2").unwrap_err(), SecretError::Prefix(2));
        assert_eq!(Verifier::parse("whsk_AAAA").unwrap_err(), SecretError::PrivateKey(1));
        assert_eq!(Verifier::parse(&format!("{}\n", of(32)).repeat(17)).unwrap_err(), SecretError::TooMany);
        assert!(Verifier::parse("").unwrap().is_empty());
        assert_eq!(Verifier::parse(&format!("\u{feff}{}", of(32))).unwrap().len(), 1, "a byte order mark is no secret");
    }

    #[test]
    fn headers_that_cannot_be_are_refused() {
        let long = "a".repeat(MAX_ID + 1);
        for id in ["", "a b", "a.b", "a\u{e9}", "a\n", &long] {
            assert_eq!(Delivery::parse(id, SENT, SIGNATURE).unwrap_err(), Malformed::Id, "{id}");
        }
        for sent in ["", "-1", "+1", "1e9", "1614265330.5", " 1614265330", "0x10", "1234567890123"] {
            assert_eq!(Delivery::parse(ID, sent, SIGNATURE).unwrap_err(), Malformed::Timestamp, "{sent}");
        }
        let long = format!("v1,{}", "A".repeat(MAX_SIGNATURES));
        for signatures in ["", "v1", "v1 v2", &long] {
            assert_eq!(Delivery::parse(ID, SENT, signatures).unwrap_err(), Malformed::Signatures, "{signatures}");
        }
    }

    proptest! {
        #[test]
        fn what_was_signed_is_accepted_and_nothing_else(
            secret in prop::collection::vec(any::<u8>(), SECRET_LEN),
            seed: [u8; 32],
            id in "[!-\\-/-~]{1,40}",
            body in prop::collection::vec(any::<u8>(), 0..200),
            publicly: bool,
            place: prop::sample::Index,
            bit in 0..8u8,
            what in 0..4u8,
        ) {
            let (pair, public) = pair(seed);
            let verifier = Verifier::parse(&format!("whsec_{}\n{public}", STANDARD.encode(&secret))).unwrap();
            let signature =
                if publicly { sign_publicly(&pair, &id, SENT, &body) } else { sign(&secret, &id, SENT, &body) };
            prop_assert_eq!(check(&verifier, &id, SENT, &signature, &body), Ok(()));

            let flip = |bytes: &mut [u8]| if !bytes.is_empty() { bytes[place.index(bytes.len())] ^= 1 << bit };
            let (mut other_id, mut other_sent) = (id.clone().into_bytes(), SENT.as_bytes().to_vec());
            let (mut other_signature, mut other_body) = (signature.clone().into_bytes(), body.clone());
            match what {
                0 => flip(&mut other_id),
                1 => flip(&mut other_sent),
                2 => flip(&mut other_signature),
                _ if body.is_empty() => other_body.push(0),
                _ => flip(&mut other_body),
            }
            let (Ok(other_id), Ok(other_sent), Ok(other_signature)) = (
                String::from_utf8(other_id), String::from_utf8(other_sent), String::from_utf8(other_signature),
            ) else { return Ok(()) };
            let Ok(delivery) = Delivery::parse(&other_id, &other_sent, &other_signature) else { return Ok(()) };
            let now = UnixMs::from_ms(delivery.sent_s * 1000);
            prop_assert!(verifier.verify(&delivery, &other_body, now, TOLERANCE).is_err());
        }

        #[test]
        fn no_headers_and_no_body_do_any_harm(id: String, sent: String, signatures: String, body: Vec<u8>) {
            let verifier = Verifier::parse(SECRET).unwrap();
            if let Ok(delivery) = Delivery::parse(&id, &sent, &signatures) {
                prop_assert!(verifier.verify(&delivery, &body, NOW, TOLERANCE).is_err());
            }
        }
    }
}
