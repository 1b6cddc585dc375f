//! The form that edges send, read without making a table of it.

use std::borrow::Cow;

use crate::web::{
    authorization::{ClientPair, client_pair},
    params::each,
    problem::Problem,
};

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
        each(body, |name, value| form.take(&name, value))?;
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
        match client_pair(basic, self.client_id.as_deref(), self.client_secret.as_deref())? {
            ClientPair::Secret(id, secret) => Ok(Some((id, secret))),
            ClientPair::NameOnly(_) | ClientPair::Missing => Ok(None),
        }
    }
}
