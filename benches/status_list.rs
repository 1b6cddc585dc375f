//! What it costs to build and sign one token status list, in milliseconds of one processor, and how large it is.
//!
//! `cargo bench --bench status_list` takes lists of 2^20 entries and a hot table of a million sessions;
//! `cargo bench --bench status_list -- 100000` fewer sessions.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    hint::black_box,
    sync::Arc,
    time::{Duration, Instant},
};

use gastank::{
    control::{
        keys::{Algorithm, SigningKey},
        status_token::{Entries, Publication, Signs, encode},
    },
    engine::{
        Account, AccountId, Act, ActivationNames, Credit, Engine, Entry, EntryKind, ListId, ListSeed, ListSize, Moment,
        Policy, SecretRing, Session, Source, StatusIndex, StatusList, TokenHash, Tokens, session_text,
    },
    time::{MeterTime, Millis, UnixMs},
    wire::{ClusterSecret, SecretId, SessionId},
};
use sha2::{Digest, Sha256};

const ROUNDS: usize = 11;
const NOW: MeterTime = MeterTime::from_ms(1_000);
const WALL: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const TTL: Millis = Millis::from_secs(60);
/// Build and signature of 2^20 entries with one percent set.
const GOAL: Duration = Duration::from_millis(50);

fn main() {
    let sessions: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let size = ListSize::DEFAULT;
    println!(
        "{:<44} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "2^20 entries", "lst ms", "all ms", "goal ms", "plain B", "gzip B", "br B"
    );
    let one_percent = size.entries() / 100;
    for (name, granted, taken) in [
        ("1 % INVALID", one_percent, 0),
        ("1 M tokens issued, 1 % ended, all decoys", one_percent, size.tokens()),
        ("1 M tokens issued, half of them ended", size.tokens() / 2, size.tokens()),
        ("1 M tokens issued, 9 of 10 ended", size.tokens() / 10 * 9, size.tokens()),
    ] {
        let list = StatusList::new(ListId::from_bytes([1; 8]), size, &ListSeed::from_bytes([2; 32]), granted);
        list.grant(taken);
        while list.take().is_some() {}
        build(name, &list);
    }
    let began = Instant::now();
    black_box(StatusList::new(ListId::from_bytes([1; 8]), size, &ListSeed::from_bytes([2; 32]), size.tokens()));
    println!("{:<44} {:>17.1}", "a full list opened again at start-up", ms(began.elapsed()));

    let (engine, list) = crowd(sessions);
    let took = median(|| engine.settle(NOW));
    println!("{:<44} {:>17.1}", format!("settling {sessions} sessions, all good"), ms(took));
    let later = NOW.plus(Millis::from_secs(3600));
    let began = Instant::now();
    engine.settle(later);
    println!("{:<44} {:>17.1}", format!("ending {sessions} sessions"), ms(began.elapsed()));
    assert_eq!(list.live(), 0);
}

fn build(name: &str, list: &StatusList) {
    let (key, _) = SigningKey::generate(Algorithm::ES256).expect("keys can be made");
    let uri = format!("https://tank.example/oauth/status/{}", list.id());
    let signs = Signs { uri: &uri, key: &key, ttl: TTL, now: NOW, wall: WALL };
    let publish = || Publication::of(&Entries::of(list, 0, NOW), &signs).expect("keys can sign");
    let alone = median(|| drop(black_box(encode(&list.packed()))));
    let whole = median(|| drop(black_box(publish())));
    let made = publish();
    println!(
        "{name:<44} {:>8.1} {:>8.1} {:>8} {:>9} {:>9} {:>9}",
        ms(alone),
        ms(whole),
        ms(GOAL),
        made.plain.len(),
        made.gzip.len(),
        made.brotli.len()
    );
}

fn median(work: impl Fn()) -> Duration {
    let mut rounds: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let began = Instant::now();
            work();
            began.elapsed()
        })
        .collect();
    rounds.sort_unstable();
    rounds[ROUNDS / 2]
}

fn ms(took: Duration) -> f64 {
    took.as_secs_f64() * 1000.0
}

/// An engine that vouches for so many sessions, as far as one list goes.
fn crowd(sessions: usize) -> (Engine, Arc<StatusList>) {
    let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([9; 32]));
    let engine = Engine::new(Policy::default(), secrets, 16);
    let size = ListSize::DEFAULT;
    let list = Arc::new(StatusList::new(ListId::from_bytes([1; 8]), size, &ListSeed::from_bytes([2; 32]), 0));
    engine.lists().insert(Arc::clone(&list));
    list.grant(size.tokens());
    for n in 0..sessions {
        // A hot table of a million has more than fits one list: the rest has no bit.
        let status = list.take().unwrap_or(StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 });
        open(&engine, n, status);
    }
    (engine, list)
}

fn open(engine: &Engine, n: usize, status: StatusIndex) {
    let digest: [u8; 32] = Sha256::digest(n.to_le_bytes()).into();
    let (id, random) = digest.as_chunks::<16>().0.split_first().expect("two halves");
    let account = Account::new(AccountId::from_bytes(*id));
    let session = SessionId::new(SecretId::default(), random[0]);
    let expires_at = UnixMs::from_ms(1 << 42);
    let tokens = Tokens {
        current: TokenHash::of(id),
        previous: None,
        expires_at,
        expires: None,
        uncharged: Millis::ZERO,
        renewed: None,
        status,
    };
    let act = Act {
        opens: Some(Session {
            id: session,
            started: MeterTime::ZERO,
            started_at: UnixMs::from_ms(0),
            audience: String::new(),
            tokens,
            names: ActivationNames::default(),
            end: None,
        }),
        entries: vec![Entry {
            number: 1,
            kind: EntryKind::Grant,
            amount: Credit::from_secs(1 << 30),
            owed: Credit::ZERO,
            source: Source::Admin,
            external_id: session_text(&session),
            reason: None,
            at: WALL,
        }],
        ..account.nothing()
    };
    engine.apply(&account.after(&act), &act, &Moment { now: MeterTime::ZERO, wall: WALL, sighting: None });
}
