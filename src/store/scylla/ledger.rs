//! What is in an account's partition beside the account: the ledger and the sessions there were.

use crate::{
    engine::{AccountId, Entry, Source},
    store::{Result, SessionRecord},
    wire::SessionId,
};

use super::{
    ScyllaStore,
    rows::{EndRow, EntryRow, bytes, entry_name},
};

impl ScyllaStore {
    pub(super) async fn named_entry(
        &self,
        account: &AccountId,
        source: Source,
        external_id: &str,
    ) -> Result<Option<Entry>> {
        let statements = &self.cluster.statements;
        let id = account.as_bytes().as_slice();
        let name = entry_name(source, external_id);
        let named: Option<(Option<bool>, Option<i64>)> = self.cluster.row(&statements.entry_named, (id, name)).await?;
        let Some((Some(false), Some(number))) = named else { return Ok(None) };
        let row: Option<EntryRow> = self.cluster.row(&statements.entry, (id, number)).await?;
        row.map_or(Ok(None), EntryRow::entry)
    }

    pub(super) async fn read_ledger(&self, account: &AccountId, after: u64, limit: usize) -> Result<Vec<Entry>> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        // Numbers have no gaps. Of an account that was erased, no read is to pass all there was.
        let after = i64::try_from(after).unwrap_or(i64::MAX);
        let until = after.saturating_add(i64::try_from(limit).unwrap_or(i64::MAX));
        let values = (account.as_bytes().as_slice(), after, until);
        let rows: Vec<EntryRow> = self.cluster.pages(&self.cluster.statements.entries, values, limit).await?;
        rows.into_iter().filter_map(|row| row.entry().transpose()).collect()
    }

    pub(super) async fn read_session(&self, id: &SessionId) -> Result<Option<SessionRecord>> {
        let statements = &self.cluster.statements;
        let session = id.as_bytes().as_slice();
        let pointer: Option<(Option<Vec<u8>>, Option<i64>)> =
            self.cluster.row(&statements.session_pointer, (session,)).await?;
        let Some((Some(account), Some(started))) = pointer else { return Ok(None) };
        let row: Option<EndRow> = self.cluster.row(&statements.session, (account.as_slice(), started, session)).await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(SessionRecord { account: AccountId::from_bytes(bytes(&account)?), end: row.end()? }))
    }
}
