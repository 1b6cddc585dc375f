//! Security event tokens (RFC 8417): what an identity provider tells of a person, in the way of Firefox Accounts.
//!
//! Pure, as [`verify`](super::verify) is: what is cheap is looked at first, the signature last, and what the events say
//! only then. A token of one kind cannot pass for the other: identity tokens have no `events`, and these have neither to
//! have an end nor to say their type.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::verify::{Algorithm, Fault, Header, Key, NumericDate, OneOrMany, Opened, SignedWith, is_subject, open};
use crate::time::{Millis, UnixMs};

/// How the names of Firefox Accounts' events begin.
const NAMESPACE: &str = "https://schemas.accounts.firefox.com/event/";
/// Events of one token.
const MAX_EVENTS: usize = 16;
/// Capabilities of one event.
const MAX_CAPABILITIES: usize = 64;
/// Bytes of a capability's name.
pub const MAX_CAPABILITY: usize = 256;
/// Characters of a token.
pub(super) const MAX_SET: usize = 16 * 1024;

/// What an event token of a provider must be.
#[derive(Clone, Debug)]
pub(super) struct SetRules {
    /// Who issued it, to the letter.
    pub(super) issuer: String,
    /// Whom it is for: our client id.
    pub(super) audience: String,
    /// The algorithms that may have signed it.
    pub(super) algorithms: Vec<Algorithm>,
    /// How far the provider's clock may be from ours.
    pub(super) leeway: Millis,
}

/// What a provider told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What happened.
    pub kind: EventKind,
    /// What tells it from other events about the same person: of its name and all it says. When it was sent and under which
    /// id is made anew at every attempt, and is no part of it.
    pub digest: [u8; 16],
}

/// What happened to a person at the provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// They changed their password.
    PasswordChanged {
        /// When, by the provider's clock.
        at: UnixMs,
    },
    /// They changed what others may know of them.
    ProfileChanged,
    /// They subscribed to something, or do no longer.
    SubscriptionChanged {
        /// What.
        capabilities: Vec<String>,
        /// Whether they have it.
        active: bool,
        /// Since when, by the provider's clock.
        at: UnixMs,
    },
    /// They are gone, for good.
    Deleted,
    /// Something without effect here.
    Other,
}

/// An event token that has been read and whose signature has not been looked at.
#[derive(Debug)]
pub(super) struct UnverifiedSet<'a>(Opened<'a, Payload>);

#[derive(Debug, Deserialize)]
struct Payload {
    iss: String,
    sub: Option<String>,
    aud: Option<OneOrMany>,
    iat: NumericDate,
    exp: Option<NumericDate>,
    events: BTreeMap<String, Value>,
}

/// A time and what else events of Firefox Accounts say.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Change {
    change_time: ChangeTime,
    #[serde(default)]
    capabilities: Vec<String>,
    is_active: Option<bool>,
}

/// Milliseconds since 1970, as a number of any kind; or seconds, which Firefox Accounts has been seen to send of a change
/// of the password. The two are told apart by their size.
#[derive(Deserialize)]
#[serde(try_from = "f64")]
struct ChangeTime(UnixMs);

impl<'a> UnverifiedSet<'a> {
    /// Reads an event token in compact form.
    pub(super) fn parse(token: &'a str) -> Result<Self, Fault> {
        if token.len() > MAX_SET {
            return Err(Fault::TooLong);
        }
        let opened = open::<Payload>(token)?;
        let events = opened.payload.events.len();
        if (1..=MAX_EVENTS).contains(&events) { Ok(Self(opened)) } else { Err(Fault::Claims) }
    }

    /// Who says to have issued it.
    pub(super) fn issuer(&self) -> &str {
        &self.0.payload.iss
    }

