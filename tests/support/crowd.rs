//! Many accounts with everything that an account can have, made through the store as the service makes it; and whether
//! another store has the same.

#![expect(clippy::unwrap_used, reason = "what cannot be done here fails the test")]

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};
use gastank::{
    engine::{
        Account, AccountId, Act, ActivationName, ActivationNames, Checkpoint, Credit, End, Entry, EntryKind, ListId,
        ListSeed, ListSize, NewEntry, Offer, OfferId, RenewalName, Session, Source, StatusIndex, TokenHash, Tokens,
        bucket, session_text,
    },
    store::{
        AccountKey, Actor, ActorKind, Added, AuditAct, AuditDay, AuditKey, AuditRecord, Authentication, Capability,
        ClientKind, Commit, DeviceText, Edge, HandleRecord, Held, HeldCredit, HubClient, HubSessionRecord, Identity,
        KeyScope, Leased, Participant, Profile, ProviderFacts, Removed, Replaced, RewardKey, RewardRecord, SealedKey,
        SecretDigest, SeenEvent, StatusLease, Store, Surface,
    },
    time::{ClockFact, MeterTime, Millis, UnixMs},
    wire::{EndReason, SessionId},
};

use crate::dice::Dice;

/// Accounts that are made at a time: their acts share transactions.
const AT_ONCE: usize = 128;
/// When all of it was.
const WALL: u64 = 1_700_000_000_000;
/// Texts that are harder than others.
const TEXTS: [&str; 6] = ["", "plain", "Ünïcödé 漢字 🚰", "a'b\"c;--", "line\nline\ttab\u{0}nul", "  spaces  "];

/// What was made, to be asked for again.
pub(crate) struct Crowd {
    accounts: Vec<Person>,
}

struct Person {
    id: AccountId,
    identity: Identity,
    sessions: Vec<SessionId>,
}

fn at(ms: u64) -> UnixMs {
    UnixMs::from_ms(WALL + ms)
}

fn wide(dice: &mut Dice) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    bytes[8..].copy_from_slice(&dice.below(u64::MAX).to_le_bytes());
    bytes
}

fn hash(dice: &mut Dice) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(&wide(dice));
    bytes[16..].copy_from_slice(&wide(dice));
    bytes
}

fn text(dice: &mut Dice) -> &'static str {
    TEXTS[usize::try_from(dice.below(TEXTS.len() as u64)).unwrap()]
}

impl Crowd {
    /// Makes so many accounts, and all that there is besides.
    pub(crate) async fn make(store: &dyn Store, accounts: u64, seed: u64) -> Self {
        let mut dice = Dice::new(seed);
        let people: Vec<_> = (0..accounts).map(|n| (n, dice.fork())).collect();
        let mut accounts: Vec<_> =
            stream::iter(people).map(|(n, dice)| person(store, n, dice)).buffer_unordered(AT_ONCE).collect().await;
        accounts.sort_by_key(|person: &Person| person.id);
        for n in 0..5_u64 {
            let edge = Edge {
                client_id: format!("edge-{n}"),
                name: text(&mut dice).to_owned(),
                audience: "edge".to_owned(),
                secret_hashes: (0..n % 3).map(|_| hash(&mut dice)).collect(),
                created_at: at(n),
            };
            store.put_edge(&edge).await.unwrap();
            let client = HubClient {
                client_id: format!("client-{n}"),
                name: text(&mut dice).to_owned(),
                kind: if n % 2 == 0 { ClientKind::Public } else { ClientKind::Confidential },
                secret_hashes: (0..n % 2).map(|_| hash(&mut dice)).collect(),
                redirect_uris: vec![text(&mut dice).to_owned()],
                post_logout_redirect_uris: vec![text(&mut dice).to_owned()],
                backchannel_logout_uri: None,
                tank: n > 2,
                created_at: at(n),
            };
            store.put_hub_client(&client).await.unwrap();
            let key = SealedKey {
                kid: format!("kid-{n}"),
                algorithm: "ES256".to_owned(),
                sealed: hash(&mut dice).to_vec(),
                created_at: at(n),
                signs_from: at(n + 1),
                retires_at: (n > 2).then(|| at(n + 2)),
            };
            store.put_signing_key(&key).await.unwrap();
            let lease = StatusLease {
                id: ListId::from_bytes(n.to_be_bytes()),
                size: ListSize::DEFAULT,
                seed: ListSeed::from_bytes(hash(&mut dice)),
                granted: u32::try_from(n * 64).unwrap(),
                leased_at: at(n),
                retires_at: (n > 2).then(|| at(n + 2)),
            };
            assert_eq!(store.lease_status_list(&lease).await.unwrap(), Leased::Done);
        }
        for person in &accounts {
            take_part(store, &person.id, &mut dice).await;
        }
        for (part, name) in [("budget", "a"), ("budget", "b"), ("line/shop", ""), (TEXTS[2], TEXTS[3])] {
            let record = RewardRecord { revision: 0, content: format!("{{\"name\":\"{name}\"}}") };
            assert_eq!(store.put_reward_record(&RewardKey::new(part, name), &record).await.unwrap(), Replaced::Done);
        }
        store.keep_clock(ClockFact { last_alive: MeterTime::from_ms(5_000_000), wall: at(5_000_000) }).await.unwrap();
        Self { accounts }
    }

