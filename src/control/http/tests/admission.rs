//! Bodies that do not come, forged hooks, and everybody else meanwhile.

use hyper::Response;
use tokio::time::timeout;

use super::{bodies::Endless, *};

/// A body that never comes.
const NEVER: Endless = Endless { chunk: None };
/// At once, as far as a busy machine can.
const AT_ONCE: Duration = Duration::from_secs(5);
/// What bodies have to come.
const PATIENCE: Duration = Duration::from_secs(30);

impl Rig {
    /// From now on events are taken; the one that is known is of no concern here.
    fn takes_events(&self) {
        let identity = Identity { issuer: "https://id.test".into(), subject: "x".into() };
        let told = crate::identity::ProviderEvents { identity, events: Vec::new(), gives: gifts() };
        self.stub.events.lock().insert("told".into(), told);
    }

    /// Begins a request whose body does not come.
    fn begin(&self, request: hyper::http::request::Builder, from: &str) -> tokio::task::JoinHandle<Response<Body>> {
        let peer = Peer(from.parse().unwrap());
        tokio::spawn(self.surface.clone().public(request.extension(peer).body(NEVER).unwrap()))
    }

    async fn refused(&self, request: hyper::http::request::Builder, from: &str, code: ErrorCode) {
        let response = timeout(AT_ONCE, self.begin(request, from)).await.expect("it is not waited for").unwrap();
        got(response).await.is(code);
    }
}

/// A request that an edge might make whose secret is in the body.
fn of_edge() -> hyper::http::request::Builder {
    Request::post("/oauth/revoke").header(CONTENT_TYPE, "application/x-www-form-urlencoded")
}

async fn patient() -> Rig {
    Rig::with(|settings| settings.body_timeout = PATIENCE).await
}