    /// Holds everything but the signature and the events against the rules. Answers what signed it, if it did.
    pub(super) fn check(&self, rules: &SetRules, now: UnixMs) -> Result<SignedWith<'_>, Fault> {
        let Opened { header, payload, .. } = &self.0;
        let algorithm = header.allowed(&rules.algorithms)?;
        if !is_event_type(header) {
            return Err(Fault::Type);
        }
        if payload.iss != rules.issuer {
            return Err(Fault::Issuer);
        }
        if !payload.aud.as_ref().is_some_and(|aud| aud.names(&rules.audience)) {
            return Err(Fault::Audience);
        }
        if payload.iat.instant() > now.plus(rules.leeway) {
            return Err(Fault::NotYet);
        }
        if payload.exp.is_some_and(|exp| now >= exp.instant().plus(rules.leeway)) {
            return Err(Fault::Expired);
        }
        self.subject()?;
        Ok(SignedWith { algorithm, kid: header.kid()? })
    }

    /// Looks at the signature, and answers whom the events are about and what they are. To be asked after [`Self::check`].
    pub(super) fn verify(
        self,
        algorithm: Algorithm,
        keys: &[Key],
        rules: &SetRules,
        now: UnixMs,
    ) -> Result<(String, Vec<Event>), Fault> {
        if !keys.iter().any(|key| key.verifies(algorithm, self.0.message, self.0.signature)) {
            return Err(Fault::Signature);
        }
        let subject = self.subject()?.to_owned();
        let latest = now.plus(rules.leeway);
        let events = self.0.payload.events.iter().map(|(name, said)| Event::read(name, said, latest));
        Ok((subject, events.collect::<Result<_, _>>()?))
    }

    fn subject(&self) -> Result<&str, Fault> {
        self.0.payload.sub.as_deref().filter(|subject| is_subject(subject)).ok_or(Fault::Subject)
    }
}

/// Whether a header is one of an event token, or says nothing of its type.
fn is_event_type(header: &Header) -> bool {
    let types = ["secevent+jwt", "application/secevent+jwt", "jwt", "application/jwt"];
    header.typ().is_none_or(|typ| types.iter().any(|known| typ.eq_ignore_ascii_case(known)))
}

impl Event {
    /// Reads an event. None can be about what happens after `latest`.
    pub(super) fn read(name: &str, said: &Value, latest: UnixMs) -> Result<Self, Fault> {
        let said = said.as_object().ok_or(Fault::Event)?;
        let change = || -> Result<Change, Fault> {
            let change = Change::deserialize(Value::Object(said.clone())).map_err(|_| Fault::Event)?;
            if change.change_time.0 > latest { Err(Fault::NotYet) } else { Ok(change) }
        };
        let kind = match name.strip_prefix(NAMESPACE) {
            Some("password-change") => EventKind::PasswordChanged { at: change()?.change_time.0 },
            Some("profile-change") => EventKind::ProfileChanged,
            Some("subscription-state-change") => {
                let Change { change_time, capabilities, is_active } = change()?;
                let fits =
                    |name: &String| (1..=MAX_CAPABILITY).contains(&name.len()) && !name.chars().any(char::is_control);
                if capabilities.len() > MAX_CAPABILITIES || !capabilities.iter().all(fits) {
                    return Err(Fault::Event);
                }
                let active = is_active.ok_or(Fault::Event)?;
                EventKind::SubscriptionChanged { capabilities, active, at: change_time.0 }
            }
            Some("delete-user") => EventKind::Deleted,
            _ => EventKind::Other,
        };
        Ok(Self { kind, digest: digest(name, said) })
    }
}

/// What an event says, whatever the order it is said in: objects are in the order of their names.
fn digest(name: &str, said: &Map<String, Value>) -> [u8; 16] {
    let mut sha = Sha256::new();
    sha.update(name);
    sha.update([0]);
    sha.update(serde_json::to_string(said).expect("what was JSON is JSON"));
    let mut first = [0; 16];
    first.copy_from_slice(&sha.finalize()[..16]);
    first
}

impl TryFrom<f64> for ChangeTime {
    type Error = &'static str;

