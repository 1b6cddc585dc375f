//! Hub sessions on a real store: who ends which, and what races with what.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::{
    engine::{AccountId, Act},
    entropy::SeededEntropy,
    identity::{LoggedOut, ProviderLogout},
    store::{Identity, Removed, SqliteStore, Store, StoreError},
    time::{Clock, FakeClock, MeterTime, Millis, UnixMs},
};

const START: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const HOUR: Millis = Millis::from_secs(3600);

struct Rig {
    store: Arc<dyn Store>,
    clock: Arc<FakeClock>,
    sessions: HubSessions,
}

fn identity(n: u8) -> Identity {
    Identity { issuer: "https://id.example".to_owned(), subject: format!("person-{n}") }
}

fn account(n: u8) -> AccountId {
    AccountId::from_bytes([n; 16])
}

fn sign_in(n: u8) -> SignIn {
    SignIn {
        account: account(n),
        identity: identity(n),
        profile: Profile { name: Some(format!("Person {n}")), ..Profile::default() },
        auth_time: Some(START),
        acr: None,
        amr: vec!["pwd".to_owned()],
        provider_sid: Some(format!("sid-{n}")),
        device: DeviceText::new("Firefox"),
    }
}

/// What a provider tells of a sign-out.
fn logout(jti: &str, of: LoggedOut) -> ProviderLogout {
    ProviderLogout {
        issuer: "https://id.example".to_owned(),
        jti: jti.to_owned(),
        of,
        counts_for: Millis::from_secs(3_600),
    }
}

fn of_session(sid: &str) -> LoggedOut {
    LoggedOut::Session { sid: sid.to_owned(), subject: None }
}

impl Rig {
    /// Two people, and a hub session that lives for ten hours and idles for two.
    async fn new(bus: impl Bus) -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        for n in [1, 2] {
            let _ = store.create_account(account(n), &identity(n), START).await.unwrap();
        }
        let clock = Arc::new(FakeClock::new(MeterTime::ZERO, START));
        let sessions = Self::hub(&store, &clock, bus, 1);
        Self { store, clock, sessions }
    }

    fn hub(store: &Arc<dyn Store>, clock: &Arc<FakeClock>, bus: impl Bus, seed: u64) -> HubSessions {
        let lifetimes = Lifetimes { absolute: Millis::from_secs(36_000), idle: Millis::from_secs(7_200) };
        let (clock, entropy) = (Arc::<FakeClock>::clone(clock), Arc::new(SeededEntropy::new(seed)));
        HubSessions::new(Arc::clone(store), clock, entropy, Arc::new(bus), lifetimes)
    }

    async fn begin(&self, n: u8) -> (SessionSecret, HubSession) {
        self.sessions.begin(sign_in(n), None).await.unwrap()
    }

    async fn lives(&self, secret: &SessionSecret) -> bool {
        self.sessions.find(secret).await.unwrap().is_some()
    }
}

#[tokio::test]
async fn a_session_is_found_by_its_secret_with_the_person_it_is_of() {
    let rig = Rig::new(Alone).await;
    let (secret, begun) = rig.begin(1).await;
    let found = rig.sessions.find(&secret).await.unwrap().unwrap();
    assert_eq!((found.id, found.account, &*found.identity), (begun.id, account(1), &identity(1)));
    assert_eq!(found.profile.name.as_deref(), Some("Person 1"));
    assert_eq!((found.authentication.at(), found.authentication.amr()), (Some(START), &["pwd".to_owned()][..]));
    assert_eq!((found.created, found.absolute_end), (START, START.plus(Millis::from_secs(36_000))));
    let stranger = SessionSecret::new(&SeededEntropy::new(9));
    assert!(!rig.lives(&stranger).await);
}

#[tokio::test]
async fn a_validation_in_memory_asks_no_store() {
    let rig = Rig::new(Alone).await;
    let (secret, _) = rig.begin(1).await;
    assert!(rig.lives(&secret).await);
    rig.store.close().await.unwrap();
    assert!(rig.lives(&secret).await, "what is known needs no store");
    let unknown = SessionSecret::new(&SeededEntropy::new(9));
    rig.sessions.find(&unknown).await.expect_err("nobody can tell, and that is no answer");
}