    /// How many accounts there are.
    pub(crate) fn len(&self) -> usize {
        self.accounts.len()
    }

    /// Whether two stores answer the same to all that can be asked.
    pub(crate) async fn is_the_same_in(&self, one: &dyn Store, two: &dyn Store) {
        stream::iter(&self.accounts)
            .map(|person| async move { (told(one, person).await, told(two, person).await, person.id) })
            .buffer_unordered(16)
            .for_each(|(one, two, id)| async move { assert_eq!(one, two, "{id}") })
            .await;
        assert_eq!(listed(one).await, listed(two).await);
        assert_eq!(besides(one).await, besides(two).await);
    }
}

/// An account, whose life is as the dice fall.
async fn person(store: &dyn Store, n: u64, mut dice: Dice) -> Person {
    let id = AccountId::from_bytes(wide(&mut dice));
    let identity =
        Identity { issuer: format!("https://id-{}.example", n % 3), subject: format!("{}{n}", text(&mut dice)) };
    let mut account = store.create_account(id, &identity, at(n)).await.unwrap().0.account;
    let mut sessions = Vec::new();
    for round in 0..dice.below(4) {
        let number = account.entries + 1;
        let bought = Entry {
            number,
            kind: EntryKind::ALL[usize::try_from(dice.below(3)).unwrap()],
            amount: Credit::from_ms(i64::try_from(dice.below(1 << 40)).unwrap()),
            owed: Credit::ZERO,
            source: [Source::Webhook, Source::Admin, Source::Subscription][usize::try_from(dice.below(3)).unwrap()],
            external_id: format!("{}{round}", text(&mut dice)),
            reason: (dice.below(2) == 0).then(|| text(&mut dice).to_owned()),
            at: at(n + round),
        };
        let offer = Offer {
            id: OfferId::of("click", &round.to_string()),
            reward: bought.amount,
            cooldown: Millis::from_secs(60),
            daily: None,
            session: Millis::ZERO,
        };
        let earns = (dice.below(3) == 0).then(|| account.earnings.pay(&offer, bought.at).unwrap());
        account = done(store, &account, Act { entries: vec![bought], earns, ..account.nothing() }, &mut dice).await;
        if dice.below(3) > 0 {
            let opened = session(&mut dice, 1000 * round);
            sessions.push(opened.id);
            account = done(store, &account, Act { opens: Some(opened), ..account.nothing() }, &mut dice).await;
            if dice.below(2) == 0 {
                let renews = Some(tokens(&mut dice, true));
                account = done(store, &account, Act { renews, ..account.nothing() }, &mut dice).await;
            }
            if dice.below(4) > 0 {
                account = done(store, &account, closing(&account, &mut dice), &mut dice).await;
            } else {
                let open = account.open().unwrap().clone();
                let last_seen = MeterTime::from_ms(open.started.as_ms() + dice.below(900));
                let row = Checkpoint { session: open.id, last_seen };
                store.checkpoint(bucket(&open.id), &[row]).await.unwrap();
                break;
            }
        }
    }
    if dice.below(5) == 0 && account.open().is_none() {
        let refund = Entry {
            number: account.entries + 1,
            kind: EntryKind::Refund,
            amount: account.balance.negated(),
            owed: Credit::from_secs(30),
            source: Source::Webhook,
            external_id: "refund".to_owned(),
            reason: None,
            at: at(n),
        };
        account = done(store, &account, Act { entries: vec![refund], ..account.nothing() }, &mut dice).await;
    }
    for number in 0..dice.below(3) {
        let key = AccountKey {
            key_id: format!("{n}-{number}"),
            account: id,
            hash: hash(&mut dice),
            created_at: at(number),
            scope: if number == 1 { KeyScope::Earning } else { KeyScope::Account },
        };
        assert_eq!(store.add_account_key(&key).await.unwrap(), Added::Done);
    }
    if dice.below(2) == 0 {
        sign_in(store, &account.id, &mut dice).await;
    }
    if dice.below(8) == 0 {
        if account.open().is_some() {
            account = done(store, &account, closing(&account, &mut dice), &mut dice).await;
        }
        account = done(store, &account, Act { deletes: true, ..account.nothing() }, &mut dice).await;
        assert!(account.deleted);
    }
    if dice.below(4) == 0 {
        tell(store, &identity, &mut dice).await;
    }
    Person { id, identity, sessions }
}

