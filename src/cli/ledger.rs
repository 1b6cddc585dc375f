//! `gastank account ledger`: the ledger of an account, the newest entry first.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::{
    CliError, Remote,
    api::Api,
    output::{Output, note, printable, rows},
    span::{Seconds, exact},
};

/// Entries asked for at once: as many as the service gives.
const PAGE: &str = "1000";
const HEAD: [&str; 7] = ["AT", "KIND", "AMOUNT", "TANK AFTER", "FROM", "NAME", "NOTE"];

/// `gastank account ledger`
pub(super) async fn ledger(remote: &Remote, id: &str, limit: u32, output: &mut Output) -> Result<(), CliError> {
    let found = read(&remote.reach.admin()?, id, limit as usize).await?;
    if remote.json {
        let entries: Vec<Value> = found.latest.into_iter().map(|(entry, _)| entry).collect();
        return output.json(&json!({ "entries": entries, "more": found.all > entries.len() }));
    }
    let shown: Vec<Vec<String>> = found.latest.iter().map(|(entry, after)| cells(entry, *after)).collect();
    output.table(&HEAD, &shown)?;
    match found.all {
        0 => note("There are no entries."),
        all if all > shown.len() => note(&format!("{} older entries; raise --limit to list them.", all - shown.len())),
        _ => Ok(()),
    }
}

/// The latest entries, the newest first, each with what was in the tank after it in milliseconds; and how many there are.
struct Found {
    latest: VecDeque<(Value, i64)>,
    all: usize,
}

/// Reads all of the ledger: what was in the tank after an entry is the sum of those up to it.
async fn read(api: &Api, id: &str, limit: usize) -> Result<Found, CliError> {
    let mut found = Found { latest: VecDeque::new(), all: 0 };
    let (mut tank, mut after) = (0_i64, None::<String>);
    loop {
        let mut query = vec![("limit", PAGE)];
        query.extend(after.as_deref().map(|after| ("after", after)));
        let mut answer = api.get_with(&["admin", "accounts", id, "entries"], &query).await?;
        let next = answer.get("next").and_then(Value::as_u64);
        for entry in rows(&mut answer, "entries") {
            tank = tank.saturating_add(ms(&entry, "amount_ms"));
            found.all += 1;
            found.latest.push_front((entry, tank));
            found.latest.truncate(limit);
        }
        match next {
            Some(number) => after = Some(number.to_string()),
            None => return Ok(found),
        }
    }
}

fn ms(entry: &Value, field: &str) -> i64 {
    entry.get(field).and_then(Value::as_i64).unwrap_or(0)
}

fn cells(entry: &Value, after: i64) -> Vec<String> {
    let text = |field: &str| entry.get(field).and_then(Value::as_str).map_or_else(|| "-".to_owned(), printable);
    let owed = match ms(entry, "owed_ms") {
        0 => String::new(),
        owed => format!(" (debt {})", exact(owed)),
    };
    vec![
        text("at"),
        text("kind"),
        format!("{}{owed}", exact(ms(entry, "amount_ms"))),
        Seconds::new(after / 1000).to_string(),
        text("source"),
        text("external_id"),
        text("reason"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_shows_what_was_in_the_tank_after_it_and_what_is_owed() {
        let entry = json!({
            "at": "2026-01-01T00:00:00.000Z", "kind": "refund", "amount_ms": -60_000, "owed_ms": 30_000,
            "source": "webhook", "external_id": "order-1", "reason": "returned",
        });
        let shown = [
            "2026-01-01T00:00:00.000Z",
            "refund",
            "-60.000 s (debt +30.000 s)",
            "1 min 30 s",
            "webhook",
            "order-1",
            "returned",
        ];
        assert_eq!(cells(&entry, 90_500), shown);
    }
}
