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
    hub::state::{Hub, Visitor},
    store::{Actor, ActorKind, Surface},
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
    match hub.keys.add(form.visitor.session.account, &actor(&form.visitor)).await {
        Ok(made) => {
            let frame = hub.frame_of(&form.visitor, csrf_of(&form.visitor.secret), form.text, Here::Account);
            answer(StatusCode::OK, form.text, &Page { frame, key: made.key })
        }
        Err(error) => Failure::from(error).page(form.text, hub.parts.is_development),
    }
}

/// `POST /account/keys/remove`
pub(in crate::hub) async fn remove(State(hub): State<Arc<Hub>>, request: Request) -> Response {
    let form = match Form::read(&hub, request).await {
        Ok(form) => form,
        Err(page) => return page,
    };
    let (account, key_id) = (form.visitor.session.account, form.field("key").to_owned());
    match hub.keys.remove(account, key_id, &actor(&form.visitor)).await {
        // Removed in another tab: what was wanted is so.
        Ok(()) | Err(AccountKeyError::NoSuchKey) => redirect("/account"),
        Err(error) => Failure::from(error).page(form.text, hub.parts.is_development),
    }
}

/// The person, as the audit log names them.
fn actor(visitor: &Visitor) -> Actor {
    Actor::named(ActorKind::IdentityToken, visitor.session.identity.issuer.clone(), Surface::Http)
}

impl From<AccountKeyError> for Failure {
    fn from(error: AccountKeyError) -> Self {
        match error {
            AccountKeyError::NoSuchAccount | AccountKeyError::NoSuchKey => Self::NotFound,
            AccountKeyError::Full => Self::TooOften,
            AccountKeyError::Store(_) => Self::Unavailable,
        }
    }
}
