//! People, shops and an edge that go on while something fails, and what must be so afterwards.

#![expect(clippy::print_stdout, reason = "what happened is told with the test")]

use std::{
    collections::BTreeMap,
    ops::Sub,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, future::join_all, stream};
use gastank::wire::{EndReason, HeartbeatKind, WireVerdict};
use parking_lot::Mutex;
use tokio::{net::UdpSocket, sync::watch, task::JoinHandle};

use crate::{
    client::{Api, EdgeSecret, Owner, Session},
    nodes::{until, verdict},
};

/// How often each client beats, each shop sells and the edge asks.
const PACE: Duration = Duration::from_millis(200);
/// How long it may take until all is well, on a machine that has much else to do.
const PATIENCE: Duration = Duration::from_secs(90);
/// More than an hour.
const CREDIT_S: u64 = 10_000;
/// How much the meters of two nodes, or theirs and the clock of this test, may differ.
const TOLERANCE_MS: u64 = 1500;

/// What has happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Heartbeats that were answered, and that were not.
    pub(crate) beats: u64,
    pub(crate) missed: u64,
    /// Acts that were done, that got 503, and of which nobody knows.
    pub(crate) acts: u64,
    pub(crate) put_off: u64,
    pub(crate) unknown: u64,
    /// What the edge was told of tokens whose sessions go on.
    pub(crate) active: u64,
    pub(crate) inactive: u64,
    pub(crate) unavailable: u64,
}

impl Sub for Tally {
    type Output = Self;

    fn sub(self, before: Self) -> Self {
        Self {
            beats: self.beats - before.beats,
            missed: self.missed - before.missed,
            acts: self.acts - before.acts,
            put_off: self.put_off - before.put_off,
            unknown: self.unknown - before.unknown,
            active: self.active - before.active,
            inactive: self.inactive - before.inactive,
            unavailable: self.unavailable - before.unavailable,
        }
    }
}

impl Tally {
    /// Beats went on: some that were lost for want of time do not matter.
    #[track_caller]
    pub(crate) fn beats_went_on(&self) {
        assert!(self.beats > 0 && self.missed * 10 <= self.beats, "beats are to be answered: {self:?}");
    }

    /// No edge was told of a good token that it is bad.
    #[track_caller]
    pub(crate) fn nobody_was_turned_away(&self) {
        assert!(self.active > 0 && self.inactive == 0, "these tokens are good: {self:?}");
    }
}

/// Where a client beats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum At {
    /// At one node.
    Node(usize),
    /// At each in turn.
    All,
}

/// What goes on.
pub(crate) struct Load {
    apis: Vec<Api>,
    edge: EdgeSecret,
    tally: Arc<Mutex<Tally>>,
    over: watch::Sender<bool>,
    tokens: Vec<(At, String)>,
    clients: Vec<JoinHandle<Client>>,
    shops: Vec<JoinHandle<Shop>>,
    asker: JoinHandle<()>,
}

/// What is left when it is over.
pub(crate) struct Aftermath {
    pub(crate) apis: Vec<Api>,
    pub(crate) edge: EdgeSecret,
    pub(crate) clients: Vec<Client>,
    shops: Vec<Shop>,
}

/// A session and whoever beats for it.
pub(crate) struct Client {
    pub(crate) at: At,
    pub(crate) owner: Owner,
    pub(crate) session: Session,
    opened: Instant,
    sockets: Vec<UdpSocket>,
    /// Meter time of the last ack that said valid.
    pub(crate) vouched_until: u64,
    /// Why it was told that it has ended.
    pub(crate) ended: Option<EndReason>,
}

/// Somebody who sells at one node, to one account.
struct Shop {
    node: usize,
    owner: Owner,
    /// What was sold, by its key, and whether that was acknowledged.
    sold: BTreeMap<String, bool>,
    activated: Vec<Session>,
}

