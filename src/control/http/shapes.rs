//! JSON that more than one call answers with.

use jiff::Timestamp;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::acts::View,
    engine::{AccountId, Entry, Moment, Standing, session_text},
    store::{Owned, Store},
    time::{Millis, UnixMs},
    web::{extract::Page, problem::Problem},
    wire::EndReason,
};

/// A balance after a change.
#[derive(Serialize, ToSchema)]
pub(super) struct Remaining {
    /// What is left to burn, in seconds.
    pub(super) remaining_s: u64,
}

impl From<Millis> for Remaining {
    fn from(remaining: Millis) -> Self {
        Self { remaining_s: remaining.as_secs() }
    }
}

/// An account.
#[derive(Serialize, ToSchema)]
#[schema(as = Account)]
pub(super) struct AccountShape {
    /// Its id.
    pub(super) account: String,
    /// What is left to burn, in seconds.
    pub(super) remaining_s: u64,
    /// Its latest session. `null` if there has been none.
    pub(super) session: Option<SessionShape>,
}

/// A session.
#[derive(Serialize, ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionShape {
    /// Its id, in base64url.
    session_id: String,
    /// When it was opened.
    #[schema(format = DateTime)]
    started_at: String,
    /// When it was last heard of.
    #[schema(format = DateTime)]
    last_seen_at: String,
    /// Why it ended. Absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "timed_out")]
    end_reason: Option<&'static str>,
}

/// One row of a ledger. It never changes.
#[derive(Serialize, ToSchema)]
#[schema(as = Entry)]
pub(super) struct EntryShape {
    /// Its place in the account's ledger, from 1.
    pub(super) number: u64,
    /// What it stands for.
    #[schema(value_type = String, example = "purchase")]
    kind: &'static str,
    /// How much it adds, or takes away, in milliseconds.
    amount_ms: i64,
    /// How much it adds to the account's debt, or pays of it, in milliseconds. Absent where it is neither.
    #[serde(skip_serializing_if = "Option::is_none")]
    owed_ms: Option<i64>,
    /// Who names it.
    #[schema(value_type = String, example = "admin")]
    source: &'static str,
    /// Its name there.
    external_id: String,
    /// A note for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was written.
    #[schema(format = DateTime)]
    at: String,
}

/// A page of a ledger, newest last.
#[derive(Serialize, ToSchema)]
pub(super) struct Entries {
    /// The rows.
    pub(super) entries: Vec<EntryShape>,
    /// `after` of the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<u64>,
}

impl Entries {
    /// A page of an account's ledger.
    pub(super) async fn page(store: &dyn Store, account: &AccountId, page: &Page<u64>) -> Result<Self, Problem> {
        let after = page.after.unwrap_or(0);
        if i64::try_from(after).is_err() {
            return Err(Problem::bad_request("`after` is the number of an entry"));
        }
        let rows = store.entries(account, after, page.limit + 1).await?;
        let (rows, more) = page.cut(rows);
        let next = rows.last().filter(|_| more).map(|entry| entry.number);
        Ok(Self { entries: rows.into_iter().map(Into::into).collect(), next })
    }
}

impl AccountShape {
    pub(super) fn of(view: &View, timeout: Millis) -> Self {
        Self {
            account: view.owned.account.id.to_string(),
            remaining_s: view.remaining.as_secs(),
            session: SessionShape::of(&view.owned, &view.moment, timeout),
        }
    }
}

impl SessionShape {
    pub(super) fn of(owned: &Owned, moment: &Moment, timeout: Millis) -> Option<Self> {
        let session = owned.account.session.as_ref()?;
        let (last_seen, end_reason) = match (session.end, owned.account.standing(moment, timeout)) {
            (Some(end), _) | (None, Standing::Over(end)) => {
                let last_seen = end.at_wall.minus(end.at.since(end.last_seen)).plus(end.last_seen.since(end.at));
                (last_seen, Some(EndReason::name(end.reason)))
            }
            (None, Standing::Running { last_seen, .. }) => (moment.wall.minus(moment.now.since(last_seen)), None),
            (None, Standing::Idle) => (session.started_at, None),
        };
        Some(Self {
            session_id: session_text(&session.id),
            started_at: time(session.started_at),
            last_seen_at: time(last_seen),
            end_reason,
        })
    }
}

impl From<Entry> for EntryShape {
    fn from(entry: Entry) -> Self {
        Self {
            number: entry.number,
            kind: entry.kind.name(),
            amount_ms: entry.amount.as_ms(),
            owed_ms: Some(entry.owed.as_ms()).filter(|owed| *owed != 0),
            source: entry.source.name(),
            external_id: entry.external_id,
            reason: entry.reason,
            at: time(entry.at),
        }
    }
}

/// An instant in RFC 3339, UTC, with milliseconds.
pub fn time(at: UnixMs) -> String {
    let ms = i64::try_from(at.as_ms()).unwrap_or(i64::MAX);
    let at = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::MAX);
    format!("{at:.3}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_with_milliseconds() {
        assert_eq!(time(UnixMs::from_ms(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(time(UnixMs::from_ms(1_700_000_000_042)), "2023-11-14T22:13:20.042Z");
        assert!(time(UnixMs::from_ms(u64::MAX)).starts_with("9999-"));
    }
}
