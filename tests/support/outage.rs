//! What a service must do while its store fails, and afterwards, whatever store it is.

use std::time::{Duration, Instant};

use gastank::wire::{HeartbeatKind, WireVerdict};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    client::{Answer, Api, EdgeSecret, Owner, Session},
    support::{Home, Service},
};

/// A service under test, with a session that was opened while all was well.
pub(crate) struct Bench {
    api: Api,
    edge: EdgeSecret,
    owner: Owner,
    other: Owner,
    session: Session,
    acked: Vec<String>,
    put_off: Vec<String>,
}

impl Bench {
    pub(crate) async fn new(service: &Service, home: &Home) -> Self {
        let api = Api::new(service, home);
        let (edge, owner, other) = (api.edge().await, api.owner(1000).await, api.owner(1000).await);
        let session = api.open(&owner).await;
        let mut bench = Self { api, edge, owner, other, session, acked: Vec::new(), put_off: Vec::new() };
        bench.buys("before").await.must_be(200);
        bench
    }

    async fn buys(&mut self, key: &str) -> Answer {
        let answer = self.api.credit(&self.owner.account, key, 10).await.unwrap();
        match answer.status {
            200 => self.acked.push(key.to_owned()),
            _ => self.put_off.push(key.to_owned()),
        }
        answer
    }

    /// The store has just begun to fail.
    pub(crate) async fn suffers(&mut self) {
        // What little room is left may still take an act or two.
        let mut refused = None;
        for number in 0..200 {
            let answer = self.buys(&format!("during-{number}")).await;
            if answer.status != 200 {
                refused = Some(answer);
                break;
            }
        }
        refused.expect("an act is put off").must_be_problem(503, "store_unavailable");
        self.api.activate(&self.other).await.unwrap().must_be_problem(503, "store_unavailable");
        let frame = self.session.frame(HeartbeatKind::Renew);
        self.api.renew(&self.session, frame).await.unwrap().must_be_problem(503, "store_unavailable");
        let path = "/v1/deactivate";
        let answer = self.api.public(Method::POST, path, &self.owner.key, &Value::Null).await.unwrap();
        answer.must_be_problem(503, "store_unavailable");

        let socket = self.api.socket().await;
        let start = Instant::now();
        for _ in 0..50 {
            let ack = self.session.datagram(&socket, HeartbeatKind::Beat).await.expect("beats go on");
            assert_eq!(ack.verdict, WireVerdict::Valid);
            assert_eq!(self.session.posted(&self.api, HeartbeatKind::Beat).await.unwrap().verdict, WireVerdict::Valid);
            assert!(self.api.is_active(&self.edge, &self.session.token).await);
        }
        assert!(start.elapsed() < Duration::from_secs(5), "beats wait for the store: {:?}", start.elapsed());
        self.wait_for_store_up(0.0).await;
        let status = self.status().await;
        assert_eq!((&status["store"]["reachable"], &status["phase"]), (&json!(false), &json!("ready")));
        // It still answers beats and verdicts, so it still takes traffic.
        assert_eq!(self.api.ready().await.status, 200);
    }

    /// The store has just begun to work again.
    pub(crate) async fn heals(&mut self) {
        self.wait_for_store_up(1.0).await;
        assert_eq!(self.status().await["store"]["reachable"], true);
        // A node among others acts again when it has renewed its lease.
        let began = Instant::now();
        while self.buys("first").await.status != 200 {
            assert!(began.elapsed() < Duration::from_secs(20), "acts are done again");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        for key in self.put_off.clone() {
            self.buys(&key).await.must_be(200);
        }
        for key in ["before", "after"] {
            self.buys(key).await.must_be(200);
        }
        let ledger = self.api.ledger(&self.owner.account).await;
        for key in &self.acked {
            assert_eq!(ledger.iter().filter(|entry| entry["external_id"] == **key).count(), 1, "{key}");
        }
        self.api.activate(&self.other).await.unwrap().must_be(200);
        assert!(self.api.is_active(&self.edge, &self.session.token).await);
        let ack = self.session.posted(&self.api, HeartbeatKind::Stop).await.unwrap();
        assert!(matches!(ack.verdict, WireVerdict::Invalid(_)));
        assert!(!self.api.is_active(&self.edge, &self.session.token).await);
    }

    async fn status(&self) -> Value {
        self.api.admin(Method::GET, "/admin/status", &[], &Value::Null).await.unwrap().must_be(200).json()
    }

    async fn wait_for_store_up(&self, wanted: f64) {
        for _ in 0..300 {
            if self.api.metric("gastank_store_up", "").await == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the figures never said that the store is at {wanted}");
    }
}
