//! Accounts: made, read, listed.
//!
//! Three partitions have to do with an account: its own, the identity's and a place in the directory. The latter two are
//! pointers, and they come first: whoever finds one asks the account. So a crash in between leaves a pointer to nothing,
//! and the next creation for this identity makes the account that it points to.

use futures_util::{StreamExt, TryStreamExt, stream};
use scylla::SerializeRow;

use crate::{
    engine::AccountId,
    entropy::draw,
    store::{Created, Identity, Owned, Result, StoreError},
    time::UnixMs,
};

use super::{
    ScyllaStore,
    rows::{AccountRow, IdentityRow, at_most, bytes, wall},
};

/// Shards of the directory that are asked at a time, and accounts that are read at a time.
const AT_ONCE: usize = 32;
/// Ids that are taken from a shard of the directory at a time.
const PAGE: usize = 1000;
/// How often a creation starts anew because others changed what it was working on.
const TRIES: usize = 8;

/// What `take_identity` writes.
#[derive(SerializeRow)]
struct TakeIdentity<'a> {
    name: &'a [u8],
    issuer: &'a str,
    subject: &'a str,
    account: &'a [u8],
    created_at: i64,
}

/// What `retake_identity` writes.
#[derive(SerializeRow)]
struct RetakeIdentity<'a> {
    name: &'a [u8],
    account: &'a [u8],
    created_at: i64,
    was: &'a [u8],
}

/// What `make_account` writes.
#[derive(SerializeRow)]
struct MakeAccount<'a> {
    id: &'a [u8],
    act: &'a [u8],
    created_at: i64,
    issuer: &'a str,
    subject: &'a str,
}

impl ScyllaStore {
    /// The account, by what was decided and answered.
    pub(super) async fn read_account(&self, id: &AccountId) -> Result<Option<Owned>> {
        let row: Option<AccountRow> =
            self.cluster.row(&self.cluster.statements.account, (id.as_bytes().as_slice(),)).await?;
        row.map_or(Ok(None), AccountRow::owned)
    }

    pub(super) async fn make_account(
        &self,
        id: AccountId,
        identity: &Identity,
        at: UnixMs,
    ) -> Result<(Owned, Created)> {
        let name = identity.digest();
        for _ in 0..TRIES {
            let (taken, since) = match self.identity_row(&name, identity).await? {
                Some(row) => (row.account()?, row.created_at()?),
                None => match self.take_identity(&name, identity, &id, at).await? {
                    Some(row) => (row.account()?, row.created_at()?),
                    None => (id, at),
                },
            };
            let made = self.make_if_new(&taken, identity, since).await?;
            let owned =
                self.read_account(&taken).await?.ok_or_else(|| broken("an account that was made and is not there"))?;
            if !owned.account.deleted {
                if owned.identity.as_ref() != Some(identity) {
                    return Err(broken("an account id that was drawn twice"));
                }
                return Ok((owned, made));
            }
            // Deleted, and the identity not yet free again.
            self.retake_identity(&name, &taken, &id, at).await?;
        }
        Err(StoreError::Unavailable("others kept changing whose account it is".to_owned()))
    }

    pub(super) async fn find_account(&self, identity: &Identity) -> Result<Option<AccountId>> {
        let Some(row) = self.identity_row(&identity.digest(), identity).await? else { return Ok(None) };
        let id = row.account()?;
        let owned = self.read_account(&id).await?;
        Ok(owned.filter(|owned| owned.identity.as_ref() == Some(identity)).map(|_| id))
    }

