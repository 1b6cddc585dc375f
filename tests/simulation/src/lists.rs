//! Status lists of every node, held against what is true.
//!
//! Of every list that any node serves: a token that was issued is never INVALID before it ends; one that has ended is INVALID
//! for whoever keeps the list as long as he may, a `ttl` after the end at the latest; and no bit goes back.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Read,
    sync::Arc,
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use gastank::{
    control::status_token::Publication,
    engine::{ListId, TokenHash},
    wire::SessionId,
};
use serde_json::Value;
use tokio::time::sleep;

use crate::{
    audit::{BOUND, SKEW},
    node::LIST_TTL,
    world::World,
};

/// How often each node is asked for every list.
const PROBE: Duration = Duration::from_millis(700);
/// How long nobody may have been in trouble for a list to be on time: until a dead owner is taken for dead, what it has
/// announced is done or never will be, and the list has been taken over and told of.
const ORDER: u64 = 20_000;

/// A token, and where its bit is.
#[derive(Clone, Debug)]
pub(crate) struct Listed {
    pub(crate) session: SessionId,
    pub(crate) hash: TokenHash,
    list: ListId,
    idx: u32,
}

impl Listed {
    /// What a token says of its place.
    pub(crate) fn of(session: SessionId, token: &str) -> Self {
        let claims = claims(token);
        let place = &claims["status"]["status_list"];
        let (_, list) = place["uri"].as_str().expect("an address").rsplit_once('/').expect("a path");
        Self {
            session,
            hash: TokenHash::of(token.as_bytes()),
            list: ListId::parse(list).expect("a list's id"),
            idx: u32::try_from(place["idx"].as_u64().expect("a number")).expect("a place"),
        }
    }
}

/// What a node has said of lists: of each the bits that it served last. Once more for each process.
pub(crate) type Served = BTreeMap<(usize, u64, ListId), Vec<u8>>;

impl World {
    /// Asks every node for every list, all the time.
    pub(crate) async fn watch_lists(self: Arc<Self>) {
        loop {
            sleep(PROBE).await;
            let listed = self.watch.listed();
            let lists: BTreeSet<ListId> = listed.iter().map(|token| token.list).collect();
            for slot in 0..self.slots.len() {
                for list in &lists {
                    let tokens: Vec<Listed> = listed.iter().filter(|token| token.list == *list).cloned().collect();
                    tokio::spawn(Arc::clone(&self).probe_list(slot, *list, tokens));
                }
            }
        }
    }

    async fn probe_list(self: Arc<Self>, slot: usize, list: ListId, tokens: Vec<Listed>) {
        let Some(node) = self.slots[slot].answers() else { return };
        let asked = node.statuses.publication(&list).await;
        // Whoever is gone by now has told nobody.
        if self.slots[slot].answers().is_none_or(|now| !Arc::ptr_eq(&now, &node)) {
            return;
        }
        let Ok(found) = asked else { return self.watch.count("lists put off") };
        let Some(found) = found else {
            let good = tokens.iter().filter(|token| self.watch.died(&self, token).is_none()).count();
            if good > 0 {
                self.watch.violation(&self, format!("node {slot} says that there is no list {list}"));
            }
            return;
        };
        self.watch.count("lists");
        let bits = bits(&found);
        let fresh_for = found.fresh_for(LIST_TTL, node.now()).get();
        self.never_back(slot, node.process, list, &bits);
        for token in tokens {
            let is_invalid = bits[token.idx as usize / 8] >> (token.idx % 8) & 1 == 1;
            let (now, number) = (self.at(), self.watch.number(&token.session));
            match self.watch.died(&self, &token) {
                None if is_invalid => {
                    let what =
                        format!("node {slot} serves a list in which a good token of session {number} is INVALID");
                    self.watch.violation(&self, what);
                }
                Some(died) if !is_invalid => {
                    let until = now + fresh_for;
                    let ordered =
                        (0..self.slots.len()).all(|slot| self.troubled_until(slot).saturating_add(ORDER) < now);
                    if ordered && until > died + LIST_TTL.get() + BOUND + SKEW {
                        let what = format!(
                            "node {slot} serves a list in which a token of session {number} is VALID until {until}, \
                             which died at {died}"
                        );
                        self.watch.violation(&self, what);
                    }
                }
                None | Some(_) => {}
            }
        }
    }

    fn never_back(&self, slot: usize, process: u64, list: ListId, bits: &[u8]) {
        let back = self.watch.served(|served| {
            let before = served.insert((slot, process, list), bits.to_vec());
            before.is_some_and(|before| before.iter().zip(bits).any(|(before, now)| before & !now != 0))
        });
        if back {
            self.watch.violation(self, format!("a bit of list {list} goes back at node {slot}"));
        }
    }
}

fn claims(jwt: &str) -> Value {
    let payload = jwt.split('.').nth(1).expect("a JWT");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).expect("base64")).expect("JSON")
}

fn bits(publication: &Publication) -> Vec<u8> {
    let claims = claims(std::str::from_utf8(&publication.plain).expect("text"));
    let lst = claims["status_list"]["lst"].as_str().expect("a list").to_owned();
    let mut bits = Vec::new();
    ZlibDecoder::new(&*URL_SAFE_NO_PAD.decode(lst).expect("base64")).read_to_end(&mut bits).expect("zlib");
    bits
}
