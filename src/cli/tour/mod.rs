//! `gastank try`: the newcomer's tour of a running service, through its front doors, as an operator, a client and an edge.
//!
//! It is a demonstration and a test at once: every step is checked, and the first thing that is not as it should be ends
//! the tour with a message that says what.

mod answers;
mod client;
mod demo;
mod ledger;
mod quic;
mod sites;
mod teller;

use std::{net::SocketAddr, time::Duration};

use reqwest::Url;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::{
    answers::{random, text},
    client::{Client, VerifiedAck, instant},
    ledger::Ledger,
    teller::Teller,
};
use super::{
    CliError, DemoArgs, Seconds, TryArgs,
    api::{Api, Auth},
    output::Output,
};
use crate::{
    time::Millis,
    wire::{EndReason, WireVerdict},
};

/// What is bought at least.
const MINUTE_S: i64 = 60;
/// What the second act may need beyond the time that the tank is watched.
const MARGIN_S: i64 = 30;
/// Heartbeats without an ack, one after the other, that end the tour.
const LOST_IN_A_ROW: u32 = 3;
/// What clocks that are read at different places may differ by.
const SLACK_MS: i64 = 250;

/// What is to be removed in the end.
#[derive(Default)]
struct Made {
    account: Option<String>,
    edge: Option<String>,
}

/// What draining came to.
struct Drained {
    for_ms: i64,
    beats: u32,
    lost: u32,
}

/// `gastank try`
pub(super) async fn run(args: &TryArgs, output: &mut Output) -> Result<(), CliError> {
    let admin = args.reach.admin()?;
    let mut made = Made::default();
    let mut teller = Teller::new(output);
    let told = tokio::select! {
        told = Box::pin(tell(args, &admin, &mut made, &mut teller)) => told,
        _ = tokio::signal::ctrl_c() => Err(CliError::Interrupted),
    };
    if told.is_err() {
        teller.failed()?;
    }
    let cleaned = if args.keep { keep(&made, &mut teller) } else { clean_up(&admin, &made, &mut teller).await };
    told.and(cleaned)?;
    teller.part("End of the tour. `gastank --help` lists all commands.")
}

/// `gastank demo`
pub(super) async fn demo(args: &DemoArgs, output: &mut Output) -> Result<(), CliError> {
    demo::run(args, output).await
}

async fn tell(args: &TryArgs, admin: &Api, made: &mut Made, teller: &mut Teller<'_>) -> Result<(), CliError> {
    teller.part("The tour: a tank, a session, its heartbeats, and the edge's verdicts")?;
    let status = admin.get(&["admin", "status"]).await?;
    let public = args.url.clone().map_or_else(|| public_url(admin, &status), Ok)?;
    teller.fact("service", &format!("answers at {}", public.as_str().trim_end_matches('/')))?;

    let client_api = account(args, admin, &public, made, teller).await?;
    let (edge_api, audience) = edge(admin, &public, made, teller).await?;
    let first = first_act(args, &client_api, &edge_api, &audience, teller).await?;
    second_act(args, &client_api, &edge_api, &audience, teller).await?;
    books(&client_api, first, teller).await
}

/// An account with a minute in its tank; answers the service as its client.
async fn account(
    args: &TryArgs,
    admin: &Api,
    public: &Url,
    made: &mut Made,
    teller: &mut Teller<'_>,
) -> Result<Api, CliError> {
    let answer = admin.post(&["admin", "accounts"], &json!({ "key": true })).await?;
    let id = made.account.insert(text(admin, &answer, "account")?);
    let client = admin.other(public.clone(), Auth::Client(text(admin, &answer, "key")?))?;
    teller.fact("account", &format!("made, {id}"))?;
    teller.teach(&["An account is one person. This one shows an account key (gtk_…)."])?;

    let bought = (args.seconds.get() + MARGIN_S).max(MINUTE_S);
    let path = ["admin", "accounts", id, "credit"];
    let body = json!({ "seconds": bought, "reason": "the tour" });
    let key = random();
    let answer = admin.post_once(&path, &key, &body).await?;
    expect(answer["remaining_s"] == bought, || format!("{bought} s were bought, but the service answered {answer}"))?;
    let again = admin.post_once(&path, &key, &body).await?;
    expect(again["remaining_s"] == bought, || format!("a repeated purchase was entered twice: {again}"))?;
    teller.fact("tank", &format!("filled with {}; asked twice with one key, entered once", Seconds::new(bought)))?;
    teller.teach(&["The tank holds seconds. It drains only while a session runs."])?;
    Ok(client)
}

/// An edge of its own, so that the tour meets no one else's; answers the service as that edge, and its audience.
async fn edge(admin: &Api, public: &Url, made: &mut Made, teller: &mut Teller<'_>) -> Result<(Api, String), CliError> {
    let audience = format!("tour-{}", random());
    let answer = admin.post(&["admin", "edges"], &json!({ "name": "the tour", "audience": audience })).await?;
    let user = made.edge.insert(text(admin, &answer, "client_id")?).clone();
    let api = admin.other(public.clone(), Auth::Basic { user, password: text(admin, &answer, "client_secret")? })?;
    teller.fact("edge", "registered")?;
    teller.teach(&["An edge enforces tokens; Cloudflare can be one. It asks with a secret."])?;
    Ok((api, audience))
}

