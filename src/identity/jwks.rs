//! The keys of a provider: where they are, when they are fetched, and which one signed a token.
//!
//! Keys are fetched in the background, ahead of need. A token that names a key nobody knows makes for one more fetch, and
//! that once in [`WINDOW`] however many such tokens come: a flood of forged ones costs the provider nothing. Anybody can
//! open that window, so a token that comes within it and names an unknown key is not refused: the key may be newer than
//! the fetch, and nobody can tell yet. What was fetched last and was good stays in use while the provider is down.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::{Mutex, Semaphore};

use super::{
    fetch::{FetchError, Fetched, Fetcher, is_loopback, is_safe},
    verify::{Jwk, Key, SignedWith},
};
use crate::{
    telemetry::{KeyFetch, Telemetry},
    time::{Clock, MeterTime, Millis},
};

/// Keys of a set.
const MAX_KEYS: usize = 64;
/// Keys under one name that are tried on a token.
const MAX_CANDIDATES: usize = 4;
/// How far apart fetches are at the least that unknown keys ask for.
const WINDOW: Millis = Millis::from_secs(10);
/// Tokens that wait for such a fetch.
const WAITING: usize = 256;
/// How long a set is kept that does not say how long it may be.
const KEEP: Millis = Millis::from_secs(600);
/// How long a set is kept at the least and at the most, whatever it says.
const KEEP_WITHIN: (Millis, Millis) = (Millis::from_secs(60), Millis::from_secs(3600));
/// How soon a fetch that failed is tried again: at first, and at the latest.
const RETRY: (Millis, Millis) = (Millis::from_secs(1), Millis::from_secs(30));

/// Why there is no key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The provider has no such key.
    Unknown,
    /// It did not have it when it was last asked, and is not asked again yet.
    Undecided,
    /// It cannot be asked now.
    Unavailable,
}

/// What came of looking again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// What is held is what the provider says now.
    Fresh,
    /// It is too soon to ask again.
    TooSoon,
    /// The provider cannot be asked.
    Failed,
}

/// Where a provider says what its keys are.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// The set is here.
    KeySet(Url),
    /// The provider's metadata says where (OpenID Connect Discovery 1.0, 4).
    Discovery {
        /// The issuer, to the letter.
        issuer: String,
        /// Its metadata.
        metadata: Url,
    },
}

impl KeySource {
    /// The metadata of this issuer. `None` if it is no URL.
    pub(super) fn discovery(issuer: &str) -> Option<Self> {
        let metadata = format!("{}/.well-known/openid-configuration", issuer.strip_suffix('/').unwrap_or(issuer));
        Some(Self::Discovery { issuer: issuer.to_owned(), metadata: Url::parse(&metadata).ok()? })
    }

    /// Whose keys they are, as logs name it: the issuer, or where the configuration says that the set is.
    fn name(&self) -> &str {
        match self {
            Self::KeySet(url) => url.as_str(),
            Self::Discovery { issuer, .. } => issuer,
        }
    }
}

/// A provider's keys (RFC 7517, 5).
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<(Option<String>, Key)>,
}

impl KeySet {
    /// Reads a set. Keys that are for something else are left out.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, FetchError> {
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<serde_json::Value>,
        }
        let set: Set = serde_json::from_slice(bytes).map_err(|_| FetchError::Malformed("not a key set"))?;
        if set.keys.len() > MAX_KEYS {
            return Err(FetchError::Malformed("more than 64 keys"));
        }
        let jwks = set.keys.into_iter().filter_map(|jwk| serde_json::from_value::<Jwk>(jwk).ok());
        let keys: Vec<_> = jwks.filter_map(|jwk| Key::of(&jwk).map(|key| (jwk.kid, key))).collect();
        if keys.is_empty() { Err(FetchError::Malformed("no usable key")) } else { Ok(Self { keys }) }
    }

    /// The keys that a token may be signed with: those of the name and for the algorithm that it tells. RFC 7517, 4.5 lets
    /// several keys have one name. A token that names none has the only key there is.
    pub(super) fn find(&self, with: SignedWith<'_>) -> Vec<Key> {
        let named = |kid: &Option<String>| match with.kid {
            Some(wanted) => kid.as_deref() == Some(wanted),
            None => self.keys.len() == 1,
        };
        let fitting = self.keys.iter().filter(|(kid, key)| named(kid) && key.is_for(with.algorithm));
        fitting.map(|(_, key)| key.clone()).take(MAX_CANDIDATES).collect()
    }

    /// Whether one of the keys has this name.
    fn has_name(&self, wanted: &str) -> bool {
        self.keys.iter().any(|(kid, _)| kid.as_deref() == Some(wanted))
    }
}

