//! What many nodes tell each other: leases and changes are plain writes that go by their TTL, the era is decided.

use std::{sync::atomic::Ordering, time::Duration};

use async_trait::async_trait;
use scylla::DeserializeRow;

use crate::{
    engine::{AccountId, Checkpoint, ListId},
    store::{Begun, Change, ClusterStore, Era, ListCopy, ListOwner, NodeId, NodeLease, Removed, Result},
    time::MeterTime,
    wire::SessionId,
};

use super::{
    ScyllaStore,
    rows::{CheckpointRow, bytes, cell, int, meter, meter_from, shard, there, unsigned, wall, wall_from},
};

/// Sessions of a bucket that are asked for by one statement: ScyllaDB takes no more than a hundred keys.
const ASKED_AT_ONCE: usize = 100;

/// A row of `nodes`.
#[derive(DeserializeRow)]
struct NodeRow {
    node: Vec<u8>,
    name: Option<String>,
    era: Option<i64>,
    renewals: Option<i64>,
    meter: Option<i64>,
    told_until: Option<i64>,
    behind: Option<bool>,
    wall: Option<i64>,
}

/// A row of `number, began, node`.
type EraRow = (Option<i64>, Option<i64>, Option<Vec<u8>>);

/// A row of `at, account, version, node, open`.
type ChangeRow = (i64, Vec<u8>, i64, Vec<u8>, Option<Vec<u8>>);

#[async_trait]
impl ClusterStore for ScyllaStore {
    fn enter(&self, era: u64) {
        self.era.fetch_max(era, Ordering::AcqRel);
    }

    async fn put_node(&self, lease: &NodeLease) -> Result<()> {
        let renewals = int(lease.renewals)?;
        let values = (
            lease.node.as_bytes().as_slice(),
            lease.name.as_str(),
            int(lease.era)?,
            renewals,
            meter(lease.meter)?,
            meter(lease.told_until)?,
            lease.is_behind,
            wall(lease.wall)?,
            renewals,
        );
        self.cluster.write_lease(&self.cluster.statements.put_node, values).await
    }

    async fn nodes(&self) -> Result<Vec<NodeLease>> {
        let rows: Vec<NodeRow> = self.cluster.lease_rows(&self.cluster.statements.nodes).await?;
        rows.into_iter().map(NodeRow::lease).collect()
    }

    async fn remove_node(&self, node: &NodeId) -> Result<Removed> {
        let values = (node.as_bytes().as_slice(),);
        let known: Option<(Vec<u8>,)> = self.cluster.row(&self.cluster.statements.node, values).await?;
        if known.is_none() {
            return Ok(Removed::NotThere);
        }
        self.cluster.write(&self.cluster.statements.drop_node, values).await?;
        Ok(Removed::Done)
    }

    async fn era(&self) -> Result<Option<Era>> {
        let row: Option<EraRow> = self.cluster.lease_row(&self.cluster.statements.era).await?;
        let Some((number, began, by)) = row else { return Ok(None) };
        let by = NodeId::from_bytes(bytes(&there(by)?)?);
        Ok(Some(Era { number: unsigned(number)?, began: meter_from(began)?, by }))
    }

    async fn begin_era(&self, era: &Era) -> Result<Begun> {
        let statements = &self.cluster.statements;
        let (number, began, by) = (int(era.number)?, meter(era.began)?, era.by.as_bytes().as_slice());
        let _turn = self.cluster.turn("eras").await;
        let answer = if number <= 1 {
            self.cluster.decide(&statements.first_era, (number, began, by)).await
        } else {
            self.cluster.decide(&statements.next_era, (number, began, by, number - 1)).await
        };
        match answer {
            Ok(true) => Ok(Begun::Ours),
            // It may be this one, asked for before.
            Ok(false) => Ok(Begun::when(self.era().await?.as_ref() == Some(era))),
            Err(unanswered) if unanswered.maybe => {
                if self.era().await?.as_ref() == Some(era) {
                    Ok(Begun::Ours)
                } else {
                    Err(unanswered.error)
                }
            }
            Err(unanswered) => Err(unanswered.error),
        }
    }

    async fn announce(&self, change: &Change) -> Result<()> {
        let values = (
            int(change.slot())?,
            meter(change.at)?,
            change.account.as_bytes().as_slice(),
            int(change.version)?,
            change.node.as_bytes().as_slice(),
            cell(false, change.open.as_ref().map(|session| session.as_bytes().as_slice())),
        );
        self.cluster.write(&self.cluster.statements.announce, values).await
    }

    async fn changes(&self, slot: u64, from: MeterTime) -> Result<Vec<Change>> {
        let values = (int(slot)?, meter(from)?);
        let rows: Vec<ChangeRow> = self.cluster.pages(&self.cluster.statements.changes, values, usize::MAX).await?;
        rows.into_iter().map(change).collect()
    }

    async fn list_owners(&self) -> Result<Vec<ListOwner>> {
        self.read_owners().await
    }

    async fn own_list(&self, owner: &ListOwner) -> Result<Begun> {
        self.decide_owner(owner).await
    }

    async fn disown_list(&self, list: &ListId) -> Result<()> {
        self.drop_owner(list).await
    }

    async fn put_list_copy(&self, copy: &ListCopy, keep: Duration) -> Result<()> {
        self.write_copy(copy, keep).await
    }

    async fn list_copy(&self, list: &ListId) -> Result<Option<ListCopy>> {
        self.read_copy(list).await
    }

    async fn heard(&self, bucket: u8, sessions: &[SessionId]) -> Result<Vec<Checkpoint>> {
        let mut heard = Vec::new();
        for asked in sessions.chunks(ASKED_AT_ONCE) {
            let asked: Vec<_> = asked.iter().map(|session| *session.as_bytes()).collect();
            let values = (shard(bucket), i16::from(bucket), asked);
            let rows: Vec<CheckpointRow> = self.cluster.rows(&self.cluster.statements.heard, values).await?;
            for row in rows {
                // Without an account it is one of a session that is over.
                let found = row.found()?;
                heard.extend(found.map(|found| Checkpoint { session: found.session, last_seen: found.last_seen }));
            }
        }
        Ok(heard)
    }
}

impl NodeRow {
    fn lease(self) -> Result<NodeLease> {
        Ok(NodeLease {
            node: NodeId::from_bytes(bytes(&self.node)?),
            name: there(self.name)?,
            era: unsigned(self.era)?,
            renewals: unsigned(self.renewals)?,
            meter: meter_from(self.meter)?,
            told_until: meter_from(self.told_until)?,
            // Not told by nodes of versions that did not know.
            is_behind: self.behind.unwrap_or(false),
            wall: wall_from(self.wall)?,
        })
    }
}

fn change((at, account, version, node, open): ChangeRow) -> Result<Change> {
    Ok(Change {
        at: meter_from(Some(at))?,
        account: AccountId::from_bytes(bytes(&account)?),
        version: unsigned(Some(version))?,
        node: NodeId::from_bytes(bytes(&node)?),
        open: open.map(|session| bytes(&session).map(SessionId::from_bytes)).transpose()?,
    })
}
