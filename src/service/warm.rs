//! Warming up: every open session is in the hot table before the first verdict is given.

use futures_util::TryStreamExt;

use crate::{
    engine::{Engine, Moment},
    store::{RECOVERY_PARTS, Store, StoreError},
    telemetry::Telemetry,
    time::{Clock, Millis},
};

/// How often the log tells how far it is.
const TELL_EVERY: Millis = Millis::from_secs(1);

/// Reads all open sessions from the store into the engine. Answers how many.
pub async fn warm(
    engine: &Engine,
    store: &dyn Store,
    clock: &dyn Clock,
    telemetry: &Telemetry,
) -> Result<usize, StoreError> {
    let (mut done, mut sessions, mut told) = (0, 0, clock.now());
    let mut parts = store.recover();
    while let Some(open) = parts.try_next().await? {
        let moment = Moment { now: clock.now(), wall: clock.wall(), sighting: None };
        for found in &open {
            engine.restore(&found.account, found.last_seen, &moment);
        }
        sessions += open.len();
        done += 1;
        telemetry.health().warmed(done, RECOVERY_PARTS as u64);
        if clock.now().since(told) >= TELL_EVERY {
            told = clock.now();
            tracing::info!(parts = done, of = RECOVERY_PARTS, sessions, "warming up");
        }
    }
    Ok(sessions)
}
