//! The ledger's page: a chart of the balance over time and every entry.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Query, State, rejection::QueryRejection},
    http::{HeaderMap, StatusCode},
    response::Response,
};
use serde::Deserialize;

use super::{
    chart::{Chart, Point},
    failure::Failure,
    format::{Instant, amount, span},
    forms::csrf_of,
    frame::{Frame, Here, answer, redirect},
    text::Text,
};
use crate::{
    engine::{Account, Entry, EntryKind},
    hub::state::{Hub, Visitor},
    store::{Store, StoreError},
};

/// Entries of a page.
const PER_PAGE: usize = 50;
/// Entries that are read to know the balance before an older page. Older pages are reached one after the other.
const MAX_SKIPPED: u64 = 5_000;

/// A row of the ledger with the balance after it.
pub(super) struct Row {
    pub(super) entry: Entry,
    pub(super) balance_ms: i64,
}

/// The newest entries of an account, newest first.
pub(super) struct Newest {
    pub(super) rows: Vec<Row>,
    balance_ms: i64,
}

#[derive(Template)]
#[template(path = "ledger.html")]
struct Page {
    frame: Frame,
    chart: Option<Chart>,
    rows: Vec<LedgerLine>,
    older: Option<u64>,
    newest: bool,
}

struct LedgerLine {
    at: Instant,
    what: &'static str,
    note: Option<String>,
    plus: bool,
    amount: String,
    balance: String,
}

/// Which page is asked for.
#[derive(Deserialize)]
pub(in crate::hub) struct PageQuery {
    before: Option<u64>,
}

/// `GET /account/ledger`
pub(in crate::hub) async fn page(
    State(hub): State<Arc<Hub>>,
    asked: Result<Query<PageQuery>, QueryRejection>,
    headers: HeaderMap,
) -> Response {
    let text = Text::of(&headers);
    let made = async {
        let Some(visitor) = hub.visitor(&headers).await? else { return Ok(redirect("/sign-in?next=/account/ledger")) };
        let before = asked.ok().and_then(|Query(asked)| asked.before);
        Ok(answer(StatusCode::OK, text, &Page::of(&hub, &visitor, text, before).await?))
    };
    made.await.unwrap_or_else(|failure: Failure| failure.page(text, hub.parts.is_development))
}

/// The newest entries before the one with number `before`, if it is given: at most `limit`.
pub(super) async fn newest(
    store: &dyn Store,
    account: &Account,
    before: Option<u64>,
    limit: usize,
) -> Result<Newest, StoreError> {
    let oldest_reached = account.entries.saturating_sub(MAX_SKIPPED);
    let until =
        before.map_or(account.entries, |before| before.saturating_sub(1).clamp(oldest_reached, account.entries));
    let after = until.saturating_sub(limit as u64);
    let wanted = usize::try_from(account.entries - after).unwrap_or(usize::MAX);
    let entries = store.entries(&account.id, after, wanted).await?;
    let mut balance_ms = account.balance.as_ms();
    let mut rows = Vec::with_capacity(limit);
    for entry in entries.into_iter().rev().filter(|entry| entry.number <= account.entries) {
        let amount = entry.amount.as_ms();
        if entry.number <= until {
            rows.push(Row { entry, balance_ms });
        }
        balance_ms -= amount;
    }
    Ok(Newest { rows, balance_ms })
}

impl Newest {
    /// What the tank had when it was last filled: what its gauge shows as full. At least what is left.
    pub(super) fn full_ms(&self, remaining_ms: u64) -> u64 {
        let filled = self.rows.iter().find(|row| row.entry.amount.as_ms() > 0).map(|row| row.balance_ms);
        let full = filled.unwrap_or_else(|| self.rows.last().map_or(0, |row| row.balance_ms));
        u64::try_from(full).unwrap_or(0).max(remaining_ms)
    }
}

impl Page {
    async fn of(hub: &Hub, visitor: &Visitor, text: &'static Text, before: Option<u64>) -> Result<Self, Failure> {
        let view = visitor.acts.view(&visitor.session.account).await?;
        let account = &view.owned.account;
        let found = visitor.acts.in_time(newest(&*hub.parts.store, account, before, PER_PAGE)).await?;
        let oldest = account.entries.saturating_sub(MAX_SKIPPED) + 1;
        let older = found.rows.last().map(|row| row.entry.number).filter(|number| *number > oldest);
        let is_newest = found.rows.first().is_none_or(|row| row.entry.number == account.entries);
        let mut points = vec![];
        if let Some(row) = found.rows.last() {
            points.push(Point { at: row.entry.at, ms: found.balance_ms, is_use: false });
        }
        points.extend(found.rows.iter().rev().map(|row| Point {
            at: row.entry.at,
            ms: row.balance_ms,
            is_use: row.entry.kind == EntryKind::Usage,
        }));
        if is_newest && !points.is_empty() {
            let ms = i64::try_from(view.remaining.get()).unwrap_or(i64::MAX);
            points.push(Point { at: view.moment.wall, ms, is_use: true });
        }
        let rows = found.rows.into_iter().map(|Row { entry, balance_ms }| LedgerLine {
            what: text.kind(entry.kind),
            note: entry.reason.filter(|_| entry.kind != EntryKind::Usage),
            plus: entry.amount.as_ms() > 0,
            amount: amount(entry.amount.as_ms(), text),
            balance: span(balance_ms.max(0).unsigned_abs(), text),
            at: Instant::of(entry.at, text),
        });
        Ok(Self {
            rows: rows.collect(),
            chart: Chart::of(&points, text),
            older,
            newest: !is_newest,
            frame: hub.frame_of(visitor, csrf_of(&visitor.secret), text, Here::Ledger),
        })
    }
}
