//! Who takes part in hub sessions, and the outbox of logouts.
//!
//! Participants are rows of the account's partition, and the outbox has a partition for each client, so no decision reaches both.
//! An entry is written before the session ends, and the participant goes after it: what dies between leaves a client that is
//! told too much, never one that is told nothing.

use scylla::{DeserializeRow, statement::prepared::PreparedStatement};

use crate::{
    engine::AccountId,
    store::{Added, LogoutRecord, Participant, Removed, Replaced, Result, SecretDigest},
    time::{Millis, UnixMs},
};

use super::{
    ScyllaStore,
    cluster::Values,
    hub::ttl,
    rows::{bytes, there, wall, wall_from},
};

/// The kind of participants among the rows of an account's partition.
pub(super) const PARTICIPANTS: i8 = 7;
/// How long an entry stays that nobody delivers or gives up, because its client is gone: longer than any is tried.
const STAYS: Millis = Millis::from_secs(30 * 86_400);

#[derive(DeserializeRow)]
struct ParticipantRow {
    name: Vec<u8>,
    hub_record: Option<String>,
}

/// An entry of the outbox.
#[derive(DeserializeRow)]
pub(super) struct LogoutRow {
    client_id: String,
    due: i64,
    account: Vec<u8>,
    sid: Vec<u8>,
    since: Option<i64>,
    tries: Option<i32>,
}

impl LogoutRow {
    pub(super) fn logout(self) -> Result<LogoutRecord> {
        Ok(LogoutRecord {
            client_id: self.client_id,
            account: AccountId::from_bytes(bytes(&self.account)?),
            session: LogoutRecord::sid_from(&self.sid)?,
            due: wall_from(Some(self.due))?,
            since: self.since.map(|since| wall_from(Some(since))).transpose()?,
            tries: there(self.tries)?.unsigned_abs(),
        })
    }
}

/// All columns of an entry, and for how long it stays.
pub(super) fn values(logout: &LogoutRecord) -> Result<Values<'_>> {
    let since = logout.since.map(wall).transpose()?;
    let tries = i32::try_from(logout.tries).unwrap_or(i32::MAX);
    let (client_id, account) = (logout.client_id.as_str(), logout.account.as_bytes().as_slice());
    Ok(Box::new((client_id, wall(logout.due)?, account, logout.sid(), since, tries, ttl(STAYS))))
}

impl ScyllaStore {
    pub(super) async fn put_participant(&self, participant: &Participant, now: UnixMs) -> Result<Added> {
        let statements = &self.cluster.statements;
        let id = participant.account.as_bytes().as_slice();
        let ttl = ttl(participant.lifetime(now));
        let _turn = self.cluster.turn(participant.account.as_bytes()).await;
        let decision: Vec<(&PreparedStatement, Values<'_>)> = vec![
            (&statements.is_alive, Box::new((id,))),
            (&statements.put_participant, Box::new((id, participant.name(), participant.to_json(), ttl))),
        ];
        Ok(Added::when(self.cluster.decide_all(decision).await?))
    }

    /// The participants of an account, whatever has become of it.
    pub(super) async fn read_participants(&self, account: &AccountId) -> Result<Vec<Participant>> {
        let values = (account.as_bytes().as_slice(), PARTICIPANTS);
        let statement = &self.cluster.statements.erasable_hub_rows;
        let rows: Vec<ParticipantRow> = self.cluster.pages(statement, values, usize::MAX).await?;
        let read = |row: ParticipantRow| Some(Participant::from_json(*account, &row.name, &row.hub_record?));
        rows.into_iter().filter_map(read).collect()
    }

    pub(super) async fn read_participants_of(
        &self,
        account: &AccountId,
        session: &SecretDigest,
    ) -> Result<Vec<Participant>> {
        let mut participants = self.read_participants(account).await?;
        participants.retain(|participant| participant.session == *session);
        Ok(participants)
    }

    /// Writes what participants are owed.
    pub(super) async fn owe(&self, participants: &[Participant], everywhere: bool) -> Result<()> {
        for logout in LogoutRecord::owed(participants, everywhere) {
            let _turn = self.cluster.turn(logout.client_id.as_str()).await;
            // It may be there already: then it is owed.
            self.cluster.decide(&self.cluster.statements.owe_logout, values(&logout)?).await?;
        }
        Ok(())
    }

    /// Removes participants that have been seen to. In the account's turn.
    pub(super) async fn drop_participants(&self, account: &AccountId, participants: &[Participant]) -> Result<()> {
        for participant in participants {
            let values = (account.as_bytes().as_slice(), participant.name());
            self.cluster.decide(&self.cluster.statements.drop_participant, values).await?;
        }
        Ok(())
    }

    pub(super) async fn read_due_logouts(
        &self,
        client_id: &str,
        now: UnixMs,
        limit: usize,
    ) -> Result<Vec<LogoutRecord>> {
        let most = i32::try_from(limit).unwrap_or(i32::MAX);
        let statement = &self.cluster.statements.due_logouts;
        let rows: Vec<LogoutRow> = self.cluster.rows(statement, (client_id, wall(now)?, most)).await?;
        rows.into_iter().map(LogoutRow::logout).collect()
    }

    pub(super) async fn move_logout(&self, from: &LogoutRecord, to: &LogoutRecord) -> Result<Replaced> {
        let statements = &self.cluster.statements;
        let key = (from.client_id.as_str(), wall(from.due)?, from.account.as_bytes().as_slice(), from.sid());
        let _turn = self.cluster.turn(from.client_id.as_str()).await;
        let decision: Vec<(&PreparedStatement, Values<'_>)> =
            vec![(&statements.drop_logout, Box::new(key)), (&statements.put_logout, values(to)?)];
        let moved = self.cluster.decide_all(decision).await?;
        Ok(if moved { Replaced::Done } else { Replaced::Outdated })
    }

    pub(super) async fn drop_logout(&self, logout: &LogoutRecord) -> Result<Removed> {
        let key = (logout.client_id.as_str(), wall(logout.due)?, logout.account.as_bytes().as_slice(), logout.sid());
        let _turn = self.cluster.turn(logout.client_id.as_str()).await;
        Ok(Removed::when(self.cluster.decide(&self.cluster.statements.drop_logout, key).await?))
    }
}
