//! The surface of rewards: what widgets and shops ask, what owners of accounts do with their earner tokens, and what operators see.
//! It is served by the surface of `control`, behind its budgets, bodies, limits and figures.

mod admin;
mod earn;
mod owners;
mod refusals;
mod state;

use axum::Extension;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::control::http::Mounted;

pub use state::RewardsSurface;

/// The routes, to be served beside those of `control`.
pub fn mount(surface: RewardsSurface) -> Mounted {
    let public = OpenApiRouter::new()
        .routes(routes!(earn::transaction))
        .routes(routes!(earn::validate))
        .routes(routes!(owners::add, owners::list))
        .routes(routes!(owners::remove))
        .layer(Extension(surface.clone()));
    let admin = OpenApiRouter::new()
        .routes(routes!(admin::list))
        .routes(routes!(admin::earners))
        .routes(routes!(admin::remove_earner))
        .layer(Extension(surface));
    Mounted { public, admin }
}
