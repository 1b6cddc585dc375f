//! The HTTP client of the command line: one request at a time, timeouts, bodies limited, no redirects, no proxies.

use std::{fs, io::Read, net::SocketAddr, path::Path, time::Duration};

use reqwest::{Method, RequestBuilder, Response, StatusCode, Url, header, redirect};
use serde_json::Value;

use super::{CliError, error::Problem, output::printable};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const TIMEOUT: Duration = Duration::from_secs(15);
const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_TOKEN: u64 = 4096;

/// A service, and who asks it.
#[derive(Clone)]
pub(super) struct Api {
    http: reqwest::Client,
    base: Url,
    auth: Auth,
}

/// Who asks.
#[derive(Clone)]
pub(super) enum Auth {
    /// An operator with the admin token.
    Operator(String),
    /// A client with its account key.
    Client(String),
    /// An edge with its client id and secret.
    Basic { user: String, password: String },
}

impl Api {
    /// The service at `base`, asked as `auth`.
    pub(super) fn new(base: Url, auth: Auth) -> Result<Self, CliError> {
        Self::built(base, auth, |builder| builder)
    }

    /// The same service, asked by HTTP/1.1 only.
    pub(super) fn over_http1(&self) -> Result<Self, CliError> {
        Self::built(self.base.clone(), self.auth.clone(), reqwest::ClientBuilder::http1_only)
    }

    /// The same service, asked by HTTP/2 only, in the clear too.
    pub(super) fn over_http2(&self) -> Result<Self, CliError> {
        Self::built(self.base.clone(), self.auth.clone(), reqwest::ClientBuilder::http2_prior_knowledge)
    }

    fn built(
        base: Url,
        auth: Auth,
        speaking: impl FnOnce(reqwest::ClientBuilder) -> reqwest::ClientBuilder,
    ) -> Result<Self, CliError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("gastank/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            // Tokens go to the service and nobody else.
            .no_proxy();
        if base.scheme() == "http" {
            // Reading the system's certificates takes a while, and fails on a system that has none.
            builder = builder.tls_certs_only([]);
        }
        let http = speaking(builder)
            .build()
            .map_err(|error| CliError::NotAsExpected(format!("no HTTP client: {}", causes(&error))))?;
        Ok(Self { http, base, auth })
    }

    /// The same service or another, asked by somebody else.
    pub(super) fn other(&self, base: Url, auth: Auth) -> Result<Self, CliError> {
        if base.scheme() == self.base.scheme() {
            return Ok(Self { http: self.http.clone(), base, auth });
        }
        Self::new(base, auth)
    }

    /// Where the service is.
    pub(super) fn base(&self) -> &str {
        self.base.as_str().trim_end_matches('/')
    }

    /// Where a listener of this service that is bound to `addr` is reached from here: bound to every interface, at the
    /// host where this listener is.
    pub(super) fn reachable(&self, addr: SocketAddr) -> Url {
        let mut url = Url::parse(&format!("http://{addr}")).expect("an address and a port make a URL");
        if addr.ip().is_unspecified() {
            url.set_host(self.base.host_str()).expect("it is the host of a URL");
        }
        url
    }

