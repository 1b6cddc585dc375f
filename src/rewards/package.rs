//! The package that an app hands to a landing page or a shop: the tokens with what belongs to them, in the parameter `psicash` of
//! an address or in the property of a shop's line.
//!
//! Whoever made it up may have made it anything: what is not a package is none, and nothing in it is believed but the tokens,
//! which are looked up.

use base64::{
    Engine as _, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD_NO_PAD},
};
use serde::Serialize;
use serde_json::Value;

/// Bytes that a package may have.
const MAX_PACKAGE: usize = 8 * 1024;
/// Levels of what an app says beside the tokens.
const MAX_LEVELS: usize = 16;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::RequireNone)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);

/// What an app hands on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Package {
    /// When it was made, ISO 8601 in UTC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<String>,
    /// Earner tokens, separated by commas.
    pub tokens: Option<String>,
}

impl Package {
    /// Reads base64 of either alphabet, padded or not, or JSON as it stands. `None` for anything else.
    pub fn read(text: &str) -> Option<Self> {
        if text.len() > MAX_PACKAGE {
            return None;
        }
        let unpadded = text.trim_end_matches('=');
        let is_base64 = |byte: u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(&byte);
        let json = if !unpadded.is_empty() && unpadded.bytes().all(is_base64) {
            let standard = unpadded.replace('-', "+").replace('_', "/");
            String::from_utf8(STANDARD.decode(standard).ok()?).ok()?
        } else {
            text.to_owned()
        };
        let Value::Object(members) = serde_json::from_str(&json).ok()? else { return None };
        if members.get("metadata").is_some_and(|metadata| metadata.is_object() && !is_shallow(metadata, MAX_LEVELS)) {
            return None;
        }
        let text = |member: &str| members.get(member).and_then(Value::as_str).map(ToOwned::to_owned);
        let timestamp = match members.get("timestamp") {
            None | Some(Value::Null) => None,
            // One of another kind is one that nobody can read.
            Some(other) => Some(other.as_str().unwrap_or_default().to_owned()),
        };
        Some(Self { timestamp, tokens: text("tokens") })
    }

    /// As it is handed on: base64 without padding.
    pub fn write(&self) -> String {
        let json = serde_json::to_string(self).expect("texts are always JSON");
        STANDARD_NO_PAD.encode(json)
    }
}

fn is_shallow(value: &Value, levels: usize) -> bool {
    let below = |inner: &Value| is_shallow(inner, levels - 1);
    match value {
        Value::Object(members) => levels > 0 && members.values().all(below),
        Value::Array(elements) => levels > 0 && elements.iter().all(below),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn packages_are_read_as_the_scripts_of_pages_read_them() {
        let vectors: Value = serde_json::from_str(include_str!("../../tests/vectors/rewards.json")).unwrap();
        let [encoded, decoded] = ["encoded", "decoded"].map(|list| vectors[list].as_array().unwrap());
        assert!(encoded.len() >= 5 && decoded.len() > 20);
        for vector in encoded.iter().chain(decoded) {
            let read = Package::read(vector["text"].as_str().unwrap());
            let member = |name: &str| vector["params"][name].as_str().map(ToOwned::to_owned);
            let wanted = vector["params"]
                .is_object()
                .then(|| Package { timestamp: member("timestamp"), tokens: member("tokens") });
            assert_eq!(read, wanted, "{}", vector["name"]);
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let package = Package { timestamp: Some("2020-09-29T19:52:44.123Z".into()), tokens: Some("gte_x".into()) };
        assert_eq!(Package::read(&package.write()), Some(package));
        assert_eq!(Package { timestamp: None, tokens: Some("t".into()) }.write(), "eyJ0b2tlbnMiOiJ0In0");
    }

    proptest! {
        #[test]
        fn no_text_does_any_harm(text: String, bytes: Vec<u8>) {
            let _read = Package::read(&text);
            let _read = Package::read(&STANDARD_NO_PAD.encode(bytes));
        }
    }
}
