//! Deliveries to a client on the loopback interface, by a clock that stands still.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use axum::{
    Router,
    body::Body,
    http::{StatusCode, header::LOCATION},
    response::IntoResponse,
    routing::post,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use super::*;
use crate::{
    control::{
        audit::AuditLog,
        hub_clients::{AddedClient, NewClient},
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        redirects::{BackchannelUri, RedirectUri},
    },
    engine::{AccountId, SecretRing},
    entropy::{Entropy, SeededEntropy},
    hub::{Alone, DeviceText, Lifetimes, Profile, SessionSecret, SignIn},
    store::{Actor, ClientKind, Identity, Removed, SecretDigest, SqliteStore, Store},
    time::{Clock, FakeClock, MeterTime},
    wire::{ClusterSecret, SecretId},
};

const START: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const ADA: AccountId = AccountId::from_bytes([1; 16]);
const DAY: Millis = Millis::from_secs(86_400);

/// A client that answers with one status, and keeps what it was sent.
#[derive(Default)]
struct Receiver {
    status: AtomicU16,
    got: Mutex<Vec<(Value, Value)>>,
}

#[derive(Default)]
struct Counts([AtomicU32; 3]);

impl DeliveryObserver for Counts {
    fn tried(&self, delivery: Delivery) {
        self.0[delivery as usize].fetch_add(1, Ordering::SeqCst);
    }
}

struct Rig {
    store: Arc<dyn Store>,
    clock: Arc<FakeClock>,
    sessions: HubSessions,
    clients: Arc<ClientRegistry>,
    outbox: Outbox,
    counts: Arc<Counts>,
    receiver: Arc<Receiver>,
    client: Arc<HubClient>,
}

impl Receiver {
    /// Listens; answers the address.
    async fn listen(self: &Arc<Self>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let this = Arc::clone(self);
        let take = move |form: String| {
            let this = Arc::clone(&this);
            async move {
                let token = form.strip_prefix("logout_token=").unwrap();
                let part = |n: usize| URL_SAFE_NO_PAD.decode(token.split('.').nth(n).unwrap()).unwrap();
                let json = |n| serde_json::from_slice(&part(n)).unwrap();
                this.got.lock().push((json(0), json(1)));
                let status = StatusCode::from_u16(this.status.load(Ordering::SeqCst)).unwrap();
                // Of what comes after the status nobody knows when it ends.
                let body = Body::from_stream(stream::pending::<Result<String, std::io::Error>>());
                (status, [(LOCATION, "/elsewhere")], body).into_response()
            }
        };
        let router = Router::new().route("/out", post(take)).route("/elsewhere", axum::routing::any(|| async {}));
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}/out")
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    /// What came since it was last asked.
    fn take(&self) -> Vec<Value> {
        self.got.lock().drain(..).map(|(_, claims)| claims).collect()
    }
}

