//! Texts of answers, and names for requests.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use crate::{
    cli::{CliError, api::Api},
    entropy::{OsEntropy, draw},
};

/// A text in an answer.
pub(super) fn text(api: &Api, answer: &Value, field: &str) -> Result<String, CliError> {
    let value = answer.get(field).and_then(Value::as_str);
    value.map(str::to_owned).ok_or_else(|| CliError::strange(api.base(), format!("an answer has no {field}")))
}

/// A name that nobody else has.
pub(super) fn random() -> String {
    URL_SAFE_NO_PAD.encode(draw::<9>(&OsEntropy))
}
