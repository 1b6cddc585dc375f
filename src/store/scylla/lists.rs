//! Which node says the bits of a status list, and what it says.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    engine::ListId,
    store::{Begun, ListCopy, ListOwner, NodeId, Result},
};

use super::{
    ScyllaStore,
    options::MAX_TTL,
    rows::{bytes, int, meter, meter_from, there, unsigned},
};

/// A row of `list, term, node`.
type OwnerRow = (Vec<u8>, Option<i64>, Option<Vec<u8>>);

/// A row of `term, as_of, bits`.
type CopyRow = (i64, Option<i64>, Option<Vec<u8>>);

impl ScyllaStore {
    pub(super) async fn read_owners(&self) -> Result<Vec<ListOwner>> {
        let rows: Vec<OwnerRow> = self.cluster.pages(&self.cluster.statements.list_owners, (), usize::MAX).await?;
        rows.into_iter().map(owner).collect()
    }

    pub(super) async fn decide_owner(&self, new: &ListOwner) -> Result<Begun> {
        let statements = &self.cluster.statements;
        let (list, node) = (new.list.as_bytes().as_slice(), new.node.as_bytes().as_slice());
        let term = int(new.term)?;
        let _turn = self.cluster.turn("list_owners").await;
        let answer = if term <= 1 {
            self.cluster.decide(&statements.first_owner, (list, term, node)).await
        } else {
            self.cluster.decide(&statements.next_owner, (term, node, list, term - 1)).await
        };
        let failed = match answer {
            Ok(true) => return Ok(Begun::Ours),
            // It may be this one, asked for before.
            Ok(false) => None,
            Err(unanswered) if unanswered.maybe => Some(unanswered.error),
            Err(unanswered) => return Err(unanswered.error),
        };
        let row: Option<OwnerRow> = self.cluster.row(&statements.list_owner, (list,)).await?;
        match (row.map(owner).transpose()? == Some(*new), failed) {
            (true, _) => Ok(Begun::Ours),
            (false, None) => Ok(Begun::NotNext),
            (false, Some(error)) => Err(error),
        }
    }

    pub(super) async fn drop_owner(&self, list: &ListId) -> Result<()> {
        let _turn = self.cluster.turn("list_owners").await;
        self.cluster.decide(&self.cluster.statements.drop_owner, (list.as_bytes().as_slice(),)).await?;
        Ok(())
    }

    pub(super) async fn write_copy(&self, copy: &ListCopy, keep: Duration) -> Result<()> {
        let ttl = i32::try_from(keep.as_secs()).unwrap_or(MAX_TTL).clamp(1, MAX_TTL);
        let as_of = meter(copy.as_of)?;
        let values = (copy.list.as_bytes().as_slice(), int(copy.term)?, as_of, &*copy.bits, as_of, ttl);
        self.cluster.write(&self.cluster.statements.put_list_copy, values).await
    }

    pub(super) async fn read_copy(&self, list: &ListId) -> Result<Option<ListCopy>> {
        let values = (list.as_bytes().as_slice(),);
        let row: Option<CopyRow> = self.cluster.row(&self.cluster.statements.list_copy, values).await?;
        let Some((term, as_of, bits)) = row else { return Ok(None) };
        let (term, as_of, bits) = (unsigned(Some(term))?, meter_from(as_of)?, Bytes::from(there(bits)?));
        Ok(Some(ListCopy { list: *list, term, as_of, bits }))
    }
}

fn owner((list, term, node): OwnerRow) -> Result<ListOwner> {
    Ok(ListOwner {
        list: ListId::from_bytes(bytes(&list)?),
        term: unsigned(term)?,
        node: NodeId::from_bytes(bytes(&there(node)?)?),
    })
}
