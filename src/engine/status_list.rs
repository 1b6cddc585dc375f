//! Token status lists: one bit for every token, so that an edge learns of all of them at once
//! (draft-ietf-oauth-status-list, one bit an entry: 0 is VALID, 1 is INVALID).
//!
//! # What the bits say
//!
//! A bit is 0 while its token is good, and 1 from the moment it is not. An index that no token has yet is 0 as well. So a
//! bit only ever goes from 0 to 1, and what an index has never been used for looks like a token that is good.
//!
//! # Who gets which index
//!
//! The order is a [`Shuffle`] under the list's seed: token number `n` of a list has place `n` of the permutation. Nobody
//! outside can tell from an index when it was given out, and a counter is enough to never give one out twice. The last
//! sixteenth of the permutation is *decoys*: they are given to no token, and become 1 one by one as tokens are given
//! out, at moments that depend on the seed. Who counts the bits thus learns neither how many tokens there are nor how
//! many of them have ended, only an upper bound of the latter.
//!
//! # What survives a crash
//!
//! The counter is durable in blocks: [`StatusList::take`] hands out what [`StatusList::grant`] has allowed. A list that
//! is opened again starts from everything that was granted being taken, and 1; only the current tokens of open sessions
//! are then set back to 0. What was granted but not handed out is lost: those indices become decoys.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use parking_lot::{Mutex, RwLock};

use super::shuffle::Shuffle;

/// For how many tokens there is a decoy: one place in sixteen is.
const TOKENS_A_DECOY: u32 = 15;

/// A list's id: 64 random bits, written in base64url without padding. Never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ListId([u8; 8]);

impl ListId {
    /// The id with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    /// The bytes of the id.
    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }

    /// Reads an id as [`fmt::Display`] writes it.
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != 11 {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&URL_SAFE_NO_PAD.encode(self.0))
    }
}

impl fmt::Debug for ListId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "list:{self}")
    }
}

/// How many entries a list has: a power of two from 2^6 to 2^24.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListSize(u32);

impl ListSize {
    /// The size that is configured unless another one is: 2^20 entries, 128 KiB.
    pub const DEFAULT: Self = Self(1 << 20);

    /// The size of so many entries, if a list can have that.
    pub const fn new(entries: u32) -> Option<Self> {
        if entries.is_power_of_two() && entries >= 1 << 6 && entries <= 1 << 24 { Some(Self(entries)) } else { None }
    }

    /// How many entries that is.
    pub const fn entries(self) -> u32 {
        self.0
    }

    /// How many tokens a list of this size takes. The other entries are decoys.
    pub const fn tokens(self) -> u32 {
        self.0 - self.decoys()
    }

    const fn decoys(self) -> u32 {
        self.0 / (TOKENS_A_DECOY + 1)
    }
}

/// What the order of a list's indices follows from. Whoever knows it can tell decoys from tokens.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ListSeed([u8; 32]);

impl ListSeed {
    /// The seed with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The bytes of the seed, for the store.
    pub const fn expose_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for ListSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ListSeed(…)")
    }
}

/// Where a token's bit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StatusIndex {
    /// The list.
    pub list: ListId,
    /// The place in it, from 0.
    pub idx: u32,
}

/// A list of bits, one for each token.
#[derive(Debug)]
pub struct StatusList {
    id: ListId,
    size: ListSize,
    shuffle: Shuffle,
    words: Box<[AtomicU64]>,
    /// Which places are those of tokens that are good, as far as this node knows.
    lit: Box<[AtomicU64]>,
    /// How often a bit was changed.
    changes: AtomicU64,
    /// Tokens whose sessions go on.
    live: AtomicU32,
    counter: Mutex<Counter>,
}

/// Which numbers have been handed out.
#[derive(Debug)]
struct Counter {
    next: u32,
    granted: u32,
    /// Taken, but given to nobody.
    returned: Vec<u32>,
    closed: bool,
}

