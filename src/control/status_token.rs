//! Status lists as edges fetch them: compressed, signed, and kept until something has changed.
//!
//! A list is built when it is asked for, and at most once in half a `ttl`; in between, the same bytes are served. One
//! that has not changed is signed anew only when its signature is three `ttl` old. Building takes milliseconds of a
//! processor and is done on a thread of its own; who asks meanwhile waits for that one.

use std::{collections::BTreeMap, io::Write, sync::Arc};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use brotli::enc::BrotliEncoderParams;
use bytes::Bytes;
use flate2::{
    Compression,
    write::{GzEncoder, ZlibEncoder},
};
use parking_lot::Mutex;
use serde::Serialize;
use sha2::{Digest, Sha256};
use tokio::sync::Mutex as Gate;

use crate::{
    clock::Clock,
    engine::{Engine, ListId, StatusList, UnixMs},
    store::StoreError,
    wire::{MeterTime, Millis},
};

use super::{
    keys::{KeyError, SigningKey},
    peers::Others,
    status::StatusKeeper,
    tokens::{Issuer, sign},
};

/// How many `ttl` a signature is good for.
const GOOD_FOR: u64 = 5;
/// How many `ttl` a signature is served for: who fetches it then has it for a while.
const SERVED_FOR: u64 = 3;
/// How long lists that nobody knows are not asked for again.
const LEARN_AGAIN: Millis = Millis::from_secs(1);

/// Why a list cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum PublicationError {
    /// It cannot be signed.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// What other nodes have made of it cannot be known now.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A signed status list.
#[derive(Clone, Debug)]
pub struct Publication {
    /// The JWT.
    pub plain: Bytes,
    /// The same, compressed by gzip.
    pub gzip: Bytes,
    /// The same, compressed by brotli.
    pub brotli: Bytes,
    /// What tells it from other versions of the list: an entity tag without quotes.
    pub tag: String,
    /// The list's changes that are in it.
    changes: u64,
    signed_at: UnixMs,
    /// When it was last known to be what the list says.
    checked: MeterTime,
}

impl Publication {
    /// Signs a list as it is now. Pure computation: milliseconds for a million entries.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn of(
        list: &StatusList,
        uri: &str,
        key: &SigningKey,
        ttl: Millis,
        now: MeterTime,
        wall: UnixMs,
    ) -> Result<Self, KeyError> {
        // Before the bits: a change that comes between is in the next one again.
        let changes = list.changes();
        let lst = encode(&list.packed());
        let iat = wall.as_secs();
        let length = lst.len() / 3 * 4 + 1024;
        let claims = Claims {
            sub: uri,
            iat,
            exp: iat + GOOD_FOR * ttl.as_secs(),
            ttl: ttl.as_secs(),
            status_list: Packed { bits: 1, lst },
        };
        let plain = sign(key, "statuslist+jwt", &claims, length)?;
        let digest = Sha256::digest(plain.as_bytes());
        Ok(Self {
            gzip: gzip(plain.as_bytes()).into(),
            brotli: brotli(plain.as_bytes()).into(),
            tag: URL_SAFE_NO_PAD.encode(&digest[..12]),
            plain: plain.into(),
            changes,
            signed_at: wall,
            checked: now,
        })
    }

    /// For how much longer it may be kept without asking again.
    pub fn fresh_for(&self, ttl: Millis, now: MeterTime) -> Millis {
        ttl.minus(now.since(self.checked))
    }

    fn serves(&self, ttl: Millis, now: MeterTime, wall: UnixMs) -> bool {
        self.is_young(ttl, wall) && now.since(self.checked).get() * 2 < ttl.get()
    }

    /// Whether its signature is good for a while. A wall clock that was set back makes it one from the future.
    fn is_young(&self, ttl: Millis, wall: UnixMs) -> bool {
        wall >= self.signed_at && wall.since(self.signed_at).get() < SERVED_FOR * ttl.get()
    }
}

/// The claims of a status list token (draft-ietf-oauth-status-list, 5.1).
#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: u64,
    exp: u64,
    ttl: u64,
    status_list: Packed,
}

#[derive(Serialize)]
struct Packed {
    bits: u8,
    lst: String,
}

/// Keeps the publications of all lists.
pub struct StatusTokens {
    engine: Arc<Engine>,
    clock: Arc<dyn Clock>,
    issuer: Arc<Issuer>,
    keeper: Arc<StatusKeeper>,
    ttl: Millis,
    slots: Mutex<BTreeMap<ListId, Arc<Slot>>>,
    others: Option<Arc<dyn Others>>,
    /// When lists of others were last looked for because nobody knew one.
    learned: Mutex<Option<MeterTime>>,
}

#[derive(Default)]
struct Slot {
    latest: Mutex<Option<Arc<Publication>>>,
    building: Gate<()>,
}

impl StatusTokens {
    /// Publishes the lists of an engine. An edge may keep a list for `ttl`.
    pub fn new(
        engine: Arc<Engine>,
        clock: Arc<dyn Clock>,
        issuer: Arc<Issuer>,
        keeper: Arc<StatusKeeper>,
        ttl: Millis,
    ) -> Self {
        let (slots, learned) = (Mutex::default(), Mutex::default());
        Self { engine, clock, issuer, keeper, ttl, slots, others: None, learned }
    }

    /// The same where other nodes fill lists too.
    #[must_use]
    pub fn among(self, others: Arc<dyn Others>) -> Self {
        Self { others: Some(others), ..self }
    }

    /// For how long a list may be kept.
    pub const fn ttl(&self) -> Millis {
        self.ttl
    }

