//! The form that edges send: read by hand, to refuse what is given twice.

use std::borrow::Cow;

use crate::web::problem::Problem;

/// The parameters of a request that mean something. Others are ignored.
#[derive(Default)]
pub(super) struct Form<'a> {
    pub(super) token: Option<Cow<'a, str>>,
    token_type_hint: Option<Cow<'a, str>>,
    pub(super) client_id: Option<Cow<'a, str>>,
    pub(super) client_secret: Option<Cow<'a, str>>,
}

impl<'a> Form<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Problem> {
        let mut form = Self::default();
        match std::str::from_utf8(body) {
            // Tokens need no escapes, and what has none need not be decoded.
            Ok(text) if memchr::memchr2(b'%', b'+', body).is_none() => {
                for pair in text.split('&').filter(|pair| !pair.is_empty()) {
                    let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                    form.take(name, Cow::Borrowed(value))?;
                }
            }
            _ => {
                for (name, value) in form_urlencoded::parse(body) {
                    form.take(&name, value)?;
                }
            }
        }
        Ok(form)
    }

    fn take(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Problem> {
        let slot = match name {
            "token" => &mut self.token,
            "token_type_hint" => &mut self.token_type_hint,
            "client_id" => &mut self.client_id,
            "client_secret" => &mut self.client_secret,
            _ => return Ok(()),
        };
        if slot.replace(value).is_some() {
            return Err(Problem::bad_request("a parameter is given twice"));
        }
        Ok(())
    }

    /// The client id and secret, from the header `Authorization` or from the form. `None` where they are missing.
    pub(super) fn client<'b>(
        &'b self,
        basic: &'b Option<(String, String)>,
    ) -> Result<Option<(&'b str, &'b str)>, Problem> {
        match (basic, &self.client_id, &self.client_secret) {
            (Some(_), _, Some(_)) => Err(Problem::bad_request("client credentials are given in two ways")),
            (Some((id, _)), Some(other), None) if id != other => {
                Err(Problem::bad_request("client credentials are given in two ways"))
            }
            (Some((id, secret)), _, None) => Ok(Some((id, secret))),
            (None, Some(id), Some(secret)) => Ok(Some((id, secret))),
            (None, _, _) => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_form_without_escapes_is_read_as_one_with_escapes_is(text in "[a-z&=_.]{0,40}|(&?(token|client_id|x)=?[a-zé.=]{0,5}){0,4}") {
            let mut slow = Form::default();
            let read = form_urlencoded::parse(text.as_bytes()).try_for_each(|(name, value)| slow.take(&name, value));
            match Form::parse(text.as_bytes()) {
                Ok(fast) => {
                    prop_assert!(read.is_ok());
                    prop_assert_eq!((fast.token, fast.client_id), (slow.token, slow.client_id));
                }
                Err(_) => prop_assert!(read.is_err()),
            }
        }
    }
}