impl Rig {
    async fn new() -> Self {
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open_in_memory().unwrap());
        let _ = store.create_account(ADA, &identity(), START).await.unwrap();
        let fake = Arc::new(FakeClock::new(MeterTime::ZERO, START));
        let clock: Arc<dyn Clock> = Arc::<FakeClock>::clone(&fake);
        let entropy: Arc<dyn Entropy> = Arc::new(SeededEntropy::new(3));
        let ring = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
        let policy = KeyPolicy::new(Algorithm::ES256, DAY);
        let keyring = Arc::new(Keyring::open(&*store, &ring, policy, START).await.unwrap());
        let issuer = Arc::new(Issuer::new("https://tank.test".into(), "gastank".into(), "https://tank.test", keyring));
        let audit = Arc::new(AuditLog::new(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy)));
        let clients = ClientRegistry::open(Arc::clone(&store), Arc::clone(&clock), Arc::clone(&entropy), audit);
        let clients = Arc::new(clients.await.unwrap());
        let lifetimes = Lifetimes { absolute: Millis::from_secs(30 * 86_400), idle: Millis::from_secs(30 * 86_400) };
        let sessions = HubSessions::new(Arc::clone(&store), clock, entropy, Arc::new(Alone), lifetimes);
        let (counts, receiver) = (Arc::new(Counts::default()), Arc::new(Receiver::default()));
        let client = add(&clients, &receiver.listen().await).await;
        let observer = Arc::<Counts>::clone(&counts);
        let outbox =
            Outbox::new(sessions.clone(), Arc::clone(&clients), issuer, observer, Millis::from_secs(3 * 86_400));
        Self { store, clock: fake, sessions, clients, outbox, counts, receiver, client }
    }

    /// Somebody signs in, at the hub and at these clients.
    async fn sign_in(&self, clients: &[&HubClient]) -> SessionSecret {
        let sign_in = SignIn {
            account: ADA,
            identity: identity(),
            profile: Profile::default(),
            auth_time: None,
            acr: None,
            amr: Vec::new(),
            provider_sid: None,
            device: DeviceText::new("Firefox"),
        };
        let (secret, _) = self.sessions.begin(sign_in, None).await.unwrap();
        for client in clients {
            let code = SecretDigest::from_bytes(draw(&*self.sessions.shared().entropy));
            self.sessions.redeem(&code, &secret.digest(), client, "openid").await.unwrap().unwrap();
        }
        secret
    }

    async fn sign_out(&self, secret: &SessionSecret) -> String {
        let id = self.sessions.find(secret).await.unwrap().unwrap().id;
        assert_eq!(self.sessions.end(&ADA, &id).await.unwrap(), Removed::Done);
        id.to_string()
    }

    async fn tell(&self) {
        self.outbox.tell_all(&self.client).await;
    }

    /// Deliveries, failures, and what was given up.
    fn counts(&self) -> [u32; 3] {
        [0, 1, 2].map(|n| self.counts.0[n].load(Ordering::SeqCst))
    }
}

async fn add(clients: &ClientRegistry, uri: &str) -> Arc<HubClient> {
    let new = NewClient {
        name: "app".to_owned(),
        kind: ClientKind::Public,
        redirect_uris: vec![RedirectUri::parse("https://app.example/cb").unwrap()],
        post_logout_redirect_uris: Vec::new(),
        tank: false,
        backchannel_logout_uri: Some(BackchannelUri::parse(uri).unwrap()),
    };
    let AddedClient { client, .. } = clients.add(new, &Actor::operator()).await.unwrap();
    client
}

fn identity() -> Identity {
    Identity { issuer: "https://id.example".to_owned(), subject: "ada".to_owned() }
}

#[tokio::test]
async fn a_client_is_told_that_a_session_has_ended_once_it_answers() {
    let rig = Rig::new().await;
    let (ended, _other) = (rig.sign_in(&[&rig.client]).await, rig.sign_in(&[&rig.client]).await);
    rig.receiver.answer(503);
    rig.tell().await;
    assert_eq!(rig.receiver.take(), [] as [Value; 0], "nothing has ended");
    let sid = rig.sign_out(&ended).await;
    rig.tell().await;
    let first = rig.receiver.take();
    rig.tell().await;
    assert_eq!((first.len(), rig.receiver.take().len()), (1, 0), "not again before it is due");
    rig.clock.advance(Millis::from_secs(20));
    // A redirect is no answer, whatever is at its end.
    rig.receiver.answer(302);
    rig.tell().await;
    rig.clock.advance(Millis::from_secs(40));
    rig.receiver.answer(204);
    rig.tell().await;
    let last = rig.receiver.take();
    let now = rig.clock.wall().as_secs();
    assert_eq!(last.len(), 2);
    assert!(first[0]["jti"] != last[0]["jti"] && last[0]["jti"] != last[1]["jti"], "each try has a token of its own");
    let expected = json!({
        "iss": "https://tank.test", "aud": rig.client.client_id, "iat": now, "exp": now + 120, "sid": sid,
        "jti": last[1]["jti"], "events": {"http://schemas.openid.net/event/backchannel-logout": {}},
    });
    assert_eq!(last[1], expected, "no sub and no nonce");
    rig.clock.advance(DAY);
    rig.tell().await;
    assert_eq!((rig.receiver.take().len(), rig.counts()), (0, [1, 2, 0]));
}