#[tokio::test]
async fn a_session_ends_at_its_absolute_end_and_when_it_is_idle() {
    let rig = Rig::new(Alone).await;
    let (used, _) = rig.begin(1).await;
    let (idle, _) = rig.begin(2).await;
    assert!(rig.lives(&idle).await);
    for _ in 0..9 {
        rig.clock.advance(HOUR);
        assert!(rig.lives(&used).await);
    }
    assert!(!rig.lives(&idle).await, "two hours without use");
    rig.clock.advance(HOUR);
    assert!(!rig.lives(&used).await, "ten hours");
    assert!(rig.sessions.list(&account(1)).await.unwrap().is_empty());
    assert!(rig.sessions.tidy(10).await.unwrap());
    rig.clock.advance(Millis::new(1));
    assert!(rig.sessions.tidy(10).await.unwrap());
    assert!(rig.store.hub_sessions(&account(1)).await.unwrap().is_empty(), "and its row goes");
}

#[tokio::test]
async fn a_use_on_another_node_keeps_a_session_from_being_idle() {
    let rig = Rig::new(Alone).await;
    let other = Rig::hub(&rig.store, &rig.clock, Alone, 2);
    let (secret, _) = rig.begin(1).await;
    assert!(rig.lives(&secret).await);
    rig.clock.advance(HOUR);
    assert!(other.find(&secret).await.unwrap().is_some());
    other.flush().await.unwrap();
    rig.clock.advance(HOUR);
    assert!(rig.lives(&secret).await, "the store is asked before a session is called idle");
    rig.clock.advance(Millis::from_secs(7_200));
    assert!(!rig.lives(&secret).await);
}

#[tokio::test]
async fn a_sign_in_ends_the_session_that_the_browser_had_before_whoever_it_was_of() {
    let rig = Rig::new(Alone).await;
    let (before, _) = rig.begin(1).await;
    let (elsewhere, _) = rig.begin(1).await;
    assert!(rig.lives(&before).await);
    let (after, session) = rig.sessions.begin(sign_in(2), Some(&before)).await.unwrap();
    assert_eq!(session.account, account(2));
    assert!(!rig.lives(&before).await && rig.lives(&after).await && rig.lives(&elsewhere).await);
}

#[tokio::test]
async fn one_ends_or_the_others_or_all() {
    let rig = Rig::new(Alone).await;
    let mut begun = Vec::new();
    for _ in 0..4 {
        begun.push(rig.begin(1).await);
    }
    let (bystander, theirs) = rig.begin(2).await;
    for (secret, _) in &begun {
        assert!(rig.lives(secret).await);
    }
    assert_eq!(rig.sessions.end(&account(1), &theirs.id).await.unwrap(), Removed::NotThere, "not theirs to end");
    assert_eq!(rig.sessions.end(&account(1), &begun[0].1.id).await.unwrap(), Removed::Done);
    assert_eq!(rig.sessions.end(&account(1), &begun[0].1.id).await.unwrap(), Removed::NotThere);
    assert!(!rig.lives(&begun[0].0).await && rig.lives(&begun[1].0).await);
    rig.sessions.end_others(&account(1), &begun[2].1.id).await.unwrap();
    assert!(!rig.lives(&begun[1].0).await && !rig.lives(&begun[3].0).await && rig.lives(&begun[2].0).await);
    rig.sessions.end_everywhere(&account(1)).await.unwrap();
    assert!(!rig.lives(&begun[2].0).await && rig.lives(&bystander).await);
    assert!(rig.sessions.list(&account(1)).await.unwrap().is_empty());
    let of_sid_2 = async |subject| rig.sessions.end_of_provider("https://id.example", "sid-2", subject).await.unwrap();
    assert_eq!(of_sid_2(Some("somebody else")).await, 0, "not theirs");
    assert!(rig.lives(&bystander).await);
    assert_eq!(of_sid_2(None).await, 1);
    assert!(!rig.lives(&bystander).await);
    assert!(matches!(rig.sessions.end_everywhere(&account(9)).await, Err(HubError::NoSuchAccount)));
}

/// Holds up the first who is about to write, until they are let go.
#[derive(Clone, Default)]
struct Holding(Arc<(Notify, Notify, AtomicBool)>);

#[async_trait]
impl Bus for Holding {
    fn is_current(&self) -> bool {
        true
    }

    async fn announce(&self, _: &AccountId) -> Result<(), StoreError> {
        let (came, go, held) = &*self.0;
        if !held.swap(true, Ordering::SeqCst) {
            came.notify_one();
            go.notified().await;
        }
        Ok(())
    }
}

