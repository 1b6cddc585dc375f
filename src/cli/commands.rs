//! The commands of operators: each is one request to the admin listener, or one for each page of a list.

use std::io::{self, BufRead, IsTerminal, Write};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::{
    AccountCommand, CliError, EdgeCommand, HubClientCommand, KeyCommand, KeysCommand, Remote, RewardCommand,
    SecretCommand, SessionCommand, history, ledger,
    output::{Output, note, printable, rows},
    span::{Seconds, exact},
};
use crate::entropy::{OsEntropy, draw};

/// Accounts asked for at once.
const PAGE: u32 = 100;

/// What is shown of an account.
const ACCOUNT_FIELDS: [(&str, &str); 9] = [
    ("account", "account"),
    ("issuer", "issuer"),
    ("subject", "subject"),
    ("created", "created_at"),
    ("tank", "remaining_s"),
    ("debt", "debt_s"),
    ("session", "session"),
    ("started", "session/started_at"),
    ("last seen", "session/last_seen_at"),
];

/// `gastank account …`
pub(super) async fn account(remote: &Remote, command: AccountCommand, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        AccountCommand::Create { issuer, subject, credit, key } => {
            let mut body = Map::new();
            body.extend(issuer.map(|issuer| ("issuer".to_owned(), issuer.into())));
            body.extend(subject.map(|subject| ("subject".to_owned(), subject.into())));
            body.extend(credit.map(|credit| ("credit_s".to_owned(), credit.get().into())));
            body.insert("key".to_owned(), key.into());
            let answer = api.post(&["admin", "accounts"], &Value::Object(body)).await?;
            show(remote, output, &answer, &[("account", "account"), ("key", "key")])?;
            note_secret(answer.get("key"), "key")
        }
        AccountCommand::List { limit } => {
            let mut accounts: Vec<Value> = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let wanted = limit - u32::try_from(accounts.len()).unwrap_or(limit);
                let size = wanted.min(PAGE).to_string();
                let mut query = vec![("limit", size.as_str())];
                query.extend(after.as_deref().map(|after| ("after", after)));
                let mut answer = api.get_with(&["admin", "accounts"], &query).await?;
                let next = answer.get("next").and_then(Value::as_str).map(str::to_owned);
                let page = rows(&mut answer, "accounts");
                let empty = page.is_empty();
                accounts.extend(page);
                after = next.filter(|_| !empty);
                if after.is_none() || accounts.len() >= limit as usize {
                    break;
                }
            }
            accounts.truncate(limit as usize);
            if remote.json {
                return output.json(&json!({ "accounts": accounts, "next": after }));
            }
            table(output, &accounts, &["account", "issuer", "subject", "remaining_s", "debt_s", "session"])?;
            if after.is_some() { note("There are more accounts; raise --limit to list them.") } else { Ok(()) }
        }
        AccountCommand::Show { id } => {
            let answer = api.get(&["admin", "accounts", &id]).await?;
            show(remote, output, &answer, &ACCOUNT_FIELDS)
        }
        AccountCommand::Find { issuer, subject } => {
            let query = [("issuer", issuer.as_str()), ("subject", subject.as_str())];
            let mut answer = api.get_with(&["admin", "accounts"], &query).await?;
            let Some(found) = rows(&mut answer, "accounts").pop() else {
                let (issuer, subject) = (printable(&issuer), printable(&subject));
                return Err(CliError::NotAsExpected(format!("no account: issuer {issuer}, subject {subject}")));
            };
            show(remote, output, &found, &ACCOUNT_FIELDS)
        }
        AccountCommand::Ledger { id, limit } => ledger::ledger(remote, &id, limit, output).await,
        AccountCommand::Credit { id, seconds, reason, idempotency_key } => {
            let made = idempotency_key.is_none();
            let key = idempotency_key.unwrap_or_else(|| URL_SAFE_NO_PAD.encode(draw::<16>(&OsEntropy)));
            let mut body = Map::new();
            body.insert("seconds".to_owned(), seconds.get().into());
            body.extend(reason.map(|reason| ("reason".to_owned(), reason.into())));
            let path = ["admin", "accounts", &id, "credit"];
            let answer = api.post_once(&path, &key, &Value::Object(body)).await;
            if let (true, Err(CliError::Unreachable { .. })) = (made, &answer) {
                note(&format!("The request may have been processed; repeat it safely with --idempotency-key {key}"))?;
            }
            let mut answer = answer?;
            if let Some(answer) = answer.as_object_mut() {
                answer.insert("idempotency_key".to_owned(), key.into());
            }
            let repeated = answer.get("repeated") == Some(&Value::Bool(true));
            let entered = if repeated { "entered before" } else { "entered" };
            let fields =
                [(entered, "entry/amount_ms"), ("tank", "remaining_s"), ("idempotency key", "idempotency_key")];
            show(remote, output, &answer, &fields)?;
            if repeated {
                return note("This key had been used before: nothing was entered now.");
            }
            let taken_ms = answer.pointer("/entry/amount_ms").and_then(Value::as_i64).unwrap_or_default();
            let asked_ms = seconds.get().saturating_mul(1000);
            if taken_ms > asked_ms && asked_ms < 0 {
                let missing = Seconds::new((taken_ms - asked_ms) / 1000);
                note(&format!("The tank held less: {missing} of what was asked could not be taken."))?;
            }
            Ok(())
        }
        AccountCommand::Key { command } => match command {
            KeyCommand::Add { id } => {
                let answer = api.post(&["admin", "accounts", &id, "keys"], &json!({})).await?;
                show(remote, output, &answer, &[("key id", "key_id"), ("key", "key")])?;
                note_secret(answer.get("key"), "key")
            }
            KeyCommand::List { id } => {
                let mut answer = api.get(&["admin", "accounts", &id, "keys"]).await?;
                list(remote, output, &mut answer, "keys", &["key_id", "created_at"])
            }
            KeyCommand::Remove { id, key_id } => {
                api.delete(&["admin", "accounts", &id, "keys", &key_id]).await?;
                show(remote, output, &json!({ "removed": key_id }), &[("removed key", "removed")])
            }
        },
        AccountCommand::Delete { id, yes } => {
            if !yes && !confirmed(&format!("Delete account {id} for good, with its credit, ledger and keys?"))? {
                return Err(CliError::NotAsExpected("nothing was deleted".to_owned()));
            }
            api.delete(&["admin", "accounts", &id]).await?;
            show(remote, output, &json!({ "deleted": id }), &[("deleted account", "deleted")])
        }
    }
}

