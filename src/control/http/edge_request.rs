//! Questions of edges about tokens, and which edge asks.

use std::sync::Arc;

use axum::extract::Request;

use crate::{
    control::{edges::EdgeRegistry, hub_clients::ClientRegistry},
    web::{
        admission::Trust,
        authorization::{Authorization, basic_pair},
        body::{FORM, read_body, require_type},
        peer::Peer,
        problem::Problem,
    },
};

use super::{
    checks::{Checks, peer_of},
    form::Form,
};

/// An edge that has proved who it is, or a client of the hub.
pub(super) struct CallingEdge {
    pub(super) client_id: String,
    /// Of a client of the hub it is empty, and no token is for it: it asks about handles.
    pub(super) audience: Arc<str>,
}

/// Who may ask about tokens.
#[derive(Clone, Copy)]
pub(super) struct Registries<'a> {
    pub(super) edges: &'a EdgeRegistry,
    pub(super) clients: &'a ClientRegistry,
}

impl Registries<'_> {
    /// The audience of whose credentials these are.
    pub(super) fn audience(self, client_id: &str, secret: &str) -> Option<Arc<str>> {
        let of_client = || self.clients.proven(client_id, secret).map(|_| "".into());
        self.edges.audience(client_id, secret).or_else(of_client)
    }
}

impl CallingEdge {
    /// The edge whose credentials these are, by `client_secret_basic` or `client_secret_post`. Counts wrong ones.
    fn prove(
        client_id: &str,
        secret: &str,
        peer: Option<Peer>,
        registries: Registries<'_>,
        checks: &Checks,
    ) -> Result<Self, Problem> {
        match registries.audience(client_id, secret) {
            Some(audience) => Ok(Self { client_id: client_id.to_owned(), audience }),
            None => Err(checks.wrong_secret(peer)),
        }
    }
}

/// A question of an edge about a token. There is none before the edge has proved who it is: by the headers, or, where they prove
/// nothing, by the form that has the token too.
pub(super) struct EdgeRequest {
    /// The token.
    pub(super) token: String,
    /// Who asks.
    pub(super) edge: CallingEdge,
}

impl EdgeRequest {
    /// Reads a question, and makes sure of who asks.
    ///
    /// # Errors
    ///
    /// Not in OAuth's form yet.
    pub(super) async fn read(request: Request, registries: Registries<'_>, checks: &Checks) -> Result<Self, Problem> {
        checks.warm()?;
        if request.uri().query().is_some_and(|query| !query.is_empty()) {
            return Err(Problem::bad_request("parameters go into the body, where no log keeps them"));
        }
        let (parts, body) = request.into_parts();
        let prove = |id: &str, secret: &str| CallingEdge::prove(id, secret, peer_of(&parts), registries, checks);
        let basic = match Authorization::of(&parts.headers)? {
            Authorization::Basic(encoded) => Some(basic_pair(encoded).ok_or_else(Problem::bad_credentials)?),
            Authorization::Bearer(_) => return Err(Problem::bad_credentials()),
            Authorization::Missing => None,
        };
        // What the headers prove is looked at before the body is.
        let by_headers = basic.as_ref().map(|(id, secret)| prove(id, secret)).transpose()?;
        require_type(&parts.headers, FORM)?;
        let body = read_body(body).await?;
        let form = Form::parse(&body)?;
        let (client_id, secret) = form.client(&basic)?.ok_or_else(Problem::bad_credentials)?;
        let edge = by_headers.map_or_else(|| prove(client_id, secret), Ok)?;
        checks.prove(&parts, Trust::Edge);
        let token = form.token.ok_or_else(|| Problem::bad_request("the parameter `token` is missing"))?;
        Ok(Self { token: token.into_owned(), edge })
    }
}
