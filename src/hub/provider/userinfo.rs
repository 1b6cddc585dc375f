//! `/oauth/userinfo`: what a handle tells of the person (OpenID Connect Core, 5.3).

use std::sync::Arc;

use axum::{
    Json,
    extract::{Request, State},
    http::{HeaderValue, request::Parts as RequestParts},
    response::{IntoResponse, Response},
};
use hyper::header::CACHE_CONTROL;
use serde::Serialize;

use crate::{
    hub::{Handle, LiveHandle},
    web::authorization::Authorization,
};

use super::{
    refusal::Refusal,
    state::{OpenIdProvider, in_time},
};

/// The claims of the scopes that the handle has.
#[derive(Debug, Default, Serialize)]
#[serde(default)]
pub(super) struct Claims<'a> {
    sub: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    preferred_username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    picture: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    locale: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zoneinfo: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    email_verified: Option<bool>,
}

impl<'a> Claims<'a> {
    pub(super) fn of(handle: &'a LiveHandle) -> Self {
        let profile = &handle.session.profile;
        let mut claims = Self { sub: handle.session.account.to_string(), ..Self::default() };
        if handle.has_scope("profile") {
            claims.name = profile.name.as_deref();
            claims.preferred_username = profile.preferred_username.as_deref();
            claims.picture = profile.picture.as_deref();
            claims.locale = profile.locale.as_deref();
            claims.zoneinfo = profile.zoneinfo.as_deref();
        }
        if handle.has_scope("email") {
            claims.email = profile.email.as_deref();
            claims.email_verified = profile.email_verified;
        }
        claims
    }
}

/// Tells who a handle is of.
pub(super) async fn userinfo(State(provider): State<Arc<OpenIdProvider>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match in_time(told(&provider, &parts)).await {
        Ok(response) => response,
        Err(refusal) => refusal.into_response(),
    }
}

async fn told(provider: &OpenIdProvider, request: &RequestParts) -> Result<Response, Refusal> {
    let bearer = Authorization::bearer(&request.headers).map_err(|_| Refusal::token())?;
    let handle = Handle::parse(bearer).ok_or(Refusal::token())?;
    provider.limits.request(request.extensions.get())?;
    let live = provider.live(&handle).await?.ok_or(Refusal::token())?;
    Ok(([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], Json(Claims::of(&live))).into_response())
}
