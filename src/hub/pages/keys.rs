//! Account keys: made and removed by their owner.

use std::sync::Arc;

use askama::Template;
use axum::{
    extract::{Request, State},
    http::StatusCode,
    response::Response,
};

use super::{
    failure::Failure,
    forms::{Form, csrf_of},
    frame::{Frame, Here, answer, redirect},
};
use crate::{
    control::account_keys::AccountKeyError,
    hub::{
        sign_in::in_time,
        state::{Hub, Visitor},
    },
};

/// The one time that a key is shown.
#[derive(Template)]
#[template(path = "key.html")]
struct Page {
    frame: Frame,
    key: String,
}

/// `POST /account/keys/new`
pub(in crate::hub) async fn create(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    match in_time(acts, hub.keys.add(session.account, &session.actor())).await {
        Ok(made) => {
            let frame = hub.frame_of(&form.visitor, csrf_of(&form.visitor.secret), form.text, Here::Account);
            answer(StatusCode::OK, form.text, &Page { frame, key: made.key })
        }
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

/// `POST /account/keys/remove`
pub(in crate::hub) async fn remove(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let Visitor { session, acts, .. } = &form.visitor;
    let (key, actor) = (form.field("key").to_owned(), session.actor());
    match in_time(acts, hub.keys.remove(session.account, key, &actor)).await {
        // Removed in another tab: what was wanted is so.
        Ok(()) | Err(Failure::NotFound) => redirect("/account"),
        Err(failure) => failure.page(form.text, hub.parts.is_development),
    }
}

impl From<AccountKeyError> for Failure {
    fn from(error: AccountKeyError) -> Self {
        match error {
            AccountKeyError::NoSuchAccount | AccountKeyError::NoSuchKey => Self::NotFound,
            AccountKeyError::Full => Self::Full,
            AccountKeyError::Store(_) => Self::Unavailable,
        }
    }
}
