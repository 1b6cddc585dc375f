//! The account's page: the tank, its recent use, the keys; and the tank alone, for the script of the page.

use std::sync::Arc;

use askama::Template;
use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::{
    failure::Failure,
    format::{Instant, reading, span},
    forms::{Form, csrf_of},
    frame::{Frame, Here, answer, redirect},
    ledger::newest,
    text::Text,
};
use crate::{
    control::acts::{ActError, Acts},
    engine::{EntryKind, Standing, session_text},
    hub::state::{Hub, Visitor},
    wire::EndReason,
};

/// Entries that are looked at for recent use and for the latest top-up.
const LOOK_BACK: usize = 64;
/// Uses that are shown.
const MAX_USES: usize = 5;
/// The length of the gauge's circle.
const ROUND: f64 = 565.49;
/// Below this the gauge warns.
const LOW_MS: u64 = 300_000;

#[derive(Template)]
#[template(path = "account.html")]
struct Page {
    frame: Frame,
    csrf: String,
    tank: Tank,
    shop: Option<String>,
    earn: Option<String>,
    uses: Vec<Used>,
    last_end: Option<&'static str>,
    keys: Vec<Key>,
}

/// A tank as it is shown.
struct Tank {
    state: &'static str,
    label: &'static str,
    low: bool,
    remaining_ms: u64,
    full_ms: u64,
    reading: String,
    dash: String,
    /// Since when it drains.
    since: Option<Instant>,
    /// The session that drains it.
    session: String,
}

struct Used {
    spent: String,
    at: Instant,
}

struct Key {
    id: String,
    made: Instant,
}

/// What the script of the page asks for.
#[derive(Serialize)]
struct TankDocument {
    remaining_ms: u64,
    full_ms: u64,
    draining: bool,
}

/// `GET /account`
pub(in crate::hub) async fn page(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    let text = Text::of(&headers);
    let made = async {
        let Some(visitor) = hub.visitor(&headers).await? else { return Ok(redirect("/sign-in?next=/account")) };
        Ok(answer(StatusCode::OK, text, &Page::of(&hub, &visitor, text).await?))
    };
    made.await.unwrap_or_else(|failure: Failure| failure.page(text, hub.parts.is_development))
}

/// `GET /account/tank`
pub(in crate::hub) async fn tank(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    let found = async {
        let visitor = hub.visitor(&headers).await?.ok_or(Failure::Expired)?;
        let view = visitor.acts.view(&visitor.session.account).await?;
        let entries = newest(&*hub.parts.store, &view.owned.account, None, LOOK_BACK);
        let entries = visitor.acts.in_time(entries).await?;
        let timeout = hub.parts.engine.policy().timeout;
        Ok(TankDocument {
            remaining_ms: view.remaining.get(),
            full_ms: entries.full_ms(view.remaining.get()),
            draining: matches!(view.owned.account.standing(&view.moment, timeout), Standing::Running { .. }),
        })
    };
    match found.await {
        Ok(document) => Json(document).into_response(),
        Err(failure) => Failure::page(failure, Text::of(&headers), false),
    }
}

/// `POST /account/switch-off`
pub(in crate::hub) async fn switch_off(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    match end_session(&form.visitor.acts, &form).await {
        Ok(()) => redirect("/account"),
        Err(error) => Failure::from(error).page(form.text, hub.parts.is_development),
    }
}

/// Ends the session that the form names: another that has begun meanwhile goes on.
async fn end_session(acts: &Acts, form: &Form) -> Result<(), ActError> {
    let account = &form.visitor.session.account;
    let Some(session) = crate::engine::parse_session(form.field("session")) else { return Ok(()) };
    acts.end_only(account, EndReason::Deactivated, Some(session)).await.map(drop)
}

impl Page {
    async fn of(hub: &Hub, visitor: &Visitor, text: &'static Text) -> Result<Self, Failure> {
        let account = &visitor.session.account;
        let view = visitor.acts.view(account).await?;
        let recent = newest(&*hub.parts.store, &view.owned.account, None, LOOK_BACK);
        let recent = visitor.acts.in_time(recent).await?;
        let keys = visitor.acts.in_time(hub.parts.store.account_keys(account)).await?;
        let timeout = hub.parts.engine.policy().timeout;
        let session = view.owned.account.session.as_ref();
        let draining = matches!(view.owned.account.standing(&view.moment, timeout), Standing::Running { .. });
        let remaining_ms = view.remaining.get();
        let full_ms = recent.full_ms(remaining_ms);
        let (state, label) = match (draining, remaining_ms) {
            (_, ..1000) => ("empty", text.empty),
            (true, _) => ("draining", text.draining),
            (false, _) => ("resting", text.resting),
        };
        #[expect(clippy::cast_precision_loss, reason = "a gauge shows no more than a few hundred steps")]
        let share = if full_ms == 0 { 0.0 } else { (remaining_ms as f64 / full_ms as f64).min(1.0) };
        let tank = Tank {
            state,
            label,
            low: draining && remaining_ms < LOW_MS,
            remaining_ms,
            full_ms,
            reading: reading(remaining_ms),
            dash: format!("{:.2}", ROUND * share),
            since: session.filter(|_| draining).map(|session| Instant::of(session.started_at, text)),
            session: session.map(|session| session_text(&session.id)).unwrap_or_default(),
        };
        let used = recent.rows.iter().filter(|row| row.entry.kind == EntryKind::Usage).take(MAX_USES);
        Ok(Self {
            frame: hub.frame_of(visitor, csrf_of(&visitor.secret), text, Here::Account),
            csrf: csrf_of(&visitor.secret),
            tank,
            shop: hub.parts.links.shop.clone(),
            earn: hub.parts.links.earn.clone(),
            uses: used
                .map(|row| Used {
                    spent: span(row.entry.amount.as_ms().unsigned_abs(), text),
                    at: Instant::of(row.entry.at, text),
                })
                .collect(),
            last_end: session.and_then(|session| session.end).map(|end| text.reason(end.reason)),
            keys: keys.into_iter().map(|key| Key { id: key.key_id, made: Instant::of(key.created_at, text) }).collect(),
        })
    }
}