/// The keys of a provider, as they were last fetched.
pub(super) struct Keys {
    source: KeySource,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    telemetry: Telemetry,
    held: ArcSwapOption<FetchedKeys>,
    fetches: AtomicU64,
    turn: Mutex<Turn>,
    waiting: Semaphore,
}

struct FetchedKeys {
    set: KeySet,
    /// Names that the set before had: the provider was seen to drop them.
    dropped: Vec<String>,
    fetched_at: MeterTime,
    keep: Millis,
    /// Which fetch it came by.
    number: u64,
}

impl FetchedKeys {
    /// The names that are known to be dropped once `newer` is held: of all that a name was dropped of lately, the latest.
    fn dropped_by(&self, newer: &KeySet) -> Vec<String> {
        let names = self.set.keys.iter().filter_map(|(kid, _)| kid.as_ref()).chain(&self.dropped);
        names.filter(|kid| !newer.has_name(kid)).take(MAX_KEYS).cloned().collect()
    }
}

/// Held while the keys are fetched.
#[derive(Default)]
struct Turn {
    /// Where the metadata says that the keys are.
    discovered: Option<Url>,
    /// Until then no token makes for a fetch.
    not_before: MeterTime,
    /// When the latest fetch failed, if it did.
    failed_at: Option<MeterTime>,
}

impl Keys {
    pub(super) fn new(source: KeySource, fetcher: Fetcher, clock: Arc<dyn Clock>, telemetry: Telemetry) -> Self {
        Self {
            source,
            fetcher,
            clock,
            telemetry,
            held: ArcSwapOption::empty(),
            fetches: AtomicU64::new(0),
            turn: Mutex::default(),
            waiting: Semaphore::new(WAITING),
        }
    }

    /// The keys that a token says to be signed with; at least one.
    pub(super) async fn find(self: &Arc<Self>, with: SignedWith<'_>) -> Result<Vec<Key>, NoKey> {
        let held = self.held();
        if let Some(held) = &held {
            let keys = held.set.find(with);
            if !keys.is_empty() {
                return Ok(keys);
            }
            // A set with one name for every key cannot tell more about a token that has none.
            if with.kid.is_none_or(|kid| held.dropped.iter().any(|dropped| dropped == kid)) {
                return Err(NoKey::Unknown);
            }
        }
        let looked = self.look_again(held.map_or(0, |held| held.number)).await;
        let Some(held) = self.held() else { return Err(NoKey::Unavailable) };
        let keys = held.set.find(with);
        match looked {
            _ if !keys.is_empty() => Ok(keys),
            Looked::Fresh => Err(NoKey::Unknown),
            // The name is known, and is one of a key for another algorithm.
            Looked::TooSoon if with.kid.is_some_and(|kid| held.set.has_name(kid)) => Err(NoKey::Unknown),
            Looked::TooSoon => Err(NoKey::Undecided),
            Looked::Failed => Err(NoKey::Unavailable),
        }
    }

    /// Fetches the keys for as long as the service runs.
    pub(super) async fn keep_fresh(self: Arc<Self>) {
        let mut retry = RETRY.0;
        loop {
            let fetched = self.fetch(&mut *self.turn.lock().await).await;
            let pause = match fetched {
                Ok(()) => {
                    retry = RETRY.0;
                    self.held().map_or(KEEP, |held| held.keep)
                }
                Err(_) => {
                    let pause = retry;
                    retry = retry.plus(retry).min(RETRY.1);
                    pause
                }
            };
            tokio::time::sleep(Duration::from_millis(pause.get())).await;
        }
    }

    /// How long ago the keys were fetched; `None` while there are none.
    pub(super) fn age(&self) -> Option<Millis> {
        self.held().map(|held| self.clock.now().since(held.fetched_at))
    }

    fn held(&self) -> Option<Arc<FetchedKeys>> {
        self.held.load_full()
    }

