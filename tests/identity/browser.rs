//! A browser as far as sign-in needs one: it keeps cookies, and follows redirects one by one.

use std::collections::BTreeMap;

use reqwest::{Client, Method, RequestBuilder, Url, header, redirect::Policy};

/// A browser without a screen.
pub(super) struct Browser {
    http: Client,
    pub(super) cookies: BTreeMap<String, String>,
}

/// What a page or a redirect is.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) status: u16,
    pub(super) to: String,
    pub(super) page: String,
}

impl Browser {
    pub(super) fn new() -> Self {
        // A connection is not used again: another process may listen at its port by then.
        let http = Client::builder().no_proxy().tls_certs_only([]).redirect(Policy::none()).pool_max_idle_per_host(0);
        let http = http.build().expect("a client");
        Self { http, cookies: BTreeMap::new() }
    }

    pub(super) async fn get(&mut self, url: &str) -> Seen {
        self.ask(Method::GET, url, None, "none").await
    }

    /// With these headers besides, each of this value.
    pub(super) async fn get_as(&mut self, url: &str, headers: &[&str], value: &str) -> Seen {
        let mut request = self.http.get(url).header("sec-fetch-site", "none");
        for name in headers {
            request = request.header(*name, value);
        }
        self.send(url, request).await
    }

    /// Sends a form from a page of the same origin.
    pub(super) async fn post(&mut self, url: &str, form: &[(&str, &str)]) -> Seen {
        self.post_from("same-origin", url, form).await
    }

    /// Sends a form from a page of this `site`.
    pub(super) async fn post_from(&mut self, site: &str, url: &str, form: &[(&str, &str)]) -> Seen {
        let mut body = Url::parse("form:").expect("a URL");
        body.query_pairs_mut().extend_pairs(form);
        self.ask(Method::POST, url, Some(body.query().unwrap_or_default().to_owned()), site).await
    }

    async fn ask(&mut self, method: Method, url: &str, form: Option<String>, site: &str) -> Seen {
        let mut request = self.http.request(method, url).header("sec-fetch-site", site);
        if let Some(form) = form {
            request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded").body(form);
        }
        self.send(url, request).await
    }

    async fn send(&mut self, url: &str, mut request: RequestBuilder) -> Seen {
        let cookies: Vec<_> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let response = request.send().await.expect("an answer");
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let text = cookie.to_str().expect("text");
            let (name, value) = text.split(';').next().and_then(|pair| pair.split_once('=')).expect("a pair");
            // Others' cookies come here too: for a browser, all services on this machine are one host.
            let ours = name.starts_with("__Host-");
            assert!(!ours || text.contains("; Path=/; Secure; HttpOnly; SameSite=Lax"), "{text}");
            if value.is_empty() || text.ends_with("Max-Age=0") || text.contains("1970") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let to = response.headers().get(header::LOCATION).map_or("", |to| to.to_str().expect("text"));
        let to =
            if to.is_empty() { String::new() } else { Url::parse(url).expect("a URL").join(to).expect("a URL").into() };
        let status = response.status().as_u16();
        Seen { status, to, page: super::body(response).await }
    }

    /// Begins a sign-in with the development provider; answers where the provider asks for a name.
    pub(super) async fn begin(&mut self, service: &str, query: &str) -> String {
        let begun = self.get(&format!("{service}/sign-in{query}")).await;
        assert_eq!(begun.status, 303, "{begun:?}");
        begun.to
    }

    /// Types a name there; answers where the page that comes then goes on to.
    pub(super) async fn type_name(&mut self, service: &str, asked: &str, name: &str) -> String {
        let request = asked.split_once('?').expect("a query").1;
        let typed =
            self.post(&format!("{service}/development/authorize"), &[("request", request), ("name", name)]).await;
        assert_eq!(typed.status, 200, "{typed:?}");
        let (_, rest) = typed.page.split_once("content=\"0;url=").expect("a page that goes on");
        rest.split('"').next().unwrap_or_default().replace("&#38;", "&")
    }

    /// Signs somebody in; answers where the browser is sent then.
    pub(super) async fn sign_in(&mut self, service: &str, query: &str, name: &str) -> String {
        let asked = self.begin(service, query).await;
        let callback = self.type_name(service, &asked, name).await;
        let back = self.get(&callback).await;
        assert_eq!(back.status, 303, "{back:?}");
        back.to
    }

    /// The token of this browser's forms.
    pub(super) async fn csrf(&mut self, service: &str) -> String {
        let page = self.get(&format!("{service}/account")).await.page;
        let (_, rest) = page.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split('"').next().unwrap_or_default().to_owned()
    }
}
