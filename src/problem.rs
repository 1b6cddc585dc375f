//! Errors as HTTP tells them: problem documents (RFC 9457), each code with a page in `docs/errors/`.

use bytes::Bytes;
use http_body_util::Full;
use hyper::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER},
};
use serde::Serialize;

/// What went wrong, as clients may rely on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The frame is not a heartbeat of ours.
    BadFrame,
    /// The request is malformed.
    BadRequest,
    /// The body is larger than this call takes.
    BodyTooLarge,
    /// The path does not take this method.
    MethodNotAllowed,
    /// The body took too long.
    RequestTimeout,
    /// The store cannot be reached.
    StoreUnavailable,
    /// The body is of a type this call does not take.
    UnsupportedMediaType,
}

/// An error on its way to a client.
#[derive(Clone, Debug)]
pub struct Problem {
    code: Code,
}

impl Code {
    /// The status, the stable name and the title.
    pub const fn parts(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::BadFrame => (StatusCode::BAD_REQUEST, "bad_frame", "The frame is not valid"),
            Self::BadRequest => (StatusCode::BAD_REQUEST, "bad_request", "The request is malformed"),
            Self::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", "The body is too large"),
            Self::MethodNotAllowed => {
                (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed")
            }
            Self::RequestTimeout => (StatusCode::REQUEST_TIMEOUT, "request_timeout", "The body took too long"),
            Self::StoreUnavailable => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable", "The store is unavailable")
            }
            Self::UnsupportedMediaType => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The content type is not supported")
            }
        }
    }
}

impl Problem {
    /// The problem with this code.
    pub const fn new(code: Code) -> Self {
        Self { code }
    }

    /// The problem as a response.
    pub fn response(&self) -> Response<Full<Bytes>> {
        #[derive(Serialize)]
        struct Document {
            r#type: String,
            title: &'static str,
            status: u16,
            code: &'static str,
        }
        let (status, code, title) = self.code.parts();
        let document = Document { r#type: format!("/errors/{code}"), title, status: status.as_u16(), code };
        let body = serde_json::to_vec(&document).expect("short strings are always JSON");
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