    /// Fetches the keys, unless that was done since the fetch `seen` or is not due.
    async fn look_again(self: &Arc<Self>, seen: u64) -> Looked {
        let Ok(_place) = self.waiting.try_acquire() else { return Looked::TooSoon };
        let this = Arc::clone(self);
        let came = self.clock.now();
        // In a task of its own: a caller that goes away would take the window's only fetch with it.
        let task = tokio::spawn(async move {
            let mut turn = this.turn.lock().await;
            if this.held().is_some_and(|held| held.number > seen) {
                return Looked::Fresh;
            }
            let now = this.clock.now();
            // Who waited for a fetch that failed does not wait for another.
            if now < turn.not_before || turn.failed_at.is_some_and(|at| at > came) {
                return if turn.failed_at.is_none() { Looked::TooSoon } else { Looked::Failed };
            }
            turn.not_before = now.plus(WINDOW);
            let first = this.held().is_none();
            let fetched = this.fetch(&mut turn).await.is_ok();
            if first && fetched {
                // Nothing was looked for again: the window is still to be had by the first unknown name.
                turn.not_before = now;
            }
            if fetched { Looked::Fresh } else { Looked::Failed }
        });
        task.await.unwrap_or(Looked::Failed)
    }

    async fn fetch(&self, turn: &mut Turn) -> Result<(), FetchError> {
        let fetched = match self.try_fetch(turn).await {
            Ok(fetched) => KeySet::parse(&fetched.body).map(|set| (set, fetched.max_age)),
            Err(error) => Err(error),
        };
        let outcome = match &fetched {
            Ok(_) => KeyFetch::Ok,
            Err(FetchError::Malformed(_) | FetchError::TooLong) => KeyFetch::Malformed,
            Err(_) => KeyFetch::Failed,
        };
        self.telemetry.key_fetches(outcome).increment(1);
        match fetched {
            Ok((set, max_age)) => {
                if turn.failed_at.take().is_some() {
                    let of = self.source.name();
                    tracing::info!(of, "the identity provider's keys can be fetched again");
                }
                let number = self.fetches.fetch_add(1, Ordering::Relaxed) + 1;
                let keep = max_age.unwrap_or(KEEP).clamp(KEEP_WITHIN.0, KEEP_WITHIN.1);
                let dropped = self.held().map_or_else(Vec::new, |before| before.dropped_by(&set));
                let fetched_at = self.clock.now();
                self.held.store(Some(Arc::new(FetchedKeys { set, dropped, fetched_at, keep, number })));
                Ok(())
            }
            Err(error) => {
                if turn.failed_at.replace(self.clock.now()).is_none() {
                    let of = self.source.name();
                    tracing::warn!(%error, of, "the identity provider's keys cannot be fetched; the last ones stay in use");
                }
                turn.discovered = None;
                Err(error)
            }
        }
    }

    async fn try_fetch(&self, turn: &mut Turn) -> Result<Fetched, FetchError> {
        let url = match (&self.source, &turn.discovered) {
            (KeySource::KeySet(url), _) | (KeySource::Discovery { .. }, Some(url)) => url.clone(),
            (KeySource::Discovery { issuer, metadata }, None) => {
                let document = self.fetcher.get(metadata).await?;
                let url = key_set_of(&document.body, issuer, is_loopback(metadata))?;
                turn.discovered = Some(url.clone());
                url
            }
        };
        self.fetcher.get(&url).await
    }
}