/// One session from its activation to its end; answers what it may have cost at least and at most, in milliseconds.
async fn first_act(
    args: &TryArgs,
    client_api: &Api,
    edge_api: &Api,
    audience: &str,
    teller: &mut Teller<'_>,
) -> Result<(i64, i64), CliError> {
    teller.part("First act: activate, watch the tank drain, deactivate")?;
    let opened = instant();
    let mut client = Client::activate(client_api, audience, args.transport).await?;
    if Duration::from_millis(args.interval_ms) >= client.timeout {
        let limit = client.timeout.as_millis();
        return Err(CliError::Usage(format!(
            "--interval-ms must be below this service's heartbeat timeout, {limit} ms"
        )));
    }
    teller.fact("session", &format!("activated, its token lives {} at most", Seconds::new(client.expires_in_s)))?;
    teller.teach(&["A session is one activation: a token, and a key for heartbeats."])?;
    verdict(edge_api, &client, true, "", teller).await?;
    teller.teach(&["The edge showed the token and was answered from memory."])?;

    let drained = drain(args, &mut client, teller).await?;
    let (for_s, beats, lost) = (drained.for_ms / 1000, drained.beats, drained.lost);
    teller.fact("drained", &format!("{for_s} s of the tank, {beats} heartbeats, {lost} lost, every ack verified"))?;
    teller.teach(&[
        "A heartbeat is 48 signed bytes: \"still here\".",
        "Without heartbeats the token soon dies, and the draining ends.",
    ])?;
    verdict(edge_api, &client, true, "", teller).await?;

    let answer = client_api.post(&["v1", "deactivate"], &json!({})).await?;
    let open_ms = i64::try_from(instant().duration_since(opened).as_millis()).unwrap_or(i64::MAX);
    let left =
        answer["remaining_s"].as_i64().ok_or_else(|| CliError::strange(client_api.base(), answer.to_string()))?;
    teller.fact("session", &format!("deactivated, {} left in the tank", Seconds::new(left)))?;
    verdict(edge_api, &client, false, "", teller).await?;
    ended(&mut client, EndReason::Deactivated, teller).await?;
    teller.teach(&["The verdict changed at once. The client is given the reason; the edge is not."])?;
    Ok((drained.for_ms, open_ms))
}

/// Two clients of one account: the newer activation wins, and the older client is told.
async fn second_act(
    args: &TryArgs,
    client_api: &Api,
    edge_api: &Api,
    audience: &str,
    teller: &mut Teller<'_>,
) -> Result<(), CliError> {
    teller.part("Second act: another client of the same account")?;
    let mut old = Client::activate(client_api, audience, args.transport).await?;
    expect(!old.superseded, || "nothing was open, yet the activation superseded something".to_owned())?;
    let heard = heard(&mut old).await?;
    expect(heard.ack.verdict == WireVerdict::Valid, || format!("a new session's ack says {:?}", heard.ack.verdict))?;
    teller.fact("laptop", "activated")?;
    let new = Client::activate(client_api, audience, args.transport).await?;
    expect(new.superseded, || "a second activation did not supersede the first".to_owned())?;
    teller.fact("phone", "activated, in place of the laptop")?;
    ended(&mut old, EndReason::Superseded, teller).await?;
    verdict(edge_api, &old, false, " for the laptop", teller).await?;
    verdict(edge_api, &new, true, " for the phone", teller).await?;
    teller.teach(&[
        "An account has at most one valid token: the newest.",
        "No client takes it back by itself; only a person activates.",
    ])?;
    client_api.post(&["v1", "deactivate"], &json!({})).await?;
    Ok(())
}

/// The ledger: it adds up, and the first session cost what it was vouched for.
async fn books(client_api: &Api, first: (i64, i64), teller: &mut Teller<'_>) -> Result<(), CliError> {
    teller.part("The ledger")?;
    let ledger = Ledger::read(client_api).await?;
    for entry in &ledger.entries {
        teller.fact("ledger", &entry.line())?;
    }
    let sum = ledger.sum()?;
    let used = ledger.used_ms();
    expect(used.len() == 3, || format!("three sessions ended, but the ledger has {} of them", used.len()))?;
    let (least, most) = (first.0 - SLACK_MS, first.1 + SLACK_MS);
    expect((least..=most).contains(&used[0]), || {
        format!("the first session was charged {} ms, which is not from {least} to {most} ms", used[0])
    })?;
    teller.fact("ledger", &format!("adds up to {}.{:03} s, the rest of the tank", sum / 1000, sum % 1000))?;
    teller.teach(&["A second is charged if, and only if, the token was good in it."])
}

