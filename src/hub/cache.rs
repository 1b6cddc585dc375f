//! The token cache: what the store says of hub sessions, in memory.
//!
//! A validation that hits costs one SHA-256 and one look-up. What a person is called and which epoch they are in is held once
//! for all of their sessions, in a [`Owner`]; whoever changes anything of a person marks that stale, and with it all of their
//! sessions are read again when they are next asked for.
//!
//! A read of the store may have begun before a change and end after it. So it takes the generations of all shards along
//! ([`TokenCache::generations`]), and what it found is kept only if the person's has not moved on meanwhile.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::{Mutex, RwLock};

use crate::{
    engine::AccountId,
    store::{
        Authentication, DeviceText, FoundHandle, FoundHubSession, HandleRecord, HubSessionId, Identity, Profile,
        SecretDigest,
    },
    time::{Millis, UnixMs},
};

/// Parts of the cache, each with its own lock.
const SHARDS: usize = 64;
/// Sessions that are kept, at most; about 600 bytes each.
const MAX_SESSIONS: usize = 1 << 20;

/// A person, as all of their sessions see them.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) account: AccountId,
    pub(super) identity: Arc<Identity>,
    pub(super) profile: Arc<Profile>,
    pub(super) epoch: u64,
    /// How often the profile had changed.
    version: u64,
    stale: AtomicBool,
}

/// A hub session that the store has.
#[derive(Debug)]
pub(super) struct CachedSession {
    pub(super) id: HubSessionId,
    pub(super) digest: SecretDigest,
    pub(super) owner: Arc<Owner>,
    pub(super) created_at: UnixMs,
    pub(super) ends_at: UnixMs,
    pub(super) authentication: Arc<Authentication>,
    pub(super) provider_sid: Option<Arc<str>>,
    pub(super) device: DeviceText,
    pub(super) epoch: u64,
    /// When it was last used.
    last_seen: AtomicU64,
    /// The latest use that is written or waits to be.
    noted: AtomicU64,
}

/// A handle that the store has.
#[derive(Debug)]
pub(super) struct CachedHandle {
    pub(super) record: HandleRecord,
    pub(super) session: Arc<CachedSession>,
}

#[derive(Default)]
struct People {
    /// How often anything of these people has changed.
    generation: u64,
    owners: HashMap<AccountId, Arc<Owner>>,
}

type Shard<T> = RwLock<HashMap<SecretDigest, Arc<T>>>;

/// How far each shard was when a read began.
pub(super) struct Generations([u64; SHARDS]);

/// The sessions and people in memory.
pub(super) struct TokenCache {
    sessions: Vec<Shard<CachedSession>>,
    handles: Vec<Shard<CachedHandle>>,
    people: Vec<Mutex<People>>,
    shard: RandomState,
    most_in_shard: usize,
}

impl Owner {
    fn is_stale(&self) -> bool {
        self.stale.load(Ordering::Acquire)
    }

    fn is_as_new_as(&self, other: &Self) -> bool {
        self.epoch >= other.epoch && self.version >= other.version
    }
}

impl CachedSession {
    /// A session as the store has it.
    pub(super) fn new(FoundHubSession { session, person, identity }: FoundHubSession) -> Self {
        let owner = Owner {
            account: session.account,
            identity: Arc::new(identity),
            profile: Arc::new(person.profile),
            epoch: person.epoch,
            version: person.version,
            stale: AtomicBool::new(false),
        };
        Self {
            id: HubSessionId::of(&session.digest),
            digest: session.digest,
            owner: Arc::new(owner),
            created_at: session.created_at,
            ends_at: session.ends_at,
            authentication: Arc::new(session.authentication),
            provider_sid: session.provider_sid.map(Into::into),
            device: session.device,
            epoch: session.epoch,
            last_seen: AtomicU64::new(session.last_seen.as_ms()),
            noted: AtomicU64::new(session.last_seen.as_ms()),
        }
    }

    pub(super) fn last_seen(&self) -> UnixMs {
        UnixMs::from_ms(self.last_seen.load(Ordering::Relaxed))
    }