#[tokio::test]
async fn bodies_that_do_not_come_keep_nobody_from_acts_and_verdicts() {
    let rig = patient().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let mut begun = Vec::new();
    for number in 0..1100 {
        let from = format!("198.51.{}.{}:1", number / 250, number % 250);
        begun.push(rig.begin(of_edge(), &from));
        begun.push(rig.begin(Request::post("/v1/activate").header("authorization", "Bearer gtk_x"), &from));
    }
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let token = rig.public(ask("POST", "/v1/activate").bearer(&key).from("192.0.2.1:1")).await.ok().text("token");
    let question = ask("POST", "/oauth/introspect").header("authorization", &basic(&edge.0, &edge.1));
    let question = question.header("content-type", "application/x-www-form-urlencoded").from("192.0.2.2:1");
    assert_eq!(rig.public(question.body(format!("token={token}"))).await.ok().json()["active"], true);
    let waiting = begun.iter().filter(|request| !request.is_finished()).count();
    assert_eq!(waiting, 14, "of 16 places two are for those who have proved themselves");
    assert_eq!(rig.surface.state.under_way.figures()[Budget::Acts as usize], (Budget::Acts, 0));
    begun.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn one_network_waits_with_its_share_of_bodies_and_the_last_places_are_for_good_callers() {
    let rig = patient().await;
    let (_, key) = rig.account(600).await;
    let mut begun = Vec::new();
    for host in 1..=3 {
        for _ in 0..4 {
            begun.push(rig.begin(of_edge(), &format!("192.0.2.{host}:1")));
        }
        tokio::task::yield_now().await;
        rig.refused(of_edge(), &format!("192.0.2.{host}:1"), ErrorCode::RateLimited).await;
    }
    begun.extend((0..2).map(|_| rig.begin(of_edge(), "192.0.2.4:1")));
    tokio::task::yield_now().await;
    rig.refused(of_edge(), "192.0.2.5:1", ErrorCode::Overloaded).await;
    // An act proves the network that it came from.
    rig.public(ask("POST", "/v1/activate").bearer(&key).from("192.0.2.5:1")).await.ok();
    let good = rig.begin(of_edge(), "192.0.2.5:1");
    tokio::task::yield_now().await;
    assert!(!good.is_finished() && begun.iter().all(|request| !request.is_finished()));
    begun.drain(..2).for_each(|request| request.abort());
    begun.push(good);
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    let again = rig.begin(of_edge(), "192.0.2.1:1");
    tokio::task::yield_now().await;
    assert!(!again.is_finished(), "what is given up makes room");
    begun.push(again);
    begun.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn the_headers_refuse_whoever_would_not_be_served_and_the_body_is_not_waited_for() {
    let rig = patient().await;
    let edge = rig.edge("edge").await;
    let from = "192.0.2.1:1";
    let form = |path: &str| Request::post(path).header(CONTENT_TYPE, "application/x-www-form-urlencoded");
    for path in ["/oauth/introspect", "/oauth/revoke"] {
        for wrong in [basic(&edge.0, "wrong"), basic("nobody", &edge.1), "Bearer x".into(), "Basic %%%".into()] {
            rig.refused(form(path).header("authorization", wrong), from, ErrorCode::BadCredentials).await;
        }
        rig.refused(Request::post(path), from, ErrorCode::UnsupportedMediaType).await;
        let good = rig.begin(form(path).header("authorization", basic(&edge.0, &edge.1)), from);
        tokio::task::yield_now().await;
        assert!(!good.is_finished(), "{path}: the body of an edge is waited for");
        good.abort();
    }
    for path in ["/v1/activate", "/v1/renew", "/v1/deactivate"] {
        rig.refused(Request::post(path), from, ErrorCode::BadCredentials).await;
    }
    rig.refused(Request::post("/nothing"), from, ErrorCode::NotFound).await;
    rig.refused(Request::put("/v1/activate"), from, ErrorCode::MethodNotAllowed).await;
    rig.refused(Request::post("/hooks/credit"), from, ErrorCode::NotFound).await;
    let at_admin = Request::post("/admin/accounts").header("authorization", "Bearer wrong").body(NEVER).unwrap();
    let response = timeout(AT_ONCE, rig.surface.clone().admin(at_admin)).await.expect("it is not waited for");
    got(response).await.is(ErrorCode::BadCredentials);
}

#[tokio::test]
async fn a_wrong_secret_counts_as_a_guess_whether_or_not_its_body_comes() {
    let rig = patient().await;
    let wrong = || of_edge().header("authorization", basic("nobody", "wrong"));
    for _ in 0..20 {
        rig.refused(wrong(), "192.0.2.1:1", ErrorCode::BadCredentials).await;
    }
    rig.refused(wrong(), "192.0.2.1:1", ErrorCode::RateLimited).await;
    rig.refused(wrong(), "192.0.2.2:1", ErrorCode::BadCredentials).await;
}

#[tokio::test]
async fn hooks_have_a_limit_of_their_own() {
    let rig = Rig::hooked_with(|settings| settings.hooks_per_address = Rate::new(1, 2)).await;
    let (id, key) = rig.account(600).await;
    let body = json!({"type": "credit.granted", "data": {"account": id, "seconds": 1}}).to_string();
    let hook = |name: &str, from: &str| rig.public(rig.signed(name, body.clone()).from(from));
    hook("a", "192.0.2.1:1").await.ok();
    hook("b", "192.0.2.1:1").await.ok();
    hook("c", "192.0.2.1:1").await.is(ErrorCode::RateLimited);
    rig.public(ask("POST", "/hooks/account-events").bearer("x").from("192.0.2.1:1")).await;
    hook("c", "192.0.2.2:1").await.ok();
    assert_eq!(rig.stub.limited.lock().last(), Some(&LimitedBy::Hooks));
    rig.public(ask("POST", "/v1/activate").bearer(&key).from("192.0.2.1:1")).await.ok();
}

#[tokio::test]
async fn forged_signatures_of_an_address_are_looked_at_so_often_and_then_no_more() {
    let rig = Rig::hooked_with(|_| {}).await;
    let (id, _) = rig.account(600).await;
    let body = json!({"type": "credit.granted", "data": {"account": id, "seconds": 1}}).to_string();
    let forged = async |from: &str| {
        let mut ask = rig.signed("x", body.clone()).from(from);
        *ask.request.body_mut() = Full::new(Bytes::from_static(b"{}"));
        rig.public(ask).await
    };
    let mut looked_at = 0;
    for _ in 0..200 {
        looked_at += usize::from(forged("192.0.2.1:1").await.status == ErrorCode::BadSignature.status());
    }
    assert!((50..150).contains(&looked_at), "{looked_at}");
    // The limit refills by the real clock: on a slow machine one more may be looked at meanwhile.
    let mut tries = 0..50;
    while forged("192.0.2.1:1").await.status != ErrorCode::RateLimited.status() {
        assert!(tries.next().is_some(), "there is no end to it");
    }
    // Whoever has sent a good one goes on, whatever else comes from there.
    rig.public(rig.signed("good", body.clone()).from("192.0.2.2:1")).await.ok();
    for _ in 0..100 {
        forged("192.0.2.2:1").await.is(ErrorCode::BadSignature);
    }
    rig.public(rig.signed("good-too", body.clone()).from("192.0.2.2:1")).await.ok();
    // Events cost public-key work: theirs are counted with the others.
    rig.takes_events();
    let event = |from: &str| rig.public(ask("POST", "/hooks/account-events").bearer("forged").from(from));
    let mut tries = 0..50;
    while event("192.0.2.1:1").await.status != ErrorCode::RateLimited.status() {
        assert!(tries.next().is_some(), "events are not counted with the others");
    }
    event("192.0.2.3:1").await.is(ErrorCode::BadCredentials);
}

#[tokio::test]
async fn acts_beyond_their_budget_are_refused_at_once_and_nothing_else_is() {
    let rig = Rig::new().await;
    let edge = rig.edge("edge").await;
    let (_, key) = rig.account(600).await;
    let token = rig.activate(&key).await.ok().text("token");
    let network = |host: u8| crate::web::peer::Network::V4([192, 0, 2, host]);
    let begin = |host, times| -> Vec<_> {
        (0..times).map(|_| rig.surface.state.under_way.begin(Budget::Acts, Some(network(host))).unwrap()).collect()
    };
    let from = |address: &str| ask("POST", "/v1/activate").bearer(&key).from(address);
    // One network has half of them.
    let mut held = begin(1, 512);
    rig.public(from("192.0.2.1:1")).await.is(ErrorCode::RateLimited);
    held.extend(begin(2, 1024 - 512 - 128));
    rig.public(from("192.0.2.3:1")).await.is(ErrorCode::Overloaded);
    let question = ask("POST", "/oauth/introspect").header("authorization", &basic(&edge.0, &edge.1));
    let question = question.header("content-type", "application/x-www-form-urlencoded").from("192.0.2.3:1");
    assert_eq!(rig.public(question.body(format!("token={token}"))).await.ok().json()["active"], true);
    rig.public(ask("GET", "/.well-known/jwks.json").from("192.0.2.3:1")).await.ok();
    rig.public(ask("POST", "/hooks/credit").from("192.0.2.3:1")).await.is(ErrorCode::NotFound);
    drop(held);
    rig.public(from("192.0.2.1:1")).await.ok();
}

#[tokio::test]
async fn what_a_budget_refuses_counts_as_shed_and_what_one_network_has_too_much_of_as_its_error() {
    let rig = Rig::new().await;
    let under_way = &rig.surface.state.under_way;
    let fill = |budget, from: Option<&str>| {
        let from = from.map(|from| Peer(from.parse().unwrap()).network());
        std::iter::from_fn(move || under_way.begin(budget, from).ok()).collect::<Vec<_>>()
    };
    let _one = fill(Budget::Acts, Some("192.0.2.1:1"));
    rig.public(ask("POST", "/v1/activate").from("192.0.2.1:1")).await.is(ErrorCode::RateLimited);
    let _others = [fill(Budget::Acts, Some("192.0.2.2:1")), fill(Budget::Acts, Some("192.0.2.3:1"))];
    rig.public(ask("GET", "/v1/account").from("192.0.2.4:1")).await.is(ErrorCode::Overloaded);
    let refused = rig.public(ask("POST", "/oauth/revoke").from("192.0.2.4:1")).await.is(ErrorCode::Overloaded);
    assert_eq!(refused["error"], "temporarily_unavailable", "it is an OAuth endpoint");
    let _operators = fill(Budget::Admin, None);
    rig.admin(ask("GET", "/admin/accounts")).await.is(ErrorCode::Overloaded);
    assert_eq!(*rig.stub.routes.lock(), ["/v1/activate", "/v1/account", "/oauth/revoke", "/admin/accounts"]);
    assert_eq!(*rig.stub.answers.lock(), [Answered::Status(429), Answered::Shed, Answered::Shed, Answered::Shed]);
}
