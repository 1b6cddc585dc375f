//! Introspection from memory: what nearly every question of an edge is answered by.
//!
//! It has the same rules as [`edge::introspect`](super::edge::introspect), and answers only where those lead to 200 without
//! waiting. Whatever is refused, or has to be looked up, goes there.
//!
//! An edge shows the same `Authorization` header with every question. The one that was accepted last on a connection is
//! remembered with that connection, so that it need not be decoded and hashed again; it is compared in constant time, and
//! forgotten when any edge is changed.

use std::sync::Arc;

use subtle::ConstantTimeEq;

use crate::{
    control::tokens::{Claims, PAYLOAD, claims_in, session_of},
    engine::{TokenHash, Verdict},
};

use super::{
    Shared, Surface,
    auth::{Authorization, basic_pair},
    edge::{Form, INACTIVE},
    extract::is_type,
    instruments::{Phase, Told},
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

impl Surface {
    /// Answers a question about a token at once: appends the JSON of a 200 to `body`. `false` if it takes more than that, or
    /// is not answered by 200; then nothing has happened.
    pub fn introspect_at_once(
        &self,
        caller: &mut Caller,
        content_type: Option<&[u8]>,
        authorization: Option<&[u8]>,
        form: &[u8],
        body: &mut Vec<u8>,
    ) -> bool {
        match self.shared.at_once(caller, content_type, authorization, form, body) {
            Some(told) => {
                self.shared.instruments.told(told);
                true
            }
            None => false,
        }
    }
}

impl Shared {
    fn at_once(
        &self,
        caller: &mut Caller,
        content_type: Option<&[u8]>,
        authorization: Option<&[u8]>,
        form: &[u8],
        body: &mut Vec<u8>,
    ) -> Option<Told> {
        if self.instruments.phase() == Phase::WarmingUp || !is_type(content_type?, "application/x-www-form-urlencoded")
        {
            return None;
        }
        let form = Form::parse(form).ok()?;
        let audience = self.audience_of(caller, authorization, &form)?;
        let token = form.token.as_deref()?;
        let Some(session) = session_of(token.as_bytes()) else {
            body.extend_from_slice(INACTIVE);
            return Some(Told::Inactive);
        };
        let verdict = self.engine.verdict(&session, &TokenHash::of(token.as_bytes()), self.clock.now());
        match verdict {
            Verdict::Valid { .. } => {
                let mut payload = [0; PAYLOAD];
                let claims = claims_in(token, &mut payload)?;
                if self.is_for(&claims, &audience) {
                    super::edge::write_active(&claims, body);
                    return Some(Told::Active);
                }
            }
            Verdict::Unknown if self.engine.is_unsure(&session) => return None,
            Verdict::Invalid { .. } | Verdict::Unknown => {}
        }
        body.extend_from_slice(INACTIVE);
        Some(Told::Inactive)
    }

    /// Whether a token that is good is good at this edge.
    pub(super) fn is_for(&self, claims: &Claims<'_>, audience: &str) -> bool {
        let wall = self.clock.wall();
        let is_in_time = claims.exp > wall.as_secs();
        if !is_in_time {
            // The clock may have been set. Acks are to ask for a renewal by the one that has just called a token expired.
            self.engine.set_wall(self.clock.now(), wall);
        }
        claims.aud == audience && is_in_time
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
