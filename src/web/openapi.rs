//! Parts of interface descriptions (OpenAPI 3.1): the refusals of a call, made from the codes that it may be refused by.

use std::collections::BTreeMap;

use utoipa::openapi::{
    Ref, RefOr,
    content::ContentBuilder,
    response::{Response, ResponseBuilder},
};

use super::problem::Code;

/// What any call may be refused for: a head that cannot be understood, a body that it did not ask for, a mistake of ours, more
/// to do than can be done.
const ANY: [Code; 6] =
    [Code::BadRequest, Code::RequestTimeout, Code::BodyTooLarge, Code::RateLimited, Code::Internal, Code::Overloaded];

/// The type of what refusals say, everywhere but under `/oauth/`.
pub const PROBLEM: &str = "application/problem+json";
/// The type of what refusals say where OAuth prescribes it (RFC 6749, section 5.2).
pub const OAUTH: &str = "application/json";

/// The refusals of a call, by status: one response of this media type each, which names its codes.
pub fn refusals(media: &str, codes: &[Code]) -> BTreeMap<String, RefOr<Response>> {
    let mut by_status: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in codes.iter().chain(ANY.iter().filter(|code| !codes.contains(code))) {
        by_status.entry(code.status().as_u16()).or_default().push(format!("`{}`", code.name()));
    }
    let response = |codes: Vec<String>| {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        ResponseBuilder::new().description(codes.join(", ")).content(media, content).build()
    };
    by_status.into_iter().map(|(status, codes)| (status.to_string(), response(codes).into())).collect()
}
