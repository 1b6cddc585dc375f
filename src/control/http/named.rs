//! What paths and bodies name that is ours: accounts, sessions, amounts.

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use serde::Deserialize;

use crate::{
    engine::{AccountId, parse_session},
    store::Identity,
    web::problem::Problem,
    wire::SessionId,
};

/// The account that the path names.
pub struct AccountPath(pub AccountId);

impl<S: Send + Sync> FromRequestParts<S> for AccountPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        #[derive(Deserialize)]
        struct Named {
            id: String,
        }
        let absent = || Problem::not_found("account");
        let Path(Named { id }) = Path::from_request_parts(parts, state).await.map_err(|_| absent())?;
        AccountId::parse(&id).map(Self).ok_or_else(absent)
    }
}

/// The session that the path names.
pub(super) struct SessionPath(pub(super) SessionId);

impl<S: Send + Sync> FromRequestParts<S> for SessionPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let absent = || Problem::not_found("session");
        let Path(id) = Path::<String>::from_request_parts(parts, state).await.map_err(|_| absent())?;
        parse_session(&id).map(Self).ok_or_else(absent)
    }
}

/// Characters of an issuer or a subject.
pub(super) const MAX_IDENTITY: usize = Identity::MAX_NAME;
/// Characters of a note.
pub(super) const MAX_REASON: usize = 256;
/// Seconds that one entry may move: ten years.
const MAX_CREDIT_S: u64 = 10 * 366 * 24 * 60 * 60;

/// Refuses seconds that no entry may move.
pub(super) fn bounded(seconds: i64) -> Result<i64, Problem> {
    if seconds.unsigned_abs() > MAX_CREDIT_S {
        return Err(Problem::bad_request(format!("an entry moves {MAX_CREDIT_S} seconds at most")));
    }
    Ok(seconds)
}
