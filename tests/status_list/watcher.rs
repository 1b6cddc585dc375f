//! An edge that goes by the standards to the letter: keys and lists are kept for as long as their answers say, and not a
//! moment longer. A token that names a key which is not in a set that may still be kept is an error here.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    io::Read,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, jwk::JwkSet};
use reqwest::Method;
use serde::Deserialize;
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    agreement::TTL,
    client::Answer,
    dice::Dice,
    people::{Issued, World},
};

const INACTIVE: &[u8] = br#"{"active":false}"#;
const MOST_BYTES: u64 = 1 << 22;

/// What an edge has seen.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    rounds: usize,
    asked: usize,
    fetched: usize,
    /// Tokens about which list and introspection differed, not for too long.
    pub(crate) differed_in_time: usize,
    /// How long after a change they differed at most, as far as is certain, in milliseconds.
    longest_ms: u128,
    /// The keys that tokens and lists were signed with.
    pub(crate) kids: BTreeSet<String>,
    lists: BTreeSet<String>,
    /// In the last round: tokens that both call good, and that both call over.
    pub(crate) good_at_last: usize,
    pub(crate) over_at_last: usize,
}

/// An edge at work.
pub(crate) struct Watcher {
    world: Arc<World>,
    number: usize,
    dice: Dice,
    keys: Kept<JwkSet>,
    lists: BTreeMap<String, Kept<Vec<u8>>>,
    verified: HashSet<String>,
    tally: Tally,
}

/// An answer, and until when it may be used.
struct Kept<T> {
    what: T,
    until: Instant,
}

#[derive(Clone, Deserialize)]
struct ListClaims {
    sub: String,
    iat: u64,
    exp: u64,
    ttl: u64,
    status_list: Packed,
}

#[derive(Clone, Deserialize)]
struct Packed {
    bits: u8,
    lst: String,
}

impl Tally {
    pub(crate) fn add(&mut self, other: &Self) {
        self.rounds += other.rounds;
        self.asked += other.asked;
        self.fetched += other.fetched;
        self.differed_in_time += other.differed_in_time;
        self.longest_ms = self.longest_ms.max(other.longest_ms);
        self.kids.extend(other.kids.iter().cloned());
        self.lists.extend(other.lists.iter().cloned());
        self.good_at_last += other.good_at_last;
        self.over_at_last += other.over_at_last;
    }
}

impl Watcher {
    pub(crate) fn new(world: Arc<World>, number: usize, dice: Dice) -> Self {
        let keys = Kept { what: JwkSet { keys: Vec::new() }, until: Instant::now() };
        Self { world, number, dice, keys, lists: BTreeMap::new(), verified: HashSet::new(), tally: Tally::default() }
    }

