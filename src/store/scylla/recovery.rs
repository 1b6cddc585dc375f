//! What is read at a start: the checkpoints, and the accounts that they are of.
//!
//! To ask for accounts one by one costs a server three to four times what it costs to look through its table (measured on
//! Cassandra 5), but there may be far more accounts in it than those with an open session. So each part of the ring of
//! tokens is looked through for as long as enough of what turns up is wanted, and the rest is asked for one by one.

use std::{collections::HashMap, mem, ops::RangeInclusive};

use futures_util::{
    StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use scylla::response::PagingState;

use crate::{
    engine::AccountId,
    store::{ClusterStore, OpenAccount, Owned, RECOVERY_PARTS, Result, is_void},
    time::{ClockFact, MeterTime, UnixMs},
    wire::SessionId,
};

use super::{
    ScyllaStore,
    pieces::in_pieces,
    rows::{self, AccountRow, CheckpointRow, Found, meter_from, shard},
};

/// Buckets whose checkpoints are read at a time.
const BUCKETS_AT_ONCE: usize = 16;
/// Parts of the ring that are read at a time.
const PARTS_AT_ONCE: usize = 16;
/// Accounts of a part that are asked for at a time.
const ACCOUNTS_AT_ONCE: usize = 16;
/// Accounts that are looked through before it is seen how many of them were wanted. Larger pages are hardly cheaper, and
/// servers warn of more than a thousand empty cells in one: an account has up to thirteen.
const PAGE: i32 = 75;
/// If fewer than one in so many is wanted, asking for them one by one is cheaper.
const WORTH: usize = 4;

/// The checkpoints of a part of the ring.
#[derive(Default)]
struct Part {
    /// The first and the last token that is wanted.
    tokens: Option<RangeInclusive<i64>>,
    /// With the timestamps of the checkpoints.
    wanted: HashMap<(AccountId, SessionId), (MeterTime, i64)>,
}

impl ScyllaStore {
    pub(super) fn recover_parts(&self) -> BoxStream<'_, Result<Vec<OpenAccount>>> {
        let read = |part| self.recover_part(part);
        stream::once(self.parts())
            .map_ok(move |parts| stream::iter(parts).map(read).buffer_unordered(PARTS_AT_ONCE))
            .try_flatten()
            .boxed()
    }

    /// All checkpoints, by where on the ring their accounts are.
    async fn parts(&self) -> Result<Vec<Part>> {
        let mut parts: Vec<Part> = std::iter::repeat_with(Part::default).take(RECOVERY_PARTS).collect();
        let mut buckets = self.all_checkpoints();
        while let Some(bucket) = buckets.try_next().await? {
            for found in bucket {
                let token = self.cluster.token(found.account.as_bytes())?;
                let [most, ..] = (token ^ i64::MIN).to_be_bytes();
                parts[usize::from(most)].add(token, &found);
            }
        }
        Ok(parts)
    }

    async fn recover_part(&self, mut part: Part) -> Result<Vec<OpenAccount>> {
        let mut open = Vec::with_capacity(part.wanted.len());
        if let Err(error) = self.look_through(&mut part, &mut open).await {
            tracing::warn!(%error, "accounts cannot be looked through, and are asked for one by one");
        }
        let left = mem::take(&mut part.wanted);
        let mut left = stream::iter(left)
            .map(|((account, session), (last_seen, written))| {
                self.open_account(Found { session, account, last_seen, written })
            })
            .buffer_unordered(ACCOUNTS_AT_ONCE);
        while let Some(found) = left.try_next().await? {
            open.extend(found);
        }
        Ok(open)
    }

    /// Moves accounts from what is wanted to what is open, for as long as that is worth it.
    async fn look_through(&self, part: &mut Part, open: &mut Vec<OpenAccount>) -> Result<()> {
        let Some(tokens) = part.tokens.clone() else { return Ok(()) };
        let mut place = PagingState::start();
        loop {
            let statement = &self.cluster.statements.accounts_between;
            let values = (*tokens.start(), *tokens.end());
            let (rows, next) = self.cluster.page::<AccountRow>(statement, values, place, PAGE).await?;
            let (seen, before) = (rows.len(), open.len());
            for row in rows {
                let owned = row.owned()?;
                open.extend(owned.and_then(|owned| part.take(owned)));
            }
            let is_worth_it = (open.len() - before) * WORTH >= seen;
            match next {
                Some(next) if is_worth_it && !part.wanted.is_empty() => place = next,
                _ => return Ok(()),
            }
        }
    }

    /// Where the meter was, whatever a crash left undone: no earlier than what is kept, and than the checkpoint and the
    /// start of any open session, but for those that are beyond what any node of the latest era can have lived.
    pub(super) async fn read_clock(&self) -> Result<Option<ClockFact>> {
        let kept: Option<(Option<i64>, Option<i64>)> = self.cluster.row(&self.cluster.statements.clock, ()).await?;
        let kept = kept.map(rows::clock).transpose()?;
        let is_later = |heard: MeterTime| kept.is_none_or(|kept| heard > kept.last_alive);
        if !self.latest_checkpoint().await?.is_some_and(is_later) {
            return Ok(kept);
        }
        // Nodes keep the meter four times a second, and show it with every renewal.
        let furthest = self.furthest_shown().await?.map(|shown| kept.map_or(shown, |kept| shown.max(kept.last_alive)));
        let is_later = |heard| is_later(heard) && furthest.is_none_or(|furthest| !is_void(heard, furthest));
        let mut ahead = Vec::new();
        let mut buckets = self.all_checkpoints();
        while let Some(bucket) = buckets.try_next().await? {
            ahead.extend(bucket.into_iter().filter(|found| is_later(found.last_seen)));
        }
        // From the latest on: the first whose session is open is where the meter was.
        ahead.sort_unstable_by_key(|found| std::cmp::Reverse(found.last_seen));
        for found in ahead {
            if let Some(OpenAccount { account, last_seen }) = self.open_account(found).await?
                && let Some(session) = account.open()
            {
                // Nobody said what the wall clock was then. Both clocks run at the same rate.
                let wall: UnixMs = session.started_at.plus(last_seen.since(session.started));
                return Ok(Some(ClockFact { last_alive: last_seen, wall }));
            }
        }
        Ok(kept)
    }

    /// The furthest meter that the leases of the latest era show.
    async fn furthest_shown(&self) -> Result<Option<MeterTime>> {
        let Some(era) = self.era().await? else { return Ok(None) };
        let leases = self.nodes().await?;
        let of_it = leases.iter().filter(|lease| lease.era == era.number).map(|lease| lease.meter);
        Ok(of_it.max().max(Some(era.began)))
    }

    async fn latest_checkpoint(&self) -> Result<Option<MeterTime>> {
        let statement = &self.cluster.statements.latest_checkpoint;
        let mut buckets = stream::iter(0..=u8::MAX)
            .map(|bucket| {
                in_pieces(move |from, to| {
                    self.cluster.rows::<(Option<i64>,)>(statement, (shard(bucket), i16::from(bucket), from, to))
                })
            })
            .buffer_unordered(BUCKETS_AT_ONCE);
        let mut latest = None;
        while let Some(pieces) = buckets.try_next().await? {
            for heard in pieces.into_iter().filter_map(|(heard,)| heard) {
                latest = latest.max(Some(meter_from(Some(heard))?));
            }
        }
        Ok(latest)
    }

    /// All checkpoints, bucket by bucket.
    fn all_checkpoints(&self) -> BoxStream<'_, Result<Vec<Found>>> {
        let read = |bucket| self.checkpoints(bucket);
        stream::iter(0..=u8::MAX).map(read).buffer_unordered(BUCKETS_AT_ONCE).boxed()
    }

    async fn checkpoints(&self, bucket: u8) -> Result<Vec<Found>> {
        self.checkpoint_rows(bucket).await?.into_iter().filter_map(|row| row.found().transpose()).collect()
    }

    pub(super) async fn checkpoint_rows(&self, bucket: u8) -> Result<Vec<CheckpointRow>> {
        let statement = &self.cluster.statements.checkpoints;
        in_pieces(|from, to| self.cluster.pages(statement, (shard(bucket), i16::from(bucket), from, to), usize::MAX))
            .await
    }

    /// The account of a checkpoint, if the checkpoint is one of its open session. What is left of a session that ended
    /// is cleared away.
    async fn open_account(&self, found: Found) -> Result<Option<OpenAccount>> {
        let owned = self.read_account(&found.account).await?;
        if let Some(open) =
            owned.and_then(|owned| opened(owned, |session| (*session == found.session).then_some(found.last_seen)))
        {
            return Ok(Some(open));
        }
        // A session that nobody knows may be about to open.
        self.clear_away(&found, false).await?;
        Ok(None)
    }
}

impl Part {
    fn add(&mut self, token: i64, found: &Found) {
        let tokens = self.tokens.take().unwrap_or(token..=token);
        self.tokens = Some(token.min(*tokens.start())..=token.max(*tokens.end()));
        self.wanted.insert((found.account, found.session), (found.last_seen, found.written));
    }

    /// An account that is wanted for its open session; it is not wanted any longer.
    fn take(&mut self, owned: Owned) -> Option<OpenAccount> {
        let id = owned.account.id;
        opened(owned, |session| self.wanted.remove(&(id, *session)).map(|(last_seen, _)| last_seen))
    }
}

/// An account whose open session has a checkpoint.
fn opened(owned: Owned, checkpoint: impl FnOnce(&SessionId) -> Option<MeterTime>) -> Option<OpenAccount> {
    let account = owned.account;
    let session = account.open()?;
    let last_seen = checkpoint(&session.id)?.max(session.started);
    Some(OpenAccount { account, last_seen })
}
