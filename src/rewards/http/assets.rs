//! The files of landing pages and shops.

use axum::{Extension, extract::Path, response::Response};
use hyper::HeaderMap;

use crate::web::problem::Problem;

use super::{
    files::{Assets, SHOP_SCRIPT},
    refusals::AssetErrors,
    state::RewardsSurface,
};

/// The script of landing pages, `psicash.js`, the widget's frames, `iframe.html` and `iframe.debug.html`, and the script of shops.
/// Each also has a name with a digest of its content, which never changes: its entity tag has that digest.
#[utoipa::path(
    operation_id = "rewards_file",
    get, path = "/v2/{file}", tag = "rewards",
    params(("file" = String, Path, description = "The file's name.", example = "psicash.js")),
    responses(
        (status = 200, description = "The file.", body = String, content_type = "text/javascript"),
        (status = 304, description = "The caller has it already."),
        AssetErrors,
    ),
)]
pub(super) async fn file(
    Extension(RewardsSurface { assets, .. }): Extension<RewardsSurface>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    found(&assets, &name, &headers)
}

/// The script of shops.
#[utoipa::path(
    operation_id = "shop_script",
    get, path = "/shopify-psicash.js", tag = "rewards",
    responses(
        (status = 200, description = "The script.", body = String, content_type = "text/javascript"),
        (status = 304, description = "The caller has it already."),
        AssetErrors,
    ),
)]
pub(super) async fn shop_script(
    Extension(RewardsSurface { assets, .. }): Extension<RewardsSurface>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    found(&assets, SHOP_SCRIPT, &headers)
}

fn found(assets: &Assets, name: &str, headers: &HeaderMap) -> Result<Response, Problem> {
    assets.answer(name, headers).ok_or_else(|| Problem::not_found("file"))
}