    fn try_from(number: f64) -> Result<Self, Self::Error> {
        // Beyond this no whole millisecond can be told from the next.
        const MAX_MS: f64 = 9e15;
        // In milliseconds, March 1973, when nobody had an account; in seconds, the year 5138.
        const SECONDS_BELOW: f64 = 1e11;
        if !(0.0..=MAX_MS).contains(&number) {
            return Err("not an instant");
        }
        let ms = if number < SECONDS_BELOW { number * 1000.0 } else { number };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was just checked")]
        let ms = ms as u64;
        Ok(Self(UnixMs::from_ms(ms)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    const LATEST: UnixMs = UnixMs::from_ms(1_800_000_000_000);

    fn read(name: &str, said: &Value) -> Result<EventKind, Fault> {
        Event::read(&format!("{NAMESPACE}{name}"), said, LATEST).map(|event| event.kind)
    }

    #[test]
    fn every_event_of_firefox_accounts_is_read() {
        let at = UnixMs::from_ms(1_565_721_242_227);
        let changed = json!({"changeTime": 1_565_721_242_227_u64, "more": [1]});
        assert_eq!(read("password-change", &changed), Ok(EventKind::PasswordChanged { at }));
        assert_eq!(read("profile-change", &json!({"email": "a@b"})), Ok(EventKind::ProfileChanged));
        let subscribed = json!({"capabilities": ["capability_1"], "isActive": true, "changeTime": 1_565_721_242_227.0});
        let capabilities = vec!["capability_1".to_owned()];
        let kind = EventKind::SubscriptionChanged { capabilities, active: true, at };
        assert_eq!(read("subscription-state-change", &subscribed), Ok(kind));
        assert_eq!(read("delete-user", &json!({})), Ok(EventKind::Deleted));
        for other in ["metrics-opt-out", "metrics-opt-in", "never-heard-of", "delete-users", "Delete-User"] {
            assert_eq!(read(other, &json!({})), Ok(EventKind::Other), "{other}");
        }
        let elsewhere = Event::read("https://schemas.openid.net/event/delete-user", &json!({}), LATEST);
        assert_eq!(elsewhere.map(|event| event.kind), Ok(EventKind::Other));
    }

    #[test]
    fn a_change_is_dated_in_milliseconds_or_in_seconds() {
        let at = |time: Value| match read("password-change", &json!({"changeTime": time})) {
            Ok(EventKind::PasswordChanged { at }) => at.as_ms(),
            other => panic!("{other:?}"),
        };
        assert_eq!(at(json!(1_565_721_242_227_u64)), 1_565_721_242_227);
        assert_eq!(at(json!(1_565_721_242)), 1_565_721_242_000);
        assert_eq!(at(json!(1_565_721_242.25)), 1_565_721_242_250);
        let subscribed = json!({"capabilities": [], "isActive": true, "changeTime": 1_565_721_242});
        let Ok(EventKind::SubscriptionChanged { at, .. }) = read("subscription-state-change", &subscribed) else {
            panic!("{subscribed}")
        };
        assert_eq!(at.as_ms(), 1_565_721_242_000);
        let late = json!({"changeTime": LATEST.as_secs() + 1});
        assert_eq!(read("password-change", &late), Err(Fault::NotYet));
    }

    #[test]
    fn what_an_event_cannot_say_is_refused() {
        for time in [json!(null), json!("1"), json!(-1), json!(1e300), json!([]), json!({})] {
            assert_eq!(read("password-change", &json!({"changeTime": time})), Err(Fault::Event), "{time}");
        }
        assert_eq!(read("password-change", &json!({})), Err(Fault::Event));
        assert_eq!(read("delete-user", &json!([])), Err(Fault::Event));
        let late = json!({"changeTime": LATEST.as_ms() + 1});
        assert_eq!(read("password-change", &late), Err(Fault::NotYet), "it would make every later one an older one");
        let long = "x".repeat(MAX_CAPABILITY + 1);
        for capabilities in
            [json!([""]), json!(["a\u{0}"]), json!([long]), json!(vec!["a"; 65]), json!("a"), json!([1])]
        {
            let said = json!({"capabilities": capabilities, "isActive": true, "changeTime": 1});
            assert_eq!(read("subscription-state-change", &said), Err(Fault::Event), "{said}");
        }
        for active in [json!(null), json!("true"), json!(1)] {
            let said = json!({"capabilities": ["a"], "isActive": active, "changeTime": 1});
            assert_eq!(read("subscription-state-change", &said), Err(Fault::Event), "{said}");
        }
    }

    #[test]
    fn an_event_is_known_by_its_name_and_by_all_it_says_in_any_order() {
        let of =
            |name: &str, text: &str| Event::read(name, &serde_json::from_str(text).unwrap(), LATEST).unwrap().digest;
        assert_eq!(of("a", r#"{"x":1,"y":{"b":2,"a":[1,2]}}"#), of("a", r#"{ "y":{"a":[1,2],"b":2}, "x":1 }"#));
        assert_ne!(of("a", r#"{"x":1}"#), of("a", r#"{"x":2}"#));
        assert_ne!(of("a", r#"{"x":1}"#), of("b", r#"{"x":1}"#));
        assert_ne!(of("a", r#"{"x":[1,2]}"#), of("a", r#"{"x":[2,1]}"#));
    }

    proptest! {
        #[test]
        fn no_text_does_any_harm(token: String, name: String, said in "\\PC{0,60}") {
            let _ = UnverifiedSet::parse(&token);
            if let Ok(said) = serde_json::from_str(&said) {
                let _ = Event::read(&name, &said, LATEST);
            }
        }
    }
}
