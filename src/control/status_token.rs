//! Status lists as edges fetch them: compressed, signed, and kept until something has changed.
//!
//! A list is built when it is asked for, and at most once in half a `ttl`; in between, the same bytes are served. One
//! that has not changed is signed anew only when its signature is three `ttl` old. Building takes milliseconds of a
//! processor and is done on a thread of its own; who asks meanwhile waits for that one.
//!
//! Where many nodes share the store, the owner of a list builds it four times in a `ttl` and tells the others, who serve what it
//! said last, signed by themselves. Whoever cannot find out what is so now serves what it has until that expires.

use std::{collections::BTreeMap, io::Write, sync::Arc, time::Duration};

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
use tokio::{
    sync::Mutex as Gate,
    time::{MissedTickBehavior, interval},
};

use crate::{
    engine::{Engine, ListId, StatusList},
    store::{ClusterStore, ListCopy, StoreError},
    time::{Clock, MeterTime, Millis, UnixMs},
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
/// How often the owner of a list tells the others, at the least, and how often they ask.
const TELLS_EVERY: Duration = Duration::from_secs(15);
const ASKS_EVERY: Millis = Millis::from_secs(5);
/// How long it takes until a list that could not be had is asked for again.
const TRIES_AGAIN: Millis = Millis::new(250);
/// How much longer than it is good for a copy of a list is kept: meters and wall clocks differ.
const KEPT_LONGER: Duration = Duration::from_secs(60);
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
    entries: Entries,
    /// When it was right by the wall clock, as its `iat` says.
    signed_at: UnixMs,
}

/// The entries of a list at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entries {
    /// In which term of its owners, where a list has any.
    term: u64,
    /// All tokens that had ended by then are INVALID in it.
    as_of: MeterTime,
    /// One bit for each, by zlib.
    bits: Bytes,
}

impl Entries {
    /// The entries of a list as they are, after everything that was to be known at `as_of`.
    pub fn of(list: &StatusList, term: u64, as_of: MeterTime) -> Self {
        Self { term, as_of, bits: encode(&list.packed()).into() }
    }
}

/// What a list is signed with, and when.
#[derive(Clone, Copy)]
pub struct Signs<'a> {
    /// The list's address.
    pub uri: &'a str,
    /// The key.
    pub key: &'a SigningKey,
    /// For how long it may be kept.
    pub ttl: Millis,
    /// Now, on the meter.
    pub now: MeterTime,
    /// And on the wall clock.
    pub wall: UnixMs,
}

impl Publication {
    /// Signs the entries of a list, which were right at `as_of`. Pure computation: milliseconds for a million entries.
    ///
    /// # Errors
    ///
    /// [`KeyError::Refused`].
    pub fn of(entries: &Entries, signs: &Signs<'_>) -> Result<Self, KeyError> {
        let Signs { uri, key, ttl, now, wall } = *signs;
        // Whoever gets what is not new any more has it for less long.
        let iat = wall.minus(now.since(entries.as_of)).as_secs();
        let lst = URL_SAFE_NO_PAD.encode(&entries.bits);
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
            entries: entries.clone(),
            signed_at: UnixMs::from_ms(iat * 1000),
        })
    }

    /// The same entries at a later instant, if they are, and the signature is young; signed anew if not.
    fn renewed(before: Option<&Self>, entries: &Entries, signs: &Signs<'_>) -> Result<Self, KeyError> {
        let unchanged = before.filter(|last| last.entries.bits == entries.bits && last.is_young(signs.ttl, signs.wall));
        match unchanged {
            Some(last) => Ok(Self { entries: entries.clone(), ..last.clone() }),
            None => Self::of(entries, signs),
        }
    }

    /// For how much longer it may be kept without asking again.
    pub fn fresh_for(&self, ttl: Millis, now: MeterTime) -> Millis {
        ttl.minus(now.since(self.entries.as_of))
    }

    fn serves(&self, ttl: Millis, now: MeterTime, wall: UnixMs) -> bool {
        self.is_young(ttl, wall) && now.since(self.entries.as_of).get() * 2 < ttl.get()
    }

    /// Whether it has not expired, for when there is nothing newer.
    fn lasts(&self, ttl: Millis, now: MeterTime, wall: UnixMs) -> bool {
        let good_for = GOOD_FOR * ttl.get();
        wall >= self.signed_at
            && wall.since(self.signed_at).get() < good_for
            && now.since(self.entries.as_of).get() < good_for
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
    shared: Option<(Arc<dyn Others>, Arc<dyn ClusterStore>)>,
    /// Whether lists are built on the thread that asks.
    in_place: bool,
    /// When lists of others were last looked for because nobody knew one.
    learned: Mutex<Option<MeterTime>>,
}