impl Load {
    /// Opens sessions at nodes and begins.
    pub(crate) async fn begin(apis: &[Api], places: &[At]) -> Self {
        let apis = apis.to_vec();
        let edge = apis[0].edge().await;
        for api in &apis {
            until("the edge is known", async || api.introspect(&edge, "no token").await.unwrap().status == 200).await;
        }
        let (over, tally) = (watch::Sender::new(false), Arc::new(Mutex::new(Tally::default())));
        let mut opened = Vec::new();
        for at in places {
            let first = if let At::Node(node) = at { *node } else { 0 };
            let owner = apis[first].owner(CREDIT_S).await;
            let session = apis[first].open(&owner).await;
            let sockets = join_all(apis.iter().map(Api::socket)).await;
            let vouched_until = session.started;
            opened.push(Client {
                at: *at,
                owner,
                session,
                opened: Instant::now(),
                sockets,
                vouched_until,
                ended: None,
            });
        }
        let tokens: Vec<_> = opened.iter().map(|client| (client.at, client.session.token.clone())).collect();
        let clients =
            opened.into_iter().map(|client| tokio::spawn(client.beat(apis.clone(), tally.clone(), over.subscribe())));
        let clients = clients.collect();
        let mut shops = Vec::new();
        for (node, api) in apis.iter().enumerate() {
            let shop = Shop { node, owner: api.owner(CREDIT_S).await, sold: BTreeMap::new(), activated: Vec::new() };
            shops.push(tokio::spawn(shop.sell(api.clone(), tally.clone(), over.subscribe())));
        }
        let asker = tokio::spawn(ask(apis.clone(), edge.clone(), tokens.clone(), tally.clone(), over.subscribe()));
        Self { apis, edge, tally, over, tokens, clients, shops, asker }
    }

    /// What has happened so far.
    pub(crate) fn tally(&self) -> Tally {
        *self.tally.lock()
    }

    /// Lets it go on for a while, and tells what happened in it.
    pub(crate) async fn go_on_for(&self, span: Duration) -> Tally {
        let before = self.tally();
        tokio::time::sleep(span).await;
        self.tally() - before
    }

    /// Lets it go on until it is as wished; tells what happened until then.
    pub(crate) async fn go_on_until(&self, what: &str, mut is_so: impl AsyncFnMut(Tally) -> bool) -> Tally {
        let (before, began) = (self.tally(), Instant::now());
        loop {
            let so_far = self.tally() - before;
            if is_so(so_far).await {
                return so_far;
            }
            assert!(began.elapsed() < PATIENCE, "not in time: {what}; {so_far:?}");
            tokio::time::sleep(PACE / 2).await;
        }
    }

    /// Whether a node says that the session of one of the clients is over.
    pub(crate) async fn is_over(&self, client: usize, node: &Api) -> bool {
        verdict(node, &self.edge, &self.tokens[client].1).await == Some(false)
    }

    /// Acts are done again, at every node, and all tokens are good at all of them, but for those of the first `ended`.
    pub(crate) async fn recovers(&self, ended: usize) {
        let began = Instant::now();
        for (node, api) in self.apis.iter().enumerate() {
            let owner = loop {
                let body = serde_json::json!({"credit_s": 100, "key": true});
                let made = api.admin(reqwest::Method::POST, "/admin/accounts", &[], &body).await;
                match made {
                    Ok(answer) if answer.status == 201 => break answer.json(),
                    put_off => assert!(began.elapsed() < PATIENCE, "node {node} does not act again: {put_off:?}"),
                }
                tokio::time::sleep(PACE).await;
            };
            assert!(owner["account"].is_string());
        }
        println!("acts were done again at all nodes after {:?}", began.elapsed());
        for api in &self.apis {
            for (at, token) in &self.tokens[ended..] {
                until(&format!("the token of who beats at {at:?} is good"), async || {
                    let answer = api.introspect(&self.edge, token).await.unwrap();
                    answer.status == 200 && answer.json()["active"] == true
                })
                .await;
            }
        }
    }

    /// Ends it when all is well again. It was all the time, as far as anybody was told.
    pub(crate) async fn ends_well(self) {
        self.recovers(0).await;
        let mut aftermath = self.end().await;
        aftermath.everybody_pays_for_what_was_vouched_for().await;
        aftermath.nothing_is_lost().await;
    }

