//! Hearing: how a beat that landed on one node counts on all.
//!
//! A beat raises `last_seen` where it lands. Checkpoints carry it to the store, where they are maxima. A node *listens* for
//! the sessions that will soon have lapsed as far as it knows: it asks the store for their checkpoints. And it *tells* at
//! once what it has heard of a session that will soon have lapsed as far as the store knows, without waiting for the next
//! checkpoint.
//!
//! In its lease, each node says until when it has told. Once all that live have told beyond the instant at which a session
//! has lapsed, the checkpoint in the store is the last word: the end that follows from it is the same whoever works it out.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{
    clock::{Clock, MeterClock},
    control::peers::{Membership, Peers},
    engine::{Account, Checkpoint, Engine, Moment, SLICES, Sighting, bucket},
    store::{Change, ClusterStore, METERS_DIFFER, StoreError, is_void},
    wire::{EndReason, MeterTime, SessionId},
};

use super::{ClusterSettings, Member};

/// Sessions that are asked for at a time.
const AT_ONCE: usize = 100;

/// What this node hears from the others, and they from it.
pub struct Hearing {
    member: Arc<Member>,
    engine: Arc<Engine>,
    store: Arc<dyn ClusterStore>,
    meter: Arc<MeterClock>,
    settings: ClusterSettings,
}

impl Hearing {
    /// Hears for an engine.
    pub fn new(
        member: Arc<Member>,
        engine: Arc<Engine>,
        store: Arc<dyn ClusterStore>,
        meter: Arc<MeterClock>,
        settings: ClusterSettings,
    ) -> Self {
        Self { member, engine, store, meter, settings }
    }

    /// The membership that it hears by.
    pub(super) const fn member(&self) -> &Arc<Member> {
        &self.member
    }

    /// Tells of and asks for the sessions that are near their time-out. To be called once every
    /// [`ClusterSettings::hear_every`].
    ///
    /// # Errors
    ///
    /// [`StoreError`]; nobody is told anything wrong, and the next call goes on from there.
    pub async fn round(&self) -> Result<(), StoreError> {
        let began = self.meter.now();
        for slice in 0..SLICES {
            let rows = self.engine.pressing(slice, self.meter.now(), self.settings.hear_ahead);
            for batch in by_bucket(rows, |row| row.session) {
                let _may = self.member.may_write()?;
                self.store.checkpoint(bucket(&batch[0].session), &batch).await?;
                self.engine.checkpointed(&batch);
            }
            let quiet = self.engine.quiet(slice, self.meter.now(), self.settings.hear_ahead);
            for batch in by_bucket(quiet, |session| *session) {
                for some in batch.chunks(AT_ONCE) {
                    let heard = self.store.heard(bucket(&some[0]), some).await?;
                    self.engine.hear(&heard, self.meter.now(), METERS_DIFFER);
                }
            }
        }
        self.member.told(began);
        Ok(())
    }
}

#[async_trait]
impl Peers for Hearing {
    async fn announce(&self, account: &Account) -> Result<(), StoreError> {
        let _may = self.member.may_write()?;
        let change = Change {
            at: self.meter.now(),
            account: account.id,
            version: account.version + 1,
            node: self.member.id(),
            open: account.open().map(|session| session.id),
        };
        self.store.announce(&change).await?;
        self.member.may_write().map(drop)
    }

    async fn last_seen(&self, session: &SessionId) -> Result<Option<MeterTime>, StoreError> {
        let kept = self.store.heard(bucket(session), &[*session]).await?;
        Ok(kept.first().map(|row| row.last_seen))
    }

    async fn hear(&self, account: &Account) -> Result<Option<MeterTime>, StoreError> {
        let Some(session) = account.open() else { return Ok(None) };
        let mut kept = session.started;
        loop {
            let now = self.meter.now();
            let sighting = self.engine.sighting(&session.id, now).unwrap_or(Sighting::open(kept));
            let moment = Moment { now, wall: self.meter.wall(), sighting: Some(sighting) };
            match account.lapsed(&moment, self.engine.policy().timeout) {
                // Later beats change nothing about when a tank runs dry.
                None | Some((_, EndReason::Exhausted)) => return Ok(Some(sighting.last_seen)),
                Some((at, _)) if !self.member.have_all_told(at).await? => return Ok(None),
                Some(_) => {}
            }
            // What is beyond the meter was written by a node that is none of the living.
            let found = self.last_seen(&session.id).await?.filter(|found| !is_void(*found, now));
            kept = found.map_or(kept, |found| found.min(now));
            if kept <= sighting.last_seen {
                return Ok(Some(sighting.last_seen));
            }
            self.engine.hear(&[Checkpoint { session: session.id, last_seen: kept }], now, METERS_DIFFER);
        }
    }
}

/// Sorts what belongs to sessions into batches of one bucket.
fn by_bucket<T>(mut rows: Vec<T>, session: impl Fn(&T) -> SessionId) -> Vec<Vec<T>> {
    rows.sort_by_key(|row| (bucket(&session(row)), session(row)));
    let mut batches: Vec<Vec<T>> = Vec::new();
    for row in rows {
        let same = batches.last().is_some_and(|batch| bucket(&session(&batch[0])) == bucket(&session(&row)));
        match batches.last_mut() {
            Some(batch) if same => batch.push(row),
            _ => batches.push(vec![row]),
        }
    }
    batches
}
