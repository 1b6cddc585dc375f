use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::{
    control::tokens::{Claims, Issuer, TokenRequest, claims_of},
    engine::{AccountId, ListId, StatusIndex},
    wire::SessionId,
};
use jsonwebtoken::{DecodingKey, Validation, jwk::Jwk};

const START: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const TTL: Millis = Millis::from_secs(3_600);

/// Keys in memory, which fail once so many writes have been made.
struct Fused {
    kept: Mutex<Vec<SealedKey>>,
    writes_left: AtomicUsize,
}

impl Fused {
    fn new() -> Self {
        Self { kept: Mutex::default(), writes_left: AtomicUsize::new(usize::MAX) }
    }

    fn burn_after(&self, writes: usize) {
        self.writes_left.store(writes, Ordering::Relaxed);
    }

    fn write(&self) -> Result<(), StoreError> {
        let left = self.writes_left.load(Ordering::Relaxed);
        if left == 0 {
            return Err(StoreError::Unavailable("killed".to_owned()));
        }
        self.writes_left.store(left - 1, Ordering::Relaxed);
        Ok(())
    }
}

#[async_trait]
impl KeyStore for Fused {
    async fn sealed_keys(&self) -> Result<Vec<SealedKey>, StoreError> {
        Ok(self.kept.lock().clone())
    }

    async fn put_sealed_key(&self, key: &SealedKey) -> Result<(), StoreError> {
        self.write()?;
        let mut kept = self.kept.lock();
        kept.retain(|kept| kept.kid != key.kid);
        kept.push(key.clone());
        kept.sort_by(|a, b| a.kid.cmp(&b.kid));
        Ok(())
    }

    async fn remove_sealed_key(&self, kid: &str) -> Result<(), StoreError> {
        self.write()?;
        self.kept.lock().retain(|kept| kept.kid != kid);
        Ok(())
    }
}

fn ring() -> SecretRing {
    SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]))
}

fn two_secrets() -> SecretRing {
    ring().with_current(SecretId::new(1).unwrap(), ClusterSecret::from_bytes([8; 32]))
}

async fn open(store: &Fused, algorithm: Algorithm, now: UnixMs) -> Keyring {
    Keyring::open(store, &two_secrets(), KeyPolicy::new(algorithm, TTL), now).await.unwrap()
}

fn issue(keyring: Arc<Keyring>, now: UnixMs) -> String {
    let issuer = Issuer::new("https://tank.test".into(), "client".into(), "https://tank.test", keyring);
    let request = TokenRequest {
        session: SessionId::new(SecretId::default(), [1; 16]),
        account: AccountId::from_bytes([2; 16]),
        audience: "edge",
        now,
        ttl: TTL,
        nonce: [3; 8],
        status: StatusIndex { list: ListId::from_bytes([4; 8]), idx: 5 },
    };
    issuer.issue(&request).unwrap().text
}

/// What a verifier makes of a token with the keys it has.
fn verified(token: &str, published: &[PublicKey]) -> Option<Claims<'static>> {
    let header = jsonwebtoken::decode_header(token).unwrap();
    let jwk = published
        .iter()
        .map(|key| serde_json::to_value(key).unwrap())
        .find(|jwk| jwk["kid"] == *header.kid.as_ref().unwrap())?;
    assert_eq!(jwk["alg"], format!("{:?}", header.alg), "a key is bound to its algorithm");
    let jwk: Jwk = serde_json::from_value(jwk).unwrap();
    let mut validation = Validation::new(header.alg);
    validation.validate_exp = false;
    validation.set_audience(&["edge"]);
    let key = DecodingKey::from_jwk(&jwk).unwrap();
    jsonwebtoken::decode::<serde_json::Value>(token, &key, &validation).ok().and_then(|_| claims_of(token))
}

#[tokio::test]
async fn the_first_key_signs_at_once_and_every_other_one_waits_until_it_is_known() {
    let store = Fused::new();
    let keyring = open(&store, Algorithm::ES256, START).await;
    let first = keyring.signing(START).kid().to_owned();
    keyring.rotate(&store, &two_secrets(), START).await.unwrap();
    let known = START.plus(JWKS_LIFETIME).plus(WRITING);
    assert_eq!(keyring.published().len(), 2);
    assert_eq!(keyring.signing(UnixMs::from_ms(known.as_ms() - 1)).kid(), first);
    assert_ne!(keyring.signing(known).kid(), first);
    let dead = known.plus(TTL).plus(JWKS_LIFETIME);
    keyring.tidy(&store, UnixMs::from_ms(dead.as_ms() - 1)).await.unwrap();
    assert_eq!(keyring.published().len(), 2);
    keyring.tidy(&store, dead).await.unwrap();
    assert_eq!(keyring.published().len(), 1);
    assert_eq!(store.sealed_keys().await.unwrap().len(), 2, "one that signs, and the one for subjects");
}