/// `gastank edge …`
pub(super) async fn edge(remote: &Remote, command: EdgeCommand, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        EdgeCommand::Add { name, audience } => {
            let answer = api.post(&["admin", "edges"], &json!({ "name": name, "audience": audience })).await?;
            let fields = [("client id", "client_id"), ("client secret", "client_secret")];
            show(remote, output, &answer, &fields)?;
            note_secret(answer.get("client_secret"), "secret")
        }
        EdgeCommand::List => {
            let mut answer = api.get(&["admin", "edges"]).await?;
            list(remote, output, &mut answer, "edges", &["client_id", "name", "audience", "created_at"])
        }
        EdgeCommand::Remove { client_id } => {
            api.delete(&["admin", "edges", &client_id]).await?;
            show(remote, output, &json!({ "removed": client_id }), &[("removed edge", "removed")])
        }
        EdgeCommand::Secret { command } => secret(remote, "edges", command, output).await,
    }
}

/// `gastank client …`
pub(super) async fn client(remote: &Remote, command: HubClientCommand, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        HubClientCommand::Add {
            name,
            redirect_uris,
            post_logout_redirect_uris,
            public,
            tank,
            backchannel_logout_uri,
        } => {
            let new = json!({
                "name": name, "redirect_uris": redirect_uris, "post_logout_redirect_uris": post_logout_redirect_uris,
                "public": public, "tank": tank, "backchannel_logout_uri": backchannel_logout_uri,
            });
            let answer = api.post(&["admin", "clients"], &new).await?;
            let fields = [("client id", "client_id"), ("client secret", "client_secret")];
            show(remote, output, &answer, if public { &fields[..1] } else { &fields })?;
            if public { Ok(()) } else { note_secret(answer.get("client_secret"), "secret") }
        }
        HubClientCommand::List => {
            let mut answer = api.get(&["admin", "clients"]).await?;
            list(remote, output, &mut answer, "clients", &["client_id", "name", "public", "tank", "created_at"])
        }
        HubClientCommand::Remove { client_id } => {
            api.delete(&["admin", "clients", &client_id]).await?;
            show(remote, output, &json!({ "removed": client_id }), &[("removed client", "removed")])
        }
        HubClientCommand::Secret { command } => secret(remote, "clients", command, output).await,
    }
}