    pub(super) async fn list_accounts(&self, after: Option<AccountId>, limit: usize) -> Result<Vec<Owned>> {
        let mut found = Vec::new();
        let first = after.map_or(0, |id| id.as_bytes()[0]);
        // The empty blob comes before every id.
        let after = after.map_or(Vec::new(), |id| id.as_bytes().to_vec());
        let mut shards = stream::iter(first..=u8::MAX)
            .map(|shard| {
                let after = after.clone();
                async move { Ok::<_, StoreError>((shard, self.directory(shard, &after).await?)) }
            })
            .buffered(AT_ONCE);
        while found.len() < limit
            && let Some((shard, mut page)) = shards.try_next().await?
        {
            loop {
                let full = page.len() == PAGE;
                let last = page.last().copied();
                let mut accounts =
                    stream::iter(page).map(|id| async move { self.read_account(&id).await }).buffered(AT_ONCE);
                while found.len() < limit
                    && let Some(owned) = accounts.try_next().await?
                {
                    found.extend(owned.filter(|owned| !owned.account.deleted));
                }
                match last {
                    Some(last) if full && found.len() < limit => page = self.directory(shard, last.as_bytes()).await?,
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    async fn directory(&self, shard: u8, after: &[u8]) -> Result<Vec<AccountId>> {
        let ids: Vec<(Vec<u8>,)> =
            self.cluster.rows(&self.cluster.statements.directory, (i16::from(shard), after, at_most(PAGE))).await?;
        ids.into_iter().map(|(id,)| Ok(AccountId::from_bytes(bytes(&id)?))).collect()
    }

    async fn identity_row(&self, name: &[u8; 32], identity: &Identity) -> Result<Option<IdentityRow>> {
        let row = self.cluster.row(&self.cluster.statements.identity, (name.as_slice(),)).await?;
        is_of(row, identity)
    }

    /// Gives an identity to an account. Answers whose it was already.
    async fn take_identity(
        &self,
        name: &[u8; 32],
        identity: &Identity,
        account: &AccountId,
        at: UnixMs,
    ) -> Result<Option<IdentityRow>> {
        let statements = &self.cluster.statements;
        let values = TakeIdentity {
            name,
            issuer: &identity.issuer,
            subject: &identity.subject,
            account: account.as_bytes(),
            created_at: wall(at)?,
        };
        let _turn = self.cluster.turn(name).await;
        // Others may have had their turn meanwhile: asking is cheaper than deciding.
        if let Some(row) = self.identity_row(name, identity).await? {
            return Ok(Some(row));
        }
        match self.cluster.decide(&statements.take_identity, values).await {
            Ok(true) => Ok(None),
            Ok(false) => self.identity_row(name, identity).await,
            Err(unanswered) if unanswered.maybe => {
                let row = self.cluster.row(&statements.identity_serially, (name.as_slice(),)).await?;
                let row = is_of(row, identity)?;
                if row.is_some() { Ok(row) } else { Err(unanswered.error) }
            }
            Err(unanswered) => Err(unanswered.error),
        }
    }

    /// Takes an identity from a deleted account. Whether that happened is seen by reading.
    async fn retake_identity(&self, name: &[u8; 32], was: &AccountId, account: &AccountId, at: UnixMs) -> Result<()> {
        let values = RetakeIdentity { name, account: account.as_bytes(), created_at: wall(at)?, was: was.as_bytes() };
        let _turn = self.cluster.turn(name).await;
        self.cluster.decide(&self.cluster.statements.retake_identity, values).await?;
        Ok(())
    }

    /// Makes the account that an identity points to, unless it is there.
    async fn make_if_new(&self, id: &AccountId, identity: &Identity, at: UnixMs) -> Result<Created> {
        let statements = &self.cluster.statements;
        let _turn = self.cluster.turn(id.as_bytes()).await;
        if self.read_account(id).await?.is_some() {
            return Ok(Created::AlreadyThere);
        }
        let id = id.as_bytes().as_slice();
        self.cluster.write(&statements.list_account, (i16::from(id[0]), id)).await?;
        let act: [u8; 16] = draw(&*self.entropy);
        let values =
            MakeAccount { id, act: &act, created_at: wall(at)?, issuer: &identity.issuer, subject: &identity.subject };
        match self.cluster.decide(&statements.make_account, values).await {
            Ok(made) => Ok(Created::when(made)),
            Err(unanswered) if unanswered.maybe => {
                let row: Option<super::acts::Version> = self.cluster.row(&statements.account_serially, (id,)).await?;
                match row {
                    Some((_, Some(_), by)) => Ok(Created::when(by.as_deref() == Some(&act))),
                    _ => Err(unanswered.error),
                }
            }
            Err(unanswered) => Err(unanswered.error),
        }
    }
}

/// Two identities of one hash would be a wonder; it is looked at all the same.
fn is_of(row: Option<IdentityRow>, identity: &Identity) -> Result<Option<IdentityRow>> {
    match &row {
        Some(row)
            if row.issuer.as_ref() != Some(&identity.issuer) || row.subject.as_ref() != Some(&identity.subject) =>
        {
            Err(broken("an identity under the name of another"))
        }
        _ => Ok(row),
    }
}

fn broken(what: &str) -> StoreError {
    StoreError::Damaged(format!("refused {what}"))
}