    /// The addresses of the lists that have tokens which may be good.
    pub fn addresses(&self) -> Vec<String> {
        self.keeper.listed().iter().map(|list| self.issuer.list_uri(list)).collect()
    }

    /// A list as it is served now. `None` where there is none of this id.
    ///
    /// A token that another node has issued is bad in a list until this one has heard of it. So a list that others fill is
    /// made only after all that they have done is known.
    ///
    /// # Errors
    ///
    /// [`PublicationError`].
    pub async fn publication(&self, id: &ListId) -> Result<Option<Arc<Publication>>, PublicationError> {
        if self.engine.lists().find(id).is_none() {
            self.learn().await?;
        }
        let Some(list) = self.engine.lists().find(id) else {
            self.slots.lock().remove(id);
            return Ok(None);
        };
        let slot = Arc::clone(self.slots.lock().entry(*id).or_default());
        if let Some(found) = self.served(&slot) {
            return Ok(Some(found));
        }
        let _building = slot.building.lock().await;
        if let Some(found) = self.served(&slot) {
            return Ok(Some(found));
        }
        if let Some(others) = self.others.as_ref().filter(|_| !self.keeper.fills(id)) {
            others.catch_up().await?;
        }
        let before = slot.latest.lock().clone();
        self.slots.lock().retain(|id, _| self.engine.lists().find(id).is_some());
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let (engine, ttl) = (Arc::clone(&self.engine), self.ttl);
        let (uri, key) = (self.issuer.list_uri(id), self.issuer.keyring().signing(wall));
        let build = move || {
            // Sessions may be over that nobody has asked about yet.
            engine.settle(now);
            let unchanged = before.filter(|last| last.changes == list.changes() && last.is_young(ttl, wall));
            match unchanged {
                Some(last) => Ok(Publication { checked: now, ..Publication::clone(&last) }),
                None => Publication::of(&list, &uri, &key, ttl, now, wall),
            }
        };
        let built = tokio::task::spawn_blocking(build).await.expect("building a list does not panic")?;
        let built = Arc::new(built);
        *slot.latest.lock() = Some(Arc::clone(&built));
        Ok(Some(built))
    }

    /// Looks for lists of others, if that is worth it.
    async fn learn(&self) -> Result<(), StoreError> {
        if self.others.is_none() {
            return Ok(());
        }
        {
            let (now, mut learned) = (self.clock.now(), self.learned.lock());
            if learned.is_some_and(|learned| now.since(learned) < LEARN_AGAIN) {
                return Err(StoreError::Unavailable("lists of other nodes were looked for a moment ago".to_owned()));
            }
            *learned = Some(now);
        }
        self.keeper.learn().await
    }

    fn served(&self, slot: &Slot) -> Option<Arc<Publication>> {
        let latest = slot.latest.lock().clone();
        latest.filter(|latest| latest.serves(self.ttl, self.clock.now(), self.clock.wall()))
    }
}

const IN_MEMORY: &str = "writing to memory does not fail";

/// The `lst` of these entries: zlib (RFC 1950), then base64url without padding.
pub fn encode(packed: &[u8]) -> String {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(packed.len() / 4), Compression::new(6));
    encoder.write_all(packed).expect(IN_MEMORY);
    URL_SAFE_NO_PAD.encode(encoder.finish().expect(IN_MEMORY))
}

/// A signed list is base64 of what is compressed already: all there is to save is that its characters have six bits.
fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len()), Compression::new(3));
    encoder.write_all(text).expect(IN_MEMORY);
    encoder.finish().expect(IN_MEMORY)
}

/// The window is as large as the text: with the usual one of 4 MiB each build would take 8 MiB for a moment, which the
/// system's allocator keeps for every thread that has ever built a list.
fn brotli(text: &[u8]) -> Vec<u8> {
    let lgwin = text.len().ilog2().clamp(15, 21) + 1;
    let params = BrotliEncoderParams {
        quality: 3,
        size_hint: text.len(),
        lgwin: lgwin.cast_signed(),
        ..BrotliEncoderParams::default()
    };
    let mut compressed = Vec::with_capacity(text.len());
    brotli::BrotliCompress(&mut &*text, &mut compressed, &params).expect(IN_MEMORY);
    compressed
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::ZlibDecoder;

    use super::*;

    fn decode(lst: &str) -> Vec<u8> {
        let compressed = URL_SAFE_NO_PAD.decode(lst).unwrap();
        let mut bytes = Vec::new();
        ZlibDecoder::new(&compressed[..]).take(1 << 22).read_to_end(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn what_the_standards_examples_encode_is_what_we_encode() {
        // Other libraries deflate differently: the inflated bytes are what counts.
        for (lst, bytes) in [("eNrbuRgAAhcBXQ", &[0xb9, 0xa3][..]), ("eNo76fITAAPfAgc", &[0xc9, 0x44, 0xf9])] {
            assert_eq!(decode(lst), bytes);
            assert_eq!(decode(&encode(bytes)), bytes);
        }
    }

    #[test]
    fn of_a_million_entries_one_percent_that_is_invalid_is_about_twenty_kilobytes() {
        let mut bytes = vec![0_u8; 1 << 17];
        let mut state = 1_u32;
        for _ in 0..10_486 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let idx = state >> 12;
            bytes[idx as usize / 8] |= 1 << (idx % 8);
        }
        let lst = encode(&bytes);
        assert!((15_000..25_000).contains(&lst.len()), "{}", lst.len());
        assert_eq!(decode(&lst), bytes);
    }
}
