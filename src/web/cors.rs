//! Pages of other origins that use the service from a browser (CORS, as the Fetch standard says).
//!
//! It is ours and not a layer of the router's: heartbeats take no router. No cookies are involved: what a page may do, it
//! does with a token or key that it has.

use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
        ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, HeaderValue, ORIGIN,
        VARY,
    },
};

use super::{
    origin::Origins,
    problem::{Code, Problem},
};

/// What widgets and shops ask, from pages of other origins than clients.
const EARNING: [&str; 2] = ["/v1/transaction", "/v1/validate-tokens"];
/// What clients are told of the service before anybody has signed in.
const OPEN: &str = "/v1/client";
/// What pages may ask for.
const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, DELETE");
/// What they may say.
const HEADERS: HeaderValue = HeaderValue::from_static("authorization, content-type, idempotency-key");
/// What widgets and shops may say.
const EARNING_HEADERS: HeaderValue = HeaderValue::from_static("x-psicash-auth, x-psicash-metadata, x-requested-with");
/// What they may read of an answer beyond what any page may.
const EXPOSED: HeaderValue = HeaderValue::from_static("retry-after");
/// Seconds that a browser may remember what is allowed. Browsers keep it for less.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// The origins whose pages may use the service.
#[derive(Clone, Debug)]
pub struct CorsRules {
    /// Those that may use the clients' routes.
    pub clients: Origins,
    /// Those that may earn, and validate earner tokens: they may nothing else.
    pub earning: Origins,
}

impl CorsRules {
    /// No page of another origin may do anything.
    pub const fn none() -> Self {
        Self { clients: Origins::none(), earning: Origins::none() }
    }
}

/// What is to be said of the origin of a request in its answer.
pub enum Cors {
    /// Nothing: nobody asks from a page, or nothing is configured for this path.
    Silent,
    /// That it depends on the origin, and this one may not.
    Refused,
    /// That this origin may.
    Allowed(HeaderValue),
    /// That this origin may earn.
    MayEarn(HeaderValue),
    /// That every origin may, whatever is configured: the path has a document that is open to everybody.
    Everybody,
}

impl Cors {
    /// What is to be said to a request.
    pub fn of<B>(rules: &CorsRules, request: &Request<B>) -> Self {
        let path = request.uri().path();
        if path == OPEN {
            return Self::Everybody;
        }
        let earning = EARNING.contains(&path);
        let origins = if earning { &rules.earning } else { &rules.clients };
        if origins.is_empty() || !(path.starts_with("/v1/") || path.starts_with("/.well-known/")) {
            return Self::Silent;
        }
        match request.headers().get(ORIGIN) {
            Some(origin) if origins.allow(origin.as_bytes()) && earning => Self::MayEarn(origin.clone()),
            Some(origin) if origins.allow(origin.as_bytes()) => Self::Allowed(origin.clone()),
            _ => Self::Refused,
        }
    }

    /// The answer to a browser that asks whether a page may ask (a preflight), if it is one.
    pub fn preflight<B>(&self, request: &Request<B>) -> Option<Result<HeaderMap, Problem>> {
        let asks = request.method() == Method::OPTIONS
            && request.headers().contains_key(ORIGIN)
            && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        let allowed = |headers: HeaderValue| {
            Some(Ok(HeaderMap::from_iter([
                (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
                (ACCESS_CONTROL_ALLOW_HEADERS, headers),
                (ACCESS_CONTROL_MAX_AGE, MAX_AGE),
            ])))
        };
        match self {
            Self::Allowed(_) if asks => allowed(HEADERS),
            Self::MayEarn(_) if asks => allowed(EARNING_HEADERS),
            Self::Refused if asks => Some(Err(Problem::new(Code::OriginNotAllowed))),
            _ => None,
        }
    }

    /// Says it.
    pub fn say<B>(self, response: &mut Response<B>) {
        let headers = response.headers_mut();
        if !matches!(self, Self::Silent | Self::Everybody) {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        match self {
            Self::Allowed(origin) | Self::MayEarn(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
            }
            Self::Everybody => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Self::Silent | Self::Refused => {}
        }
    }
}

/// An answer to a preflight.
pub fn answer<B: Default>(headers: HeaderMap) -> Response<B> {
    let mut response = Response::new(B::default());
    *response.status_mut() = StatusCode::NO_CONTENT;
    *response.headers_mut() = headers;
    response
}
