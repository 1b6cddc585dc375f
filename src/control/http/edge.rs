//! What edges ask: is this token still good? (RFC 7662) And what they tell: it is not to be any more (RFC 7009).
//!
//! Introspection is answered from memory: the token names its session, the session remembers the token's hash. No store,
//! no public-key work, no router. Whatever is not active is exactly `{"active":false}`, so that an edge learns nothing
//! more. Only a session that this process has never heard of is looked up in the store.

use std::{
    borrow::Cow,
    collections::HashMap,
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    extract::{Request as AxumRequest, State},
    response::{IntoResponse, Response as AxumResponse},
};
use bytes::Bytes;
use hyper::{
    Method, Request, Response,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use parking_lot::RwLock;
use serde::Serialize;
use tokio::sync::{Mutex as Gate, MutexGuard};
use utoipa::ToSchema;

use crate::{
    control::{
        acts::ActError,
        tokens::{Claims, Provenance, claims_of, session_of},
    },
    engine::{TokenHash, Verdict},
    store::{Actor, ActorKind, Edge, Store, StoreError, Surface},
    web::{
        admission::Trust,
        peer::{KnownEdge, Peer},
    },
    wire::SessionId,
};

use super::{
    Body, Shared, SharedState,
    auth::{Authorization, SecretHash, basic_pair},
    budgets::Budget,
    extract::{read_body, require_type},
    instruments::Told,
    limits::LimitedBy,
    openapi::{IntrospectErrors, RevokeErrors},
    problem::{ErrorCode, Problem},
};

/// The path of revocation.
pub(super) const REVOKE: &str = "/oauth/revoke";
/// The type of what edges send.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";
/// The path of introspection.
pub(super) const INTROSPECT: &str = "/oauth/introspect";

/// The one answer about a token that is not good, whatever the reason.
pub(super) const INACTIVE: &[u8] = br#"{"active":false}"#;

/// The registered edges, by client id. The store's, kept in memory.
pub(super) struct Edges {
    known: RwLock<HashMap<String, Edge>>,
    /// How often they have changed.
    changed: AtomicU64,
    changes: Gate<()>,
}

impl Edges {
    pub(super) async fn load(store: &dyn Store) -> Result<Self, StoreError> {
        let known = read(store).await?;
        Ok(Self { known: RwLock::new(known), changed: AtomicU64::new(0), changes: Gate::default() })
    }

    /// Takes over what other nodes have made of the edges.
    pub(super) async fn learn(&self, store: &dyn Store) -> Result<(), StoreError> {
        let _change = self.changes.lock().await;
        let now = read(store).await?;
        let mut known = self.known.write();
        if *known != now {
            *known = now;
            self.changed.fetch_add(1, Ordering::Release);
        }
        Ok(())
    }

    pub(super) fn put(&self, edge: Edge) {
        self.known.write().insert(edge.client_id.clone(), edge);
        self.changed.fetch_add(1, Ordering::Release);
    }

    pub(super) fn remove(&self, client_id: &str) {
        self.known.write().remove(client_id);
        self.changed.fetch_add(1, Ordering::Release);
    }

    /// Tells one state of the edges from every other: what was found out in this one still holds while it is the same.
    pub(super) fn changed(&self) -> u64 {
        self.changed.load(Ordering::Acquire)
    }

    /// Waits for the right to change edges: of what is registered here, no change may undo another.
    pub(super) async fn changes(&self) -> MutexGuard<'_, ()> {
        self.changes.lock().await
    }

    pub(super) fn find(&self, client_id: &str) -> Option<Edge> {
        self.known.read().get(client_id).cloned()
    }

    pub(super) fn len(&self) -> usize {
        self.known.read().len()
    }

    /// The edges, in order of their registration.
    pub(super) fn all(&self) -> Vec<Edge> {
        let mut edges: Vec<_> = self.known.read().values().cloned().collect();
        edges.sort_by(|a, b| (a.created_at, &a.client_id).cmp(&(b.created_at, &b.client_id)));
        edges
    }

    pub(super) fn know_audience(&self, audience: &str) -> bool {
        self.known.read().values().any(|edge| edge.audience == audience)
    }

    /// The audience of the edge whose credentials these are.
    pub(super) fn audience(&self, client_id: &str, secret: &str) -> Option<Arc<str>> {
        let presented = SecretHash::of(secret.as_bytes());
        let edges = self.known.read();
        let edge = edges.get(client_id)?;
        presented.is_any_of(&edge.secret_hashes).then(|| edge.audience.as_str().into())
    }
}