    /// It is used now. Whether that is to be written: the last use that was is `every` ago.
    pub(super) fn see(&self, now: UnixMs, every: Millis) -> bool {
        self.last_seen.fetch_max(now.as_ms(), Ordering::Relaxed);
        let noted = self.noted.load(Ordering::Relaxed);
        now.since(UnixMs::from_ms(noted)) >= every
            && self.noted.compare_exchange(noted, now.as_ms(), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

impl CachedHandle {
    /// A handle as the store has it.
    pub(super) fn new(FoundHandle { handle, session }: FoundHandle) -> Self {
        Self { record: handle, session: Arc::new(CachedSession::new(session)) }
    }
}

/// What is kept as long as nothing of its person changes.
trait Kept {
    fn owner(&self) -> &Owner;
    fn ends_at(&self) -> UnixMs;
}

impl Kept for CachedSession {
    fn owner(&self) -> &Owner {
        &self.owner
    }

    fn ends_at(&self) -> UnixMs {
        self.ends_at
    }
}

impl Kept for CachedHandle {
    fn owner(&self) -> &Owner {
        &self.session.owner
    }

    fn ends_at(&self) -> UnixMs {
        self.record.ends_at
    }
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self::with_room(MAX_SESSIONS)
    }

    fn with_room(most: usize) -> Self {
        Self {
            sessions: std::iter::repeat_with(RwLock::default).take(SHARDS).collect(),
            handles: std::iter::repeat_with(RwLock::default).take(SHARDS).collect(),
            people: std::iter::repeat_with(Mutex::default).take(SHARDS).collect(),
            shard: RandomState::new(),
            most_in_shard: (most / SHARDS).max(1),
        }
    }

    /// The session with this digest, unless something of its person has changed since it was read.
    pub(super) fn find(&self, digest: &SecretDigest) -> Option<Arc<CachedSession>> {
        look(&self.sessions, digest)
    }

    /// The handle with this digest, unless something of its person has changed since it was read.
    pub(super) fn find_handle(&self, digest: &SecretDigest) -> Option<Arc<CachedHandle>> {
        look(&self.handles, digest)
    }

    /// To be taken before the store is read.
    pub(super) fn generations(&self) -> Generations {
        Generations(std::array::from_fn(|shard| self.people[shard].lock().generation))
    }

    /// What a read of the store found that began at `since`. It is kept if nothing of the person has changed meanwhile.
    pub(super) fn learn(&self, since: &Generations, found: FoundHubSession) -> Arc<CachedSession> {
        let mut session = CachedSession::new(found);
        let account = session.owner.account;
        let shard = self.shard_of(&account);
        let mut people = self.people[shard].lock();
        if people.generation != since.0[shard] {
            return Arc::new(session);
        }
        match people.owners.get(&account) {
            Some(known) if known.is_as_new_as(&session.owner) => session.owner = Arc::clone(known),
            // Another node has changed the person, and this one is yet to hear of it.
            _ => {
                if let Some(known) = people.owners.insert(account, Arc::clone(&session.owner)) {
                    known.stale.store(true, Ordering::Release);
                }
            }
        }
        let session = Arc::new(session);
        // Under the lock of its person: whoever marks them stale comes before or after.
        let mut sessions = shard_of(&self.sessions, &session.digest).write();
        make_room(&mut sessions, self.most_in_shard);
        if let Some(known) = sessions.insert(session.digest, Arc::clone(&session)) {
            session.last_seen.fetch_max(known.last_seen().as_ms(), Ordering::Relaxed);
        }
        session
    }

    /// What a read of the store found that began at `since`. It is kept if its session is.
    pub(super) fn learn_handle(&self, since: &Generations, found: FoundHandle) -> Arc<CachedHandle> {
        let FoundHandle { handle, session } = found;
        let handle = Arc::new(CachedHandle { record: handle, session: self.learn(since, session) });
        let owner = &handle.session.owner;
        let people = self.people[self.shard_of(&owner.account)].lock();
        // Whoever changes something of the person would not find an owner that is not there.
        if people.owners.get(&owner.account).is_some_and(|known| Arc::ptr_eq(known, owner)) {
            let mut handles = shard_of(&self.handles, &handle.record.digest).write();
            make_room(&mut handles, self.most_in_shard);
            handles.insert(handle.record.digest, Arc::clone(&handle));
        }
        handle
    }

    /// Something of a person has changed in the store.
    pub(super) fn forget(&self, account: &AccountId) {
        let mut people = self.people[self.shard_of(account)].lock();
        people.generation += 1;
        if let Some(owner) = people.owners.remove(account) {
            owner.stale.store(true, Ordering::Release);
        }
    }

    /// Lets go of sessions and handles that are stale or over, and of people without any.
    pub(super) fn tidy(&self, now: UnixMs) {
        tidy(&self.sessions, now);
        tidy(&self.handles, now);
        for people in &self.people {
            people.lock().owners.retain(|_, owner| Arc::strong_count(owner) > 1);
        }
    }

    fn shard_of(&self, account: &AccountId) -> usize {
        usize::try_from(self.shard.hash_one(account) % SHARDS as u64).expect("it is below SHARDS")
    }
}

fn shard_of<'a, T>(shards: &'a [Shard<T>], digest: &SecretDigest) -> &'a Shard<T> {
    &shards[usize::from(digest.as_bytes()[0]) % SHARDS]
}

