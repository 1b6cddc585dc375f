//! The heartbeat history of a session, as operators read it.

use std::sync::Arc;

use axum::{
    Json as Answer,
    extract::{Query, State},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    engine::Engine,
    store::{Heard, HeardKey, Store},
    time::{Clock, Millis},
    web::{
        extract::Page,
        problem::{Code as ErrorCode, Problem},
    },
    wire::StateBits,
};

use super::{
    super::{callers::Operator, named::SessionPath, refusals::HistoryErrors, shapes::time, state::Settings},
    sessions::KnownSession,
};

/// How far ahead the clocks of other nodes may be.
const AHEAD: Millis = Millis::from_secs(3600);

/// Which rows are asked for.
#[derive(Deserialize)]
pub(super) struct HistoryQuery {
    since_s: Option<u64>,
}

/// A page of what was heard of a session, and what is known of it otherwise.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionHistory {
    /// The session itself.
    #[serde(flatten)]
    session: KnownSession,
    /// The rows, oldest first.
    rows: Vec<HeardShape>,
    /// `after` of the next page. Absent on the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// When a session was heard of, and what its client said of itself.
#[derive(Serialize, ToSchema)]
#[schema(as = Heard)]
pub(super) struct HeardShape {
    /// Its place in the history: `after` goes on from here.
    id: String,
    /// When it was heard of.
    #[schema(format = DateTime)]
    at: String,
    /// The same in meter time, in milliseconds.
    meter_ms: u64,
    /// The state bits of the heartbeat.
    state: u16,
    /// What they say, in words.
    #[schema(value_type = Vec<String>, example = json!(["proxy_on", "on_battery"]))]
    says: Vec<&'static str>,
    /// The client's platform, a number that the operator has given it. Absent when unsaid.
    #[serde(skip_serializing_if = "Option::is_none")]
    platform: Option<u8>,
}

/// When a session was heard of, and what its client said of itself. Oldest first.
///
/// A row for each checkpoint, not for each heartbeat.
#[utoipa::path(
    get, path = "/admin/sessions/{id}/history", tag = "admin", security(("admin_token" = [])),
    params(
        ("id" = String, Path, description = "The session's id."),
        ("since_s" = Option<u64>, Query, description = "Only the last so many seconds. Absent: all that is kept."),
        ("after" = Option<String>, Query, pattern = "^[A-Za-f][A-Za-z0-9_-]{9}[ABEFIJMNQRUVYZcdghklopstwx014589][A-Za-z0-9_-]{10}[AQgw]$", description = "From after this row on."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many rows, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the history.", body = SessionHistory), HistoryErrors),
)]
pub(super) async fn of_session(
    _: Operator,
    State(store): State<Arc<dyn Store>>,
    State(engine): State<Arc<Engine>>,
    State(clock): State<Arc<dyn Clock>>,
    State(settings): State<Arc<Settings>>,
    SessionPath(session): SessionPath,
    (page, asked): (Page<String>, Result<Query<HistoryQuery>, axum::extract::rejection::QueryRejection>),
) -> Result<Answer<SessionHistory>, Problem> {
    let Query(asked) = asked.map_err(|_| Problem::bad_request("`since_s` is a whole number"))?;
    let after = page
        .after
        .as_deref()
        .map(|key| HeardKey::parse(key).ok_or_else(|| Problem::bad_request("`after` is not the id of a row")));
    let after = after.transpose()?;
    let Some(keep) = settings.history_keep else {
        let detail = "set history.keep_days, as in GASTANK_HISTORY_KEEP_DAYS=30, and start the service again: it is \
                      written from then on";
        return Err(Problem::because(ErrorCode::HistoryOff, detail));
    };
    let absent = || Problem::not_found("session");
    let record = store.session(&session).await?.ok_or_else(absent)?;
    // Of a session of a deleted person, how it ended is all there is, also while the rest is being erased.
    let owned = store.account(&record.account).await?.ok_or_else(absent)?;
    let wall = clock.wall();
    let back = asked.since_s.map_or(keep, |seconds| Millis::new(seconds.saturating_mul(1000)).min(keep));
    let first = HeardKey::before(wall.minus(back)).max(after.unwrap_or(HeardKey::before(wall.minus(keep))));
    let found = match owned.account.deleted {
        true => Vec::new(),
        false => store.history(&session, first, wall.plus(AHEAD), page.limit + 1).await?,
    };
    let (rows, more) = page.cut(found);
    let next = rows.last().filter(|_| more).map(|row: &Heard| row.key.to_string());
    Ok(Answer(SessionHistory {
        session: KnownSession::new(&session, &record, &engine, &*clock),
        rows: rows.into_iter().map(HeardShape::from).collect(),
        next,
    }))
}

impl From<Heard> for HeardShape {
    fn from(Heard { key, state }: Heard) -> Self {
        Self {
            id: key.to_string(),
            at: time(key.at),
            meter_ms: key.last_seen.as_ms(),
            state: state.0,
            says: words(state),
            platform: Some(state.platform()).filter(|platform| *platform != 0),
        }
    }
}

/// What a client says of itself, but for its platform.
fn words(state: StateBits) -> Vec<&'static str> {
    let bits = [
        (StateBits::IDLE, "user_idle"),
        (StateBits::LOCKED, "user_locked"),
        (StateBits::PROXY_ON, "proxy_on"),
        (StateBits::CAPTIVE_PORTAL, "captive_portal"),
        (StateBits::METERED, "metered_network"),
        (StateBits::PRIVATE, "private_window"),
        (StateBits::BATTERY, "on_battery"),
    ];
    let error = match state.proxy_error_class() {
        0 => None,
        1 => Some("proxy_error_407"),
        2 => Some("proxy_error_429"),
        3 => Some("proxy_error_502"),
        4 => Some("proxy_error_connect"),
        _ => Some("proxy_error_other"),
    };
    bits.into_iter().filter(|(bit, _)| state.0 & bit != 0).map(|(_, word)| word).chain(error).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bit_of_a_state_has_a_word() {
        assert_eq!(words(StateBits(0)), [""; 0]);
        let all = StateBits(0x047f);
        assert_eq!(words(all).len(), 8, "{:?}", words(all));
        assert_eq!(words(StateBits(StateBits::PROXY_ON | 0x5200)), ["proxy_on", "proxy_error_429"]);
    }
}