    pub(super) async fn get(&self, path: &[&str]) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, path, &[])).await
    }

    pub(super) async fn get_with(&self, path: &[&str], query: &[(&str, &str)]) -> Result<Value, CliError> {
        self.send(self.request(Method::GET, path, query)).await
    }

    pub(super) async fn post(&self, path: &[&str], body: &Value) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, path, &[]).json(body)).await
    }

    /// Posts with an `Idempotency-Key`.
    pub(super) async fn post_once(&self, path: &[&str], key: &str, body: &Value) -> Result<Value, CliError> {
        self.send(self.request(Method::POST, path, &[]).header("idempotency-key", key).json(body)).await
    }

    /// Posts one form field.
    pub(super) async fn post_form(&self, path: &[&str], field: &str, value: &str) -> Result<Value, CliError> {
        let mut form = Url::parse("form:").expect("is a URL");
        form.query_pairs_mut().append_pair(field, value);
        let request = self
            .request(Method::POST, path, &[])
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(form.query().unwrap_or_default().to_owned());
        self.send(request).await
    }

    /// Posts bytes to a URL without credentials; answers bytes.
    pub(super) async fn post_bytes(&self, url: &Url, bytes: Vec<u8>) -> Result<Vec<u8>, CliError> {
        let request = self.http.post(url.clone()).header(header::CONTENT_TYPE, "application/octet-stream").body(bytes);
        let (status, bytes) = self.exchange(request).await?;
        if status.is_success() { Ok(bytes) } else { Err(CliError::Refused(problem(status, &bytes))) }
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<Value, CliError> {
        self.send(self.request(Method::DELETE, path, &[])).await
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        url.path_segments_mut().expect("http URLs have paths").pop_if_empty().extend(path);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        let request = self.http.request(method, url).header(header::ACCEPT, "application/json");
        match &self.auth {
            Auth::Operator(token) | Auth::Client(token) => request.bearer_auth(token),
            Auth::Basic { user, password } => request.basic_auth(user, Some(password)),
        }
    }

    /// Sends and reads JSON; an answer without a body is `null`.
    async fn send(&self, request: RequestBuilder) -> Result<Value, CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        let status = response.status();
        let retry_after =
            response.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        let body = self.body(response).await?;
        if !status.is_success() {
            let operator = matches!(self.auth, Auth::Operator(_));
            return Err(CliError::Refused(Problem { operator, retry_after, ..problem(status, &body) }));
        }
        if body.is_empty() {
            return Ok(Value::Null);
        }
        serde_json::from_slice(&body).map_err(|_| CliError::strange(self.base(), "the answer is not JSON"))
    }

    async fn exchange(&self, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), CliError> {
        let response = request.send().await.map_err(|error| self.unreachable(&error))?;
        Ok((response.status(), self.body(response).await?))
    }

    async fn body(&self, mut response: Response) -> Result<Vec<u8>, CliError> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| self.unreachable(&error))? {
            if body.len() + chunk.len() > MAX_BODY {
                return Err(CliError::strange(self.base(), "the answer is too long"));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        let why = if error.is_timeout() { "the request timed out".to_owned() } else { causes(error) };
        CliError::Unreachable { url: self.base().to_owned(), why }
    }
}

/// Reads the admin token.
pub(super) fn read_token(path: &Path) -> Result<String, CliError> {
    let wrap = |source| CliError::TokenFile { path: path.to_owned(), source };
    let mut token = String::new();
    fs::File::open(path).and_then(|file| file.take(MAX_TOKEN).read_to_string(&mut token)).map_err(wrap)?;
    // Some editors put a byte order mark before what they save.
    let token = token.trim_start_matches('\u{feff}').trim();
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic()) {
        return Err(wrap(std::io::Error::other("the file contains no token")));
    }
    Ok(token.to_owned())
}

/// The last cause of an error: the one that says something.
fn causes(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    printable(&cause.to_string())
}

/// A problem document, or what stands in its place.
fn problem(status: StatusCode, body: &[u8]) -> Problem {
    let document: Value = serde_json::from_slice(body).unwrap_or_default();
    let field = |name: &str| document.get(name).and_then(Value::as_str).map(printable).unwrap_or_default();
    let title = Some(field("title")).filter(|title| !title.is_empty());
    let title = title.unwrap_or_else(|| status.canonical_reason().unwrap_or_default().to_owned());
    Problem { status: status.as_u16(), code: field("code"), title, detail: field("detail"), ..Problem::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_without_a_problem_document_is_still_told() {
        let told = problem(StatusCode::BAD_GATEWAY, b"<html>");
        let expected = Problem { status: 502, title: "Bad Gateway".to_owned(), ..Problem::default() };
        assert_eq!(told, expected);
    }

    #[test]
    fn an_id_from_the_command_line_cannot_leave_its_place_in_the_path() {
        let base = Url::parse("http://127.0.0.1:7090").expect("is a URL");
        let api = Api::new(base, Auth::Operator("t".to_owned())).expect("a client");
        let request =
            api.request(Method::GET, &["admin", "accounts", "../edges?x=1#"], &[]).build().expect("a request");
        assert_eq!(request.url().as_str(), "http://127.0.0.1:7090/admin/accounts/..%2Fedges%3Fx=1%23");
    }

    #[test]
    fn a_listener_on_every_interface_is_reached_where_the_admin_listener_is() {
        let base = Url::parse("http://tank.example.org:7090").expect("is a URL");
        let api = Api::new(base, Auth::Operator("t".to_owned())).expect("a client");
        let reached = |addr: &str| api.reachable(addr.parse().expect("an address")).to_string();
        assert_eq!(reached("0.0.0.0:7080"), "http://tank.example.org:7080/");
        assert_eq!(reached("[::]:7080"), "http://tank.example.org:7080/");
        assert_eq!(reached("10.0.0.5:7080"), "http://10.0.0.5:7080/");
    }

    #[test]
    fn a_token_file_that_holds_no_token_is_told() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("admin.token");
        assert!(read_token(&path).is_err());
        fs::write(&path, "two words\n").expect("written");
        assert!(read_token(&path).is_err());
        fs::write(&path, "gta_secret\n").expect("written");
        assert_eq!(read_token(&path).expect("a token"), "gta_secret");
    }
}