/// Beats for as long as the tour lasts, with the tank in view.
async fn drain(args: &TryArgs, client: &mut Client, teller: &mut Teller<'_>) -> Result<Drained, CliError> {
    let full = Millis::new(u64::try_from(client.fuel_s).unwrap_or(0) * 1000);
    let end = instant() + Duration::from_secs(args.seconds.get().unsigned_abs());
    let interval = Duration::from_millis(args.interval_ms);
    let mut gauge = teller.gauge(full);
    let (mut lost, mut silent) = (0, 0);
    loop {
        let due = instant() + interval;
        match client.beat().await? {
            Some(VerifiedAck { ack, rtt }) => {
                silent = 0;
                expect(ack.verdict == WireVerdict::Valid, || {
                    format!("an ack says {:?} while the session is open", ack.verdict)
                })?;
                let burned = ack.now.since(client.started);
                let left = full.minus(burned).as_secs();
                expect(left.abs_diff(ack.remaining_s.into()) <= 1, || {
                    format!("an ack says {} s are left where {left} s are", ack.remaining_s)
                })?;
                gauge.acked(teller, ack.remaining_s, client.beats(), rtt)?;
                if instant() >= end {
                    let for_ms = i64::try_from(burned.get()).unwrap_or(i64::MAX);
                    return Ok(Drained { for_ms, beats: client.beats(), lost });
                }
            }
            None => {
                lost += 1;
                silent += 1;
                expect(silent < LOST_IN_A_ROW, || {
                    format!(
                        "{silent} heartbeats in a row had no ack. If UDP does not get through, try --transport http"
                    )
                })?;
            }
        }
        let due = due.min(end.max(instant()));
        while let Some(left) = due.checked_duration_since(instant()).filter(|left| !left.is_zero()) {
            gauge.level(full.minus(client.clock().since(client.started)));
            sleep(left.min(gauge.pause())).await;
        }
    }
}

/// Asks for the verdict as the edge would.
async fn verdict(
    edge: &Api,
    client: &Client,
    active: bool,
    whose: &str,
    teller: &mut Teller<'_>,
) -> Result<(), CliError> {
    let answer = edge.post_form(&["oauth", "introspect"], "token", &client.token).await?;
    let right = if active { answer["active"] == true } else { answer == json!({ "active": false }) };
    let word = if active { "active" } else { "inactive" };
    expect(right, || format!("expected the verdict {word}, but the service answered {answer}"))?;
    teller.fact("verdict", &format!("{word}{whose}"))
}

/// A last heartbeat of a session that is over: its ack says why.
async fn ended(client: &mut Client, reason: EndReason, teller: &mut Teller<'_>) -> Result<(), CliError> {
    let heard = heard(client).await?;
    expect(heard.ack.verdict == WireVerdict::Invalid(reason), || {
        format!("expected the next ack to say {}, but it says {:?}", reason.name(), heard.ack.verdict)
    })?;
    teller.fact("ack", &format!("the next heartbeat's ack says: {}", reason.name()))
}

/// Beats until an ack comes, a few times.
async fn heard(client: &mut Client) -> Result<VerifiedAck, CliError> {
    for _ in 0..LOST_IN_A_ROW {
        if let Some(heard) = client.beat().await? {
            return Ok(heard);
        }
    }
    Err(CliError::NotAsExpected(format!("{LOST_IN_A_ROW} heartbeats in a row had no ack")))
}

async fn clean_up(admin: &Api, made: &Made, teller: &mut Teller<'_>) -> Result<(), CliError> {
    let mut removed = Vec::new();
    if let Some(edge) = &made.edge {
        admin.delete(&["admin", "edges", edge]).await?;
        removed.push("edge");
    }
    if let Some(account) = &made.account {
        admin.delete(&["admin", "accounts", account]).await?;
        removed.push("account");
    }
    if removed.is_empty() { Ok(()) } else { teller.fact("removed", &format!("the tour's {}", removed.join(" and "))) }
}

fn keep(made: &Made, teller: &mut Teller<'_>) -> Result<(), CliError> {
    if let Some(account) = &made.account {
        teller.fact("kept", &format!("account {account}"))?;
    }
    if let Some(edge) = &made.edge {
        teller.fact("kept", &format!("edge {edge}"))?;
    }
    Ok(())
}

/// Where clients and edges reach the service, as its status says.
fn public_url(admin: &Api, status: &Value) -> Result<Url, CliError> {
    let bound = status["listeners"]["http"].as_str().and_then(|addr| addr.parse().ok());
    let bound: SocketAddr =
        bound.ok_or_else(|| CliError::strange(admin.base(), "its status names no HTTP listener"))?;
    Ok(admin.reachable(bound))
}

fn expect(right: bool, what: impl FnOnce() -> String) -> Result<(), CliError> {
    if right { Ok(()) } else { Err(CliError::NotAsExpected(format!("not as it should be: {}", what()))) }
}
