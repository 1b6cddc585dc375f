//! Problems as answers of a router, and a router's own errors as problems.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use hyper::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE},
};

use super::{Code, PROBLEM_JSON, Problem};

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = self.response().map(Body::new);
        if self.is_for_oauth() {
            response.extensions_mut().insert(OwnForm);
        }
        response
    }
}

/// Says of a response that it is an error in a form that another standard prescribes.
#[derive(Clone, Copy)]
pub struct OwnForm;

/// Turns errors that the router makes by itself into problem documents, in OAuth's form if `for_oauth`. `Allow` is kept.
pub fn normalised(response: Response, for_oauth: bool) -> Response {
    let is_problem = response.headers().get(CONTENT_TYPE).is_some_and(|value| *value == PROBLEM_JSON);
    if is_problem || response.extensions().get::<OwnForm>().is_some() {
        return response;
    }
    let Some(problem) = of_status(response.status()) else { return response };
    let problem = if for_oauth { problem.for_oauth() } else { problem };
    let (mut parts, _) = response.into_parts();
    let (made, body) = problem.into_response().into_parts();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.extend(made.headers);
    parts.status = made.status;
    Response::from_parts(parts, body)
}

/// The problem of a response that is an error and says nothing more.
fn of_status(status: StatusCode) -> Option<Problem> {
    let (code, detail) = match status {
        StatusCode::NOT_FOUND => (Code::NotFound, "there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => (Code::MethodNotAllowed, "the header Allow says which are"),
        StatusCode::PAYLOAD_TOO_LARGE => (Code::BodyTooLarge, "the body is too large"),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (Code::UnsupportedMediaType, "the body is of the wrong type"),
        status if status.is_client_error() => (Code::BadRequest, "the request cannot be read"),
        status if status.is_server_error() => (Code::Internal, "the service failed; its log says why"),
        _ => return None,
    };
    Some(Problem::because(code, detail))
}