async fn read(store: &dyn Store) -> Result<HashMap<String, Edge>, StoreError> {
    Ok(store.edges().await?.into_iter().map(|edge| (edge.client_id.clone(), edge)).collect())
}

/// What is asked of a token. With `client_secret_post`, `client_id` and `client_secret` are parameters beside it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the interface's description; the form is read by hand, to refuse what is given twice"
)]
pub(super) struct IntrospectForm {
    /// The token.
    token: String,
    /// Accepted, and without effect.
    token_type_hint: Option<String>,
}

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

/// Whether a token is good now (RFC 7662). Anything not good is exactly `{"active":false}`.
#[utoipa::path(
    post, path = "/oauth/introspect", tag = "edge", security(("client" = [])),
    request_body(content = IntrospectForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "What the token is worth.", body = Introspection<'_>), IntrospectErrors),
)]
pub(super) async fn introspect(shared: &Shared, request: Request<Body>) -> Response<Body> {
    if request.method() != Method::POST {
        let problem = Problem::because(ErrorCode::MethodNotAllowed, "the header Allow says which are");
        let mut response = problem.for_oauth().into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    match verdict(shared, request).await {
        Ok(Some(body)) => {
            shared.instruments.told(Told::Active);
            answer(Bytes::from(body))
        }
        Ok(None) => {
            shared.instruments.told(Told::Inactive);
            answer(Bytes::from_static(INACTIVE))
        }
        Err(problem) => {
            if problem.code().status().is_server_error() {
                shared.instruments.told(Told::Unavailable);
            }
            problem.for_oauth().into_response()
        }
    }
}

fn answer(body: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.extensions_mut().insert(KnownEdge);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// The answer about a token that is good; `None` about any other.
async fn verdict(shared: &Shared, request: Request<Body>) -> Result<Option<Vec<u8>>, Problem> {
    let Asked { token, edge } = asked(shared, request).await?;
    let Some(session) = session_of(token.as_bytes()) else { return Ok(None) };
    let hash = TokenHash::of(token.as_bytes());
    let mut verdict = shared.engine.verdict(&session, &hash, shared.clock.now());
    if verdict == Verdict::Unknown && shared.engine.is_unsure(&session) {
        if !shared.look_up(&token, &session, &edge.client_id).await? {
            return Ok(None);
        }
        verdict = shared.engine.verdict(&session, &hash, shared.clock.now());
        if verdict == Verdict::Unknown && shared.engine.doubts(&session, shared.clock.now()) {
            return Err(ActError::Untold.into());
        }
    }
    match verdict {
        Verdict::Valid { .. } => Ok(shared.introspection(&token, &edge.audience)),
        Verdict::Invalid { .. } | Verdict::Unknown => Ok(None),
    }
}

/// What is to be revoked. With `client_secret_post`, `client_id` and `client_secret` are parameters beside it.
#[derive(ToSchema)]
#[expect(
    dead_code,
    reason = "for the interface's description; the form is read by hand, to refuse what is given twice"
)]
pub(super) struct RevokeForm {
    /// The token.
    token: String,
    /// Accepted, and without effect.
    token_type_hint: Option<String>,
}

