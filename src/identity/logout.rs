//! Logout tokens (OpenID Connect Back-Channel Logout 1.0, 2.4): a provider tells that somebody has signed out there.
//!
//! Pure, as [`verify`](super::verify) is. What tells them from ID tokens, which the same keys sign for the same client, is that they
//! have `events`, and no `nonce`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de::IgnoredAny};
use serde_json::Value;

use super::verify::{
    Algorithm, Fault, Key, MAX_TOKEN, NumericDate, OneOrMany, Opened, Rules, SignedWith, is_subject, open,
};
use crate::time::{Millis, UnixMs};

/// The event that each of them has.
const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old one may be, beside what the clocks may differ by.
const FRESH: Millis = Millis::from_secs(300);
/// For how long one may be shown again, by the widest difference of clocks that may be configured.
pub(super) const COUNTS_FOR: Millis = Millis::from_secs(3600);
/// Bytes of `sid` and `jti`.
const MAX_NAME: usize = 256;

/// What a provider told of a sign-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderLogout {
    /// The provider.
    pub issuer: String,
    /// What it calls this message.
    pub jti: String,
    /// Who has signed out.
    pub of: LoggedOut,
    /// For how long this message is to be remembered: afterwards it is too old.
    pub counts_for: Millis,
}

/// Who has signed out at a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoggedOut {
    /// One session.
    Session {
        /// What the provider calls it.
        sid: String,
        /// Whose it is, if that was said (`sub`).
        subject: Option<String>,
    },
    /// A person, everywhere (`sub` alone).
    Person(String),
}

/// A logout token whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct UnverifiedLogout<'a>(Opened<'a, Payload>);

#[derive(Debug, Deserialize)]
struct Payload {
    iss: String,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    iat: NumericDate,
    /// Some providers send none.
    exp: Option<NumericDate>,
    jti: String,
    sid: Option<String>,
    #[serde(default)]
    events: BTreeMap<String, Value>,
    #[serde(default, deserialize_with = "present")]
    nonce: bool,
}

impl<'a> UnverifiedLogout<'a> {
    pub(super) fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_TOKEN { Err(Fault::TooLong) } else { open(token).map(Self) }
    }

    /// Who says to have issued it.
    pub(super) fn issuer(&self) -> &str {
        &self.0.payload.iss
    }

    /// Holds everything but the signature against the rules of the provider's ID tokens. Answers what signed it, if it did.
    pub(super) fn check(&self, rules: &Rules, now: UnixMs) -> Result<SignedWith<'_>, Fault> {
        let Opened { header, payload, .. } = &self.0;
        let algorithm = header.allowed(&rules.algorithms)?;
        let types = ["logout+jwt", "application/logout+jwt", "jwt", "application/jwt"];
        if !header.typ().is_none_or(|typ| types.iter().any(|known| typ.eq_ignore_ascii_case(known))) {
            return Err(Fault::Type);
        }
        if payload.iss != rules.issuer {
            return Err(Fault::Issuer);
        }
        if !payload.aud.as_ref().is_some_and(|aud| aud.names(&rules.audience)) {
            return Err(Fault::Audience);
        }
        if !payload.events.get(EVENT).is_some_and(Value::is_object) {
            return Err(Fault::Event);
        }
        if payload.nonce || !is_name(&payload.jti) {
            return Err(Fault::Claims);
        }
        if payload.iat.instant() > now.plus(rules.leeway) {
            return Err(Fault::NotYet);
        }
        let is_stale = now.since(payload.iat.instant()) > FRESH.plus(rules.leeway);
        if is_stale || payload.exp.is_some_and(|exp| now >= exp.instant().plus(rules.leeway)) {
            return Err(Fault::Expired);
        }
        self.of()?;
        Ok(SignedWith { algorithm, kid: header.kid()? })
    }

    /// Looks for the signature of one of `keys`. To be asked after [`Self::check`].
    pub(super) fn verify(self, with: Algorithm, keys: &[Key]) -> Result<ProviderLogout, Fault> {
        if !keys.iter().any(|key| key.verifies(with, self.0.message, self.0.signature)) {
            return Err(Fault::Signature);
        }
        let of = self.of()?;
        let Payload { iss, jti, .. } = self.0.payload;
        Ok(ProviderLogout { issuer: iss, jti, of, counts_for: COUNTS_FOR })
    }

    fn of(&self) -> Result<LoggedOut, Fault> {
        let Payload { sub, sid, .. } = &self.0.payload;
        if sub.as_ref().is_some_and(|sub| !is_subject(sub)) {
            return Err(Fault::Subject);
        }
        match (sid, sub) {
            (Some(sid), subject) if is_name(sid) => {
                Ok(LoggedOut::Session { sid: sid.clone(), subject: subject.clone() })
            }
            (None, Some(sub)) => Ok(LoggedOut::Person(sub.clone())),
            _ => Err(Fault::Subject),
        }
    }
}