/// Signs somebody in at the hub, some of them after all their hub sessions were ended.
async fn sign_in(store: &dyn Store, account: &AccountId, dice: &mut Dice) {
    if dice.below(2) == 0 {
        assert_eq!(store.raise_epoch(account).await.unwrap(), Some(1));
    }
    if dice.below(3) > 0 {
        let profile = Profile { name: Some(text(dice).to_owned()), email_verified: Some(true), ..Profile::default() };
        assert_eq!(store.put_profile(account, 0, &profile).await.unwrap(), Replaced::Done);
    }
    for n in 0..dice.below(3) {
        let session = HubSessionRecord {
            digest: SecretDigest::from_bytes(hash(dice)),
            account: *account,
            created_at: at(n),
            ends_at: at(dice.below(1 << 33)),
            last_seen: at(n + dice.below(1000)),
            authentication: Authentication::new((n % 2 == 0).then(|| at(n)), None, &[text(dice).to_owned()]),
            issuer: "https://id.example".to_owned(),
            provider_sid: (dice.below(2) == 0).then(|| text(dice).to_owned()),
            device: DeviceText::new(text(dice)),
            epoch: n,
        };
        assert_eq!(store.add_hub_session(&session).await.unwrap(), Added::Done);
        let handle = HandleRecord {
            digest: SecretDigest::from_bytes(hash(dice)),
            account: *account,
            session: session.digest,
            client_id: "5882386c6d801776".to_owned(),
            scope: text(dice).to_owned(),
            created_at: at(n),
            ends_at: session.ends_at,
        };
        assert_eq!(store.add_handle(&handle).await.unwrap(), Added::Done);
    }
}

/// Clients take part in hub sessions, some of which end then.
async fn take_part(store: &dyn Store, account: &AccountId, dice: &mut Dice) {
    for session in store.hub_sessions(account).await.unwrap() {
        for client in 0..dice.below(3) {
            let (client_id, ends_at) = (format!("client-{client}"), session.ends_at);
            let participant = Participant { session: session.digest, account: *account, client_id, ends_at };
            assert_eq!(store.add_participant(&participant, session.created_at).await.unwrap(), Added::Done);
        }
        if dice.below(3) == 0 {
            assert_eq!(store.remove_hub_session(account, &session.digest).await.unwrap(), Removed::Done);
        }
    }
}

