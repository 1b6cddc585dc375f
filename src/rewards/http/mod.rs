//! The surface of rewards: what widgets and shops ask, what owners of accounts do with their earner tokens, and what operators see.
//! It is served by the surface of `control`, behind its budgets, bodies, limits and figures.

mod admin;
mod assets;
mod earn;
mod files;
mod kept;
mod owners;
mod refusals;
mod shopify;
mod state;

use std::sync::Arc;

use axum::Extension;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::control::http::{ExpectedBody, Mounted};

pub use files::Assets;
pub use state::RewardsSurface;

/// The routes, to be served beside those of `control`.
pub fn mount(surface: RewardsSurface) -> Mounted {
    let bodies = vec![ExpectedBody { path: shopify::PATH, check: shopify::body_check(Arc::clone(&surface.secrets)) }];
    let public = OpenApiRouter::new()
        .routes(routes!(earn::transaction))
        .routes(routes!(earn::validate))
        .routes(routes!(owners::add, owners::list))
        .routes(routes!(owners::remove))
        .routes(routes!(shopify::shopify))
        .routes(routes!(assets::file))
        .routes(routes!(assets::shop_script))
        .layer(Extension(surface.clone()));
    let admin = OpenApiRouter::new()
        .routes(routes!(admin::list))
        .routes(routes!(admin::earners))
        .routes(routes!(admin::remove_earner))
        .routes(routes!(kept::list))
        .routes(routes!(kept::remove))
        .layer(Extension(surface));
    Mounted { public, admin, bodies }
}
