//! `gastank audit`: the audit log, the newest row first.

use std::{collections::VecDeque, time::Duration};

use serde_json::{Value, json};

use super::{
    CliError, Remote,
    api::Api,
    args::AuditArgs,
    output::{Output, note, printable, rows},
};

/// Rows asked for at once.
const PAGE: u32 = 500;
/// How often it is asked whether there is more.
const PAUSE: Duration = Duration::from_secs(1);
/// Rows that are shown where nothing else is said, and those that come before what is followed.
const ROWS: u32 = 100;
const FOLLOWED: u32 = 10;
/// How far back is looked for the latest rows at first, in seconds, and how many times further at each next look.
const LOOK_BACK: i64 = 60;
const FURTHER: i64 = 8;
/// What is shown of a row.
const HEAD: [&str; 7] = ["AT", "ACT", "ACCOUNT", "TARGET", "DETAIL", "BY", "SURFACE"];

/// `gastank audit`
pub(super) async fn audit(remote: &Remote, args: &AuditArgs, output: &mut Output) -> Result<(), CliError> {
    let log = Log { api: remote.reach.admin()?, args };
    let limit = args.limit.unwrap_or(if args.follow { FOLLOWED } else { ROWS }) as usize;
    let Latest { rows, more } = log.latest(limit).await?;
    if args.follow {
        return follow(remote, &log, rows, output).await;
    }
    let rows: Vec<Value> = rows.into_iter().rev().collect();
    if remote.json {
        return output.json(&json!({ "rows": rows, "more": more }));
    }
    let shown: Vec<Vec<String>> = rows.iter().map(cells).collect();
    output.table(&HEAD, &shown)?;
    match (shown.is_empty(), more) {
        (true, _) => note("No acts in that time; lengthen --since."),
        (false, true) => note("There are older rows; raise --limit."),
        (false, false) => Ok(()),
    }
}

/// Shows these rows, and then what is done, for ever.
async fn follow(remote: &Remote, log: &Log<'_>, rows: VecDeque<Value>, output: &mut Output) -> Result<(), CliError> {
    let mut after = rows.back().and_then(id);
    let mut show = |rows: &mut dyn Iterator<Item = &Value>| {
        for row in rows {
            let line = if remote.json { row.to_string() } else { cells(row).join("  ") };
            output.line(&line)?;
        }
        Ok::<(), CliError>(())
    };
    show(&mut rows.iter())?;
    loop {
        // Where nothing was done yet, anything that is done is new.
        let page = log.page(after.as_deref(), log.args.since.get()).await?;
        show(&mut page.rows.iter())?;
        after = page.rows.last().and_then(id).or(after);
        if page.next.is_none() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// The log, and which of it is asked for.
struct Log<'a> {
    api: Api,
    args: &'a AuditArgs,
}

/// Rows, the oldest first, and where the next ones begin if there are any.
struct Page {
    rows: Vec<Value>,
    next: Option<String>,
}

/// The latest rows, the oldest of them first, and whether there are older ones within the time that is asked for.
struct Latest {
    rows: VecDeque<Value>,
    more: bool,
}

impl Log<'_> {
    /// The latest rows. The service answers the oldest first: so it is asked for a minute, then for longer and longer, until
    /// there are enough, and each time only for what is older than what is known.
    async fn latest(&self, limit: usize) -> Result<Latest, CliError> {
        let all = self.args.since.get();
        let (mut rows, mut span) = (VecDeque::new(), LOOK_BACK.min(all));
        loop {
            let older = self.between(span, rows.front().and_then(id), limit).await?;
            for row in older.into_iter().rev() {
                rows.push_front(row);
            }
            let more = rows.len() > limit;
            if more || span >= all {
                rows.drain(..rows.len().saturating_sub(limit));
                return Ok(Latest { rows, more });
            }
            span = span.saturating_mul(FURTHER).min(all);
        }
    }

    /// The last rows from so many seconds ago until this row, at most one more than `limit`.
    async fn between(&self, span: i64, until: Option<String>, limit: usize) -> Result<VecDeque<Value>, CliError> {
        let (mut found, mut after) = (VecDeque::new(), None);
        loop {
            let page = self.page(after.as_deref(), span).await?;
            for row in page.rows {
                if until.is_some() && id(&row) == until {
                    return Ok(found);
                }
                if found.len() > limit {
                    found.pop_front();
                }
                found.push_back(row);
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(found),
            }
        }
    }

    /// The next rows: after this one, or from so many seconds ago on.
    async fn page(&self, after: Option<&str>, span: i64) -> Result<Page, CliError> {
        let (since, limit) = (span.to_string(), PAGE.to_string());
        let mut query = vec![("limit", limit.as_str())];
        match after {
            Some(after) => query.push(("after", after)),
            None => query.push(("since_s", &since)),
        }
        query.extend(self.args.account.as_deref().map(|account| ("account", account)));
        query.extend(self.args.act.as_deref().map(|act| ("act", act)));
        let mut answer = self.api.get_with(&["admin", "audit"], &query).await?;
        let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        Ok(Page { rows: rows(&mut answer, "rows"), next })
    }
}

fn id(row: &Value) -> Option<String> {
    row.get("id").and_then(Value::as_str).map(str::to_owned)
}

/// A row in the columns of [`HEAD`].
fn cells(row: &Value) -> Vec<String> {
    let text = |field: &str| row.get(field).and_then(Value::as_str).map(printable);
    let cell = |field: &str| text(field).unwrap_or_else(|| "-".to_owned());
    let by = match (cell("actor"), text("actor_name")) {
        (actor, Some(name)) => format!("{actor} {name}"),
        (actor, None) => actor,
    };
    vec![cell("at"), cell("act"), cell("account"), cell("target"), cell("detail"), by, cell("surface")]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_says_who_did_it_in_one_column() {
        let row = json!({ "at": "then", "act": "edge_added", "actor": "edge", "actor_name": "cf", "surface": "admin" });
        assert_eq!(cells(&row), ["then", "edge_added", "-", "-", "-", "edge cf", "admin"]);
        let row = json!({ "at": "then", "act": "credit_entered", "account": "a", "detail": "grant 60 s", "actor": "operator" });
        assert_eq!(cells(&row), ["then", "credit_entered", "a", "-", "grant 60 s", "operator", "-"]);
    }
}