fn is_name(text: &str) -> bool {
    (1..=MAX_NAME).contains(&text.len()) && !text.chars().any(char::is_control)
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

#[cfg(test)]
mod tests {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    use serde_json::json;

    use super::*;
    use crate::{
        control::keys::SigningKey,
        identity::{
            RequiredScopes,
            verify::{AudienceClaim, Jwk, TokenType},
        },
    };

    const NOW: UnixMs = UnixMs::from_ms(1_700_000_000_000);

    fn rules() -> Rules {
        Rules {
            issuer: "https://id.example".to_owned(),
            audience: "hub".to_owned(),
            audience_claim: AudienceClaim::Audience,
            scope: RequiredScopes::new(""),
            algorithms: Algorithm::ALL.to_vec(),
            types: TokenType::ALL.to_vec(),
            leeway: Millis::from_secs(60),
        }
    }

    fn header() -> Value {
        json!({"alg": "ES256", "typ": "logout+jwt", "kid": "k"})
    }

    fn claims() -> Value {
        json!({
            "iss": "https://id.example", "aud": "hub", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 120, "jti": "j-1",
            "sub": "ada", "sid": "s-1", "events": {EVENT: {}},
        })
    }

    fn compact(header: &Value, claims: &Value) -> String {
        let part = |json: &Value| URL_SAFE_NO_PAD.encode(json.to_string());
        format!("{}.{}.AA", part(header), part(claims))
    }

    fn checked(header: &Value, claims: &Value, now: UnixMs) -> Result<LoggedOut, Fault> {
        let token = compact(header, claims);
        let token = UnverifiedLogout::parse(&token)?;
        token.check(&rules(), now)?;
        token.of()
    }

    fn but(name: &str, value: Value) -> Result<LoggedOut, Fault> {
        let mut claims = claims();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        checked(&header(), &claims, NOW)
    }

    #[test]
    fn a_logout_is_of_one_session_or_of_a_person_everywhere() {
        let session = |subject: Option<&str>| {
            Ok(LoggedOut::Session { sid: "s-1".to_owned(), subject: subject.map(ToOwned::to_owned) })
        };
        assert_eq!(but("x", json!(1)), session(Some("ada")));
        assert_eq!(but("sub", Value::Null), session(None));
        assert_eq!(but("sid", Value::Null), Ok(LoggedOut::Person("ada".to_owned())));
        assert_eq!(but("exp", Value::Null), session(Some("ada")), "some providers send no exp");
        assert_eq!(but("aud", json!(["other", "hub"])), session(Some("ada")));
        for typ in ["JWT", "application/logout+jwt"] {
            assert!(checked(&json!({"alg": "ES256", "typ": typ}), &claims(), NOW).is_ok(), "{typ}");
        }
    }

    #[test]
    fn what_is_no_fresh_logout_token_for_us_is_refused() {
        for (name, value, fault) in [
            ("iss", json!("https://evil.example"), Fault::Issuer),
            ("aud", json!("other"), Fault::Audience),
            ("aud", Value::Null, Fault::Audience),
            ("nonce", json!("n"), Fault::Claims),
            ("nonce", json!(""), Fault::Claims),
            ("jti", Value::Null, Fault::Claims),
            ("jti", json!(""), Fault::Claims),
            ("jti", json!("j".repeat(257)), Fault::Claims),
            ("events", Value::Null, Fault::Event),
            ("events", json!({}), Fault::Event),
            ("events", json!({EVENT: "yes"}), Fault::Event),
            ("events", json!({"https://schemas.accounts.firefox.com/event/delete-user": {}}), Fault::Event),
            ("iat", Value::Null, Fault::Claims),
            ("iat", json!(NOW.as_secs() + 61), Fault::NotYet),
            ("iat", json!(NOW.as_secs() - 361), Fault::Expired),
            ("exp", json!(NOW.as_secs() - 60), Fault::Expired),
            ("sid", json!(""), Fault::Subject),
        ] {
            assert_eq!(but(name, value.clone()), Err(fault), "{name} {value}");
        }
        let mut nobody = claims();
        nobody["sid"] = json!(null);
        nobody["sub"] = json!(null);
        assert_eq!(checked(&header(), &nobody, NOW), Err(Fault::Subject));
        for (alg, typ, fault) in [
            ("none", "logout+jwt", Fault::Algorithm),
            ("HS256", "logout+jwt", Fault::Algorithm),
            ("ES256", "at+jwt", Fault::Type),
            ("ES256", "secevent+jwt", Fault::Type),
        ] {
            assert_eq!(checked(&json!({"alg": alg, "typ": typ}), &claims(), NOW), Err(fault), "{alg} {typ}");
        }
        // An ID token, which the same key has signed for the same client.
        let id_token = json!({"iss": "https://id.example", "aud": "hub", "iat": NOW.as_secs(), "exp": NOW.as_secs() + 600,
            "sub": "ada", "sid": "s-1", "jti": "j", "nonce": "n"});
        assert_eq!(checked(&json!({"alg": "ES256"}), &id_token, NOW), Err(Fault::Event));
    }

    #[test]
    fn only_the_providers_key_signs() {
        let made = || SigningKey::generate(crate::control::keys::Algorithm::ES256).unwrap().0;
        let (key, stranger) = (made(), made());
        let jwk: Jwk = serde_json::from_value(serde_json::to_value(key.public()).unwrap()).unwrap();
        let keys = [Key::of(&jwk).unwrap()];
        let unsigned = compact(&header(), &claims());
        let message = unsigned.rsplit_once('.').unwrap().0;
        for (signer, good) in [(&key, true), (&stranger, false)] {
            let signature = URL_SAFE_NO_PAD.encode(signer.sign(message.as_bytes()).unwrap());
            let token = format!("{message}.{signature}");
            let told = UnverifiedLogout::parse(&token).unwrap().verify(Algorithm::ES256, &keys);
            assert_eq!(told.map(|told| told.jti), if good { Ok("j-1".to_owned()) } else { Err(Fault::Signature) });
        }
    }
}