#[tokio::test]
async fn a_session_that_is_made_while_all_are_ended_is_over() {
    let rig = Rig::new(Alone).await;
    let holding = Holding::default();
    let hub = Rig::hub(&rig.store, &rig.clock, holding.clone(), 2);
    let (came, go, _) = &*holding.0;
    let signing_in = tokio::spawn(async move { (hub.begin(sign_in(1), None).await.unwrap().0, hub) });
    // The sign-in has read the epoch, and has written nothing yet.
    came.notified().await;
    rig.sessions.end_everywhere(&account(1)).await.unwrap();
    let (before, _) = rig.begin(1).await;
    go.notify_one();
    let (late, hub) = signing_in.await.unwrap();
    assert_eq!(rig.store.hub_sessions(&account(1)).await.unwrap().len(), 2, "it was written");
    assert!(!rig.lives(&late).await && hub.find(&late).await.unwrap().is_none() && rig.lives(&before).await);
}

#[tokio::test]
async fn a_sign_out_at_the_provider_ends_that_session_or_all_of_the_person_once() {
    let rig = Rig::new(Alone).await;
    let sign_in_of = |n: u8, sid: &str| SignIn { provider_sid: Some(sid.to_owned()), ..sign_in(n) };
    let begin = async |n: u8, sid: &str| rig.sessions.begin(sign_in_of(n, sid), None).await.unwrap().0;
    let (one, two, bystander) = (begin(1, "a").await, begin(1, "b").await, begin(2, "c").await);
    let elsewhere = ProviderLogout { issuer: "https://other.example".to_owned(), ..logout("1", of_session("a")) };
    rig.sessions.end_by_provider(&elsewhere).await.unwrap();
    assert!(rig.lives(&one).await, "another provider's session of the same name");
    rig.sessions.end_by_provider(&logout("1", of_session("a"))).await.unwrap();
    assert!(!rig.lives(&one).await && rig.lives(&two).await);
    let everywhere = logout("2", LoggedOut::Person("person-1".to_owned()));
    rig.sessions.end_by_provider(&everywhere).await.unwrap();
    assert!(!rig.lives(&two).await && rig.lives(&bystander).await);
    let again = begin(1, "d").await;
    rig.sessions.end_by_provider(&everywhere).await.unwrap();
    assert!(rig.lives(&again).await, "the same message counts once");
    rig.sessions.end_by_provider(&logout("3", LoggedOut::Person("nobody".to_owned()))).await.unwrap();
    rig.sessions.end_by_provider(&logout("4", LoggedOut::Person("person-1".to_owned()))).await.unwrap();
    assert!(!rig.lives(&again).await);
}

#[tokio::test]
async fn a_sign_in_from_a_session_that_ends_at_the_provider_meanwhile_does_not_complete() {
    let rig = Rig::new(Alone).await;
    let holding = Holding::default();
    let hub = Rig::hub(&rig.store, &rig.clock, holding.clone(), 2);
    let (came, go, _) = &*holding.0;
    let signing_in = tokio::spawn(async move { hub.begin(sign_in(1), None).await.map(drop) });
    // The provider's answer has been verified, and nothing is written yet: there is nothing to be ended.
    came.notified().await;
    rig.sessions.end_by_provider(&logout("1", of_session("sid-1"))).await.unwrap();
    go.notify_one();
    assert!(matches!(signing_in.await.unwrap(), Err(HubError::EndedAtProvider)));
    assert_eq!(rig.store.hub_sessions(&account(1)).await.unwrap(), []);
    assert!(matches!(rig.sessions.begin(sign_in(1), None).await, Err(HubError::EndedAtProvider)), "it is long over");
    let anew = SignIn { provider_sid: Some("anew".to_owned()), ..sign_in(1) };
    assert!(rig.sessions.begin(anew, None).await.is_ok());
}

#[tokio::test]
async fn of_a_deleted_account_no_session_is_found() {
    let rig = Rig::new(Alone).await;
    let (secret, _) = rig.begin(1).await;
    assert!(rig.lives(&secret).await);
    let owned = rig.store.account(&account(1)).await.unwrap().unwrap();
    let _ = rig.store.commit(&Act { deletes: true, ..owned.account.nothing() }, None).await.unwrap();
    rig.sessions.forget(&account(1));
    assert!(!rig.lives(&secret).await);
    assert!(matches!(rig.sessions.begin(sign_in(1), None).await, Err(HubError::NoSuchAccount)));
}

