//! The hub's clients, and the handles that they have: rows of the account's partition, as hub sessions are.

use scylla::{DeserializeRow, SerializeRow, statement::prepared::PreparedStatement};

use crate::{
    engine::AccountId,
    store::{Added, FoundHandle, HandleRecord, HubClient, Redeemed, Removed, Result, SecretDigest, StoreError},
    time::Millis,
};

use super::{
    ScyllaStore,
    cluster::Values,
    hub::ttl,
    rows::{bytes, there},
};

/// A handle with what says whether its account is there.
#[derive(DeserializeRow)]
struct HandleRow {
    name: Vec<u8>,
    deleted: Option<bool>,
    hub_record: Option<String>,
}

/// A row of `account, handle`.
type RedeemedRow = (Option<Vec<u8>>, Option<Vec<u8>>);

/// What `add_hub_client` and `change_hub_client` write.
#[derive(SerializeRow)]
struct PutClient<'a> {
    client_id: &'a str,
    record: &'a str,
}

impl HandleRow {
    fn handle(&self, account: &AccountId) -> Result<Option<HandleRecord>> {
        let (Some(false), Some(record)) = (self.deleted, &self.hub_record) else { return Ok(None) };
        handle(*account, &self.name, record).map(Some)
    }
}

/// A handle as it is written.
pub(super) fn handle(account: AccountId, digest: &[u8], record: &str) -> Result<HandleRecord> {
    HandleRecord::from_json(account, SecretDigest::from_bytes(bytes(digest)?), record)
}

impl ScyllaStore {
    pub(super) async fn write_hub_client(&self, client: &HubClient) -> Result<()> {
        let statements = &self.cluster.statements;
        let record = client.to_json();
        let row = PutClient { client_id: &client.client_id, record: &record };
        self.put("hub_clients", (&statements.add_hub_client, &row), (&statements.change_hub_client, &row)).await
    }

    pub(super) async fn read_hub_clients(&self) -> Result<Vec<HubClient>> {
        let statement = &self.cluster.statements.hub_clients;
        let rows: Vec<(String, Option<String>)> = self.cluster.pages(statement, (), usize::MAX).await?;
        rows.into_iter().map(|(client_id, record)| HubClient::from_json(client_id, &there(record)?)).collect()
    }

    pub(super) async fn drop_hub_client(&self, client_id: &str) -> Result<Removed> {
        let removed = {
            let _turn = self.cluster.turn("hub_clients").await;
            self.cluster.decide(&self.cluster.statements.drop_hub_client, (client_id,)).await?
        };
        self.cluster.write(&self.cluster.statements.drop_logouts_of_client, (client_id,)).await?;
        Ok(Removed::when(removed))
    }

    pub(super) async fn decide_code(
        &self,
        code: &SecretDigest,
        account: &AccountId,
        handle: &SecretDigest,
        keep: Millis,
    ) -> Result<Redeemed> {
        let statements = &self.cluster.statements;
        let key = code.as_bytes().as_slice();
        let values = (key, account.as_bytes().as_slice(), handle.as_bytes().as_slice(), ttl(keep));
        let _turn = self.cluster.turn(code.as_bytes()).await;
        let failed = match self.cluster.decide(&statements.redeem_code, values).await {
            Ok(true) => return Ok(Redeemed::Now),
            Ok(false) => None,
            Err(unanswered) if unanswered.maybe => Some(unanswered.error),
            Err(unanswered) => return Err(unanswered.error),
        };
        let row: Option<RedeemedRow> = self.cluster.row(&statements.redeemed, (key,)).await?;
        match (row, failed) {
            (Some((of, known)), _) => {
                let known = SecretDigest::from_bytes(bytes(&there(known)?)?);
                if known == *handle {
                    return Ok(Redeemed::Now);
                }
                Ok(Redeemed::Before(AccountId::from_bytes(bytes(&there(of)?)?), known))
            }
            (None, Some(error)) => Err(error),
            // It has just been forgotten: long after any code may be redeemed.
            (None, None) => Err(StoreError::Unavailable("the code was being forgotten".to_owned())),
        }
    }

    pub(super) async fn find_code(&self, code: &SecretDigest) -> Result<bool> {
        let row: Option<RedeemedRow> =
            self.cluster.row(&self.cluster.statements.redeemed, (code.as_bytes().as_slice(),)).await?;
        Ok(row.is_some())
    }

    pub(super) async fn put_handle(&self, handle: &HandleRecord) -> Result<Added> {
        let statements = &self.cluster.statements;
        let (id, digest) = (handle.account.as_bytes().as_slice(), handle.digest.as_bytes().as_slice());
        let ttl = ttl(handle.lifetime());
        self.cluster.write(&statements.point_to_hub_session, (digest, id, ttl)).await?;
        let _turn = self.cluster.turn(handle.account.as_bytes()).await;
        let decision: Vec<(&PreparedStatement, Values<'_>)> = vec![
            (&statements.is_alive, Box::new((id,))),
            (&statements.put_handle, Box::new((id, digest, handle.to_json(), ttl))),
        ];
        if self.cluster.decide_all(decision).await? {
            return Ok(Added::Done);
        }
        self.cluster.write(&statements.unpoint_hub_session, (digest,)).await?;
        Ok(Added::AccountGone)
    }

    pub(super) async fn find_handle(&self, digest: &SecretDigest) -> Result<Option<FoundHandle>> {
        let statements = &self.cluster.statements;
        let key = digest.as_bytes().as_slice();
        let pointer: Option<(Option<Vec<u8>>,)> = self.cluster.row(&statements.hub_pointer, (key,)).await?;
        let Some((Some(account),)) = pointer else { return Ok(None) };
        let account = AccountId::from_bytes(bytes(&account)?);
        let row: Option<HandleRow> = self.cluster.row(&statements.handle, (account.as_bytes().as_slice(), key)).await?;
        let Some(handle) = row.map_or(Ok(None), |row| row.handle(&account))? else { return Ok(None) };
        let session = self.find_hub_session_of(&account, &handle.session).await?;
        Ok(session.map(|session| FoundHandle { handle, session }))
    }

    pub(super) async fn read_handles(&self, account: &AccountId) -> Result<Vec<HandleRecord>> {
        let statement = &self.cluster.statements.handles;
        let values = (account.as_bytes().as_slice(),);
        let rows: Vec<HandleRow> = self.cluster.pages(statement, values, usize::MAX).await?;
        let mut handles = rows.iter().filter_map(|row| row.handle(account).transpose()).collect::<Result<Vec<_>>>()?;
        handles.sort_by_key(|handle| (handle.created_at, handle.digest));
        Ok(handles)
    }

    pub(super) async fn drop_handle(&self, account: &AccountId, digest: &SecretDigest) -> Result<Removed> {
        let _turn = self.cluster.turn(account.as_bytes()).await;
        Ok(Removed::when(self.drop_handle_in_turn(account, digest).await?))
    }

    /// Removes a handle. To be called in the turn of its account. Answers whether there was one.
    pub(super) async fn drop_handle_in_turn(&self, account: &AccountId, digest: &SecretDigest) -> Result<bool> {
        let statements = &self.cluster.statements;
        let (id, key) = (account.as_bytes().as_slice(), digest.as_bytes().as_slice());
        let dropped = self.cluster.decide(&statements.drop_handle, (id, key)).await?;
        if dropped {
            self.cluster.write(&statements.unpoint_hub_session, (key,)).await?;
        }
        Ok(dropped)
    }
}