fn look<T: Kept>(shards: &[Shard<T>], digest: &SecretDigest) -> Option<Arc<T>> {
    let found = shard_of(shards, digest).read().get(digest).cloned();
    found.filter(|kept| !kept.owner().is_stale())
}

fn tidy<T: Kept>(shards: &[Shard<T>], now: UnixMs) {
    for shard in shards {
        shard.write().retain(|_, kept| !kept.owner().is_stale() && now < kept.ends_at());
    }
}

/// Where a shard is full, lets go of what is stale; and if that is not much, of half of the rest, whichever it is: the store
/// still has them.
fn make_room<T: Kept>(shard: &mut HashMap<SecretDigest, Arc<T>>, most: usize) {
    if shard.len() < most {
        return;
    }
    shard.retain(|_, kept| !kept.owner().is_stale());
    if shard.len() > most / 2 {
        let mut odd = false;
        shard.retain(|_, _| {
            odd = !odd;
            odd
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::{HubSessionRecord, Person};

    #[derive(Clone, Debug)]
    enum Step {
        /// A read of a session begins.
        Begin {
            session: u8,
        },
        /// The read that began first, or a later one, comes back.
        End {
            which: usize,
        },
        /// A person's epoch is raised; then the cache is told.
        Change {
            person: u8,
        },
        /// A validation.
        Find {
            session: u8,
        },
        Tidy,
    }

    fn found(session: u8, epoch: u64) -> FoundHubSession {
        let at = UnixMs::from_ms(1);
        let account = AccountId::from_bytes([session / 4; 16]);
        let record = HubSessionRecord {
            digest: SecretDigest::of(&session.to_string()),
            account,
            created_at: at,
            ends_at: UnixMs::from_ms(1_000),
            last_seen: at,
            authentication: Authentication::default(),
            issuer: String::new(),
            provider_sid: None,
            device: DeviceText::default(),
            epoch: 0,
        };
        let identity = Identity { issuer: "i".to_owned(), subject: session.to_string() };
        FoundHubSession { session: record, person: Person { epoch, ..Person::default() }, identity }
    }

    proptest! {
        #[test]
        fn what_is_found_is_never_older_than_the_last_change(
            steps in prop::collection::vec(prop_oneof![
                4 => (0..16u8).prop_map(|session| Step::Begin { session }),
                4 => (0..4usize).prop_map(|which| Step::End { which }),
                2 => (0..4u8).prop_map(|person| Step::Change { person }),
                4 => (0..16u8).prop_map(|session| Step::Find { session }),
                1 => Just(Step::Tidy),
            ], 1..120),
            room in prop_oneof![Just(1_usize), Just(1 << 10)],
        ) {
            let cache = TokenCache::with_room(room);
            let mut truth: BTreeMap<u8, u64> = BTreeMap::new();
            let mut reads = Vec::new();
            for step in steps {
                match step {
                    Step::Begin { session } => {
                        let since = cache.generations();
                        reads.push((since, found(session, truth.get(&(session / 4)).copied().unwrap_or(0))));
                    }
                    Step::End { which } if which < reads.len() => {
                        let (since, found) = reads.remove(which);
                        cache.learn(&since, found);
                    }
                    Step::End { .. } => {}
                    Step::Change { person } => {
                        *truth.entry(person).or_default() += 1;
                        cache.forget(&AccountId::from_bytes([person; 16]));
                    }
                    Step::Find { session } => {
                        if let Some(session_found) = cache.find(&SecretDigest::of(&session.to_string())) {
                            prop_assert_eq!(
                                session_found.owner.epoch,
                                truth.get(&(session / 4)).copied().unwrap_or(0)
                            );
                        }
                    }
                    Step::Tidy => cache.tidy(UnixMs::from_ms(2)),
                }
            }
        }
    }

    #[test]
    fn a_read_that_nothing_came_between_is_kept_and_people_are_held_once() {
        let cache = TokenCache::new();
        let (one, two) =
            (cache.learn(&cache.generations(), found(0, 3)), cache.learn(&cache.generations(), found(1, 3)));
        assert!(Arc::ptr_eq(&one.owner, &two.owner));
        assert!(cache.find(&one.digest).is_some() && cache.find(&two.digest).is_some());
        cache.tidy(UnixMs::from_ms(1_000));
        assert!(cache.find(&one.digest).is_none(), "it is over");
    }

    #[test]
    fn a_use_is_to_be_written_once_in_a_while() {
        let session = CachedSession::new(found(0, 0));
        let every = Millis::new(10);
        let noted: Vec<_> = [5, 11, 12, 21, 20].map(|at| session.see(UnixMs::from_ms(at), every)).into();
        assert_eq!(noted, [false, true, false, true, false]);
        assert_eq!(session.last_seen(), UnixMs::from_ms(21));
    }
}
