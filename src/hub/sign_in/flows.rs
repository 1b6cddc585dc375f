//! Sign-ins under way: each in a cookie of its own, sealed, so that strangers cause no write and tabs do not disturb each other.
//!
//! State, nonce and verifier are made of one seed, which the cookie has. The cookie's name has the beginning of the state, so that
//! the answer of a provider finds it.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{cookies::Cookies, local_path::LocalPath};
use crate::{
    control::seal::{open, seal},
    engine::Engine,
    entropy::{Entropy, draw},
    time::{Millis, UnixMs},
};

/// How the names of these cookies begin.
const NAME: &str = "__Host-gastank-flow-";
/// Characters of the state in a cookie's name.
const TAG: usize = 8;
/// How long a sign-in may take.
pub(in crate::hub) const MAX_AGE: Millis = Millis::from_secs(600);
/// Sign-ins of one browser that may be under way.
const MAX_FLOWS: usize = 4;
/// Bytes of their cookies together: half of what the head of a request may have.
const MAX_BYTES: usize = 8 << 10;
const CONTEXT: &str = "gastank/sign-in/v1/";

/// A sign-in under way.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    seed: [u8; 32],
    /// At which provider.
    pub(super) issuer: String,
    /// Where the browser goes then.
    pub(super) next: LocalPath,
    begun: UnixMs,
}

/// What a cookie has.
#[derive(Serialize, Deserialize)]
struct Sealed {
    s: String,
    i: String,
    n: String,
    t: u64,
}

impl Flow {
    /// A new one.
    pub(super) fn begin(entropy: &dyn Entropy, issuer: &str, next: LocalPath, now: UnixMs) -> Self {
        Self { seed: draw(entropy), issuer: issuer.to_owned(), next, begun: now }
    }

    /// Names it in the provider's answer.
    pub(super) fn state(&self) -> String {
        self.part(b"state")
    }

    /// Names it in the ID token.
    pub(super) fn nonce(&self) -> String {
        self.part(b"nonce")
    }

    /// What its code is redeemed with.
    pub(super) fn verifier(&self) -> String {
        self.part(b"verifier")
    }

    /// What the code is asked for with (S256).
    pub(super) fn challenge(&self) -> String {
        URL_SAFE_NO_PAD.encode(Sha256::digest(self.verifier()))
    }

    fn part(&self, what: &[u8]) -> String {
        let digest = Sha256::new_with_prefix(b"gastank/sign-in/").chain_update(what).chain_update(self.seed).finalize();
        URL_SAFE_NO_PAD.encode(digest)
    }
}

/// Seals and opens them.
pub(in crate::hub) struct Flows(pub(in crate::hub) Arc<Engine>);

impl Flows {
    /// The cookie of a flow: its name and value.
    pub(super) fn cookie(&self, flow: &Flow) -> (String, String) {
        let name = name_of(&flow.state());
        let sealed = Sealed {
            s: URL_SAFE_NO_PAD.encode(flow.seed),
            i: flow.issuer.clone(),
            n: flow.next.as_str().to_owned(),
            t: flow.begun.as_ms(),
        };
        let plain = serde_json::to_vec(&sealed).expect("texts and a number are JSON");
        let secrets = self.0.secrets();
        let (id, secret) = secrets.current();
        let value = URL_SAFE_NO_PAD.encode(seal(id, secret, &format!("{CONTEXT}{name}"), &plain));
        (name, value)
    }

    /// The flow that a provider's answer with this state belongs to, and the name of its cookie. `None` if this browser has
    /// begun none, or too long ago.
    pub(super) fn of_answer(&self, cookies: &Cookies<'_>, state: &str, now: UnixMs) -> Option<(Flow, String)> {
        let name = name_of(state);
        let flow = self.read(&name, cookies.value(&name)?, now)?;
        bool::from(flow.state().as_bytes().ct_eq(state.as_bytes())).then_some((flow, name))
    }

    /// The names of cookies that go when one more sign-in begins, whose cookie has so many bytes: those that are over or none,
    /// and the oldest of too many.
    pub(super) fn superfluous(&self, cookies: &Cookies<'_>, bytes: usize, now: UnixMs) -> Vec<String> {
        let mut open: Vec<_> = cookies
            .starting_with(NAME)
            .map(|(name, value)| (self.read(name, value, now).map(|flow| flow.begun), name, name.len() + value.len()))
            .collect();
        open.sort_unstable();
        let (mut flows, mut bytes) = (1, bytes);
        let mut stays = |begun: Option<UnixMs>, size: usize| {
            (flows, bytes) = (flows + 1, bytes + size);
            begun.is_some() && flows <= MAX_FLOWS && bytes <= MAX_BYTES
        };
        let over = open.into_iter().rev().filter(|(begun, _, size)| !stays(*begun, *size));
        over.map(|(_, name, _)| name.to_owned()).collect()
    }

