//! Lines of orders that are kept for a refund, as operators see them.

use axum::{Extension, Json as Answer, extract::Path};
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{
    control::http::{Operator, rfc3339},
    rewards::KeptLine,
    store::Removed,
    web::{extract::Page, problem::Problem},
};

use super::{refusals::AdminErrors, state::RewardsSurface};

/// Characters of the name of a line: a domain and an id.
const MAX_AFTER: usize = 512;

/// Lines that were paid and cannot be credited.
#[derive(Serialize, ToSchema)]
pub(super) struct KeptLines {
    /// A page of them.
    kept: Vec<KeptShape>,
    /// Where the next page begins, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
}

/// A line that was paid and cannot be credited.
#[derive(Serialize, ToSchema)]
#[schema(as = KeptLine)]
pub(super) struct KeptShape {
    /// The shop's domain.
    shop: String,
    /// The order's id.
    order: u64,
    /// The line's id.
    line: u64,
    /// What was bought.
    sku: String,
    /// How many of it have been paid and not refunded.
    units: u64,
    /// Why it cannot be credited: `no_token`, `bad_token`, `unknown_product` or `account_deleted`.
    why: &'static str,
    /// When it came.
    #[schema(format = DateTime)]
    at: String,
}

#[derive(Deserialize)]
pub(super) struct KeptPath {
    shop: String,
    line: String,
}

/// The lines that are kept for a refund: refund them in the shop, or credit the account and remove them here.
#[utoipa::path(
    operation_id = "list_kept_lines",
    get, path = "/admin/rewards/kept", tag = "admin", security(("admin_token" = [])),
    params(
        ("after" = Option<String>, Query, max_length = 512, description = "From after this line on: `SHOP/LINE`."),
        ("limit" = Option<u16>, Query, minimum = 1, maximum = 1000, description = "So many lines, 1 to 1000; 100 by default."),
    ),
    responses((status = 200, description = "A page of the lines.", body = KeptLines), AdminErrors),
)]
pub(super) async fn list(
    Operator { acts, .. }: Operator,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    page: Page<String>,
) -> Result<Answer<KeptLines>, Problem> {
    if page.after.as_ref().is_some_and(|after| after.chars().count() > MAX_AFTER) {
        return Err(Problem::bad_request(format!("`after` is {MAX_AFTER} characters at most")));
    }
    let (lines, more) = page.cut(acts.in_time(rewards.shop.kept(page.after.as_deref(), page.limit + 1)).await?);
    let next = lines.last().filter(|_| more).map(|(name, _)| name.clone());
    let shape = |(_, line): (String, KeptLine)| {
        let at = rfc3339(line.at());
        let KeptLine { shop, order, line, sku, units, why, .. } = line;
        KeptShape { shop, order, line, sku, units, why: why.name(), at }
    };
    Ok(Answer(KeptLines { kept: lines.into_iter().map(shape).collect(), next }))
}

/// Removes a line that has been seen to. It does not come back, however often the shop sends the order.
#[utoipa::path(
    operation_id = "remove_kept_line",
    delete, path = "/admin/rewards/kept/{shop}/{line}", tag = "admin", security(("admin_token" = [])),
    params(
        ("shop" = String, Path, description = "The shop's domain."),
        ("line" = String, Path, description = "The line's id."),
    ),
    responses((status = 204, description = "It is not kept any more."), AdminErrors),
)]
pub(super) async fn remove(
    Operator { acts, .. }: Operator,
    Extension(RewardsSurface { rewards, .. }): Extension<RewardsSurface>,
    Path(KeptPath { shop, line }): Path<KeptPath>,
) -> Result<StatusCode, Problem> {
    let absent = || Problem::not_found("line");
    let line = line.parse().map_err(|_| absent())?;
    if shop.len() > 253 {
        return Err(absent());
    }
    match acts.all_in_time(rewards.shop.forget_kept(&acts, &shop, line)).await? {
        Removed::Done => Ok(StatusCode::NO_CONTENT),
        Removed::NotThere => Err(absent()),
    }
}
