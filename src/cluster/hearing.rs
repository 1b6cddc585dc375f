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
use futures_util::{StreamExt, TryStreamExt, stream};

use crate::{
    control::peers::{Membership, Peers},
    engine::{Account, Checkpoint, Engine, Moment, SLICES, Sighting, bucket},
    store::{Change, ClusterStore, METERS_DIFFER, StoreError, is_void},
    time::{Clock, MeterClock, MeterTime},
    wire::{EndReason, SessionId},
};

use super::{ClusterSettings, Member};

/// Sessions that are asked for by one question.
const ASKED_AT_ONCE: usize = 100;
/// Buckets that are told of, and questions that are asked, at a time: where the store is far away, a round takes as long
/// as a few answers, however many sessions are near their time-out.
const AT_ONCE: usize = 64;

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
        let ahead = self.settings.hear_ahead;
        let pressing = (0..SLICES).flat_map(|slice| self.engine.pressing(slice, self.meter.now(), ahead)).collect();
        stream::iter(by_bucket(pressing, |row| row.session))
            .map(|batch| self.say(batch))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        let quiet = (0..SLICES).flat_map(|slice| self.engine.quiet(slice, self.meter.now(), ahead)).collect();
        let questions = by_bucket(quiet, |session| *session);
        let questions = questions.iter().flat_map(|batch| batch.chunks(ASKED_AT_ONCE)).map(<[SessionId]>::to_vec);
        stream::iter(questions.collect::<Vec<_>>())
            .map(|some| self.ask(some))
            .buffer_unordered(AT_ONCE)
            .try_collect::<()>()
            .await?;
        self.member.told(began);
        Ok(())
    }

    /// Tells what was heard of sessions of one bucket.
    async fn say(&self, batch: Vec<Checkpoint>) -> Result<(), StoreError> {
        let _may = self.member.may_write()?;
        self.store.checkpoint(bucket(&batch[0].session), &batch).await?;
        self.engine.checkpointed(&batch);
        Ok(())
    }

    /// Asks what was heard of sessions of one bucket.
    async fn ask(&self, sessions: Vec<SessionId>) -> Result<(), StoreError> {
        let heard = self.store.heard(bucket(&sessions[0]), &sessions).await?;
        self.engine.hear(&heard, self.meter.now(), METERS_DIFFER);
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
