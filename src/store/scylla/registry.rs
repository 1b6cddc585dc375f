//! The small tables: edges, signing keys, status lists. Each is one partition, and each row is written by conditions.

use scylla::{SerializeRow, serialize::row::SerializeRow as Row, statement::prepared::PreparedStatement};

use crate::{
    engine::ListId,
    store::{Edge, Granted, Leased, Removed, Result, Retired, SealedKey, StatusLease, StoreError},
    time::UnixMs,
};

use super::{
    ScyllaStore,
    rows::{EdgeRow, ListRow, PutEdge, SigningKeyRow, name_of, wall},
};

/// How often a row is put anew because it came or went meanwhile.
const TRIES: usize = 8;

/// What `add_signing_key` writes.
#[derive(SerializeRow)]
struct AddKey<'a> {
    kid: &'a str,
    algorithm: &'a str,
    sealed: &'a [u8],
    created_at: i64,
    signs_from: i64,
    retires_at: Option<i64>,
}

/// What `change_signing_key` writes.
#[derive(SerializeRow)]
struct ChangeKey<'a> {
    kid: &'a str,
    sealed: &'a [u8],
    signs_from: i64,
    retires_at: Option<i64>,
}

/// What `grant_status` writes.
#[derive(SerializeRow)]
struct Grant<'a> {
    id: &'a [u8],
    from_: i64,
    to_: i64,
}

impl ScyllaStore {
    pub(super) async fn write_edge(&self, edge: &Edge) -> Result<()> {
        let statements = &self.cluster.statements;
        let row = PutEdge::new(edge)?;
        self.put("edges", (&statements.add_edge, &row), (&statements.change_edge, &row)).await
    }

    pub(super) async fn read_edges(&self) -> Result<Vec<Edge>> {
        let rows: Vec<EdgeRow> = self.cluster.pages(&self.cluster.statements.edges, (), usize::MAX).await?;
        rows.into_iter().map(EdgeRow::edge).collect()
    }

    pub(super) async fn drop_edge(&self, client_id: &str) -> Result<Removed> {
        let _turn = self.cluster.turn("edges").await;
        Ok(Removed::when(self.cluster.decide(&self.cluster.statements.drop_edge, (name_of(&[client_id]),)).await?))
    }

    pub(super) async fn write_signing_key(&self, key: &SealedKey) -> Result<()> {
        let statements = &self.cluster.statements;
        let (signs_from, retires_at) = (wall(key.signs_from)?, key.retires_at.map(wall).transpose()?);
        let add = AddKey {
            kid: &key.kid,
            algorithm: &key.algorithm,
            sealed: &key.sealed,
            created_at: wall(key.created_at)?,
            signs_from,
            retires_at,
        };
        let change = ChangeKey { kid: &key.kid, sealed: &key.sealed, signs_from, retires_at };
        self.put("signing_keys", (&statements.add_signing_key, &add), (&statements.change_signing_key, &change)).await
    }

    pub(super) async fn read_signing_keys(&self) -> Result<Vec<SealedKey>> {
        let statement = &self.cluster.statements.signing_keys;
        let rows: Vec<SigningKeyRow> = self.cluster.pages(statement, (), usize::MAX).await?;
        rows.into_iter().map(SigningKeyRow::key).collect()
    }

    pub(super) async fn drop_signing_key(&self, kid: &str) -> Result<Removed> {
        let _turn = self.cluster.turn("signing_keys").await;
        Ok(Removed::when(self.cluster.decide(&self.cluster.statements.drop_signing_key, (kid,)).await?))
    }

    pub(super) async fn lease_list(&self, lease: &StatusLease) -> Result<Leased> {
        let statements = &self.cluster.statements;
        let id = lease.id.as_bytes().as_slice();
        let seed = lease.seed.expose_bytes().as_slice();
        let values = (
            id,
            i64::from(lease.size.entries()),
            seed,
            i64::from(lease.granted),
            wall(lease.leased_at)?,
            lease.retires_at.map(wall).transpose()?,
        );
        let _turn = self.cluster.turn("status_lists").await;
        match self.cluster.decide(&statements.lease_list, values).await {
            Err(unanswered) if unanswered.maybe => {
                let row: Option<(Option<Vec<u8>>,)> = self.cluster.row(&statements.list_serially, (id,)).await?;
                match row {
                    Some((its,)) => Ok(Leased::when(its.as_deref() == Some(seed))),
                    None => Err(unanswered.error),
                }
            }
            answer => Ok(Leased::when(answer?)),
        }
    }

    /// A grant that is not answered is an error: the numbers may be taken, and the caller asks for others.
    pub(super) async fn grant_numbers(&self, list: &ListId, from: u32, to: u32) -> Result<Granted> {
        let values = Grant { id: list.as_bytes(), from_: from.into(), to_: to.into() };
        let _turn = self.cluster.turn("status_lists").await;
        Ok(Granted::when(self.cluster.decide(&self.cluster.statements.grant_status, values).await?))
    }

    pub(super) async fn retire_list(&self, list: &ListId, at: UnixMs) -> Result<Retired> {
        let _turn = self.cluster.turn("status_lists").await;
        let values = (wall(at)?, list.as_bytes().as_slice());
        Ok(Retired::when(self.cluster.decide(&self.cluster.statements.retire_list, values).await?))
    }

    pub(super) async fn read_lists(&self) -> Result<Vec<StatusLease>> {
        let rows: Vec<ListRow> = self.cluster.pages(&self.cluster.statements.lists, (), usize::MAX).await?;
        rows.into_iter().map(ListRow::lease).collect()
    }

    pub(super) async fn drop_list(&self, list: &ListId) -> Result<Removed> {
        let _turn = self.cluster.turn("status_lists").await;
        let values = (list.as_bytes().as_slice(),);
        Ok(Removed::when(self.cluster.decide(&self.cluster.statements.drop_list, values).await?))
    }

    /// Adds a row, or changes the one that is there.
    pub(super) async fn put<A: Row, C: Row>(
        &self,
        table: &str,
        add: (&PreparedStatement, &A),
        change: (&PreparedStatement, &C),
    ) -> Result<()> {
        let _turn = self.cluster.turn(table).await;
        for _ in 0..TRIES {
            if self.cluster.decide(add.0, add.1).await? || self.cluster.decide(change.0, change.1).await? {
                return Ok(());
            }
        }
        Err(StoreError::Unavailable(format!("others kept changing a row of {table}")))
    }
}
