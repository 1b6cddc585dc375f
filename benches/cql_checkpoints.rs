//! Checkpoints in batches against one statement for each heartbeat, on the same CQL server, in turns. Prints how many
//! statements and how many sessions a second, and fails below its floors.
//!
//! `cargo bench --bench cql_checkpoints` takes 1000, 10 000 and 100 000 sessions; give it other numbers to change that.

#![expect(clippy::print_stdout, reason = "its output is what it is for")]
#![expect(clippy::disallowed_methods, reason = "it measures time")]

#[expect(dead_code, reason = "one server is all it needs")]
#[path = "../tests/support/cassandra/mod.rs"]
mod cassandra;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use gastank::{
    engine::{Checkpoint, bucket},
    entropy::OsEntropy,
    store::{ScyllaOptions, ScyllaStore, roles::*},
    time::MeterTime,
    wire::{SecretId, SessionId},
};
use scylla::{client::session_builder::SessionBuilder, statement::Consistency};
use sha2::{Digest, Sha256};

/// How many times fewer statements.
const STATEMENTS_FLOOR: f64 = 10.0;
/// How many times as many sessions a second.
const RATE_FLOOR: f64 = 5.0;
/// Single statements that are under way at once: more did not make the server faster.
const SINGLES_AT_ONCE: usize = 128;
/// Single statements of a turn, at most.
const SINGLES: usize = 20_000;
/// Turns of each.
const TURNS: u64 = 3;
/// How long a turn of batches is repeated.
const TURN: Duration = Duration::from_secs(2);

#[tokio::main]
async fn main() {
    let mut sizes: Vec<u64> = std::env::args().filter_map(|arg| arg.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![1_000, 10_000, 100_000];
    }
    let server = cassandra::Server::start();
    let options = ScyllaOptions::new(vec![server.addr().to_string()], "bench".to_owned());
    let store = ScyllaStore::open(&options, Arc::new(OsEntropy)).await.expect("opens");
    let session = SessionBuilder::new().known_node(server.addr().to_string()).build().await.expect("connects");
    session.use_keyspace("bench", true).await.expect("the store made it");
    let insert = "INSERT INTO checkpoints (shard, bucket, session, last_seen) VALUES (?, ?, ?, ?) USING TIMESTAMP ?";
    let mut insert = session.prepare(insert).await.expect("is right");
    insert.set_consistency(Consistency::LocalQuorum);

    println!("{:>9} | {:>22} | {:>22} | {:>9} | {:>6}", "sessions", "one a heartbeat", "in batches", "", "");
    println!(
        "{:>9} | {:>10} {:>11} | {:>10} {:>11} | {:>9} | {:>6}",
        "", "statements", "sessions/s", "statements", "sessions/s", "fewer by", "faster"
    );
    let mut below = false;
    for sessions in sizes {
        let buckets = buckets(sessions);
        let (mut singly, mut batched, mut batches) = (Vec::new(), Vec::new(), 0);
        for turn in 0..TURNS {
            let rows: Vec<_> =
                buckets.iter().flat_map(|(bucket, rows)| rows.iter().map(|row| (*bucket, *row))).collect();
            let rows = &rows[..rows.len().min(SINGLES)];
            let at = i64::try_from(turn * 1_000_000).expect("small");
            let began = Instant::now();
            stream::iter(rows)
                .map(|(bucket, row)| {
                    let (shard, bucket) = (i8::try_from(*bucket / 16).expect("small"), i16::from(*bucket));
                    session.execute_unpaged(&insert, (shard, bucket, row.session.as_bytes().as_slice(), at, at))
                })
                .buffer_unordered(SINGLES_AT_ONCE)
                .try_for_each(|_| async { Ok(()) })
                .await
                .expect("works");
            singly.push(rows.len() as f64 / began.elapsed().as_secs_f64());

            let (began, before, mut written) = (Instant::now(), store.checkpoint_batches(), 0);
            let mut rounds = 0;
            while began.elapsed() < TURN {
                rounds += 1;
                round(&store, &buckets, turn * 1_000_000 + rounds).await;
                written += sessions;
            }
            batched.push(written as f64 / began.elapsed().as_secs_f64());
            batches = (store.checkpoint_batches() - before) / rounds;
        }
        let (singly, batched) = (median(singly), median(batched));
        let (fewer, faster) = (sessions as f64 / batches as f64, batched / singly);
        println!(
            "{sessions:>9} | {sessions:>10} {singly:>11.0} | {batches:>10} {batched:>11.0} | {fewer:>9.0} | {faster:>6.1}"
        );
        below |= fewer < STATEMENTS_FLOOR || faster < RATE_FLOOR;
    }
    println!("floors: {STATEMENTS_FLOOR} times fewer statements, {RATE_FLOOR} times as many sessions a second");
    store.close().await.expect("closes");
    drop(server);
    assert!(!below, "below a floor");
}

/// One checkpoint of every session, slice after slice, as the service does it.
async fn round(store: &ScyllaStore, buckets: &BTreeMap<u8, Vec<Checkpoint>>, at: u64) {
    for slice in 0..16_u8 {
        let writing = buckets.range(slice * 16..=slice * 16 + 15).map(|(bucket, rows)| async move {
            let last_seen = MeterTime::from_ms(at);
            let rows: Vec<_> = rows.iter().map(|row| Checkpoint { last_seen, ..*row }).collect();
            store.checkpoint(*bucket, &rows).await
        });
        try_join_all(writing).await.expect("works");
    }
}

fn buckets(sessions: u64) -> BTreeMap<u8, Vec<Checkpoint>> {
    let mut buckets: BTreeMap<u8, Vec<Checkpoint>> = BTreeMap::new();
    for n in 0..sessions {
        let digest = Sha256::digest(n.to_le_bytes());
        let session = SessionId::new(SecretId::default(), digest[..16].try_into().expect("a digest is longer"));
        buckets.entry(bucket(&session)).or_default().push(Checkpoint { session, last_seen: MeterTime::ZERO });
    }
    buckets
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