#[tokio::test]
async fn everywhere_and_deletion_are_told_by_sub_beside_each_session() {
    let rig = Rig::new().await;
    rig.receiver.answer(200);
    for deletes in [false, true] {
        rig.sign_in(&[&rig.client, &rig.client]).await;
        rig.sign_in(&[&rig.client]).await;
        if deletes {
            let account = rig.store.account(&ADA).await.unwrap().unwrap().account;
            let act = crate::engine::Act { deletes: true, ..account.nothing() };
            assert!(matches!(rig.store.commit(&act, None).await.unwrap(), crate::store::Commit::Done(_)));
        } else {
            rig.sessions.end_everywhere(&ADA).await.unwrap();
        }
        rig.tell().await;
        let told = rig.receiver.take();
        let (all, each): (Vec<_>, Vec<_>) = told.iter().partition(|claims| claims.get("sid").is_none());
        assert_eq!((all.len(), each.len()), (1, 2), "{told:?}");
        assert_eq!(all[0]["sub"], ADA.to_string());
        assert!(each.iter().all(|claims| claims.get("sub").is_none()));
    }
}

#[tokio::test]
async fn a_client_that_never_answers_is_tried_one_at_a_time_and_given_up() {
    let rig = Rig::new().await;
    let gone = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("http://{}/out", listener.local_addr().unwrap())
    };
    let gone = add(&rig.clients, &gone).await;
    for _ in 0..3 {
        let secret = rig.sign_in(&[&gone]).await;
        rig.sign_out(&secret).await;
    }
    for tried in 1..=3 {
        rig.outbox.tell_all(&gone).await;
        assert_eq!(rig.counts(), [0, tried, 0], "the others wait for one that is answered");
    }
    for _ in 0..200 {
        rig.clock.advance(Millis::from_secs(1_800));
        for _ in 0..3 {
            rig.outbox.tell_all(&gone).await;
        }
    }
    let [delivered, tries, given_up] = rig.counts();
    assert_eq!((delivered, given_up), (0, 3), "each is given up");
    assert!((3 * 40..3 * 100).contains(&tries), "more and more seldom, for three days: {tries}");
    assert_eq!(rig.store.due_logouts(&gone.client_id, UnixMs::from_ms(u64::MAX >> 2), 9).await.unwrap(), []);
}

#[tokio::test]
async fn a_client_that_refuses_what_it_is_told_of_one_is_told_of_the_others() {
    let rig = Rig::new().await;
    rig.receiver.answer(400);
    for _ in 0..3 {
        let secret = rig.sign_in(&[&rig.client]).await;
        rig.sign_out(&secret).await;
    }
    rig.tell().await;
    assert_eq!((rig.receiver.take().len(), rig.counts()), (3, [0, 3, 0]), "it lives");
    let secret = rig.sign_in(&[&rig.client]).await;
    let sid = rig.sign_out(&secret).await;
    rig.receiver.answer(200);
    rig.tell().await;
    let told = rig.receiver.take();
    assert_eq!((told.len(), &told[0]["sid"]), (1, &Value::from(sid)), "the others are not due yet");
}

#[tokio::test]
async fn a_dead_client_delays_nobody_else() {
    let rig = Rig::new().await;
    rig.receiver.answer(200);
    // Connections come about, and nobody ever answers.
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = add(&rig.clients, &format!("http://{}/out", silent.local_addr().unwrap())).await;
    let secret = rig.sign_in(&[&rig.client, &dead]).await;
    let Rig { outbox, receiver, sessions, .. } = &rig;
    let id = sessions.find(&secret).await.unwrap().unwrap().id;
    let outbox = Arc::new(Outbox::new(
        sessions.clone(),
        Arc::clone(&rig.clients),
        Arc::clone(&outbox.issuer),
        Arc::<Counts>::clone(&rig.counts),
        DAY,
    ));
    let delivering = tokio::spawn(outbox.deliver_for_ever());
    assert_eq!(sessions.end(&ADA, &id).await.unwrap(), Removed::Done);
    let (stream, _) = silent.accept().await.unwrap();
    while receiver.got.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    assert_eq!(rig.counts()[1], 0, "the dead one is still being waited for");
    drop(stream);
    delivering.abort();
}

#[tokio::test]
async fn a_sign_in_that_meets_the_end_of_its_session_is_refused() {
    let rig = Rig::new().await;
    let secret = rig.sign_in(&[]).await;
    rig.sessions.end_everywhere(&ADA).await.unwrap();
    let redeemed =
        rig.sessions.redeem(&SecretDigest::of("code"), &secret.digest(), &rig.client, "openid").await.unwrap();
    assert!(redeemed.is_none());
    rig.tell().await;
    assert_eq!(rig.receiver.take(), [] as [Value; 0], "it took no part");
}