/// What a provider and a shop tell of somebody, whether there is an account or not.
async fn tell(store: &dyn Store, identity: &Identity, dice: &mut Dice) {
    let capability = Capability { active: dice.below(2) == 0, changed_at: at(3), first_active_at: Some(at(2)) };
    let facts = ProviderFacts {
        revision: 0,
        gone_at: (dice.below(2) == 0).then(|| at(9)),
        password_changed_at: (dice.below(2) == 0).then(|| at(4)),
        capabilities: BTreeMap::from([(text(dice).to_owned(), capability)]),
        events: (0..dice.below(5)).map(|n| SeenEvent { digest: wide(dice), at: at(n) }).collect(),
    };
    assert_eq!(store.put_facts(identity, &facts).await.unwrap(), Replaced::Done);
    for n in 0..dice.below(4) {
        let entry = NewEntry {
            kind: EntryKind::Purchase,
            amount: Credit::from_secs(60),
            source: Source::Webhook,
            external_id: format!("{}{n}", text(dice)),
            reason: (n > 0).then(|| text(dice).to_owned()),
        };
        assert_eq!(store.hold_credit(identity, &HeldCredit { entry, at: at(n) }, 10).await.unwrap(), Held::Kept);
    }
}

fn closing(account: &Account, dice: &mut Dice) -> Act {
    let open = account.open().expect("a session is open");
    let reason = EndReason::ALL[usize::try_from(dice.below(6)).unwrap()];
    let burned = dice.below(900);
    let ended = MeterTime::from_ms(open.started.as_ms() + burned);
    let end = End { reason, at: ended, at_wall: at(ended.as_ms()), last_seen: ended };
    let usage = Entry {
        number: account.entries + 1,
        kind: EntryKind::Usage,
        amount: Credit::from_ms(-i64::try_from(burned).unwrap()),
        owed: Credit::ZERO,
        source: Source::Session,
        external_id: session_text(&open.id),
        reason: Some(reason.name().to_owned()),
        at: at(ended.as_ms()),
    };
    Act { closes: Some((open.id, end)), entries: vec![usage], ..account.nothing() }
}

fn session(dice: &mut Dice, started: u64) -> Session {
    Session {
        id: SessionId::from_bytes(wide(dice)),
        started: MeterTime::from_ms(started),
        started_at: at(started),
        audience: "edge".to_owned(),
        tokens: tokens(dice, false),
        names: ActivationNames::then(
            None,
            (dice.below(2) == 0).then(|| ActivationName::of(text(dice))),
            dice.below(2) == 0,
        ),
        end: None,
    }
}

fn tokens(dice: &mut Dice, previous: bool) -> Tokens {
    let expires_at = at(dice.below(1 << 30));
    let idx = u32::try_from(dice.below(1 << 20)).unwrap();
    Tokens {
        current: TokenHash::from_bytes(wide(dice)),
        previous: previous.then(|| TokenHash::from_bytes(wide(dice))),
        expires_at,
        expires: (dice.below(2) == 0).then(|| MeterTime::from_ms(dice.below(1 << 30))),
        uncharged: Millis::new(dice.below(3) * 250),
        renewed: previous.then(|| RenewalName { clock: MeterTime::from_ms(dice.below(1 << 30)), seq: u32::MAX }),
        status: StatusIndex { list: ListId::from_bytes(dice.below(9).to_be_bytes()), idx },
    }
}

async fn done(store: &dyn Store, before: &Account, act: Act, dice: &mut Dice) -> Account {
    let kind = ActorKind::ALL[usize::try_from(dice.below(ActorKind::ALL.len() as u64)).unwrap()];
    let id = dice.below(u64::MAX).to_le_bytes();
    let row = AuditRecord {
        key: AuditKey { at: at(dice.below(86_400_000 * 3)), id },
        actor: Actor::named(kind, text(dice), Surface::Http),
        act: AuditAct::ALL[usize::try_from(dice.below(AuditAct::ALL.len() as u64)).unwrap()],
        account: (dice.below(4) > 0).then_some(before.id),
        target: (dice.below(2) == 0).then(|| text(dice).to_owned()),
        detail: None,
    };
    match store.commit(&act, Some(&row)).await.unwrap() {
        Commit::Done(after) => after,
        other => panic!("{other:?}"),
    }
}