impl StatusList {
    /// A list of which the first `granted` numbers may have been handed out. All of those are INVALID.
    pub fn new(id: ListId, size: ListSize, seed: &ListSeed, granted: u32) -> Self {
        let granted = granted.min(size.tokens());
        let words = || (0..size.entries() / u64::BITS).map(|_| AtomicU64::new(0)).collect();
        let counter = Counter { next: granted, granted, returned: Vec::new(), closed: false };
        let list = Self {
            id,
            size,
            shuffle: Shuffle::new(size.entries(), &seed.0),
            words: words(),
            lit: words(),
            changes: AtomicU64::new(0),
            live: AtomicU32::new(0),
            counter: Mutex::new(counter),
        };
        for number in 0..granted {
            list.set(list.shuffle.place(number));
            list.spend_decoy(number);
        }
        list
    }

    /// A list that another node says the bits of. It hands out no index here; which of its tokens are good is followed,
    /// for the time when it is [taken over](Self::take_over).
    pub fn of_another(id: ListId, size: ListSize, seed: &ListSeed) -> Self {
        let list = Self::new(id, size, seed, 0);
        list.close();
        list
    }

    /// Takes the list over from a node that is gone, and that may have handed out the first `granted` numbers. All of
    /// those are INVALID from now on, but for the tokens that are good as far as this node knows: it must know of all that
    /// was committed. Nobody may be shown the list before this has returned.
    pub fn take_over(&self, granted: u32) {
        let granted = granted.min(self.size.tokens());
        {
            let mut counter = self.counter.lock();
            (counter.closed, counter.returned) = (true, Vec::new());
            (counter.next, counter.granted) = (granted, granted.max(counter.granted));
        }
        for number in 0..granted {
            let place = self.shuffle.place(number);
            // A token may end, or turn out to be good, at the same time.
            loop {
                let is_lit = self.is_lit(place);
                if is_lit {
                    self.clear(place);
                } else {
                    self.set(place);
                }
                if self.is_lit(place) == is_lit {
                    break;
                }
            }
            self.spend_decoy(number);
        }
    }

    /// Its id.
    pub const fn id(&self) -> ListId {
        self.id
    }

    /// How many entries it has.
    pub const fn size(&self) -> ListSize {
        self.size
    }

    /// An index that no token has had. `None` if no more are granted.
    pub fn take(&self) -> Option<StatusIndex> {
        let mut counter = self.counter.lock();
        if counter.closed {
            return None;
        }
        let idx = match counter.returned.pop() {
            Some(idx) => idx,
            None if counter.next < counter.granted => {
                let number = counter.next;
                counter.next += 1;
                self.spend_decoy(number);
                self.shuffle.place(number)
            }
            None => return None,
        };
        Some(StatusIndex { list: self.id, idx })
    }

    /// Takes back an index that no token was given after all. Nobody may have been told of it.
    pub fn give_back(&self, index: StatusIndex) {
        if index.list == self.id && index.idx < self.size.0 {
            self.counter.lock().returned.push(index.idx);
        }
    }

    /// Allows the numbers below `granted` to be handed out. That must be durable before.
    pub fn grant(&self, granted: u32) {
        let mut counter = self.counter.lock();
        counter.granted = counter.granted.max(granted.min(self.size.tokens()));
    }

    /// How many numbers are granted, and how many of them are still to be had.
    pub fn granted(&self) -> (u32, u32) {
        let counter = self.counter.lock();
        let returned = u32::try_from(counter.returned.len()).unwrap_or(u32::MAX);
        (counter.granted, (counter.granted - counter.next).saturating_add(returned))
    }

    /// Hands out no more indices.
    pub fn close(&self) {
        let mut counter = self.counter.lock();
        counter.closed = true;
        counter.returned = Vec::new();
    }

    /// Whether it hands out no more indices.
    pub fn is_closed(&self) -> bool {
        self.counter.lock().closed
    }

    /// How many tokens of it are good, as far as this node knows. Not of those that nobody has been given yet.
    pub fn live(&self) -> u32 {
        self.live.load(Ordering::Acquire)
    }