    fn read(&self, name: &str, value: &str, now: UnixMs) -> Option<Flow> {
        let sealed = URL_SAFE_NO_PAD.decode(value).ok()?;
        let secrets = self.0.secrets();
        let plain = open(|id| secrets.find(id), &format!("{CONTEXT}{name}"), &sealed).ok()?;
        let sealed: Sealed = serde_json::from_slice(&plain).ok()?;
        let begun = UnixMs::from_ms(sealed.t);
        if now.since(begun) > MAX_AGE {
            return None;
        }
        Some(Flow {
            seed: URL_SAFE_NO_PAD.decode(sealed.s).ok()?.try_into().ok()?,
            issuer: sealed.i,
            next: LocalPath::parse(&sealed.n)?,
            begun,
        })
    }
}

fn name_of(state: &str) -> String {
    // Of a state that is none of ours, no cookie has the name.
    let tag: String = state.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(TAG).collect();
    format!("{NAME}{tag}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderMap;
    use hyper::header::COOKIE;

    use super::{super::local_path, *};
    use crate::{
        engine::{Policy, SecretRing},
        entropy::SeededEntropy,
        wire::{ClusterSecret, SecretId},
    };

    fn flows(secret: u8) -> Flows {
        let ring = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([secret; 32]));
        Flows(Arc::new(Engine::new(Policy::default(), ring, 16)))
    }

    fn jar(cookies: &[(String, String)]) -> HeaderMap {
        cookies.iter().map(|(name, value)| (COOKIE, format!("{name}={value}").parse().unwrap())).collect()
    }

    const NOW: UnixMs = UnixMs::from_ms(1_700_000_000_000);

    fn begin(seed: u64, at: UnixMs) -> Flow {
        Flow::begin(&SeededEntropy::new(seed), "https://id.example", LocalPath::account(), at)
    }

    #[test]
    fn four_tabs_sign_in_at_once_and_their_answers_come_in_any_order() {
        let flows = flows(1);
        let begun: Vec<_> = (0..4).map(|seed| begin(seed, NOW)).collect();
        let map = jar(&begun.iter().map(|flow| flows.cookie(flow)).collect::<Vec<_>>());
        for flow in begun.iter().rev() {
            let (found, _) = flows.of_answer(&Cookies::of(&map), &flow.state(), NOW).unwrap();
            assert_eq!((found.verifier(), found.nonce()), (flow.verifier(), flow.nonce()));
        }
    }

    #[test]
    fn a_flow_is_for_its_state_its_cookie_and_ten_minutes() {
        let flows = flows(1);
        let flow = begin(1, NOW);
        let (name, value) = flows.cookie(&flow);
        let found = |map: &HeaderMap, state: &str, at| flows.of_answer(&Cookies::of(map), state, at).is_some();
        let map = jar(&[(name.clone(), value.clone())]);
        assert!(found(&map, &flow.state(), NOW.plus(MAX_AGE)));
        assert!(!found(&map, &flow.state(), NOW.plus(MAX_AGE).plus(Millis::new(1))));
        let same_tag = format!("{}{}", &flow.state()[..TAG], "A".repeat(35));
        assert!(!found(&map, &same_tag, NOW));
        let other = begin(2, NOW);
        let moved = jar(&[(flows.cookie(&other).0, value.clone())]);
        assert!(!found(&moved, &other.state(), NOW), "one cookie cannot stand in for another");
        assert!(flows_of_others_do_not_open(&map, &flow.state()));
        assert!(!found(&jar(&[(name, value[..value.len() - 2].to_owned())]), &flow.state(), NOW));
    }

    fn flows_of_others_do_not_open(map: &HeaderMap, state: &str) -> bool {
        flows(2).of_answer(&Cookies::of(map), state, NOW).is_none()
    }

    #[test]
    fn the_oldest_goes_when_a_fifth_begins() {
        let flows = flows(1);
        let mut jar_of: Vec<_> = (0..4).map(|n| flows.cookie(&begin(n, NOW.plus(Millis::from_secs(n))))).collect();
        let map = jar(&jar_of);
        let later = NOW.plus(Millis::from_secs(10));
        assert_eq!(flows.superfluous(&Cookies::of(&map), 200, later), [jar_of[0].0.clone()]);
        jar_of.push(("__Host-gastank-flow-broken".into(), "x".into()));
        let map = jar(&jar_of);
        assert_eq!(flows.superfluous(&Cookies::of(&map), 200, later).len(), 2);
        assert_eq!(flows.superfluous(&Cookies::default(), 200, later), Vec::<String>::new());
    }

    #[test]
    fn the_longest_path_fits_into_a_cookie_and_a_browser_keeps_no_more_of_them_than_a_request_has_room_for() {
        let flows = flows(1);
        let path = format!("/{}", "a".repeat(local_path::MAX - 1));
        let issuer = format!("https://{}", "a".repeat(400));
        let begin = |seed| {
            let next = LocalPath::parse(&path).unwrap();
            flows.cookie(&Flow::begin(&SeededEntropy::new(seed), &issuer, next, NOW.plus(Millis::from_secs(seed))))
        };
        let begun: Vec<_> = (0..3).map(begin).collect();
        let size = begun[0].0.len() + begun[0].1.len();
        assert!(size <= 4096, "browsers drop a cookie that is longer than 4096 bytes; it has {size}");
        let map = jar(&begun[..2]);
        assert_eq!(flows.superfluous(&Cookies::of(&map), size, NOW), [begun[0].0.clone()]);
    }
}
