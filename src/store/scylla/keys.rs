//! Account keys: rows of the account's partition, and what points to them by hash.

use crate::{
    engine::AccountId,
    store::{AccountKey, Added, Removed, Result},
};

use super::{
    ScyllaStore,
    rows::{KeyRow, bytes, name_of, wall},
};

/// A row of `account, name`.
type Pointer = (Option<Vec<u8>>, Option<Vec<u8>>);

impl ScyllaStore {
    pub(super) async fn put_key(&self, key: &AccountKey) -> Result<Added> {
        let statements = &self.cluster.statements;
        let id = key.account.as_bytes().as_slice();
        let name = name_of(&[&key.key_id]);
        let _turn = self.cluster.turn(key.account.as_bytes()).await;
        if self.read_account(&key.account).await?.is_none_or(|owned| owned.account.deleted) {
            return Ok(Added::AccountGone);
        }
        let replaced = self.key_row(&key.account, &name).await?;
        self.cluster.write(&statements.point_to_key, (key.hash, id, name)).await?;
        let values = (id, name, key.key_id.as_str(), key.hash, wall(key.created_at)?, key.scope.name());
        let decision = vec![(&statements.is_alive, Box::new((id,)) as _), (&statements.put_key, Box::new(values) as _)];
        if !self.cluster.decide_all(decision).await? {
            self.cluster.write(&statements.unpoint_key, (key.hash,)).await?;
            return Ok(Added::AccountGone);
        }
        if let Some(old) = replaced
            && old.hash != key.hash
        {
            self.cluster.write(&statements.unpoint_key, (old.hash,)).await?;
        }
        Ok(Added::Done)
    }

    pub(super) async fn find_key(&self, hash: &[u8; 32]) -> Result<Option<AccountKey>> {
        let pointer: Option<Pointer> =
            self.cluster.row(&self.cluster.statements.key_pointer, (hash.as_slice(),)).await?;
        let Some((Some(account), Some(name))) = pointer else { return Ok(None) };
        let key = self.key_row(&AccountId::from_bytes(bytes(&account)?), &bytes(&name)?).await?;
        Ok(key.filter(|key| key.hash == *hash))
    }

    pub(super) async fn read_keys(&self, account: &AccountId) -> Result<Vec<AccountKey>> {
        let values = (account.as_bytes().as_slice(),);
        let rows: Vec<KeyRow> = self.cluster.pages(&self.cluster.statements.keys, values, usize::MAX).await?;
        let mut keys: Vec<_> =
            rows.into_iter().filter_map(|row| row.key(account).transpose()).collect::<Result<_>>()?;
        keys.sort_unstable_by(|a: &AccountKey, b| a.key_id.cmp(&b.key_id));
        Ok(keys)
    }

    pub(super) async fn drop_key(&self, account: &AccountId, key_id: &str) -> Result<Removed> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let name = name_of(&[key_id]);
        let _turn = self.cluster.turn(account.as_bytes()).await;
        let Some(AccountKey { hash, .. }) = self.key_row(account, &name).await? else { return Ok(Removed::NotThere) };
        let dropped = self.cluster.decide(&statements.drop_key, (id, name)).await?;
        self.cluster.write(&statements.unpoint_key, (hash,)).await?;
        Ok(Removed::when(dropped))
    }

    async fn key_row(&self, account: &AccountId, name: &[u8; 32]) -> Result<Option<AccountKey>> {
        let values = (account.as_bytes().as_slice(), name.as_slice());
        let row: Option<KeyRow> = self.cluster.row(&self.cluster.statements.key, values).await?;
        row.map_or(Ok(None), |row| row.key(account))
    }
}
