//! `gastank session history`: when a session was heard of, read page after page.

use jiff::Timestamp;
use serde_json::{Value, json};

use super::{
    CliError, Remote,
    args::HistoryArgs,
    output::{Output, note, printable, rows},
};

/// Rows asked for at once.
const PAGE: usize = 1000;
const HEAD: [&str; 4] = ["HEARD AT", "AFTER", "METER", "SAID"];

/// `gastank session history`
pub(super) async fn history(remote: &Remote, args: &HistoryArgs, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    let (since, limit) = (args.since.get().to_string(), args.limit as usize);
    let (mut all, mut after): (Vec<Value>, Option<String>) = (Vec::new(), None);
    let mut session = loop {
        let wanted = (limit - all.len()).min(PAGE).to_string();
        let mut query = vec![("limit", wanted.as_str()), ("since_s", &since)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut answer = api.get_with(&["admin", "sessions", &args.id, "history"], &query).await?;
        all.extend(rows(&mut answer, "rows"));
        after = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        if after.is_none() || all.len() >= limit {
            break answer;
        }
    };
    if remote.json {
        session["rows"] = all.into();
        session["next"] = json!(after);
        return output.json(&session);
    }
    output.pairs(&facts(&session))?;
    output.line("")?;
    output.table(&HEAD, &table(&all))?;
    match after {
        Some(_) => note("There are more rows; raise --limit, or shorten --since."),
        None if all.is_empty() => note(
            "Nothing was written down in that time. Rows come with checkpoints, some time after the heartbeats; --since \
             looks further back.",
        ),
        None => Ok(()),
    }
}

/// What is known of the session otherwise.
fn facts(session: &Value) -> Vec<(&'static str, String)> {
    let text = |field: &str| session.get(field).and_then(Value::as_str).map(printable);
    let state = match (text("end_reason"), text("ended_at")) {
        (Some(reason), Some(at)) => format!("ended {at}: {reason}"),
        _ => "open".to_owned(),
    };
    let mut facts = vec![("session", text("session_id").unwrap_or_default())];
    facts.extend(text("account").map(|account| ("account", account)));
    facts.push(("state", state));
    facts.extend(text("last_seen_at").map(|at| ("last heard of", at)));
    facts
}

/// A line for each row: when, how long after the one before, in meter time, and what the client said.
fn table(rows: &[Value]) -> Vec<Vec<String>> {
    let mut before: Option<Timestamp> = None;
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let at = row.get("at").and_then(Value::as_str).unwrap_or_default();
        let instant: Option<Timestamp> = at.parse().ok();
        let after = before.zip(instant).map(|(before, at)| seconds(at.as_millisecond() - before.as_millisecond()));
        before = instant.or(before);
        let meter = row.get("meter_ms").and_then(Value::as_i64).map(seconds);
        let cell = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        lines.push(vec![printable(at), cell(after), cell(meter), cell(said(row))]);
    }
    lines
}

fn said(row: &Value) -> Option<String> {
    let words = row.get("says").and_then(Value::as_array)?;
    let mut said: Vec<String> = words.iter().filter_map(Value::as_str).map(printable).collect();
    said.extend(row.get("platform").and_then(Value::as_u64).map(|platform| format!("platform_{platform}")));
    (!said.is_empty()).then(|| said.join(" "))
}

fn seconds(ms: i64) -> String {
    format!("{}.{:03} s", ms / 1000, (ms % 1000).abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_tell_how_long_after_the_one_before_they_are() {
        let rows = [
            json!({ "at": "2026-01-01T00:00:00.000Z", "meter_ms": 5_042, "says": [] }),
            json!({ "at": "2026-01-01T00:00:30.250Z", "meter_ms": 35_292, "says": ["user_idle", "proxy_on"], "platform": 3 }),
        ];
        let lines = table(&rows);
        assert_eq!(lines[0], ["2026-01-01T00:00:00.000Z", "-", "5.042 s", "-"]);
        assert_eq!(lines[1][1..], ["30.250 s", "35.292 s", "user_idle proxy_on platform_3"]);
    }

    #[test]
    fn a_session_is_open_until_it_says_how_it_ended() {
        let open = json!({ "session_id": "x", "account": "y" });
        assert_eq!(facts(&open)[2], ("state", "open".to_owned()));
        let ended = json!({ "session_id": "x", "account": "y", "ended_at": "then", "end_reason": "timed_out" });
        assert_eq!(facts(&ended)[2], ("state", "ended then: timed_out".to_owned()));
    }
}