/// Ends the session of a token, at once and for good (RFC 7009). A token that is not good, or is for another edge, is
/// answered the same, and nothing happens. 503 means that the token still lives.
#[utoipa::path(
    post, path = "/oauth/revoke", tag = "edge", security(("client" = [])),
    request_body(content = RevokeForm, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, description = "The token is not good, or not this edge's."), RevokeErrors),
)]
pub(super) async fn revoke(State(shared): SharedState, request: AxumRequest) -> AxumResponse {
    let revoked = async {
        let Asked { token, edge } = asked(&shared, request).await?;
        if shared.issuer.provenance(&token) == Provenance::Forged {
            return Ok(());
        }
        let acts = shared.acts.by(Actor::named(ActorKind::Edge, edge.client_id, Surface::Http));
        acts.revoke_token(&token, &edge.audience).await.map_err(Problem::from)
    };
    match revoked.await {
        Ok(()) => ([(CACHE_CONTROL, HeaderValue::from_static("no-store"))], "").into_response(),
        Err(problem) => problem.for_oauth().into_response(),
    }
}

/// A token, and the edge that asks about it.
struct Asked {
    token: String,
    edge: AskingEdge,
}

/// An edge that has proved who it is.
struct AskingEdge {
    client_id: String,
    audience: Arc<str>,
}

/// Reads a question about a token, and makes sure of who asks.
async fn asked(shared: &Shared, request: Request<Body>) -> Result<Asked, Problem> {
    shared.warm()?;
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::bad_request("parameters go into the body, where no log keeps them"));
    }
    let (parts, body) = request.into_parts();
    let peer = parts.extensions.get::<Peer>().copied();
    let basic = match Authorization::of(&parts.headers)? {
        Authorization::Basic(encoded) => Some(basic_pair(encoded).ok_or_else(Problem::bad_credentials)?),
        Authorization::Bearer(_) => return Err(Problem::bad_credentials()),
        Authorization::Missing => None,
    };
    // What the headers prove is looked at before the body is.
    let by_headers = basic.as_ref().map(|(id, secret)| shared.edge(id, secret, peer)).transpose()?;
    require_type(&parts.headers, FORM)?;
    let body = read_body(body).await?;
    let form = Form::parse(&body)?;
    let (client_id, secret) = form.client(&basic)?.ok_or_else(Problem::bad_credentials)?;
    let edge = by_headers.map_or_else(|| shared.edge(client_id, secret, peer), Ok)?;
    shared.prove(&parts, Trust::Edge);
    let token = form.token.ok_or_else(|| Problem::bad_request("the parameter `token` is missing"))?;
    Ok(Asked { token: token.into_owned(), edge })
}

impl Shared {
    /// The edge whose credentials these are, by `client_secret_basic` or `client_secret_post`. Counts wrong ones.
    fn edge(&self, client_id: &str, secret: &str, peer: Option<Peer>) -> Result<AskingEdge, Problem> {
        if let Some(audience) = self.edges.audience(client_id, secret) {
            return Ok(AskingEdge { client_id: client_id.to_owned(), audience });
        }
        self.limits.guess(peer).inspect_err(|_| self.instruments.limited(LimitedBy::Address))?;
        Err(Problem::bad_credentials())
    }

    /// Looks up the session of a token that this process cannot judge. Whether there is such a session.
    ///
    /// Only a token that this service signed is worth a read of the store: whoever shows made-up and altered tokens to an
    /// edge does not reach it.
    async fn look_up(&self, token: &str, session: &SessionId, edge: &str) -> Result<bool, Problem> {
        if self.lookups.is_known_absent(session, self.clock.now()) {
            return Ok(false);
        }
        match self.issuer.provenance(token) {
            Provenance::Ours => {}
            Provenance::Forged => return Ok(false),
            Provenance::UnknownKey => self.limits.unknown_key(edge)?,
        }
        let _place = self.lookups.place(edge).ok_or_else(|| {
            self.instruments.shed(Budget::Verdicts);
            Problem::because(ErrorCode::Overloaded, "too many of this edge's questions wait for the store")
        })?;
        Ok(self.lookups.find(&self.acts, session, self.clock.now()).await?)
    }

    /// What an edge is told of a token that is good; `None` if it is not this edge's.
    fn introspection(&self, token: &str, audience: &str) -> Option<Vec<u8>> {
        let claims = claims_of(token)?;
        let mut body = Vec::with_capacity(512);
        self.is_for(&claims, audience).then(|| write_active(&claims, &mut body)).map(|()| body)
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