#[tokio::test]
async fn a_profile_that_has_changed_is_seen_by_all_sessions() {
    let rig = Rig::new(Alone).await;
    let (old, _) = rig.begin(1).await;
    assert!(rig.lives(&old).await);
    let profile = Profile { name: Some("Ada".to_owned()), ..Profile::default() };
    rig.sessions.begin(SignIn { profile: profile.clone(), ..sign_in(1) }, None).await.unwrap();
    assert_eq!(*rig.sessions.find(&old).await.unwrap().unwrap().profile, profile);
    assert_eq!(rig.store.person(&account(1)).await.unwrap().unwrap().version, 2);
}

#[tokio::test]
async fn whoever_signs_in_once_more_than_may_be_ends_their_oldest_session() {
    let rig = Rig::new(Alone).await;
    let (first, _) = rig.begin(1).await;
    for _ in 1..sessions::MAX_SESSIONS {
        rig.clock.advance(Millis::new(1));
        rig.begin(1).await;
    }
    assert!(rig.lives(&first).await);
    rig.clock.advance(Millis::new(1));
    let (last, _) = rig.begin(1).await;
    assert!(!rig.lives(&first).await && rig.lives(&last).await);
    assert_eq!(rig.sessions.list(&account(1)).await.unwrap().len(), sessions::MAX_SESSIONS);
}

#[tokio::test]
async fn a_node_that_hears_nothing_of_others_asks_the_store_each_time() {
    let rig = Rig::new(Unheard).await;
    let other = Rig::hub(&rig.store, &rig.clock, Unheard, 2);
    let (secret, session) = rig.begin(1).await;
    assert!(rig.lives(&secret).await);
    assert_eq!(other.end(&account(1), &session.id).await.unwrap(), Removed::Done);
    assert!(!rig.lives(&secret).await);
    let (secret, _) = rig.begin(1).await;
    assert!(rig.lives(&secret).await);
    other.end_everywhere(&account(1)).await.unwrap();
    assert!(!rig.lives(&secret).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_validation_that_begins_after_an_end_was_answered_finds_the_session() {
    const ROUNDS: usize = 200;
    let rig = Arc::new(Rig::new(Alone).await);
    let mut finds = 0;
    for round in 0..ROUNDS {
        let (secret, session) = rig.begin(1).await;
        let (ended, stale) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let validators: Vec<_> = (0..2)
            .map(|_| {
                let (rig, secret) = (Arc::clone(&rig), secret.clone());
                let (ended, stale) = (Arc::clone(&ended), Arc::clone(&stale));
                tokio::spawn(async move {
                    let mut finds = 0_u64;
                    loop {
                        let over = ended.load(Ordering::SeqCst);
                        let lives = rig.lives(&secret).await;
                        finds += u64::from(lives);
                        stale.fetch_add(u64::from(over && lives), Ordering::SeqCst);
                        if over {
                            return finds;
                        }
                        tokio::task::yield_now().await;
                    }
                })
            })
            .collect();
        if round % 2 == 0 {
            assert_eq!(rig.sessions.end(&account(1), &session.id).await.unwrap(), Removed::Done);
        } else {
            rig.sessions.end_everywhere(&account(1)).await.unwrap();
        }
        ended.store(true, Ordering::SeqCst);
        for validator in validators {
            finds += validator.await.unwrap();
        }
        assert_eq!(stale.load(Ordering::SeqCst), 0, "round {round}");
    }
    assert!(finds > 0, "some were found before their end");
    // Those that everywhere has ended are still there, and over.
    rig.clock.advance(Millis::from_secs(36_001));
    assert!(rig.clock.wall() > START && rig.sessions.tidy(ROUNDS + 1).await.unwrap());
}

#[tokio::test]
async fn no_secret_is_in_the_store_or_in_what_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("gastank.db");
    let store: Arc<dyn Store> = Arc::new(SqliteStore::open(&path, &crate::store::SqliteOptions::default()).unwrap());
    let _ = store.create_account(account(1), &identity(1), START).await.unwrap();
    let clock = Arc::new(FakeClock::new(MeterTime::ZERO, START));
    let hub = Rig::hub(&store, &clock, Alone, 1);
    let (secret, session) = hub.begin(sign_in(1), None).await.unwrap();
    hub.find(&secret).await.unwrap().unwrap();
    store.close().await.unwrap();
    let file = std::fs::read(&path).unwrap();
    let holds = |text: &str| file.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds("Person 1"), "the row is in the file");
    assert!(!holds(&secret.expose()[6..]) && !format!("{session:?}{secret:?}").contains(&secret.expose()[6..]));
}
