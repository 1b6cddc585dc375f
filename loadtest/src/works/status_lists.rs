//! Fetches of status lists, as edges make them: the list must be one, and must not say that a live token is dead.

use std::{collections::HashMap, io::Read, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use flate2::read::ZlibDecoder;
use serde::Deserialize;

use crate::{
    api,
    credentials::Credentials,
    record::Kind,
    session::SessionIndex,
    transport::{Answer, Message, Reply},
    verify::Bad,
    work::{Miss, Question, Turn, Work},
};

/// Fetches of some lists.
pub struct StatusLists {
    lists: Vec<Arc<str>>,
    places: Vec<usize>,
    credentials: Arc<Credentials>,
    /// Where the status of each token is that has been looked at.
    known: HashMap<usize, Known>,
}

struct Known {
    token: Arc<str>,
    at: Option<Place>,
}

/// Where a token's status is: in which list, and where there.
#[derive(Clone, Deserialize)]
struct Place {
    idx: usize,
    uri: String,
}

#[derive(Deserialize)]
struct Claims {
    sub: String,
    exp: u64,
    status_list: Packed,
}

#[derive(Deserialize)]
struct Packed {
    bits: u8,
    lst: String,
}

/// How many tokens are looked up in each list.
const LOOKED_UP: usize = 256;
/// How long a list may be, unpacked.
const MAX_LIST: u64 = 16 << 20;

impl StatusLists {
    /// Fetches of these lists' paths, in turns.
    pub fn new(own: &[SessionIndex], lists: Vec<Arc<str>>, credentials: Arc<Credentials>) -> Self {
        let places = own.iter().map(|index| index.get() % lists.len().max(1)).collect();
        Self { lists, places, credentials, known: HashMap::new() }
    }

    /// Whether the list says of a live token of the credentials that it is not good.
    fn slanders(&mut self, claims: &Claims, bits: &[u8], question: &Question<()>) -> bool {
        let numbers = 0..self.credentials.len().min(LOOKED_UP);
        numbers.into_iter().any(|number| {
            let session_tokens = self.credentials.session_tokens(number);
            if !session_tokens.is_unchanged_since(question.sent) {
                return false;
            }
            let token = Arc::clone(&session_tokens.current);
            drop(session_tokens);
            let known =
                self.known.entry(number).or_insert_with(|| Known { at: place(&token), token: Arc::clone(&token) });
            if known.token != token {
                *known = Known { at: place(&token), token };
            }
            let Some(at) = known.at.as_ref().filter(|at| at.uri == claims.sub) else { return false };
            bits.get(at.idx >> 3).is_none_or(|byte| byte >> (at.idx & 7) & 1 == 1)
        })
    }
}

impl Work for StatusLists {
    type Context = ();

    fn kind(&self) -> Kind {
        Kind::StatusLists
    }

    fn compose(&mut self, turn: &Turn, _again: Option<&()>) -> Option<((), Message)> {
        let list = self.lists.get(self.places[turn.place])?;
        Some(((), Message::Call(api::get(Arc::clone(list)))))
    }

    fn judge(&mut self, question: &Question<()>, answer: &Answer) -> Result<(), Miss> {
        let reply = match &answer.reply {
            Reply::Http(reply) => reply,
            Reply::Frame(_) | Reply::Odd => return Err(Bad::Shape.into()),
            Reply::Failed => return Err(Miss::Failed),
        };
        if reply.status != 200 {
            return Err(Miss::Refused(reply.status));
        }
        let (claims, bits) = unpack(&reply.body).ok_or(Bad::Shape)?;
        if !claims.sub.ends_with(&*self.lists[self.places[question.place]]) {
            return Err(Bad::Other.into());
        }
        if self.slanders(&claims, &bits, question) { Err(Bad::StatusSet.into()) } else { Ok(()) }
    }
}

fn unpack(body: &[u8]) -> Option<(Claims, Vec<u8>)> {
    let text = std::str::from_utf8(body).ok()?.trim();
    (text.split('.').count() == 3 && api::part(text, 0)?.get("typ")? == "statuslist+jwt").then_some(())?;
    let claims: Claims = serde_json::from_value(api::claims(text)?).ok()?;
    (claims.status_list.bits == 1 && claims.exp > crate::clock::unix_s()).then_some(())?;
    let packed = URL_SAFE_NO_PAD.decode(&claims.status_list.lst).ok()?;
    let mut bits = Vec::new();
    ZlibDecoder::new(&*packed).take(MAX_LIST).read_to_end(&mut bits).ok()?;
    Some((claims, bits))
}

/// Where a token says that its status is.
fn place(token: &str) -> Option<Place> {
    let claims = api::claims(token)?;
    serde_json::from_value(claims.get("status")?.get("status_list")?.clone()).ok()
}
