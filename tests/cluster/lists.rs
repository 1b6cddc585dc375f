//! Status lists as an edge fetches them from a node that does not fill them.

use std::{
    io::Read,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use reqwest::Method;

use crate::{
    HANGS,
    client::{Api, Session, text},
    nodes::{another, claims, until},
    settings, store,
    support::{Home, Service},
};

const TTL: Duration = Duration::from_secs(4);
const PEOPLE: usize = 8;
const TIMES: usize = 3;

/// Whether a node's copy of the status list calls a token good; `None` where it has to be asked again.
pub(crate) async fn listed(api: &Api, token: &str) -> Option<bool> {
    let place = claims(token)["status"]["status_list"].clone();
    let (_, list) = place["uri"].as_str().unwrap().rsplit_once('/').unwrap();
    let url = format!("{}/oauth/status/{list}", api.public);
    let answer = api.send(Method::GET, url, &[], Vec::new()).await.unwrap();
    if answer.status == 503 {
        return None;
    }
    let lst = text(&claims(&answer.must_be(200).text())["status_list"]["lst"]);
    let mut bits = Vec::new();
    ZlibDecoder::new(&*URL_SAFE_NO_PAD.decode(lst).unwrap()).read_to_end(&mut bits).unwrap();
    let idx = usize::try_from(place["idx"].as_u64().unwrap()).unwrap();
    Some(bits[idx / 8] >> (idx % 8) & 1 == 0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_that_another_node_serves_has_good_tokens_as_valid_and_dead_ones_as_invalid() {
    let _calm = HANGS.read().await;
    let (home, store) = (Home::new(), store("lists").await);
    let settings = [&settings(&store)[..], &[("GASTANK_STATUS_LIST_TTL_S", "4")]].concat();
    let first = Service::start_with(&home, &settings);
    let other = another(&home);
    let second = Service::start_with(&other, &settings);
    let (a, b) = (Api::new(&first, &home), Api::new(&second, &other));

    let mut dead: Vec<String> = Vec::new();
    let mut good: Vec<Session> = Vec::new();
    for _ in 0..PEOPLE {
        let owner = a.owner(1000).await;
        let mut last: Option<Session> = None;
        for _ in 0..TIMES {
            let session = a.open(&owner).await;
            // An edge that keeps the list keeps what it is told now.
            let told = async || listed(&b, &session.token).await;
            until("the list is told of", async || told().await.is_some()).await;
            assert_eq!(told().await, Some(true), "a token is not bad because it is new");
            dead.extend(last.replace(session).map(|before| before.token));
        }
        good.extend(last);
    }
    let ended = Instant::now();
    until("all that were superseded are INVALID at the other node", async || {
        for token in &dead {
            if listed(&b, token).await != Some(false) {
                return false;
            }
        }
        true
    })
    .await;
    println!("{} superseded tokens were INVALID at the other node after {:?}", dead.len(), ended.elapsed());
    for session in &good {
        assert_eq!(listed(&b, &session.token).await, Some(true));
        assert_eq!(listed(&a, &session.token).await, Some(true));
    }

    // Who filled the list goes. The other takes it over, with all that is so.
    assert!(first.stop().success());
    let revoked = good.pop().unwrap();
    b.revoke(&revoked.id_text).await.unwrap().must_be(200);
    let gone = Instant::now();
    until("the list is taken over", async || listed(&b, &revoked.token).await == Some(false)).await;
    println!("an end was INVALID {:?} after who filled the list had gone", gone.elapsed());
    for session in &good {
        assert_eq!(listed(&b, &session.token).await, Some(true));
    }
    for token in &dead {
        assert_eq!(listed(&b, token).await, Some(false), "no bit goes back");
    }
    assert!(gone.elapsed() < TTL * 5, "what was told before has not run out yet");
    assert!(second.stop().success());
}
