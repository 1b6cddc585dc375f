//! What issuing a token costs beside its signature alone, for every algorithm. Interleaved, one thread, medians of rounds.
//!
//! `cargo bench --bench tokens`

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]

use std::{hint::black_box, sync::Arc, time::Instant};

use gastank::{
    control::{
        keyring::{KeyPolicy, Keyring},
        keys::Algorithm,
        tokens::{Issuer, TokenRequest},
    },
    engine::{AccountId, ListId, SecretRing, StatusIndex},
    store::SqliteStore,
    time::{Millis, UnixMs},
    wire::{ClusterSecret, SecretId, SessionId},
};

const ROUNDS: usize = 31;
const NOW: UnixMs = UnixMs::from_ms(1_700_000_000_000);
const TTL: Millis = Millis::from_secs(86_400);
const URL: &str = "https://tank.example.org";

fn main() {
    println!("{:<32} {:>9} {:>9} {:>7}  goal", "one thread, medians", "issue us", "sign us", "ratio");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (algorithm, batch) in [(Algorithm::ES256, 1_000), (Algorithm::EdDSA, 1_000), (Algorithm::RS256, 50)] {
        let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes([1; 32]));
        let store = SqliteStore::open_in_memory().expect("a store in memory");
        let policy = KeyPolicy::new(algorithm, TTL);
        let keyring = runtime.block_on(Keyring::open(&store, &secrets, policy, NOW)).expect("a fresh keyring");
        let issuer = Issuer::new(URL.into(), "gastank".into(), URL, Arc::new(keyring));
        let key = issuer.keyring().signing(NOW);
        let request = TokenRequest {
            session: SessionId::new(SecretId::default(), [7; 16]),
            account: AccountId::from_bytes([8; 16]),
            audience: "edge",
            now: NOW,
            ttl: TTL,
            nonce: [9; 8],
            status: StatusIndex { list: ListId::from_bytes([4; 8]), idx: 5 },
        };
        let text = issuer.issue(&request).expect("it signs").text;
        let signed = text.rsplit_once('.').expect("a JWT has dots").0.as_bytes();
        let (mut ours, mut floor) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            ours.push(time(batch, || drop(black_box(issuer.issue(black_box(&request))))));
            floor.push(time(batch, || drop(black_box(key.sign(black_box(signed))))));
        }
        let (ours, floor) = (median(ours), median(floor));
        println!("{:<32} {ours:>9.1} {floor:>9.1} {:>7.2}  1.3", format!("{} token", algorithm.name()), ours / floor);
    }
}

/// Microseconds for each of `batch` runs.
fn time(batch: u32, mut work: impl FnMut()) -> f64 {
    let began = Instant::now();
    for _ in 0..batch {
        work();
    }
    began.elapsed().as_secs_f64() * 1e6 / f64::from(batch)
}

fn median(mut samples: Vec<f64>) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