    /// Ends it.
    pub(crate) async fn end(self) -> Aftermath {
        self.over.send_replace(true);
        let mut clients = Vec::new();
        for client in self.clients {
            clients.push(client.await.expect("a client beats to the end"));
        }
        let mut shops = Vec::new();
        for shop in self.shops {
            shops.push(shop.await.expect("a shop sells to the end"));
        }
        self.asker.await.expect("the edge asks to the end");
        println!("{:?}", self.tally.lock());
        Aftermath { apis: self.apis, edge: self.edge, clients, shops }
    }
}

impl Client {
    async fn beat(mut self, apis: Vec<Api>, tally: Arc<Mutex<Tally>>, mut over: watch::Receiver<bool>) -> Self {
        for turn in 0.. {
            let node = if let At::Node(node) = self.at { node } else { turn % apis.len() };
            // One in three comes over HTTP.
            let ack = if turn % 3 == 2 {
                self.session.posted(&apis[node], HeartbeatKind::Beat).await
            } else {
                self.session.datagram(&self.sockets[node], HeartbeatKind::Beat).await
            };
            {
                let mut tally = tally.lock();
                if ack.is_some() { tally.beats += 1 } else { tally.missed += 1 }
            }
            match ack.map(|ack| (ack.verdict, ack.now.as_ms())) {
                Some((WireVerdict::Valid, now)) => {
                    assert_eq!(self.ended, None, "what has ended does not come back");
                    self.vouched_until = self.vouched_until.max(now);
                }
                Some((WireVerdict::Invalid(why), _)) => self.ended = self.ended.or(Some(why)),
                Some((WireVerdict::Unknown, _)) | None => {}
            }
            if tokio::time::timeout(PACE, over.wait_for(|over| *over)).await.is_ok() {
                break;
            }
        }
        self
    }
}

impl Client {
    /// Closes the session. When that was, in meter time, and for how long it has been open by the clock of this test, in
    /// milliseconds.
    async fn close(&mut self, apis: &[Api]) -> (&Self, u64, u64) {
        let (node, began) = (if let At::Node(node) = self.at { node } else { 0 }, Instant::now());
        loop {
            match self.session.posted(&apis[node], HeartbeatKind::Stop).await {
                Some(ack) if ack.verdict == WireVerdict::Invalid(EndReason::Deactivated) => {
                    let lived = u64::try_from(self.opened.elapsed().as_millis()).unwrap();
                    return (self, ack.now.as_ms(), lived);
                }
                other => assert!(began.elapsed() < PATIENCE, "it can be closed: {other:?}"),
            }
        }
    }
}

impl Shop {
    /// Sells, and now and then opens a session in place of the one before.
    async fn sell(mut self, api: Api, tally: Arc<Mutex<Tally>>, mut over: watch::Receiver<bool>) -> Self {
        for turn in 0.. {
            let answer = if turn % 4 == 3 {
                let answer = api.activate(&self.owner).await;
                if let Ok(answer) = &answer
                    && answer.status == 200
                {
                    self.activated.push(Session::of(&answer.json()));
                }
                answer
            } else {
                let key = format!("sold-{turn}");
                let answer = api.credit(&self.owner.account, &key, 10).await;
                self.sold.insert(key, answer.as_ref().is_ok_and(|answer| answer.status == 200));
                answer
            };
            {
                let mut tally = tally.lock();
                match answer.as_ref().map(|answer| answer.status) {
                    Ok(200) => tally.acts += 1,
                    Ok(503) => tally.put_off += 1,
                    Ok(_) => panic!("an act is done or put off: {answer:?}"),
                    Err(_) => tally.unknown += 1,
                }
            }
            if tokio::time::timeout(PACE, over.wait_for(|over| *over)).await.is_ok() {
                break;
            }
        }
        self
    }
}