/// The secrets of an edge or of a client.
async fn secret(
    remote: &Remote,
    of: &'static str,
    command: SecretCommand,
    output: &mut Output,
) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        SecretCommand::Add { client_id } => {
            let answer = api.post(&["admin", of, &client_id, "secrets"], &json!({})).await?;
            show(remote, output, &answer, &[("secret id", "secret_id"), ("client secret", "client_secret")])?;
            note_secret(answer.get("client_secret"), "secret")
        }
        SecretCommand::List { client_id } => {
            let mut answer = api.get(&["admin", of, &client_id, "secrets"]).await?;
            list(remote, output, &mut answer, "secrets", &["secret_id"])
        }
        SecretCommand::Remove { client_id, secret_id } => {
            api.delete(&["admin", of, &client_id, "secrets", &secret_id]).await?;
            show(remote, output, &json!({ "removed": secret_id }), &[("removed secret", "removed")])
        }
    }
}

/// `gastank reward …`
pub(super) async fn reward(remote: &Remote, command: RewardCommand, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        RewardCommand::List => {
            let mut answer = api.get(&["admin", "rewards"]).await?;
            let fields = ["class", "distinguisher", "reward_s", "cooldown_s", "session_s", "budget_s", "given_s"];
            list(remote, output, &mut answer, "rewards", &fields)
        }
        RewardCommand::Earners { id } => {
            let mut answer = api.get(&["admin", "accounts", &id, "earners"]).await?;
            list(remote, output, &mut answer, "earners", &["earner_id", "created_at"])
        }
        RewardCommand::Kept => {
            let mut kept = Vec::new();
            let mut after: Option<String> = None;
            loop {
                let query = [("limit", "1000")].into_iter().chain(after.as_deref().map(|after| ("after", after)));
                let mut page = api.get_with(&["admin", "rewards", "kept"], &query.collect::<Vec<_>>()).await?;
                kept.append(&mut rows(&mut page, "kept"));
                after = page.get("next").and_then(Value::as_str).map(str::to_owned);
                if after.is_none() {
                    break;
                }
            }
            let mut answer = json!({ "kept": kept });
            list(remote, output, &mut answer, "kept", &["shop", "order", "line", "sku", "units", "why", "at"])
        }
        RewardCommand::Done { shop, line } => {
            let line = line.to_string();
            api.delete(&["admin", "rewards", "kept", &shop, &line]).await?;
            show(remote, output, &json!({ "removed": line }), &[("removed line", "removed")])
        }
        RewardCommand::Revoke { id, earner_id } => {
            api.delete(&["admin", "accounts", &id, "earners", &earner_id]).await?;
            show(remote, output, &json!({ "removed": earner_id }), &[("revoked earner token", "removed")])
        }
    }
}