    /// Whether the bit at `idx` is set. `None` past the end: a verifier must reject such a token.
    pub fn is_invalid(&self, idx: u32) -> Option<bool> {
        let (word, bit) = position(idx);
        Some(self.words.get(word)?.load(Ordering::Acquire) & bit != 0)
    }

    /// The indices that are INVALID, in order.
    pub fn invalid(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.size.0).filter(|idx| self.is_invalid(*idx) == Some(true))
    }

    /// How often it has changed. To be read *before* what it is to describe.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// The entries, least significant bit first.
    pub fn packed(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.load(Ordering::Acquire).to_le_bytes()).collect()
    }

    /// The `n`th token uses up a decoy if it is the one of its fifteen to do so.
    fn spend_decoy(&self, number: u32) {
        let (decoy, turn) = (number / TOKENS_A_DECOY, number % TOKENS_A_DECOY);
        if decoy >= self.size.decoys() {
            return;
        }
        let place = self.shuffle.place(self.size.tokens() + decoy);
        // Any fixed function of a place that outsiders cannot name is a moment that they cannot foresee.
        let due = (place.wrapping_mul(0x9e37_79b1) >> 16) % TOKENS_A_DECOY;
        if turn == due {
            self.set(place);
        }
    }

    fn is_lit(&self, idx: u32) -> bool {
        let (word, bit) = position(idx);
        self.lit.get(word).is_some_and(|word| word.load(Ordering::SeqCst) & bit != 0)
    }

    /// Whether that is a change.
    fn set_lit(&self, idx: u32, lit: bool) -> bool {
        let (word, bit) = position(idx);
        let Some(word) = self.lit.get(word) else { return false };
        let before = if lit { word.fetch_or(bit, Ordering::SeqCst) } else { word.fetch_and(!bit, Ordering::SeqCst) };
        (before & bit != 0) != lit
    }

    fn set(&self, idx: u32) -> bool {
        let (word, bit) = position(idx);
        let Some(word) = self.words.get(word) else { return false };
        let changed = word.fetch_or(bit, Ordering::AcqRel) & bit == 0;
        if changed {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    fn clear(&self, idx: u32) {
        let (word, bit) = position(idx);
        if let Some(word) = self.words.get(word)
            && word.fetch_and(!bit, Ordering::AcqRel) & bit != 0
        {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
    }
}

const fn position(idx: u32) -> (usize, u64) {
    ((idx / u64::BITS) as usize, 1 << (idx % u64::BITS))
}

/// The bit of a token that is good.
#[derive(Debug)]
pub(super) struct LiveBit {
    list: Arc<StatusList>,
    idx: u32,
}

impl LiveBit {
    /// Whether it is the bit at `index`.
    pub(super) fn is_at(&self, index: &StatusIndex) -> bool {
        (self.list.id, self.idx) == (index.list, index.idx)
    }

    /// The token is good no more. Saying so again changes nothing. No lock.
    pub(super) fn end(&self) {
        let was_lit = self.list.set_lit(self.idx, false);
        self.list.set(self.idx);
        if was_lit {
            // Saturating: a bit that was lit twice must not make the count wrap.
            let _ = self.list.live.fetch_update(Ordering::AcqRel, Ordering::Acquire, |live| live.checked_sub(1));
        }
    }
}

/// The lists a node serves.
#[derive(Debug, Default)]
pub struct StatusLists(RwLock<BTreeMap<ListId, Arc<StatusList>>>);

impl StatusLists {
    /// Takes a list in.
    pub fn insert(&self, list: Arc<StatusList>) {
        self.0.write().insert(list.id, list);
    }

    /// Lets a list go.
    pub fn remove(&self, id: &ListId) {
        self.0.write().remove(id);
    }

    /// The list with this id.
    pub fn find(&self, id: &ListId) -> Option<Arc<StatusList>> {
        self.0.read().get(id).map(Arc::clone)
    }

    /// All lists, in order of their ids.
    pub fn all(&self) -> Vec<Arc<StatusList>> {
        self.0.read().values().map(Arc::clone).collect()
    }

    /// Makes a token's bit 0. `None` if its list is gone: then the token has expired long since.
    pub(super) fn light(&self, index: &StatusIndex) -> Option<LiveBit> {
        let list = self.find(&index.list).filter(|list| index.idx < list.size.0)?;
        if list.set_lit(index.idx, true) {
            list.live.fetch_add(1, Ordering::AcqRel);
        }
        list.clear(index.idx);
        Some(LiveBit { list, idx: index.idx })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    const SEED: ListSeed = ListSeed([3; 32]);

    fn list(entries: u32, granted: u32) -> StatusList {
        StatusList::new(ListId([1; 8]), ListSize::new(entries).unwrap(), &SEED, granted)
    }

    #[test]
    fn bits_are_packed_least_significant_first() {
        let list = list(64, 0);
        for (idx, bit) in [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1].into_iter().enumerate() {
            if bit == 1 {
                list.set(u32::try_from(idx).unwrap());
            }
        }
        assert_eq!(list.packed()[..3], [0xb9, 0xa3, 0]);
        assert_eq!(list.invalid().collect::<Vec<_>>(), [0, 3, 4, 5, 7, 8, 9, 13, 15]);
    }

    #[test]
    fn a_list_of_a_million_entries_has_the_bytes_of_the_standards_example() {
        let list = list(1 << 20, 0);
        let set = [0, 1993, 25_460, 159_495, 495_669, 554_353, 645_645, 723_232, 854_545, 934_534, 1_000_345];
        for idx in set {
            list.set(idx);
        }
        let digest: String = Sha256::digest(list.packed()).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(digest, "f2529d5d7b48665f8be86037b271b92a9cc7690a42688193d3c97baf2a1e4794");
    }

    #[test]
    fn indices_are_handed_out_once_and_only_when_granted() {
        let list = list(1024, 0);
        assert_eq!(list.take(), None);
        list.grant(10);
        let mut taken: Vec<_> = std::iter::from_fn(|| list.take()).collect();
        assert_eq!(taken.len(), 10);
        list.grant(u32::MAX);
        assert_eq!(list.granted(), (960, 950));
        taken.extend(std::iter::from_fn(|| list.take()));
        let distinct: BTreeSet<_> = taken.iter().collect();
        assert_eq!((taken.len(), distinct.len()), (960, 960));
        assert!(taken.iter().all(|index| index.idx < 1024 && index.list == list.id()));
    }

    #[test]
    fn an_index_that_is_given_back_is_handed_out_again_and_none_after_the_end() {
        let list = list(64, 0);
        list.grant(2);
        let first = list.take().unwrap();
        list.give_back(first);
        assert_eq!(list.take(), Some(first));
        list.give_back(first);
        list.close();
        assert_eq!(list.take(), None);
    }

    #[test]
    fn what_no_token_has_had_looks_like_a_token_that_is_good() {
        assert_eq!(list(1024, 0).invalid().count(), 0);
    }

    #[test]
    fn when_all_tokens_are_handed_out_all_decoys_are_used_up() {
        let list = list(1024, 0);
        list.grant(960);
        while list.take().is_some() {}
        // None of the tokens has ended: these are the decoys, and no token has their place.
        assert_eq!(list.invalid().count(), 64);
        assert_eq!(self::list(1024, 960).invalid().count(), 1024);
    }

    proptest! {
        #[test]
        fn a_list_opened_again_never_turns_a_bit_back(granted in 0u32..960, taken in 0u32..960, ends: Vec<bool>) {
            let taken = taken.min(granted);
            let before = Arc::new(list(1024, 0));
            before.grant(granted);
            let lists = StatusLists::default();
            lists.insert(Arc::clone(&before));
            let indices: Vec<_> = (0..taken).map(|_| before.take().unwrap()).collect();
            let live: Vec<_> = indices
                .iter()
                .enumerate()
                .filter_map(|(n, index)| {
                    let bit = lists.light(index).unwrap();
                    let ended = ends.get(n).copied().unwrap_or(false);
                    if ended { bit.end() }
                    (!ended).then_some(*index)
                })
                .collect();
            prop_assert_eq!(before.live() as usize, live.len());

            let after = Arc::new(list(1024, granted));
            lists.insert(Arc::clone(&after));
            let bits: Vec<_> = live.iter().map(|index| lists.light(index).unwrap()).collect();
            for idx in before.invalid() {
                prop_assert_eq!(after.is_invalid(idx), Some(true));
            }
            for bit in &bits {
                prop_assert_eq!(after.is_invalid(bit.idx), Some(false));
            }
            after.grant(960);
            let fresh: BTreeSet<_> = std::iter::from_fn(|| after.take()).collect();
            prop_assert!(indices.iter().all(|index| !fresh.contains(index)));
        }
    }

    #[test]
    fn a_list_that_is_taken_over_has_all_that_was_granted_as_invalid_but_for_the_good_tokens() {
        let owner = Arc::new(list(1024, 0));
        owner.grant(400);
        let taken: Vec<_> = (0..300).map(|_| owner.take().unwrap()).collect();
        // Another node has heard of some of the tokens, and not of those that came and went in between.
        let lists = StatusLists::default();
        let other = Arc::new(StatusList::of_another(ListId([1; 8]), ListSize::new(1024).unwrap(), &SEED));
        lists.insert(Arc::clone(&other));
        let bits: Vec<_> = taken.iter().step_by(3).map(|index| lists.light(index).unwrap()).collect();
        bits.iter().step_by(2).for_each(LiveBit::end);
        assert_eq!((other.take(), other.live()), (None, 50));

        other.take_over(400);
        let good: BTreeSet<_> = taken.iter().step_by(3).skip(1).step_by(2).map(|index| index.idx).collect();
        assert!(taken.iter().all(|index| other.is_invalid(index.idx) == Some(!good.contains(&index.idx))));
        assert!(owner.invalid().all(|idx| other.is_invalid(idx) == Some(true)), "no bit goes back");
        assert_eq!(other.take(), None);
        // It goes on to follow them.
        bits.iter().for_each(LiveBit::end);
        assert!(taken.iter().all(|index| other.is_invalid(index.idx) == Some(true)));
        assert_eq!(other.live(), 0);
    }

    #[test]
    fn a_token_ends_once() {
        let lists = StatusLists::default();
        lists.insert(Arc::new(list(64, 8)));
        let list = lists.find(&ListId([1; 8])).unwrap();
        let index = StatusIndex { list: list.id(), idx: list.invalid().next().unwrap() };
        let bit = lists.light(&index).unwrap();
        assert_eq!((list.is_invalid(index.idx), list.live()), (Some(false), 1));
        let changes = list.changes();
        bit.end();
        bit.end();
        assert_eq!((list.is_invalid(index.idx), list.live()), (Some(true), 0));
        assert_eq!(list.changes(), changes + 1);
        assert_eq!(list.is_invalid(64), None);
        assert!(lists.light(&StatusIndex { list: list.id(), idx: 64 }).is_none());
    }

    #[test]
    fn ids_read_back_as_they_were_written() {
        let id = ListId([0xfe; 8]);
        assert_eq!(ListId::parse(&id.to_string()), Some(id));
        for text in ["", "x", "AAAAAAAAAAAA", "AAAAAAAAAA+", "AAAAAAAAAAB"] {
            assert_eq!(ListId::parse(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_powers_of_two() {
        for (entries, good) in [(0, false), (32, false), (64, true), (100, false), (1 << 20, true), (1 << 25, false)] {
            assert_eq!(ListSize::new(entries).is_some(), good, "{entries}");
        }
        assert_eq!(ListSize::DEFAULT.tokens(), 983_040);
    }
}