/// Where a provider's metadata says that its keys are.
fn key_set_of(document: &[u8], issuer: &str, may_be_loopback: bool) -> Result<Url, FetchError> {
    #[derive(Deserialize)]
    struct Metadata {
        issuer: String,
        jwks_uri: String,
    }
    let metadata: Metadata =
        serde_json::from_slice(document).map_err(|_| FetchError::Malformed("not a provider's metadata"))?;
    if metadata.issuer != issuer {
        return Err(FetchError::Malformed("the metadata is another issuer's"));
    }
    let url = Url::parse(&metadata.jwks_uri).ok().filter(is_safe);
    // A provider elsewhere has no business to send us to a service on this machine.
    let url = url.filter(|url| may_be_loopback || !is_loopback(url));
    url.ok_or(FetchError::Malformed("`jwks_uri` is not an HTTPS URL"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::identity::verify::Algorithm;

    const ED: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn ed(kid: Option<&str>) -> serde_json::Value {
        json!({"kty": "OKP", "crv": "Ed25519", "x": ED, "kid": kid, "alg": "EdDSA", "use": "sig"})
    }

    fn set(keys: &[serde_json::Value]) -> Result<KeySet, FetchError> {
        KeySet::parse(json!({"keys": keys}).to_string().as_bytes())
    }

    #[test]
    fn a_token_that_names_no_key_has_the_only_one_there_is() {
        let with = |kid| SignedWith { algorithm: Algorithm::EdDSA, kid };
        let one = set(&[ed(Some("a"))]).unwrap();
        assert_eq!([one.find(with(None)).len(), one.find(with(Some("a"))).len()], [1, 1]);
        assert!(one.find(with(Some("b"))).is_empty());
        let two = set(&[ed(Some("a")), ed(Some("b"))]).unwrap();
        assert_eq!([two.find(with(None)).len(), two.find(with(Some("b"))).len()], [0, 1]);
    }

    #[test]
    fn keys_that_share_a_name_are_all_tried_up_to_a_limit() {
        let with = SignedWith { algorithm: Algorithm::EdDSA, kid: Some("a") };
        let shared: Vec<_> = (0..MAX_CANDIDATES + 3).map(|_| ed(Some("a"))).collect();
        assert_eq!(set(&shared[..2]).unwrap().find(with).len(), 2);
        assert_eq!(set(&shared).unwrap().find(with).len(), MAX_CANDIDATES);
    }

    #[test]
    fn a_name_that_was_dropped_is_known_to_be_until_it_comes_back() {
        let held = |keys: &[serde_json::Value], dropped| FetchedKeys {
            set: set(keys).unwrap(),
            dropped,
            fetched_at: MeterTime::ZERO,
            keep: KEEP,
            number: 1,
        };
        let one = held(&[ed(Some("a")), ed(Some("b"))], vec!["old".to_owned()]);
        assert_eq!(one.dropped_by(&set(&[ed(Some("b"))]).unwrap()), ["a", "old"]);
        assert_eq!(one.dropped_by(&set(&[ed(Some("b")), ed(Some("old"))]).unwrap()), ["a"]);
    }

    #[test]
    fn a_key_is_for_its_algorithm_alone() {
        let one = set(&[ed(Some("a"))]).unwrap();
        for algorithm in Algorithm::ALL {
            let found = !one.find(SignedWith { algorithm, kid: Some("a") }).is_empty();
            assert_eq!(found, algorithm == Algorithm::EdDSA, "{algorithm}");
        }
        let mut other = ed(Some("a"));
        other["alg"] = json!("ES256");
        assert!(set(&[other.clone()]).is_err());
        other["alg"] = json!("Ed25519");
        assert!(set(&[other]).is_ok(), "the name that RFC 9864 has for it");
    }

    #[test]
    fn keys_for_something_else_are_left_out_and_a_set_of_them_alone_is_refused() {
        let shared = json!({"kty": "oct", "k": "AAAA", "kid": "s", "alg": "HS256"});
        let mut sealing = ed(Some("e"));
        sealing["use"] = json!("enc");
        let mut signing = ed(Some("p"));
        signing["key_ops"] = json!(["sign"]);
        let strange = [json!(7), json!({"kty": "RSA", "n": "AQAB", "e": "AQAB"}), json!({"kty": 1}), json!({})];
        let odd: Vec<_> = [shared, sealing, signing].into_iter().chain(strange).collect();
        assert!(matches!(set(&odd), Err(FetchError::Malformed("no usable key"))));
        let with_a_good_one: Vec<_> = odd.into_iter().chain([ed(Some("a"))]).collect();
        assert_eq!(set(&with_a_good_one).unwrap().keys.len(), 1);
    }

    #[test]
    fn a_set_has_a_limit() {
        let keys: Vec<_> = (0..=MAX_KEYS).map(|n| ed(Some(&n.to_string()))).collect();
        assert!(set(&keys[1..]).is_ok());
        assert!(matches!(set(&keys), Err(FetchError::Malformed("more than 64 keys"))));
        for bad in ["", "[]", "{}", "{\"keys\":{}}", "null"] {
            assert!(KeySet::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn metadata_counts_for_its_own_issuer_alone() {
        let document = |issuer: &str, uri: &str| json!({"issuer": issuer, "jwks_uri": uri}).to_string();
        let read = |text: String| key_set_of(text.as_bytes(), "https://id.example", false);
        assert!(read(document("https://id.example", "https://keys.example/jwks")).is_ok());
        for (issuer, uri) in [
            ("https://id.example/", "https://keys.example/jwks"),
            ("https://evil.example", "https://keys.example/jwks"),
            ("https://id.example", "http://keys.example/jwks"),
            ("https://id.example", "http://127.0.0.1/jwks"),
            ("https://id.example", "https://localhost/jwks"),
            ("https://id.example", "/jwks"),
        ] {
            assert!(read(document(issuer, uri)).is_err(), "{issuer} {uri}");
        }
        let Some(KeySource::Discovery { metadata, .. }) = KeySource::discovery("https://id.example/a/") else {
            panic!()
        };
        assert_eq!(metadata.as_str(), "https://id.example/a/.well-known/openid-configuration");
    }
}
