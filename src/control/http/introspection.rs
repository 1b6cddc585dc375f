//! What a token is worth at an edge, from memory: the token names its session, the session remembers the token's hash.
//!
//! No store and no public-key work. Whatever is not active is exactly `{"active":false}`, so that an edge learns nothing more. Only
//! a session that this process has never heard of is looked up in the store.

use std::{io::Write, sync::Arc};

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    control::{
        acts::{ActError, Acts},
        edges::EdgeRegistry,
        hub_clients::ClientRegistry,
        tokens::{Claims, Issuer, claims_of, session_of},
    },
    engine::{Engine, TokenHash, Verdict},
    time::Clock,
    web::problem::Problem,
    wire::SessionId,
};

use super::{
    budgets::Budget,
    checks::Checks,
    edge_request::{CallingEdge, Registries},
    handles::{self, Handles},
    instruments::Instruments,
    lookups::{Lookups, Waiting},
};

/// The one answer about a token that is not good, whatever the reason.
pub(super) const INACTIVE: &[u8] = br#"{"active":false}"#;

/// What an edge is told. All but `active` is there only for a token that is good.
#[derive(Serialize, ToSchema)]
pub(super) struct Introspection<'a> {
    /// Whether the token is good.
    active: bool,
    /// Always `Bearer`.
    #[schema(value_type = Option<String>)]
    token_type: &'static str,
    /// Who issued it.
    #[schema(value_type = Option<String>)]
    iss: &'a str,
    /// The edge it is for.
    #[schema(value_type = Option<String>)]
    aud: &'a str,
    /// The account's name at this edge, and at no other.
    #[schema(value_type = Option<String>)]
    sub: &'a str,
    /// The client it was issued to.
    #[schema(value_type = Option<String>)]
    client_id: &'a str,
    /// When it was issued, in seconds since 1970.
    #[schema(value_type = Option<u64>)]
    iat: u64,
    /// When it expires, in seconds since 1970.
    #[schema(value_type = Option<u64>)]
    exp: u64,
    /// Its id.
    #[schema(value_type = Option<String>)]
    jti: &'a str,
}

/// Tells what tokens are worth.
pub(super) struct Introspector {
    pub(super) acts: Arc<Acts>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) issuer: Arc<Issuer>,
    pub(super) edges: Arc<EdgeRegistry>,
    pub(super) clients: Arc<ClientRegistry>,
    pub(super) handles: Option<Arc<dyn Handles>>,
    pub(super) lookups: Lookups,
    pub(super) checks: Arc<Checks>,
    pub(super) instruments: Arc<dyn Instruments>,
}

impl Introspector {
    /// Who may ask.
    pub(super) fn registries(&self) -> Registries<'_> {
        Registries { edges: &self.edges, clients: &self.clients }
    }

    /// The answer about a token or handle that is good; `None` about any other.
    ///
    /// # Errors
    ///
    /// Nobody can tell now.
    pub(super) async fn judge(&self, token: &str, edge: &CallingEdge) -> Result<Option<Vec<u8>>, Problem> {
        if token.starts_with(handles::PREFIX) {
            let Some(handles) = &self.handles else { return Ok(None) };
            let _place = self.place(&edge.client_id)?;
            return Ok(self.acts.in_time(handles.introspect(&edge.client_id, token)).await?);
        }
        let Some(session) = session_of(token.as_bytes()) else { return Ok(None) };
        let hash = TokenHash::of(token.as_bytes());
        let mut verdict = self.engine.verdict(&session, &hash, self.clock.now());
        if verdict == Verdict::Unknown && self.engine.is_unsure(&session) {
            if !self.look_up(token, &session, &edge.client_id).await? {
                return Ok(None);
            }
            verdict = self.engine.verdict(&session, &hash, self.clock.now());
            if verdict == Verdict::Unknown && self.engine.doubts(&session, self.clock.now()) {
                return Err(ActError::Untold.into());
            }
        }
        match verdict {
            Verdict::Valid { .. } => Ok(self.active(token, &edge.audience)),
            Verdict::Invalid { .. } | Verdict::Unknown => Ok(None),
        }
    }

    /// Looks up the session of a token that this process cannot judge. Whether there is such a session.
    async fn look_up(&self, token: &str, session: &SessionId, edge: &str) -> Result<bool, Problem> {
        if self.lookups.is_known_absent(session, self.clock.now()) {
            return Ok(false);
        }
        if !self.checks.is_worth_a_read(&self.issuer, token, edge)? {
            return Ok(false);
        }
        let _place = self.place(edge)?;
        Ok(self.lookups.find(&self.acts, session, self.clock.now()).await?)
    }

    /// A place among the questions of an edge or client that wait for the store.
    fn place(&self, caller: &str) -> Result<Waiting<'_>, Problem> {
        self.lookups.place(caller).ok_or_else(|| {
            self.instruments.shed(Budget::Verdicts);
            Problem::shed("too many of this caller's questions wait for the store")
        })
    }

    /// What an edge is told of a token that is good; `None` if it is not this edge's.
    fn active(&self, token: &str, audience: &str) -> Option<Vec<u8>> {
        let claims = claims_of(token)?;
        let mut body = Vec::with_capacity(512);
        self.is_for(&claims, audience).then(|| write_active(&claims, &mut body)).map(|()| body)
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
}

/// Appends what an edge is told of a token that is good.
pub(super) fn write_active(claims: &Claims<'_>, body: &mut Vec<u8>) {
    if claims.is_verbatim() { write_verbatim(claims, body) } else { write_with_care(claims, body) }
}

fn write_with_care(claims: &Claims<'_>, body: &mut Vec<u8>) {
    let answer = Introspection {
        active: true,
        token_type: "Bearer",
        iss: &claims.iss,
        aud: &claims.aud,
        sub: &claims.sub,
        client_id: &claims.client_id,
        iat: claims.iat,
        exp: claims.exp,
        jti: &claims.jti,
    };
    serde_json::to_writer(body, &answer).expect("strings and integers are always JSON");
}

/// The same, of claims whose texts stand in JSON as they are.
fn write_verbatim(claims: &Claims<'_>, body: &mut Vec<u8>) {
    let Claims { iss, aud, sub, client_id, iat, exp, jti, .. } = claims;
    write!(
        body,
        r#"{{"active":true,"token_type":"Bearer","iss":"{iss}","aud":"{aud}","sub":"{sub}","client_id":"{client_id}","#
    )
    .and_then(|()| write!(body, r#""iat":{iat},"exp":{exp},"jti":"{jti}"}}"#))
    .expect("a Vec takes whatever is written");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_verbatim_is_what_is_written_with_care() {
        let payload = r#"{"jti":"AAAA.b","iss":"https://tank","aud":"edge","sub":"sub-é","client_id":"c","iat":1,
            "exp":18446744073709551615,"status":{"status_list":{"idx":7,"uri":"https://tank/l"}}}"#;
        let claims: Claims<'_> = serde_json::from_str(payload).unwrap();
        assert!(claims.is_verbatim());
        let (mut verbatim, mut with_care) = (Vec::new(), Vec::new());
        write_active(&claims, &mut verbatim);
        write_with_care(&claims, &mut with_care);
        assert_eq!(String::from_utf8(verbatim).unwrap(), String::from_utf8(with_care).unwrap());
        let escaped = payload.replace("\"c\"", r#""a\"b""#);
        assert!(!serde_json::from_str::<Claims<'_>>(&escaped).unwrap().is_verbatim());
    }
}
