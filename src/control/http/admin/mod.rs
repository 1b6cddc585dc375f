//! What operators ask. Figures and health are open; everything else needs the administration's token.

mod accounts;
mod audit;
mod clients;
mod edges;
mod history;
mod keys;
mod service;
mod sessions;

use axum::{
    Router,
    extract::{Request, State},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{callers::admit_operator, state::ApiState};

/// The routes, with their description.
pub(super) fn router() -> OpenApiRouter<ApiState> {
    OpenApiRouter::new()
        .routes(routes!(service::metrics))
        .routes(routes!(service::live))
        .routes(routes!(service::ready))
        .routes(routes!(service::status))
        .routes(routes!(accounts::create, accounts::list))
        .routes(routes!(accounts::show, accounts::delete))
        .routes(routes!(accounts::credit))
        .routes(routes!(accounts::entries))
        .routes(routes!(keys::add_account_key, keys::list_account_keys))
        .routes(routes!(keys::remove_account_key))
        .routes(routes!(audit::list))
        .routes(routes!(service::revoke))
        .routes(routes!(sessions::show))
        .routes(routes!(history::of_session))
        .routes(routes!(edges::add, edges::list))
        .routes(routes!(edges::remove))
        .routes(routes!(edges::add_secret, edges::list_secrets))
        .routes(routes!(edges::remove_secret))
        .routes(routes!(clients::add, clients::list))
        .routes(routes!(clients::remove))
        .routes(routes!(clients::add_secret, clients::list_secrets))
        .routes(routes!(clients::remove_secret))
        .routes(routes!(keys::rotate))
        .routes(routes!(keys::rotate_secret))
        .routes(routes!(keys::signing_keys))
}

/// The routes, with the check who asks before everything, also before whether a path exists.
pub(super) fn guarded(router: Router<ApiState>, state: &ApiState) -> Router<ApiState> {
    router.layer(middleware::from_fn_with_state(state.clone(), guard))
}

async fn guard(State(state): State<ApiState>, mut request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let open = path == "/metrics" || path.starts_with("/health/") || path.starts_with("/errors/");
    // How the service does can be asked at any time; what concerns accounts, only once it knows all of them.
    let any_time = path == "/admin/status";
    if !open {
        let allowed = admit_operator(&mut request, &state);
        let allowed = allowed.and_then(|()| if any_time { Ok(()) } else { state.checks.warm() });
        if let Err(problem) = allowed {
            return problem.into_response();
        }
    }
    next.run(request).await
}
