//! The routes of the pages.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::Response,
    routing::{get, post},
};

use crate::control::http::Mounted;

use super::{
    backchannel,
    development::{self, Development},
    limits::TooOften,
    pages::{account, assets, failure::Failure, keys, ledger, sessions, text::Text},
    sign_in,
    state::{Hub, HubState, Parts},
};

/// The pages, for the public listener. They are no interface for programs, so its description does not have them.
pub fn mount(parts: Parts, development: Option<Arc<Development>>) -> Mounted {
    Mounted { public: router(parts, development).into(), bodies: vec![backchannel::body()], ..Mounted::default() }
}

fn router<S: Clone + Send + Sync + 'static>(parts: Parts, development: Option<Arc<Development>>) -> Router<S> {
    let state = HubState(Arc::new(Hub::new(parts)));
    let pages = Router::new()
        .route("/sign-in", get(sign_in::start))
        .route("/sign-in/callback", get(sign_in::callback))
        .route("/account", get(account::page))
        .route("/account/tank", get(account::tank))
        .route("/account/switch-off", post(account::switch_off))
        .route("/account/sign-out", post(sign_in::sign_out))
        .route("/account/sessions", get(sessions::page))
        .route("/account/sessions/end", post(sessions::end))
        .route("/account/sessions/end-others", post(sessions::end_others))
        .route("/account/sessions/end-all", post(sessions::end_all))
        .route("/account/ledger", get(ledger::page))
        .route("/account/keys/new", post(keys::create))
        .route("/account/keys/remove", post(keys::remove))
        .route_layer(middleware::from_fn_with_state(state.clone(), limit))
        .with_state(state.clone());
    let hooks = Router::new().route(backchannel::PATH, post(backchannel::logged_out)).with_state(state);
    let pages = pages.merge(hooks).route("/assets/{name}", get(assets::asset));
    match development {
        Some(provider) => pages.merge(development::router(provider)),
        None => pages,
    }
}

/// Refuses who asks too often before anything is looked up.
async fn limit(State(hub): State<Arc<Hub>>, request: Request, next: Next) -> Response {
    match hub.parts.limits.request(request.extensions().get()) {
        Ok(()) => next.run(request).await,
        Err(TooOften) => Failure::TooOften.page(Text::of(request.headers()), hub.parts.is_development),
    }
}
