//! Forms: who sent them, and whether a page of ours did.
//!
//! A form counts if the browser says that it comes from this very origin (`Sec-Fetch-Site`) *and* it has a token that is made of the
//! session's secret, so that no other session's form can stand in for it.

use std::sync::Arc;

use axum::{extract::Request, response::Response};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hyper::HeaderMap;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::{failure::Failure, text::Text};
use crate::{
    hub::{
        secret::SessionSecret,
        state::{Hub, Visitor},
    },
    web::body::{FORM, has_type, read_body},
};

/// Fields of a form.
const MAX_FIELDS: usize = 16;

/// A form that somebody who is signed in has sent from a page of ours.
pub(in crate::hub) struct Form {
    pub(in crate::hub) visitor: Visitor,
    pub(in crate::hub) text: &'static Text,
    fields: Vec<(String, String)>,
}

/// What the forms of a session's pages have in the field `csrf`.
pub(in crate::hub) fn csrf_of(secret: &SessionSecret) -> String {
    let digest = Sha256::new_with_prefix(b"gastank/csrf/v1/").chain_update(secret.expose()).finalize();
    URL_SAFE_NO_PAD.encode(&digest[..18])
}

impl Form {
    /// Reads a form.
    ///
    /// # Errors
    ///
    /// The page that says why it does not count; nothing was done.
    pub(in crate::hub) async fn read(hub: &Arc<Hub>, request: Request) -> Result<Self, Response> {
        let (parts, body) = request.into_parts();
        let text = Text::of(&parts.headers);
        let failed = |failure: Failure| failure.page(text, hub.parts.is_development);
        if !is_same_origin(&parts.headers) || !has_type(&parts.headers, FORM) {
            return Err(failed(Failure::Forged));
        }
        let visitor = hub.visitor(&parts.headers).await.map_err(failed)?.ok_or_else(|| failed(Failure::Expired))?;
        let body = read_body(body).await.map_err(|problem| failed(problem.into()))?;
        let fields = form_urlencoded::parse(&body).take(MAX_FIELDS);
        let fields: Vec<_> = fields.map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
        let form = Self { visitor, text, fields };
        let expected = csrf_of(&form.visitor.secret);
        if bool::from(form.field("csrf").as_bytes().ct_eq(expected.as_bytes())) {
            Ok(form)
        } else {
            Err(failed(Failure::Forged))
        }
    }

    /// A field; empty if it is not there.
    pub(in crate::hub) fn field(&self, name: &str) -> &str {
        self.fields.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }
}

/// Whether a request comes from a page of this origin, as the browser says. `Origin` says nothing here: of a page with
/// `Referrer-Policy: no-referrer`, as ours are, it is `null`.
pub(in crate::hub) fn is_same_origin(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site == "same-origin")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderName;

    use super::*;

    #[test]
    fn only_forms_of_this_origin_count() {
        let same = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap()));
            is_same_origin(&headers.collect())
        };
        assert!(same(&[("sec-fetch-site", "same-origin"), ("origin", "null")]));
        for bad in [
            &[][..],
            &[("sec-fetch-site", "cross-site"), ("origin", "https://tank.example:8443")],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "none")],
            &[("origin", "null")],
        ] {
            assert!(!same(bad), "{bad:?}");
        }
    }
}