/// `gastank session …`
pub(super) async fn session(remote: &Remote, command: SessionCommand, output: &mut Output) -> Result<(), CliError> {
    match command {
        SessionCommand::Show { id } => {
            let answer = remote.reach.admin()?.get(&["admin", "sessions", &id]).await?;
            let fields = [
                ("session", "session_id"),
                ("account", "account"),
                ("last heard of", "last_seen_at"),
                ("ended", "ended_at"),
                ("end reason", "end_reason"),
            ];
            show(remote, output, &answer, &fields)?;
            let open = !remote.json && answer.get("ended_at").is_none_or(Value::is_null);
            if open { output.pairs(&[("state", "open".to_owned())]) } else { Ok(()) }
        }
        SessionCommand::Revoke { id } => {
            let answer = remote.reach.admin()?.post(&["admin", "sessions", &id, "revoke"], &json!({})).await?;
            show(remote, output, &answer, &[("tank", "remaining_s")])
        }
        SessionCommand::History(args) => history::history(remote, &args, output).await,
    }
}

/// What is shown of a signing key.
const KEY_FIELDS: [&str; 5] = ["kid", "algorithm", "state", "signs_from_ms", "retires_at_ms"];

/// `gastank keys …`
pub(super) async fn keys(remote: &Remote, command: KeysCommand, output: &mut Output) -> Result<(), CliError> {
    let api = remote.reach.admin()?;
    match command {
        KeysCommand::Rotate => {
            let mut answer = api.post(&["admin", "keys", "rotate"], &json!({})).await?;
            list(remote, output, &mut answer, "keys", &KEY_FIELDS)
        }
        KeysCommand::RotateSecret => {
            let mut answer = api.post(&["admin", "keys", "rotate-secret"], &json!({})).await?;
            list(remote, output, &mut answer, "cluster_secrets", &["id", "state"])
        }
        KeysCommand::List => {
            let mut answer = api.get(&["admin", "keys"]).await?;
            list(remote, output, &mut answer, "keys", &KEY_FIELDS)
        }
    }
}

/// `gastank status`
pub(super) async fn status(remote: &Remote, output: &mut Output) -> Result<(), CliError> {
    let answer = remote.reach.admin()?.get(&["admin", "status"]).await?;
    show(remote, output, &answer, &[])
}

/// Shows an answer: as JSON, or these fields of it; all of them where none are named.
fn show(remote: &Remote, output: &mut Output, answer: &Value, fields: &[(&str, &str)]) -> Result<(), CliError> {
    if remote.json {
        return output.json(answer);
    }
    let mut pairs: Vec<(String, String)> = Vec::new();
    if fields.is_empty() {
        flatten("", answer, &mut pairs);
    }
    for (name, path) in fields {
        if let Some(value) = answer.pointer(&format!("/{path}")) {
            pairs.push(((*name).to_owned(), human(last(path), value)));
        }
    }
    let pairs: Vec<(&str, String)> = pairs.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
    output.pairs(&pairs)
}

/// Shows a list: as JSON, or as a table of these fields of each.
fn list(remote: &Remote, output: &mut Output, answer: &mut Value, name: &str, fields: &[&str]) -> Result<(), CliError> {
    if remote.json { output.json(answer) } else { table(output, &rows(answer, name), fields) }
}

pub(super) fn table(output: &mut Output, items: &[Value], fields: &[&str]) -> Result<(), CliError> {
    let head: Vec<String> = fields.iter().map(|field| title(field).to_uppercase()).collect();
    let head: Vec<&str> = head.iter().map(String::as_str).collect();
    let cells = |item: &Value| -> Vec<String> {
        fields
            .iter()
            .map(|field| item.get(*field).map_or_else(|| "-".to_owned(), |value| human(field, value)))
            .collect()
    };
    let rows: Vec<Vec<String>> = items.iter().map(cells).collect();
    output.table(&head, &rows)?;
    if rows.is_empty() { note("None found.") } else { Ok(()) }
}

/// Every value in `value`, named by its way there.
fn flatten(name: &str, value: &Value, pairs: &mut Vec<(String, String)>) {
    match value {
        Value::Object(fields) => {
            for (field, value) in fields {
                let inner = if value.is_object() { field.clone() } else { title(field) };
                let name = if name.is_empty() { inner } else { format!("{name} {inner}") };
                if value.is_object() {
                    flatten(&name, value, pairs);
                } else {
                    pairs.push((name, human(field, value)));
                }
            }
        }
        _ => pairs.push((title(name), human(name, value))),
    }
}