/// Asks every node about every token.
async fn ask(
    apis: Vec<Api>,
    edge: EdgeSecret,
    tokens: Vec<(At, String)>,
    tally: Arc<Mutex<Tally>>,
    mut over: watch::Receiver<bool>,
) {
    loop {
        for (_, token) in &tokens {
            for api in &apis {
                let Ok(answer) = api.introspect(&edge, token).await else { continue };
                let mut tally = tally.lock();
                match answer.status {
                    200 if answer.json()["active"] == true => tally.active += 1,
                    200 => tally.inactive += 1,
                    503 => tally.unavailable += 1,
                    _ => panic!("an edge is answered or put off: {answer:?}"),
                }
            }
        }
        if tokio::time::timeout(PACE, over.wait_for(|over| *over)).await.is_ok() {
            return;
        }
    }
}

impl Aftermath {
    /// All that was acknowledged is there, once; all that was put off can be had, once.
    pub(crate) async fn nothing_is_lost(&self) {
        for shop in &self.shops {
            let api = &self.apis[shop.node];
            let began = Instant::now();
            let owner = &shop.owner;
            let put_off = shop.sold.iter().filter(|(_, acknowledged)| !**acknowledged).map(|(key, _)| async move {
                loop {
                    let answer = api.credit(&owner.account, key, 10).await;
                    if answer.as_ref().is_ok_and(|answer| answer.status == 200) {
                        return;
                    }
                    assert!(began.elapsed() < PATIENCE, "what was put off can be had: {answer:?}");
                }
            });
            stream::iter(put_off).buffer_unordered(8).collect::<()>().await;
            for api in &self.apis {
                let ledger = api.ledger(&shop.owner.account).await;
                for key in shop.sold.keys() {
                    let times = ledger.iter().filter(|entry| entry["external_id"] == **key).count();
                    assert_eq!(times, 1, "{key} was sold once");
                }
                let mut sum = 0;
                for (n, entry) in ledger.iter().enumerate() {
                    assert_eq!(entry["number"], n + 1);
                    sum += entry["amount_ms"].as_i64().unwrap();
                }
                // Each session that another took the place of is charged, for no longer than until then.
                for pair in shop.activated.windows(2) {
                    let charged = charged(&ledger, &pair[0]).expect("it was superseded");
                    let most = pair[1].started - pair[0].started;
                    assert!(charged <= most, "{charged} ms were charged, {most} ms at most were vouched for");
                }
                println!("{} entries at a shop, {sum} ms in all", ledger.len());
            }
        }
    }

    /// All sessions of clients go on until they are closed, and are charged for what was vouched for. To be called at once:
    /// nobody beats for them any more.
    pub(crate) async fn everybody_pays_for_what_was_vouched_for(&mut self) {
        let apis = &self.apis;
        let closing = self.clients.iter_mut().map(|client| client.close(apis));
        for (client, closed_at, lived) in join_all(closing).await {
            assert_eq!(client.ended, None, "a client that beat at {:?} was told that its session has ended", client.at);
            let ledger = apis[0].ledger(&client.owner.account).await;
            let charged = charged(&ledger, &client.session).expect("it is closed");
            let started = client.session.started;
            let vouched = client.vouched_until - started..=closed_at - started;
            println!("{:?}: {charged} ms charged, {vouched:?} ms vouched for in {lived} ms", client.at);
            assert!(charged + TOLERANCE_MS >= *vouched.start() && charged <= *vouched.end() + TOLERANCE_MS);
            assert!(charged <= lived + TOLERANCE_MS);
        }
    }

    /// What a client was charged, once it has been.
    pub(crate) async fn charge_of(&self, client: &Client) -> Option<u64> {
        charged(&self.apis[0].ledger(&client.owner.account).await, &client.session)
    }
}

/// What a session was charged, in milliseconds.
fn charged(ledger: &[serde_json::Value], session: &Session) -> Option<u64> {
    let mut usages = ledger.iter().filter(|entry| entry["external_id"] == *session.id_text && entry["kind"] == "usage");
    let charged = usages.next()?["amount_ms"].as_i64().unwrap();
    assert!(usages.next().is_none(), "a session is charged once");
    Some(charged.unsigned_abs())
}
