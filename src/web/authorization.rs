//! The `Authorization` header, in the schemes that mean something here.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hyper::{HeaderMap, header::AUTHORIZATION};

use super::problem::Problem;

/// The `Authorization` header.
pub enum Authorization<'a> {
    /// There is none.
    Missing,
    /// `Bearer`.
    Bearer(&'a str),
    /// `Basic`, still encoded.
    Basic(&'a str),
}

impl<'a> Authorization<'a> {
    /// Reads the header.
    ///
    /// Two of them are refused: whoever passes them on may have checked the other one.
    ///
    /// # Errors
    ///
    /// 400 if there is more than one, 401 if it cannot be read.
    pub fn of(headers: &'a HeaderMap) -> Result<Self, Problem> {
        let mut values = headers.get_all(AUTHORIZATION).iter();
        let Some(value) = values.next() else { return Ok(Self::Missing) };
        if values.next().is_some() {
            return Err(Problem::bad_request("there is more than one Authorization header"));
        }
        Self::parse(value.as_bytes())
    }

    /// Reads the header's value.
    ///
    /// # Errors
    ///
    /// 401.
    pub fn parse(value: &'a [u8]) -> Result<Self, Problem> {
        let text =
            std::str::from_utf8(value).ok().filter(|text| text.is_ascii()).ok_or_else(Problem::bad_credentials)?;
        let (scheme, rest) = text.split_once(' ').ok_or_else(Problem::bad_credentials)?;
        let rest = rest.trim();
        match scheme {
            _ if rest.is_empty() => Err(Problem::bad_credentials()),
            scheme if scheme.eq_ignore_ascii_case("bearer") => Ok(Self::Bearer(rest)),
            scheme if scheme.eq_ignore_ascii_case("basic") => Ok(Self::Basic(rest)),
            _ => Err(Problem::bad_credentials()),
        }
    }

    /// The bearer token.
    ///
    /// # Errors
    ///
    /// 401 if there is none, and those of [`Self::of`].
    pub fn bearer(headers: &'a HeaderMap) -> Result<&'a str, Problem> {
        match Self::of(headers)? {
            Self::Bearer(token) => Ok(token),
            Self::Missing | Self::Basic(_) => Err(Problem::bad_credentials()),
        }
    }
}

/// The client id and secret of `Basic`, each of them form-encoded before (RFC 6749, 2.3.1).
pub fn basic_pair(encoded: &str) -> Option<(String, String)> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (id, secret) = decoded.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

/// By what a client of OAuth says who it is (RFC 6749, 2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientPair<'a> {
    /// Its id and a secret.
    Secret(&'a str, &'a str),
    /// Its id alone, in the form.
    NameOnly(&'a str),
    /// Nothing.
    Missing,
}

/// The client id and secret, from the header `Authorization` or from the parameters `client_id` and `client_secret`.
///
/// # Errors
///
/// 400 if they are given in two ways.
pub fn client_pair<'a>(
    basic: &'a Option<(String, String)>,
    id: Option<&'a str>,
    secret: Option<&'a str>,
) -> Result<ClientPair<'a>, Problem> {
    let twice = || Problem::bad_request("client credentials are given in two ways");
    match (basic, id, secret) {
        (Some(_), _, Some(_)) => Err(twice()),
        (Some((id, _)), Some(other), None) if id != other => Err(twice()),
        (Some((id, secret)), _, None) => Ok(ClientPair::Secret(id, secret)),
        (None, Some(id), Some(secret)) => Ok(ClientPair::Secret(id, secret)),
        (None, Some(id), None) => Ok(ClientPair::NameOnly(id)),
        (None, None, _) => Ok(ClientPair::Missing),
    }
}

fn form_decoded(text: &str) -> Option<String> {
    if text.bytes().any(|byte| matches!(byte, b'&' | b'=')) {
        // Not form-encoded after all; no secret of ours has such characters, but then it is simply a wrong one.
        return Some(text.to_owned());
    }
    form_urlencoded::parse(text.as_bytes()).next().map(|(name, _)| name.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn client_credentials_are_form_encoded_inside_basic() {
        let pair = |text: &str| basic_pair(&STANDARD.encode(text));
        assert_eq!(pair("id:secret"), Some(("id".into(), "secret".into())));
        assert_eq!(pair("a%3Ab:c%20d+e"), Some(("a:b".into(), "c d e".into())));
        assert_eq!(pair("id:a&b=c"), Some(("id".into(), "a&b=c".into())));
        assert_eq!(pair("no colon"), None);
        assert_eq!(basic_pair("%%%"), None);
    }
}