#[tokio::test]
async fn another_algorithm_takes_over_as_any_new_key_does() {
    let store = Fused::new();
    open(&store, Algorithm::ES256, START).await;
    let mut now = START;
    let mut before = Algorithm::ES256;
    for algorithm in [Algorithm::EdDSA, Algorithm::RS256, Algorithm::ES256] {
        let keyring = open(&store, algorithm, now).await;
        assert_eq!(keyring.signing(now).algorithm(), before, "nobody knows the new key yet");
        assert_eq!(open(&store, algorithm, now).await.published().len(), keyring.published().len(), "it is made once");
        now = now.plus(JWKS_LIFETIME).plus(WRITING);
        let keyring = Arc::new(open(&store, algorithm, now).await);
        assert_eq!(keyring.signing(now).algorithm(), algorithm);
        let token = issue(keyring.clone(), now);
        assert!(verified(&token, &keyring.published()).is_some());
        before = algorithm;
    }
}

#[tokio::test]
async fn a_schedule_is_due_by_the_age_of_the_youngest_key() {
    let store = Fused::new();
    let keyring = open(&store, Algorithm::ES256, START).await;
    let every = Millis::from_secs(86_400);
    assert!(!keyring.is_due(every, UnixMs::from_ms(START.as_ms() + every.get() - 1)));
    let due = START.plus(every);
    assert!(keyring.is_due(every, due));
    keyring.rotate(&store, &two_secrets(), due).await.unwrap();
    assert!(!keyring.is_due(every, due));
}

#[tokio::test]
async fn there_are_so_many_keys_and_no_more() {
    let store = Fused::new();
    let keyring = open(&store, Algorithm::EdDSA, START).await;
    for _ in 1..MAX_KEYS {
        keyring.rotate(&store, &two_secrets(), START).await.unwrap();
    }
    assert!(matches!(keyring.rotate(&store, &two_secrets(), START).await, Err(KeyringError::Full)));
    assert_eq!(open(&store, Algorithm::ES256, START).await.published().len(), MAX_KEYS);
}

#[tokio::test]
async fn a_kill_after_any_write_of_a_rotation_leaves_tokens_that_verify_and_keys_that_were_announced() {
    for writes in 0..12 {
        let store = Fused::new();
        let mut now = START;
        let mut seen = Vec::new();
        let mut tokens: Vec<(String, UnixMs)> = Vec::new();
        for round in 0..6 {
            // The last process was killed; this one has a healthy store until it meets the same fate.
            store.burn_after(usize::MAX);
            let algorithm = if round < 3 { Algorithm::ES256 } else { Algorithm::EdDSA };
            let keyring = Arc::new(open(&store, algorithm, now).await);
            seen.push(keyring.pairwise().expose_bytes().to_owned());
            store.burn_after(writes);
            for _ in 0..9 {
                // Whoever cached the published keys before this one was made has had to ask again since then.
                let signing = keyring.status(now).into_iter().find(|key| key.state == "signing").unwrap();
                let known = signing.created_at_ms + JWKS_LIFETIME.get();
                assert!(signing.created_at_ms == START.as_ms() || now.as_ms() >= known, "a key signs too early");
                let token = issue(Arc::clone(&keyring), now);
                tokens.push((token, now.plus(TTL)));
                for (token, _) in tokens.iter().filter(|(_, dies)| *dies > now) {
                    assert!(verified(token, &keyring.published()).is_some(), "a live token cannot be verified");
                }
                now = now.plus(Millis::from_secs(150));
                let killed = keyring.rotate(&store, &two_secrets(), now).await.is_err()
                    || keyring.tidy(&store, now).await.is_err();
                if killed {
                    break;
                }
            }
            now = now.plus(TTL);
        }
        assert!(seen.windows(2).all(|two| two[0] == two[1]), "subjects stay the same");
    }
}

#[tokio::test]
async fn what_is_sealed_moves_to_the_current_secret_even_if_it_takes_several_attempts() {
    let store = Fused::new();
    let policy = KeyPolicy::new(Algorithm::ES256, TTL);
    let keyring = Keyring::open(&store, &ring(), policy, START).await.unwrap();
    keyring.rotate(&store, &ring(), START).await.unwrap();
    let subject = keyring.pairwise().expose_bytes().to_owned();
    let (old, new) = (SecretId::default(), two_secrets().current().0);
    for attempt in 1..=3 {
        store.burn_after(1);
        let done = keyring.reseal(&store, &two_secrets()).await.is_ok();
        assert_eq!(done, attempt == 3);
        let under = keyring.sealed_under(&store).await.unwrap();
        assert_eq!(under.iter().filter(|id| **id == old).count(), 3 - attempt);
        // A process that starts now reads all of them.
        Keyring::open(&store, &two_secrets(), policy, START).await.unwrap();
    }
    assert_eq!(keyring.sealed_under(&store).await.unwrap(), [new; 3]);
    // The old secret is needed no more, and what was sealed is what it was.
    let only = SecretRing::new(new, two_secrets().current().1.clone());
    store.burn_after(usize::MAX);
    let again = Keyring::open(&store, &only, policy, START).await.unwrap();
    assert_eq!(again.pairwise().expose_bytes(), &subject);
    // A change that follows does not bring the old seal back.
    keyring.tidy(&store, START).await.unwrap();
    assert_eq!(keyring.sealed_under(&store).await.unwrap(), [new; 3]);
}