#[derive(Default)]
struct Slot {
    latest: Mutex<Option<Arc<Publication>>>,
    /// What the list's changes were when it was last built here.
    changes: Mutex<Option<u64>>,
    /// When it was last built or asked for.
    asked: Mutex<Option<MeterTime>>,
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
        Self { engine, clock, issuer, keeper, ttl, slots, shared: None, in_place: false, learned }
    }

    /// The same where other nodes own lists too.
    #[must_use]
    pub fn among(self, others: Arc<dyn Others>, store: Arc<dyn ClusterStore>) -> Self {
        Self { shared: Some((others, store)), ..self }
    }

    /// The same, but it computes on the thread that asks: where there is one thread, so that a run can be repeated.
    #[must_use]
    pub fn in_place(self) -> Self {
        Self { in_place: true, ..self }
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
    /// # Errors
    ///
    /// [`PublicationError`] when what is so now cannot be known, and what was so before has expired.
    pub async fn publication(&self, id: &ListId) -> Result<Option<Arc<Publication>>, PublicationError> {
        if self.engine.lists().find(id).is_none() {
            self.learn().await?;
        }
        let Some(list) = self.engine.lists().find(id) else {
            self.slots.lock().remove(id);
            return Ok(None);
        };
        let slot = Arc::clone(self.slots.lock().entry(*id).or_default());
        if let Some(found) = self.served(id, &slot) {
            return Ok(Some(found));
        }
        let _building = slot.building.lock().await;
        if let Some(found) = self.served(id, &slot) {
            return Ok(Some(found));
        }
        let asked = self.clock.now();
        if slot.asked.lock().is_some_and(|last| asked.since(last) < TRIES_AGAIN) && slot.latest.lock().is_none() {
            return Err(StoreError::Unavailable("the list was asked for a moment ago".to_owned()).into());
        }
        let found = if self.keeper.owns(id) {
            match self.caught_up().await {
                Ok(as_of) => self.build(&list, &slot, as_of).await,
                Err(error) => Err(error.into()),
            }
        } else {
            self.ask(id, &slot).await
        };
        *slot.asked.lock() = Some(asked);
        if found.is_err()
            && let Some(last) = slot.latest.lock().clone()
            && last.lasts(self.ttl, self.clock.now(), self.clock.wall())
        {
            return Ok(Some(last));
        }
        found.map(Some)
    }

    /// Takes over the lists of the dead, and tells the others what is so of the lists that this node owns: for ever.
    pub async fn tell_for_ever(&self) {
        let mut ticks = interval(Duration::from_millis((self.ttl.get() / 4).max(1)).min(TELLS_EVERY));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                biased;
                () = self.keeper.leased() => {}
                _ = ticks.tick() => {}
            }
            match self.tell().await {
                Ok(()) => failing = false,
                Err(error) => {
                    if !std::mem::replace(&mut failing, true) {
                        tracing::warn!(%error, "the other nodes cannot be told of status lists; trying again");
                    }
                }
            }
        }
    }

    async fn tell(&self) -> Result<(), PublicationError> {
        if let Some((others, _)) = &self.shared {
            self.keeper.take_over(&**others, false).await?;
        }
        let as_of = self.caught_up().await?;
        for (id, _) in self.keeper.owned() {
            let Some(list) = self.engine.lists().find(&id) else { continue };
            let slot = Arc::clone(self.slots.lock().entry(id).or_default());
            let _building = slot.building.lock().await;
            self.build(&list, &slot, as_of).await?;
        }
        Ok(())
    }

    /// Returns once all is known here that any node had done by the instant that is answered, and whose the lists are.
    async fn caught_up(&self) -> Result<MeterTime, StoreError> {
        let as_of = self.clock.now();
        if let Some((others, _)) = &self.shared {
            self.keeper.look().await?;
            others.catch_up().await?;
        }
        Ok(as_of)
    }

    /// Builds a list that this node owns, and tells the others of it, if there are any.
    async fn build(
        &self,
        list: &Arc<StatusList>,
        slot: &Slot,
        as_of: MeterTime,
    ) -> Result<Arc<Publication>, PublicationError> {
        let id = list.id();
        let (mut term, is_alone) = (0, self.shared.is_none());
        if !is_alone {
            let owned = self.keeper.owned().into_iter().find(|(owned, _)| *owned == id);
            let Some((_, owned_in)) = owned.filter(|_| self.keeper.is_in_hand(&id)) else {
                return Err(StoreError::Unavailable("the list may be another node's by now".to_owned()).into());
            };
            term = owned_in;
        }
        let (engine, list, changed) = (Arc::clone(&self.engine), Arc::clone(list), *slot.changes.lock());
        let before = slot.latest.lock().clone();
        let entries = move || {
            // Sessions may be over that nobody has asked about yet. Among others their ends are committed first.
            if is_alone {
                engine.settle(as_of);
            }
            // Before the bits: a change that comes between is in the next one again.
            let changes = list.changes();
            let unchanged = before.filter(|last| changed == Some(changes) && last.entries.term == term);
            let entries = match unchanged {
                Some(last) => Entries { term, as_of, bits: last.entries.bits.clone() },
                None => Entries::of(&list, term, as_of),
            };
            (entries, changes)
        };
        let (entries, changes) = self.compute(entries).await;
        let built = self.sign(&id, slot, entries.clone()).await?;
        *slot.changes.lock() = Some(changes);
        if let Some((_, store)) = &self.shared {
            let Entries { term, as_of, bits } = entries;
            let keep = Duration::from_millis(GOOD_FOR * self.ttl.get()) + KEPT_LONGER;
            store.put_list_copy(&ListCopy { list: id, term, as_of, bits }, keep).await?;
        }
        Ok(built)
    }

    /// What the owner of a list says of it.
    async fn ask(&self, id: &ListId, slot: &Slot) -> Result<Arc<Publication>, PublicationError> {
        let untold = || StoreError::Unavailable("the node that fills the list has not told of it yet".to_owned());
        let (_, store) = self.shared.as_ref().ok_or_else(untold)?;
        let asked = self.clock.now();
        let copy = store.list_copy(id).await?.ok_or_else(untold)?;
        let entries = Entries { term: copy.term, as_of: copy.as_of, bits: copy.bits };
        let last = slot.latest.lock().clone();
        let is_older = |last: &Publication| (entries.term, entries.as_of) < (last.entries.term, last.entries.as_of);
        let found = match last {
            Some(last) if is_older(&last) => last,
            _ if asked.since(entries.as_of).get() >= GOOD_FOR * self.ttl.get() => return Err(untold().into()),
            _ => self.sign(id, slot, entries).await?,
        };
        Ok(found)
    }

    /// Signs a list unless it is the same as before, and keeps it.
    async fn sign(&self, id: &ListId, slot: &Slot, entries: Entries) -> Result<Arc<Publication>, PublicationError> {
        let before = slot.latest.lock().clone();
        self.slots.lock().retain(|id, _| self.engine.lists().find(id).is_some());
        let (now, wall, ttl) = (self.clock.now(), self.clock.wall(), self.ttl);
        let (uri, key) = (self.issuer.list_uri(id), self.issuer.keyring().signing(wall));
        let sign =
            move || Publication::renewed(before.as_deref(), &entries, &Signs { uri: &uri, key: &key, ttl, now, wall });
        let built = Arc::new(self.compute(sign).await?);
        *slot.latest.lock() = Some(Arc::clone(&built));
        Ok(built)
    }

    async fn compute<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        if self.in_place {
            return work();
        }
        tokio::task::spawn_blocking(work).await.expect("building a list does not panic")
    }

    /// Looks for lists of others, if that is worth it.
    async fn learn(&self) -> Result<(), StoreError> {
        if self.shared.is_none() {
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

    /// What need not be built or asked for now.
    fn served(&self, id: &ListId, slot: &Slot) -> Option<Arc<Publication>> {
        let (now, wall) = (self.clock.now(), self.clock.wall());
        let latest = slot.latest.lock().clone()?;
        let is_fresh = self.keeper.owns(id) && latest.serves(self.ttl, now, wall);
        // Also what was asked for in vain: nobody waits for the same again.
        let again = Millis::new(self.ttl.get() / 8).min(ASKS_EVERY);
        let was_asked = slot.asked.lock().is_some_and(|asked| now.since(asked) < again);
        Some(latest).filter(|latest| is_fresh || (was_asked && latest.lasts(self.ttl, now, wall)))
    }
}

const IN_MEMORY: &str = "writing to memory does not fail";

/// These entries by zlib (RFC 1950).
pub fn encode(packed: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(packed.len() / 4), Compression::new(6));
    encoder.write_all(packed).expect(IN_MEMORY);
    encoder.finish().expect(IN_MEMORY)
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
            assert_eq!(decode(&URL_SAFE_NO_PAD.encode(encode(bytes))), bytes);
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
        let lst = URL_SAFE_NO_PAD.encode(encode(&bytes));
        assert!((15_000..25_000).contains(&lst.len()), "{}", lst.len());
        assert_eq!(decode(&lst), bytes);
    }
}
