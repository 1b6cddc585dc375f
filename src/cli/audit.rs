//! `gastank audit`: the audit log, read page after page.

use std::time::Duration;

use serde_json::{Value, json};

use super::{
    CliError, Remote,
    api::Api,
    args::AuditArgs,
    commands::table,
    output::{Output, note, printable, rows},
};

/// Rows asked for at once.
const PAGE: u32 = 500;
/// How often it is asked whether there is more.
const PAUSE: Duration = Duration::from_secs(1);
/// What is shown of a row.
const FIELDS: [&str; 8] = ["at", "act", "actor", "actor_name", "surface", "account", "target", "detail"];

/// `gastank audit`
pub(super) async fn audit(remote: &Remote, args: &AuditArgs, output: &mut Output) -> Result<(), CliError> {
    let mut log = Log { api: remote.reach.admin()?, args, after: None };
    if args.follow {
        loop {
            let (found, more) = log.page(PAGE).await?;
            for row in &found {
                let line = if remote.json { row.to_string() } else { in_a_line(row) };
                output.line(&line)?;
            }
            if !more {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    let limit = args.limit as usize;
    let (mut all, mut more) = (Vec::new(), true);
    while more && all.len() < limit {
        let wanted = u32::try_from(limit - all.len()).unwrap_or(PAGE);
        let (found, others) = log.page(wanted.min(PAGE)).await?;
        all.extend(found);
        more = others;
    }
    if remote.json {
        return output.json(&json!({ "rows": all, "next": log.after.filter(|_| more) }));
    }
    table(output, &all, &FIELDS)?;
    if more { note("There are more rows; raise --limit, or shorten --since.") } else { Ok(()) }
}

/// The log, and how far it has been read.
struct Log<'a> {
    api: Api,
    args: &'a AuditArgs,
    after: Option<String>,
}

impl Log<'_> {
    /// The next rows, and whether others follow.
    async fn page(&mut self, limit: u32) -> Result<(Vec<Value>, bool), CliError> {
        let (since, limit) = (self.args.since.get().to_string(), limit.to_string());
        let mut query = vec![("limit", limit.as_str())];
        match &self.after {
            Some(after) => query.push(("after", after)),
            None => query.push(("since_s", &since)),
        }
        query.extend(self.args.account.as_deref().map(|account| ("account", account)));
        query.extend(self.args.act.as_deref().map(|act| ("act", act)));
        let mut answer = self.api.get_with(&["admin", "audit"], &query).await?;
        let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
        let found = rows(&mut answer, "rows");
        let more = next.is_some();
        let last = found.last().and_then(|row| row.get("id")).and_then(Value::as_str).map(str::to_owned);
        self.after = next.or(last).or(self.after.take());
        Ok((found, more))
    }
}

fn in_a_line(row: &Value) -> String {
    let cell = |field: &&str| row.get(*field).and_then(Value::as_str).map_or_else(|| "-".to_owned(), printable);
    FIELDS.iter().map(cell).collect::<Vec<_>>().join("  ")
}
