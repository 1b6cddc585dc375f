//! Introspection from memory: what nearly every question of an edge is answered by.
//!
//! It has the same rules as [`Introspector::judge`], and answers only where those lead to 200 without
//! waiting. Whatever is refused, or has to be looked up, goes there.
//!
//! An edge shows the same `Authorization` header with every question. The one that was accepted last on a connection is
//! remembered with that connection, so that it need not be decoded and hashed again; it is compared in constant time, and
//! forgotten when any edge is changed.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::{
    control::tokens::{PAYLOAD, claims_in, session_of},
    engine::{TokenHash, Verdict},
    web::{
        authorization::{Authorization, basic_pair},
        body::{FORM, is_type},
    },
};

use super::{
    form::Form,
    instruments::{IntrospectionOutcome, Phase},
    introspection::{INACTIVE, Introspector, write_active},
};

/// Who was found to ask on a connection.
#[derive(Default)]
pub struct Caller(Option<Proved>);

struct Proved {
    /// The header, as it was shown.
    authorization: Box<[u8]>,
    /// The state of the edges that it was accepted in.
    changes: u64,
    audience: Arc<str>,
}

/// Bytes of a header that is remembered.
const MAX_REMEMBERED: usize = 512;

impl Introspector {
    /// Answers a question about a token at once: appends the JSON of a 200 to `body`. `false` if it takes more than that, or
    /// is not answered by 200; then nothing has happened.
    pub(super) fn answer_at_once(
        &self,
        caller: &mut Caller,
        content_type: Option<&[u8]>,
        authorization: Option<&[u8]>,
        form: &[u8],
        body: &mut Vec<u8>,
    ) -> bool {
        match self.at_once(caller, content_type, authorization, form, body) {
            Some(told) => {
                self.instruments.told(told);
                true
            }
            None => false,
        }
    }

    fn at_once(
        &self,
        caller: &mut Caller,
        content_type: Option<&[u8]>,
        authorization: Option<&[u8]>,
        form: &[u8],
        body: &mut Vec<u8>,
    ) -> Option<IntrospectionOutcome> {
        if self.instruments.phase() == Phase::WarmingUp || !is_type(content_type?, FORM) {
            return None;
        }
        let form = Form::parse(form).ok()?;
        let audience = self.audience_of(caller, authorization, &form)?;
        let token = form.token.as_deref()?;
        let Some(session) = session_of(token.as_bytes()) else {
            body.extend_from_slice(INACTIVE);
            return Some(IntrospectionOutcome::Inactive);
        };
        let verdict = self.engine.verdict(&session, &TokenHash::of(token.as_bytes()), self.clock.now());
        match verdict {
            Verdict::Valid { .. } => {
                let mut payload = [0; PAYLOAD];
                let claims = claims_in(token, &mut payload)?;
                if self.is_for(&claims, &audience) {
                    write_active(&claims, body);
                    return Some(IntrospectionOutcome::Active);
                }
            }
            Verdict::Unknown if self.engine.is_unsure(&session) => return None,
            Verdict::Invalid { .. } | Verdict::Unknown => {}
        }
        body.extend_from_slice(INACTIVE);
        Some(IntrospectionOutcome::Inactive)
    }

    /// The audience of the edge that asks, if it proves to be one.
    fn audience_of(&self, caller: &mut Caller, authorization: Option<&[u8]>, form: &Form<'_>) -> Option<Arc<str>> {
        let changes = self.edges.changed();
        if let (Some(shown), Some(proved)) = (authorization, &caller.0)
            && form.client_id.is_none()
            && form.client_secret.is_none()
            && proved.changes == changes
            && bool::from(proved.authorization.ct_eq(shown))
        {
            return Some(Arc::clone(&proved.audience));
        }
        let basic = match authorization.map(Authorization::parse) {
            None => None,
            Some(Ok(Authorization::Basic(encoded))) => Some(basic_pair(encoded)?),
            Some(_) => return None,
        };
        let (id, secret) = form.client(&basic).ok()??;
        let audience = self.edges.audience(id, secret)?;
        if let Some(shown) = authorization.filter(|shown| shown.len() <= MAX_REMEMBERED) {
            caller.0 = Some(Proved { authorization: shown.into(), changes, audience: Arc::clone(&audience) });
        }
        Some(audience)
    }
}
