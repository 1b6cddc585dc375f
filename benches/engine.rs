//! What a beat and a verdict cost in the engine alone, held against the cryptography that neither can do without, and
//! what a live session costs in memory. Everything is interleaved and single-threaded; ratios are medians of rounds.
//!
//! `cargo bench --bench engine` takes a million sessions; `cargo bench --bench engine -- 100000` fewer.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use gastank::{
    control::tokens::session_of,
    engine::{
        Account, AccountId, Act, ActivationNames, Beat, Credit, Engine, Entry, EntryKind, ListId, Moment, Policy,
        SecretRing, Session, Source, StatusIndex, TokenHash, Tokens, Verdict, session_text,
    },
    time::{MeterTime, Millis, UnixMs},
    wire::{BODY_LEN, ClusterSecret, Heartbeat, HeartbeatKind, SecretId, SessionId, SessionKey, StateBits},
};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

const ROUNDS: usize = 15;
/// Operations in a round.
const BATCH: usize = 100_000;
const NOW: MeterTime = MeterTime::from_ms(1_000);

fn main() {
    let many: usize = std::env::args().find_map(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    println!("{:<44} {:>9} {:>9} {:>7}  goal", "in process, one thread, medians", "ours ns", "floor ns", "ratio");
    let few = Fixture::new(1_000);
    few.beats("beat at 1 k sessions / keyed HMAC", 3.0, Floor::Keyed);
    few.beats("beat at 1 k sessions / HMAC with its key", 3.0, Floor::Whole);
    few.verdicts("verdict at 1 k sessions / SHA-256 of token", 3.0);

    let full = Fixture::new(many);
    let each = full.resident as f64 / many as f64;
    full.beats(&format!("beat at {many} sessions / keyed HMAC"), 5.0, Floor::Keyed);
    full.beats(&format!("beat at {many} sessions / HMAC with its key"), 5.0, Floor::Whole);
    full.verdicts(&format!("verdict at {many} sessions / SHA-256 of token"), 3.0);
    println!("{:<44} {each:>9.0} bytes resident each, goal at most 300", format!("hot table of {many} sessions"));

    let began = Instant::now();
    let swept: usize = (0..gastank::engine::SLICES).map(|slice| full.engine.sweep(slice, NOW, true).dirty.len()).sum();
    let took = began.elapsed();
    println!("{:<44} {:>9.1} ns each, {swept} dirty", "sweep of the whole table", took.as_nanos() as f64 / many as f64);
}

/// What a beat is held against.
#[derive(Clone, Copy)]
enum Floor {
    /// The two compressions that are left when the key has been set up before.
    Keyed,
    /// All four, from the key's bytes, as with the `hmac` crate.
    Whole,
}

struct Fixture {
    engine: Engine,
    key: SessionKey,
    frames: Vec<[u8; 48]>,
    tokens: Vec<(SessionId, String)>,
    /// By how much the process grew with the hot table.
    resident: usize,
}

impl Fixture {
    fn new(sessions: usize) -> Self {
        let secret = ClusterSecret::from_bytes([7; 32]);
        let policy = Policy { timeout: Millis::from_secs(1 << 30), ..Policy::default() };
        let engine = Engine::new(policy, SecretRing::new(SecretId::default(), secret.clone()), 16);
        let moment = Moment { now: MeterTime::ZERO, wall: UnixMs::from_ms(0), sighting: None };
        let before = resident();
        for n in 0..sessions {
            engine.restore(&account(n), MeterTime::ZERO, &moment);
        }
        let resident = resident().saturating_sub(before);
        // Any order but that of insertion, so that no beat finds what it needs next to the last one.
        let chosen: Vec<usize> = (0..BATCH).map(|n| (n * 7_919_777 + 13) % sessions).collect();
        let frames = chosen
            .iter()
            .map(|n| {
                let session = session_id(*n);
                let clock = MeterTime::from_ms(900);
                Heartbeat { kind: HeartbeatKind::Beat, state: StateBits(4), seq: 1, session, clock }
                    .sign(&secret.session_key(&session).body_mac())
            })
            .collect();
        let tokens = chosen.iter().map(|n| (session_id(*n), token(&session_id(*n)))).collect();
        Self { engine, key: SessionKey::from_bytes([9; 32]), frames, tokens, resident }
    }

    fn beats(&self, name: &str, goal: f64, floor: Floor) {
        let mac = self.key.body_mac();
        let ours = || {
            for frame in &self.frames {
                let Beat::Answer { ack, .. } = self.engine.beat(black_box(frame), NOW) else { panic!("a good frame") };
                black_box(ack);
            }
        };
        let theirs = || {
            for frame in &self.frames {
                let body: &[u8; BODY_LEN] = frame[..BODY_LEN].try_into().expect("a frame is longer");
                match floor {
                    Floor::Keyed => {
                        black_box(mac.tag(black_box(body)));
                    }
                    Floor::Whole => {
                        let mut mac = Hmac::<Sha256>::new_from_slice(self.key.expose_bytes()).expect("any length");
                        mac.update(black_box(body));
                        black_box(mac.finalize());
                    }
                }
            }
        };
        compare(name, goal, ours, theirs);
    }

    fn verdicts(&self, name: &str, goal: f64) {
        let ours = || {
            for (_, token) in &self.tokens {
                let token = black_box(token.as_bytes());
                let session = session_of(token).expect("a token of ours");
                let verdict = self.engine.verdict(&session, &TokenHash::of(token), NOW);
                assert!(matches!(verdict, Verdict::Valid { .. }));
            }
        };
        let theirs = || {
            for (_, token) in &self.tokens {
                black_box(Sha256::digest(black_box(token.as_bytes())));
            }
        };
        compare(name, goal, ours, theirs);
    }
}

fn compare(name: &str, goal: f64, ours: impl Fn(), theirs: impl Fn()) {
    let mut rounds: Vec<(Duration, Duration)> = (0..=ROUNDS).map(|_| (time(&ours), time(&theirs))).collect();
    rounds.remove(0);
    let each = |took: Duration| took.as_nanos() as f64 / BATCH as f64;
    let ratio = median(rounds.iter().map(|(ours, theirs)| each(*ours) / each(*theirs)));
    let ours = median(rounds.iter().map(|(ours, _)| each(*ours)));
    let theirs = median(rounds.iter().map(|(_, theirs)| each(*theirs)));
    println!("{name:<44} {ours:>9.1} {theirs:>9.1} {ratio:>7.2}  at most {goal}");
}

fn time(work: impl Fn()) -> Duration {
    let began = Instant::now();
    work();
    began.elapsed()
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_unstable_by(f64::total_cmp);
    values[values.len() / 2]
}

fn bytes(n: usize, salt: u8) -> [u8; 16] {
    let digest = Sha256::new().chain_update([salt]).chain_update(n.to_le_bytes()).finalize();
    digest[..16].try_into().expect("16 bytes of 32")
}

fn session_id(n: usize) -> SessionId {
    SessionId::new(SecretId::default(), bytes(n, 1))
}

/// A token of the size that the service issues: 500 bytes or so.
fn token(session: &SessionId) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let claims = format!(
        r#"{{"jti":"{}.AAAAAAAAAAA","iss":"https://tank.example","aud":"edge","sub":"{}","client_id":"gastank","iat":1,"exp":2}}"#,
        session_text(session),
        URL_SAFE_NO_PAD.encode([1; 18]),
    );
    format!("{}.{}.{}", "h".repeat(110), URL_SAFE_NO_PAD.encode(claims), "s".repeat(86))
}

fn account(n: usize) -> Account {
    let session = session_id(n);
    let mut account = Account::new(AccountId::from_bytes(bytes(n, 2)));
    let act = Act {
        opens: Some(Session {
            id: session,
            started: MeterTime::ZERO,
            started_at: UnixMs::from_ms(0),
            audience: String::new(),
            tokens: Tokens {
                current: TokenHash::of(token(&session).as_bytes()),
                previous: None,
                expires_at: UnixMs::from_ms(1 << 40),
                expires: None,
                uncharged: Millis::ZERO,
                renewed: None,
                status: StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 },
            },
            names: ActivationNames::default(),
            end: None,
        }),
        entries: vec![Entry {
            owed: Credit::ZERO,
            number: 1,
            kind: EntryKind::Grant,
            amount: Credit::from_secs(1 << 30),
            source: Source::Admin,
            external_id: String::new(),
            reason: None,
            at: UnixMs::from_ms(0),
        }],
        ..account.nothing()
    };
    account = account.after(&act);
    account
}

/// Resident bytes of this process.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).unwrap_or(0) * 4096
}
