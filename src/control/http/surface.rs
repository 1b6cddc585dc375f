//! The two surfaces as the listeners see them: a request goes in, a response comes out.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::Body,
    extract::{MatchedPath, Request as AxumRequest},
    middleware::{self, Next},
    response::{IntoResponse, Response as AxumResponse},
};
use bytes::Bytes;
use futures_util::FutureExt;
use hyper::{
    Request, Response,
    header::{CACHE_CONTROL, HeaderValue},
};
use tower::ServiceExt;

use crate::{
    store::StoreError,
    web::{
        body::BodyError,
        peer::Peer,
        problem::{Code as ErrorCode, Problem, normalised},
        stopwatch::Stopwatch,
    },
};

use super::{
    admin,
    at_once::Caller,
    budgets::Budget,
    edge,
    instruments::Answered,
    openapi::{self, Mounted},
    paths,
    receive::receive,
    state::{ApiState, Components, Description, Parts},
    status::{self, Lists},
};

/// Answers HTTP requests.
pub struct Surface {
    pub(super) state: ApiState,
    public: Router,
    admin: Router,
}

impl Surface {
    /// Opens the surfaces, with routes of other rooms beside theirs; reads the registered edges.
    ///
    /// # Errors
    ///
    /// [`StoreError`] when the edges cannot be read.
    pub async fn open(parts: Parts, mounted: Vec<Mounted>) -> Result<Self, StoreError> {
        let mut mounted = mounted;
        let bodies = mounted.iter_mut().flat_map(|of| std::mem::take(&mut of.bodies)).collect();
        let (public, admin, document) = openapi::routers(mounted);
        let state = ApiState::open(parts, Description(openapi::render(&document)), bodies).await?;
        let finish =
            |router: Router<ApiState>| router.route_layer(middleware::from_fn(note_route)).with_state(state.clone());
        let admin = admin::guarded(admin, &state);
        Ok(Self { public: finish(public), admin: finish(admin), state })
    }

    /// Takes over which edges and clients of the hub other nodes have registered, changed and removed.
    ///
    /// # Errors
    ///
    /// [`StoreError`]; what could not be read is as it was.
    pub async fn learn(&self) -> Result<(), StoreError> {
        self.state.edges.learn().await?;
        self.state.clients.learn().await
    }

    /// Answers a question about a token at once: appends the JSON of a 200 to `body`. `false` if it takes more than that, or
    /// is not answered by 200; then nothing has happened.
    pub fn introspect_at_once(
        &self,
        caller: &mut Caller,
        content_type: Option<&[u8]>,
        authorization: Option<&[u8]>,
        form: &[u8],
        body: &mut Vec<u8>,
    ) -> bool {
        self.state.introspector.answer_at_once(caller, content_type, authorization, form, body)
    }

    /// Answers a request that came to the public listener, whoever it is from.
    ///
    /// The listener puts a [`Peer`] into the request's extensions.
    pub async fn public<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let stopwatch = Stopwatch::start();
        let uri = request.uri().clone();
        let budget = Budget::of(uri.path());
        let from = request.extensions().get::<Peer>().map(|peer| peer.network());
        let received = receive(&self.state, budget, request).await;
        let begun = received.and_then(|request| Ok((self.state.under_way.begin(budget, from)?, request)));
        let (_permit, request) = match begun {
            Ok(begun) => begun,
            Err(problem) => {
                let problem = if paths::is_oauth(uri.path()) { problem.for_oauth() } else { problem };
                return self.refused(uri.path(), problem, &stopwatch);
            }
        };
        if budget == Budget::Verdicts {
            let response = edge::introspect(&self.state.introspector, request).await;
            self.state.instruments.answered(paths::INTROSPECT, Answered::by(&response), stopwatch.elapsed());
            return response;
        }
        // What every edge asks for all the time takes no router either.
        if let Some(list) = status::asked_for(&request) {
            let Components { statuses, clock, checks, .. } = &*self.state;
            let lists = Lists { statuses, clock: &**clock, checks };
            let response = lists.fetch(list, request.uri(), request.headers()).await;
            self.state.instruments.answered(paths::STATUS_LIST, Answered::by(&response), stopwatch.elapsed());
            return response;
        }
        self.route(&self.public, request, &stopwatch).await
    }

    /// Answers a request that came to the administrative listener. It runs to its end even if the caller goes away.
    pub async fn admin<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BodyError>,
    {
        let stopwatch = Stopwatch::start();
        let request = request.map(Body::new);
        let uri = request.uri().clone();
        let task = tokio::spawn(async move {
            let received = receive(&self.state, Budget::Admin, request).await;
            match received.and_then(|request| Ok((self.state.under_way.begin(Budget::Admin, None)?, request))) {
                Ok((_permit, request)) => self.route(&self.admin, request, &stopwatch).await,
                Err(problem) => self.refused(uri.path(), problem, &stopwatch),
            }
        });
        // A panic goes on here, to where all panics of requests end.
        task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    /// Answers a request that nothing is done for, and that no router has seen.
    fn refused(&self, path: &str, problem: Problem, stopwatch: &Stopwatch) -> Response<Body> {
        let response = problem.into_response();
        self.state.instruments.answered(path, Answered::by(&response), stopwatch.elapsed());
        response
    }

    async fn route(&self, router: &Router, request: Request<Body>, stopwatch: &Stopwatch) -> Response<Body> {
        let response = answer_of(router, request).await;
        let matched = response.extensions().get::<MatchedPath>().cloned();
        let route = matched.as_ref().map(MatchedPath::as_str);
        let response = normalised(response, route.is_some_and(paths::is_oauth));
        self.state.instruments.answered(route.unwrap_or("other"), Answered::by(&response), stopwatch.elapsed());
        response
    }
}

/// What a router answers: 500 where the handler panics. What the handler was about to do is left as if the caller had
/// hung up.
pub(super) async fn answer_of(router: &Router, request: AxumRequest) -> AxumResponse {
    match AssertUnwindSafe(router.clone().oneshot(request)).catch_unwind().await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => Problem::new(ErrorCode::Internal).into_response(),
    }
}

/// Tells by which route a response came about, and that nobody is to keep it unless it says otherwise.
async fn note_route(request: AxumRequest, next: Next) -> AxumResponse {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(route);
    }
    // Nearly every answer is about somebody, and some have a secret. What others may keep says so by itself.
    response.headers_mut().entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}
