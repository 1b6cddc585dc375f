//! Sign-ins and devices: seen, and ended one by one, all others, or all.

use std::sync::Arc;

use super::{
    failure::Failure,
    format::Instant,
    forms::{Form, csrf_of},
    frame::{Frame, Here, answer, redirect},
    text::Text,
};
use crate::{
    hub::{
        leaving::{Onto, left},
        sign_in::in_time,
        state::{Hub, Visitor},
    },
    store::HubSessionId,
};
use askama::Template;
use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode},
    response::Response,
};

#[derive(Template)]
#[template(path = "sessions.html")]
struct Page {
    frame: Frame,
    csrf: String,
    sessions: Vec<SessionLine>,
}

/// A hub session as it is shown.
struct SessionLine {
    id: String,
    device: String,
    provider: String,
    created: Instant,
    seen: Instant,
    ends: Instant,
    this: bool,
}

/// `GET /account/sessions`
pub(in crate::hub) async fn page(State(hub): State<Arc<Hub>>, headers: HeaderMap) -> Response {
    let text = Text::of(&headers);
    let made = async {
        let Some(visitor) = hub.visitor(&headers).await? else {
            return Ok(redirect("/sign-in?next=/account/sessions"));
        };
        Ok(answer(StatusCode::OK, text, &Page::of(&hub, &visitor, text).await?))
    };
    made.await.unwrap_or_else(|failure: Failure| failure.page(text, hub.parts.is_development))
}

/// `POST /account/sessions/end`
pub(in crate::hub) async fn end(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    // Ended in another tab, or never there: what was wanted is so.
    let Some(id) = HubSessionId::parse(form.field("session")) else { return redirect("/account/sessions") };
    match in_time(acts, hub.parts.sessions.end(&session.account, &id)).await {
        Ok(_) if id == session.id => left(hub.frame(form.text), None, Onto::Page),
        Ok(_) => redirect("/account/sessions"),
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

/// `POST /account/sessions/end-others`
pub(in crate::hub) async fn end_others(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    match in_time(acts, hub.parts.sessions.end_others(&session.account, &session.id)).await {
        Ok(_) => redirect("/account/sessions"),
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

/// `POST /account/sessions/end-all`
pub(in crate::hub) async fn end_all(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    match in_time(acts, hub.parts.sessions.end_everywhere(&session.account)).await {
        Ok(_) => left(hub.frame(form.text), None, Onto::Page),
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

impl Page {
    async fn of(hub: &Hub, visitor: &Visitor, text: &'static Text) -> Result<Self, Failure> {
        let mut sessions = in_time(&visitor.acts, hub.parts.sessions.list(&visitor.session.account)).await?;
        // This one first, then what was used last.
        sessions.sort_by_key(|session| (session.id != visitor.session.id, std::cmp::Reverse(session.last_seen)));
        let shown = sessions.into_iter().map(|session| SessionLine {
            id: session.id.to_string(),
            device: session.device.as_str().to_owned(),
            provider: hub.name_of(&session.identity.issuer),
            created: Instant::of(session.created, text),
            seen: Instant::of(session.last_seen, text),
            ends: Instant::of(session.absolute_end, text),
            this: session.id == visitor.session.id,
        });
        Ok(Self {
            sessions: shown.collect(),
            frame: hub.frame_of(visitor, csrf_of(&visitor.secret), text, Here::Sessions),
            csrf: csrf_of(&visitor.secret),
        })
    }
}
