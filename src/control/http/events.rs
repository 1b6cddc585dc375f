//! What identity providers tell of people, by security event tokens (RFC 8417) in two forms of delivery: as Firefox
//! Accounts does, a bearer token and no body; and pushed as RFC 8935 has it, the token as the body.

use std::sync::Arc;

use axum::{
    Extension, Json as Answer,
    extract::{Request, State},
    response::{IntoResponse, Response},
};
use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_LANGUAGE, HeaderValue},
};
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::hooks::events::{EventEffect, Events},
    identity::{EventError, EventReader, verify::Fault},
    time::Clock,
    web::{
        admission::Trust,
        authorization::Authorization,
        body::{has_type, read_body, require_type},
        problem::{Code as ErrorCode, Document as ProblemDocument, OwnForm, Problem},
    },
};

use super::{
    checks::Checks,
    instruments::{EventResult, Instruments},
    refusals::EventErrors,
};

/// The type of an event token (RFC 8417, 7.2).
const SECEVENT: &str = "application/secevent+jwt";

/// Why a pushed event is not taken (RFC 8935, 2.3).
#[derive(Serialize, ToSchema)]
#[schema(as = EventError)]
pub(super) struct SetError {
    /// For programs: one of the names of RFC 8935, 2.4.
    #[schema(value_type = String, example = "invalid_issuer")]
    err: &'static str,
    /// For people.
    description: String,
}

/// How an event came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivery {
    Bearer,
    Push,
}

/// Why an event is not taken.
enum Refused {
    /// It is at fault itself.
    Event(Fault),
    /// As any request may be refused.
    Problem(Problem),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

/// Takes what an identity provider tells of a person. Telling it again changes nothing.
///
/// Either the event token is the bearer token and there is no body, as Firefox Accounts does, or it is the body, of the type
/// `application/secevent+jwt` (RFC 8935). What it causes is durable before it is answered.
#[utoipa::path(
    post, path = "/hooks/account-events", tag = "hooks", security((), ("event_token" = [])),
    request_body(content = Option<String>, content_type = "application/secevent+jwt"),
    responses(
        EventErrors,
        (status = 200, description = "It has been dealt with; it came as the bearer token."),
        (status = 202, description = "It has been dealt with; it came as the body."),
        (status = 400, description = "It is not taken (`bad_request`); told again, it would not be either.", content(
            (SetError = "application/json"),
            (ProblemDocument<'_> = "application/problem+json"),
        )),
    ),
)]
pub(super) async fn account_events(
    State(instruments): State<Arc<dyn Instruments>>,
    State(reader): State<Arc<dyn EventReader>>,
    State(events): State<Arc<Events>>,
    State(checks): State<Arc<Checks>>,
    State(clock): State<Arc<dyn Clock>>,
    request: Request,
) -> Response {
    let delivery = if has_type(request.headers(), SECEVENT) { Delivery::Push } else { Delivery::Bearer };
    match take(&*reader, &events, &checks, &*clock, delivery, request).await {
        Ok(heard) => {
            heard.into_iter().for_each(|heard| instruments.heard(EventResult::Handled(heard)));
            match delivery {
                Delivery::Bearer => StatusCode::OK,
                Delivery::Push => StatusCode::ACCEPTED,
            }
            .into_response()
        }
        Err(refused) => {
            let unavailable =
                matches!(&refused, Refused::Problem(problem) if problem.code().status().is_server_error());
            instruments.heard(if unavailable { EventResult::Unavailable } else { EventResult::Refused });
            match (refused, delivery) {
                (Refused::Problem(problem), _) => problem.into_response(),
                (Refused::Event(fault), Delivery::Bearer) => problem(fault).into_response(),
                (Refused::Event(fault), Delivery::Push) => {
                    let error = SetError { err: push_error(fault), description: fault.to_string() };
                    let language = [(CONTENT_LANGUAGE, HeaderValue::from_static("en"))];
                    (StatusCode::BAD_REQUEST, language, Extension(OwnForm), Answer(error)).into_response()
                }
            }
        }
    }
}

async fn take(
    reader: &dyn EventReader,
    events: &Events,
    checks: &Checks,
    clock: &dyn Clock,
    delivery: Delivery,
    request: Request,
) -> Result<Vec<EventEffect>, Refused> {
    if !reader.takes_events() {
        return Err(Problem::because(ErrorCode::NotFound, "no account events are taken here").into());
    }
    checks.warm()?;
    let (parts, body) = request.into_parts();
    checks.limit_hooks(&parts)?;
    let body = read_body(body).await?;
    let set = match delivery {
        Delivery::Bearer => {
            let token = Authorization::bearer(&parts.headers)?;
            if !body.is_empty() {
                require_type(&parts.headers, SECEVENT)?;
            }
            token
        }
        Delivery::Push => std::str::from_utf8(&body).map_err(|_| Refused::Event(Fault::Malformed))?.trim_ascii(),
    };
    checks.limit_forgeries(&parts)?;
    let told = reader.read(set, clock.wall()).await.map_err(|error| match error {
        EventError::Refused(fault) => {
            tracing::debug!(%fault, "an account event was refused");
            Refused::Event(fault)
        }
        EventError::Unavailable => {
            let detail = "nobody can tell now whether the event is the provider's; it is to be told again";
            Problem::because(ErrorCode::ProviderUnavailable, detail).into()
        }
    })?;
    checks.prove(&parts, Trust::Client);
    events.hear(&told).await.map_err(|error| Problem::from(error).into())
}

/// Whether these are the headers of an event whose body is worth waiting for.
pub(super) fn check_headers(reader: &dyn EventReader, headers: &HeaderMap) -> Result<(), Problem> {
    if !reader.takes_events() {
        return Err(Problem::because(ErrorCode::NotFound, "no account events are taken here"));
    }
    if has_type(headers, SECEVENT) { Ok(()) } else { Authorization::bearer(headers).map(drop) }
}

/// The name that RFC 8935 has for it.
const fn push_error(fault: Fault) -> &'static str {
    match fault {
        Fault::Malformed
        | Fault::TooLong
        | Fault::Claims
        | Fault::Critical
        | Fault::Event
        | Fault::Type
        | Fault::Expired
        | Fault::NotYet
        | Fault::Subject
        | Fault::Scope => "invalid_request",
        Fault::Algorithm | Fault::Key => "invalid_key",
        Fault::Issuer => "invalid_issuer",
        Fault::Audience => "invalid_audience",
        Fault::Signature => "authentication_failed",
    }
}

/// The same for who shows the event as its credential.
fn problem(fault: Fault) -> Problem {
    match fault {
        Fault::Malformed
        | Fault::TooLong
        | Fault::Claims
        | Fault::Critical
        | Fault::Event
        | Fault::NotYet
        | Fault::Subject => Problem::bad_request(format!("the event is not taken: {fault}")),
        _ => Problem::bad_credentials(),
    }
}
