//! Warming up: every open session is in the hot table before the first verdict is given.

use std::sync::Arc;

use tokio::task::JoinSet;

use crate::{
    clock::Clock,
    engine::{BUCKETS, Engine, Moment},
    store::{Store, StoreError},
    telemetry::Telemetry,
    wire::Millis,
};

/// Buckets that are read at a time.
const AT_ONCE: usize = 4;
/// How often the log tells how far it is.
const TELL_EVERY: Millis = Millis::from_secs(1);

/// Reads all open sessions from the store into the engine. Answers how many.
pub async fn warm(
    engine: &Arc<Engine>,
    store: &Arc<dyn Store>,
    clock: &Arc<dyn Clock>,
    telemetry: &Telemetry,
) -> Result<usize, StoreError> {
    let mut readers = JoinSet::new();
    let (mut next, mut done, mut sessions, mut told) = (0..=u8::MAX, 0, 0, clock.now());
    loop {
        while readers.len() < AT_ONCE
            && let Some(bucket) = next.next()
        {
            let (engine, store, clock) = (Arc::clone(engine), Arc::clone(store), Arc::clone(clock));
            readers.spawn(async move {
                let open = store.recover(bucket).await?;
                let moment = Moment { now: clock.now(), wall: clock.wall(), sighting: None };
                for found in &open {
                    engine.restore(&found.account, found.last_seen, &moment);
                }
                Ok::<_, StoreError>(open.len())
            });
        }
        match readers.join_next().await {
            None => return Ok(sessions),
            Some(read) => sessions += read.expect("reading a bucket does not panic")?,
        }
        done += 1;
        telemetry.health().warmed(done, BUCKETS as u64);
        if clock.now().since(told) >= TELL_EVERY {
            told = clock.now();
            tracing::info!(buckets = done, of = BUCKETS, sessions, "warming up");
        }
    }
}