#[tokio::test]
async fn nothing_private_is_published() {
    for algorithm in Algorithm::ALL {
        let keyring = open(&Fused::new(), algorithm, START).await;
        let published = serde_json::to_value(keyring.published()).unwrap();
        let keys = published.as_array().unwrap();
        assert_eq!(keys.len(), 1, "the key for subjects is not among them");
        let allowed = ["kty", "crv", "x", "y", "n", "e", "use", "alg", "kid"];
        assert!(keys[0].as_object().unwrap().keys().all(|member| allowed.contains(&member.as_str())), "{published}");
    }
}

#[tokio::test]
async fn what_one_node_makes_of_the_keys_the_other_takes_over() {
    let (store, secrets) = (Fused::new(), ring());
    let policy = KeyPolicy::new(Algorithm::EdDSA, TTL);
    let a = Keyring::open(&store, &secrets, policy, START).await.unwrap();
    let b = Keyring::open(&store, &secrets, policy, START).await.unwrap();
    assert_eq!(a.pairwise().expose_bytes(), b.pairwise().expose_bytes());

    a.rotate(&store, &secrets, START).await.unwrap();
    assert_eq!(b.published().len(), 1);
    b.learn(&store, &secrets, MeterTime::ZERO).await.unwrap();
    assert_eq!(b.status(START), a.status(START));
    let later = START.plus(JWKS_LIFETIME).plus(WRITING);
    assert_eq!(b.signing(later).kid(), a.signing(later).kid());

    let dead = later.plus(TTL).plus(JWKS_LIFETIME);
    a.tidy(&store, dead).await.unwrap();
    b.learn(&store, &secrets, MeterTime::ZERO).await.unwrap();
    assert_eq!(b.status(dead), a.status(dead));
    assert_eq!(b.published().len(), 1);

    // Nothing is learnt of a store that cannot be read as a whole.
    a.rotate(&store, &two_secrets(), dead).await.unwrap();
    assert!(b.learn(&store, &secrets, MeterTime::ZERO).await.is_err());
    assert_eq!(b.published().len(), 1);
}

#[tokio::test]
async fn no_key_signs_while_a_set_without_it_may_be_kept_whichever_node_gave_it() {
    let (store, secrets) = (Fused::new(), ring());
    let policy = KeyPolicy { shared: true, ..KeyPolicy::new(Algorithm::EdDSA, TTL) };
    let a = Keyring::open(&store, &secrets, policy, START).await.unwrap();
    let b = Keyring::open(&store, &secrets, policy, START).await.unwrap();
    let at = MeterTime::from_ms;
    assert_eq!(b.max_age(at(0)), Millis::ZERO, "it has not read what others have made");
    let old = b.signing(START).kid().to_owned();
    b.learn(&store, &secrets, at(0)).await.unwrap();
    // Everything is at its latest: the key is made before that, on a clock that is behind, and seen after it.
    a.rotate(&store, &secrets, START.minus(ARRIVING)).await.unwrap();
    for passed in (0..400_000).step_by(500) {
        let until = at(passed).plus(b.max_age(at(passed)));
        let kept_until = START.plus(until.since(at(0)));
        // Who got the set that lacks the key keeps it no longer than the old key signs.
        if b.max_age(at(passed)) > Millis::ZERO {
            assert_eq!(a.signing(kept_until.minus(Millis::new(1))).kid(), old, "{passed}");
        }
    }
    assert_eq!(b.max_age(at(2_000)), JWKS_LIFETIME, "who reads every two seconds gives the usual time");
    assert_eq!(b.max_age(at(13_000)), JWKS_LIFETIME);
    assert!(b.max_age(at(14_000)) < JWKS_LIFETIME);
}

#[tokio::test]
async fn a_key_is_published_for_tokens_from_when_they_lived_longer() {
    let (store, secrets) = (Fused::new(), ring());
    let short = Millis::from_secs(60);
    drop(Keyring::open(&store, &secrets, KeyPolicy::new(Algorithm::EdDSA, TTL), START).await.unwrap());
    let lowered = Keyring::open(&store, &secrets, KeyPolicy::new(Algorithm::EdDSA, short), START).await.unwrap();
    lowered.tokens_live(TTL, START);
    lowered.rotate(&store, &secrets, START).await.unwrap();
    let last = START.plus(TTL).plus(JWKS_LIFETIME);
    let before = UnixMs::from_ms(last.as_ms() - 1);
    // What lives as long as it may by now keeps nothing.
    lowered.tokens_live(short, before);
    lowered.tidy(&store, before).await.unwrap();
    assert_eq!(lowered.published().len(), 2, "a token that the old key signed lives still");
    lowered.tidy(&store, last).await.unwrap();
    assert_eq!(lowered.published().len(), 1);
}
