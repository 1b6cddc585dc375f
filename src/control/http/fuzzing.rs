//! For the fuzzer: readers of what callers send, without what answers them.

use hyper::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};

use crate::{
    control::tokens::{claims_of, session_of},
    web::{
        authorization::{Authorization, basic_pair},
        extract::parse_json,
    },
};

use super::{clients, form};

/// Reads the bodies of JSON calls. Whether it is the body of an activation.
pub fn json_body(bytes: &[u8]) -> bool {
    parse_json::<clients::ActivateRequest>(bytes).is_ok()
}

/// Reads the form of an introspection. Whether it is one.
pub fn introspection_form(bytes: &[u8]) -> bool {
    form::Form::parse(bytes).is_ok()
}

/// Reads `Authorization` headers, one a line. Whether they prove anything that could be looked up.
pub fn authorization(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(line) else { return false };
        headers.append(AUTHORIZATION, value);
    }
    match Authorization::of(&headers) {
        Ok(Authorization::Basic(encoded)) => basic_pair(encoded).is_some(),
        Ok(Authorization::Bearer(token)) => {
            let claims = claims_of(token);
            session_of(token.as_bytes()).is_some() || claims.is_some()
        }
        Ok(Authorization::Missing) | Err(_) => false,
    }
}