    /// Looks at all tokens for this edge again and again, a last time when it is told to.
    pub(crate) async fn watch(mut self) -> Tally {
        loop {
            let last = self.world.is_closing();
            (self.tally.good_at_last, self.tally.over_at_last) = (0, 0);
            for token in self.world.tokens_of(self.number) {
                self.look_at(&token).await;
            }
            self.tally.rounds += 1;
            if last {
                return self.tally;
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    async fn look_at(&mut self, token: &Issued) {
        if !self.verified.contains(&token.text) {
            let _: Value = self.opened(&token.text, "at+jwt").await;
            self.verified.insert(token.text.clone());
        }
        let is_known_over = token.over_since();
        let expired = unix_s() >= token.exp;
        let (used, listed) = self.listed(&token.uri, token.idx).await;
        let reads_good = !expired && !listed;
        if let Some(since) = is_known_over.filter(|_| reads_good) {
            let late = used.duration_since(since);
            self.tally.longest_ms = self.tally.longest_ms.max(late.as_millis());
            assert!(late <= TTL, "{late:?} after its end a list still calls a token good");
        }

        let is_known_over = token.over_since();
        let told = self.world.api.introspect(&self.world.edges[self.number], &token.text).await.unwrap().must_be(200);
        self.tally.asked += 1;
        let is_told_good = told.body != INACTIVE;
        if is_told_good {
            assert!(is_known_over.is_none(), "it is over, and introspection vouches for it");
            assert_eq!(told.json()["exp"], token.exp);
            assert!(!expired, "it had expired");
            let age = used.duration_since(token.born);
            assert!(reads_good || age <= TTL, "{age:?} after it was issued a list still calls a good token over");
        } else {
            token.is_over();
        }
        match (reads_good, is_told_good) {
            (true, true) => self.tally.good_at_last += 1,
            (false, false) => self.tally.over_at_last += 1,
            _ => self.tally.differed_in_time += 1,
        }
        if self.dice.below(8) == 0 {
            let foreign = &self.world.edges[1 - self.number];
            let told = self.world.api.introspect(foreign, &token.text).await.unwrap().must_be(200);
            assert_eq!(told.body, INACTIVE, "another edge's token");
        }
    }

    /// Whether the list that may be used now says that a token is over, and when that was.
    async fn listed(&mut self, uri: &str, idx: usize) -> (Instant, bool) {
        if self.lists.get(uri).is_none_or(|kept| Instant::now() >= kept.until) {
            let list = self.fetched(uri).await;
            self.lists.insert(uri.to_owned(), list);
        }
        let Kept { what: bytes, until } = &self.lists[uri];
        assert!(idx < bytes.len() * 8, "an index past the end");
        (Instant::now().min(*until), bytes[idx / 8] >> (idx % 8) & 1 == 1)
    }

    async fn fetched(&mut self, uri: &str) -> Kept<Vec<u8>> {
        let (answer, until) = self.got(uri).await;
        self.tally.fetched += 1;
        self.tally.lists.insert(uri.to_owned());
        assert_eq!(answer.header("content-type"), "application/statuslist+jwt");
        let claims: ListClaims = self.opened(&answer.text(), "statuslist+jwt").await;
        assert_eq!((&*claims.sub, claims.status_list.bits, claims.ttl), (uri, 1, TTL.as_secs()));
        let now = unix_s();
        assert!(claims.iat <= now && now + claims.ttl <= claims.exp, "it is good for less than it may be kept");
        let packed = URL_SAFE_NO_PAD.decode(claims.status_list.lst).expect("base64url");
        let mut bytes = Vec::new();
        ZlibDecoder::new(&*packed).take(MOST_BYTES).read_to_end(&mut bytes).expect("zlib");
        Kept { what: bytes, until }
    }

    /// The claims of a JWT that was signed with a key which is known without asking again.
    async fn opened<T: serde::de::DeserializeOwned + Clone>(&mut self, jwt: &str, typ: &str) -> T {
        if Instant::now() >= self.keys.until {
            let (answer, until) = self.got(&format!("{}/.well-known/jwks.json", self.world.api.public)).await;
            self.keys = Kept { what: serde_json::from_slice(&answer.body).expect("a key set"), until };
        }
        let header = jsonwebtoken::decode_header(jwt).expect("a header");
        let kid = header.kid.expect("a kid");
        let key = self.keys.what.find(&kid).unwrap_or_else(|| panic!("{typ}: it was signed before all could know how"));
        assert_eq!((header.typ.as_deref(), header.alg), (Some(typ), Algorithm::ES256));
        self.tally.kids.insert(kid);
        let mut validation = Validation::new(Algorithm::ES256);
        (validation.validate_aud, validation.validate_exp) = (false, false);
        let key = DecodingKey::from_jwk(key).expect("a public key");
        jsonwebtoken::decode(jwt, &key, &validation).unwrap_or_else(|error| panic!("{typ}: {error}")).claims
    }

    /// An answer, and until when it may be used (RFC 9111, 4.2.3: its age counts from when it was asked for).
    async fn got(&self, url: &str) -> (Answer, Instant) {
        let asked = Instant::now();
        let answer = self.world.api.send(Method::GET, url.to_owned(), &[], Vec::new()).await.unwrap().must_be(200);
        let (_, max_age) = answer.header("cache-control").split_once("max-age=").expect("it may be kept");
        let max_age = max_age.parse().expect("whole seconds");
        assert!(max_age > 0, "nobody could ever use it");
        (answer, asked + Duration::from_secs(max_age))
    }
}

fn unix_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970").as_secs()
}