/// A field's name for people: without its unit, which its value has.
fn title(field: &str) -> String {
    let name = match field {
        "remaining_s" => "tank",
        "debt_s" => "debt",
        _ => field.strip_suffix("_ms").or_else(|| field.strip_suffix("_s")).unwrap_or(field),
    };
    name.replace('_', " ")
}

/// A field's value for people.
fn human(field: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::String(text) => printable(text),
        Value::Number(number) => match number.as_i64() {
            Some(seconds) if field.ends_with("_s") => Seconds::new(seconds).to_string(),
            Some(ms) if field == "amount_ms" => exact(ms),
            Some(ms) if field.ends_with("_at_ms") || field.ends_with("_from_ms") => {
                Timestamp::from_millisecond(ms).map_or_else(|_| ms.to_string(), |at| format!("{at:.0}"))
            }
            Some(ms) if field.ends_with("_ms") && ms % 1000 != 0 && ms.abs() < 60_000 => format!("{ms} ms"),
            Some(ms) if field.ends_with("_ms") => Seconds::new(ms / 1000).to_string(),
            _ => number.to_string(),
        },
        Value::Array(items) => items.iter().map(|item| human(field, item)).collect::<Vec<_>>().join(", "),
        Value::Object(fields) => {
            // A session, in a line.
            let id = fields.get("session_id").map_or_else(String::new, |id| human("session_id", id));
            match fields.get("end_reason").and_then(Value::as_str) {
                Some(reason) => format!("{id} (ended: {})", printable(reason)),
                None => format!("{id} (open)"),
            }
        }
    }
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Says that a secret was shown for the only time, to a person; never in the way of a pipe.
fn note_secret(secret: Option<&Value>, name: &str) -> Result<(), CliError> {
    match secret {
        Some(Value::String(_)) => {
            note(&format!("Save the {name} now: the service keeps only its hash and cannot show it again."))
        }
        _ => Ok(()),
    }
}

/// Whether the person at the terminal says yes. Where nobody can be asked, `--yes` is needed.
fn confirmed(question: &str) -> Result<bool, CliError> {
    let stdin = io::stdin();
    if !stdin.is_terminal() || !io::stderr().is_terminal() {
        return Err(CliError::Usage("cannot ask for confirmation without a terminal; pass --yes".to_owned()));
    }
    let wrap = |source| CliError::System { what: "cannot ask", source };
    write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush()).map_err(wrap)?;
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer).map_err(wrap)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_with_their_units_and_sessions_in_a_line() {
        for (field, value, text) in [
            ("remaining_s", json!(3_720), "1 h 02 min"),
            ("interval_ms", json!(30_000), "30 s"),
            ("interval_ms", json!(1_500), "1500 ms"),
            ("amount_ms", json!(-10_132), "-10.132 s"),
            ("sessions", json!(7), "7"),
            ("signs_from_ms", json!(1_700_000_000_042_i64), "2023-11-14T22:13:20Z"),
            ("ready", json!(true), "yes"),
            ("session", json!(null), "-"),
            ("session", json!({ "session_id": "x", "started_at": "now" }), "x (open)"),
            ("session", json!({ "session_id": "x", "end_reason": "superseded" }), "x (ended: superseded)"),
            ("audiences", json!(["a", "b"]), "a, b"),
        ] {
            assert_eq!(human(field, &value), text, "{field}");
        }
    }

    #[test]
    fn an_answer_of_any_shape_becomes_named_lines() {
        let mut pairs = Vec::new();
        flatten("", &json!({ "listening": { "http": "a:1" }, "up_s": 61, "version": "1" }), &mut pairs);
        let line = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(pairs, [line("listening http", "a:1"), line("up", "1 min 01 s"), line("version", "1")]);
    }
}