/// All that a store says of somebody, in words.
async fn told(store: &dyn Store, person: &Person) -> Vec<String> {
    let mut all = Vec::new();
    let owned = store.account(&person.id).await.unwrap();
    all.push(format!("{owned:?}"));
    all.push(format!("{:?}", store.account_of(&person.identity).await.unwrap()));
    let entries = store.entries(&person.id, 0, 1000).await.unwrap();
    for entry in &entries {
        let named = store.entry(&person.id, entry.source, &entry.external_id).await.unwrap();
        assert_eq!(named.as_ref(), Some(entry), "an entry is found by its name");
    }
    all.push(format!("{entries:?}"));
    for session in &person.sessions {
        all.push(format!("{:?}", store.session(session).await.unwrap()));
    }
    let keys = store.account_keys(&person.id).await.unwrap();
    for key in &keys {
        assert_eq!(store.account_by_key(&key.hash).await.unwrap().as_ref(), Some(key), "a key is found by its hash");
    }
    all.push(format!("{keys:?}"));
    all.push(format!("{:?}", store.person(&person.id).await.unwrap()));
    let sessions = store.hub_sessions(&person.id).await.unwrap();
    for session in &sessions {
        let found = store.hub_session(&session.digest).await.unwrap();
        assert_eq!(found.map(|found| found.session).as_ref(), Some(session), "a hub session is found by its digest");
    }
    all.push(format!("{sessions:?} {:?}", store.handles(&person.id).await.unwrap()));
    all.push(format!("{:?}", store.held_credit(&person.identity, 100).await.unwrap()));
    all.push(format!("{:?}", store.facts(&person.identity).await.unwrap()));
    all.push(format!("{:?}", store.audit_of_account(&person.id, None, 1000).await.unwrap()));
    all
}

/// Every account that is not deleted, in order.
async fn listed(store: &dyn Store) -> Vec<String> {
    let accounts = store.accounts(None, usize::MAX).await.unwrap();
    accounts.iter().map(|owned| format!("{owned:?}")).collect()
}

/// What belongs to nobody, and the open sessions.
async fn besides(store: &dyn Store) -> Vec<String> {
    let mut all = Vec::new();
    let mut edges = store.edges().await.unwrap();
    edges.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    all.extend(edges.iter().map(|edge| format!("{edge:?}")));
    let mut clients = store.hub_clients().await.unwrap();
    clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
    for client in &clients {
        let logouts = store.due_logouts(&client.client_id, at(1 << 40), 10_000).await.unwrap();
        let mut logouts: Vec<_> = logouts.iter().map(|logout| format!("{logout:?}")).collect();
        logouts.sort();
        all.extend(logouts);
    }
    all.extend(clients.iter().map(|client| format!("{client:?}")));
    let mut keys = store.signing_keys().await.unwrap();
    keys.sort_by(|a, b| a.kid.cmp(&b.kid));
    all.extend(keys.iter().map(|key| format!("{key:?}")));
    let mut lists = store.status_lists().await.unwrap();
    lists.sort_by_key(|list| list.id);
    all.extend(lists.iter().map(|list| format!("{list:?} {:?}", list.seed.expose_bytes())));
    let mut open: Vec<_> = store.recover().try_concat().await.unwrap();
    open.sort_by_key(|open| open.account.id);
    all.extend(open.iter().map(|open| format!("{open:?}")));
    for part in ["budget", "line/shop", TEXTS[2]] {
        all.extend(store.reward_records(part, None, 10).await.unwrap().iter().map(|record| format!("{record:?}")));
    }
    let first = AuditDay::of(at(0)).number();
    for day in first..first + 5 {
        let rows = store.audit_of_day(AuditDay::from_number(day), None, usize::MAX).await.unwrap();
        all.extend(rows.iter().map(|row| format!("{row:?}")));
    }
    all.push(format!("{:?}", store.clock().await.unwrap()));
    all
}
