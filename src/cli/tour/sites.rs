//! The landing page and the shop of the demo, each on an origin of its own, and the app that opens both.
//!
//! The pages are those of `deploy/demo`, in which the scripts come from the service. In place of an app, the sites hand out links
//! with a fresh package of the person's earner token, and say what the heartbeats of the demo's client have told of the tank. In
//! place of a shop platform, they sign what was bought and refunded, and tell the service.
//!
//! Security considerations. They listen on the loopback interface, for one person, for as long as the demo lasts, and answer only
//! requests for their own address: a page elsewhere whose name leads here is refused. What changes anything takes JSON, which no
//! page of another origin sends without being asked first.

use std::{io, net::SocketAddr, sync::Arc};

use aws_lc_rs::hmac;
use axum::{
    Router,
    extract::{DefaultBodyLimit, Path, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;
use tokio::{
    net::TcpListener,
    sync::{mpsc, watch},
};

use crate::time::{Clock, MeterClock};

/// The shop's name towards the service.
pub(super) const SHOP: &str = "shop.demo.invalid";
/// Bytes of what the shop's page sends.
const MOST_BYTES: usize = 64 * 1024;
/// The pages, and what they load.
const FILES: [(&str, &str, &str); 6] = [
    ("landing.html", include_str!("../../../deploy/demo/landing.html"), HTML),
    ("shop.html", include_str!("../../../deploy/demo/shop.html"), HTML),
    ("demo.css", include_str!("../../../deploy/demo/demo.css"), "text/css; charset=utf-8"),
    ("landing.js", include_str!("../../../deploy/demo/landing.js"), SCRIPT),
    ("shop.js", include_str!("../../../deploy/demo/shop.js"), SCRIPT),
    ("app.js", include_str!("../../../deploy/demo/app.js"), SCRIPT),
];
const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What the demo's client knows of the tank.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tank {
    /// Whether a session is open.
    pub(super) runs: bool,
    /// What is left, in seconds.
    pub(super) remaining_s: u64,
}

/// The listeners of both sites: they have addresses before the service is configured.
pub(super) struct Listeners {
    news: TcpListener,
    shop: TcpListener,
    pub(super) addresses: Addresses,
}

/// Where the sites are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) news: SocketAddr,
    pub(super) shop: SocketAddr,
}

/// What the sites work with.
pub(super) struct Parts {
    /// Where the service is.
    pub(super) service: SocketAddr,
    /// What the shop signs with.
    pub(super) secret: String,
    /// The person's earner token.
    pub(super) earner: String,
    /// What the client knows of the tank.
    pub(super) tank: watch::Receiver<Tank>,
    /// Has the client activate again.
    pub(super) activate: mpsc::Sender<()>,
}

struct Sites {
    parts: Parts,
    addresses: Addresses,
    http: reqwest::Client,
}

/// A site, and all of them.
#[derive(Clone)]
struct Site {
    address: SocketAddr,
    /// What is at `/`.
    home: &'static str,
    sites: Arc<Sites>,
}

impl Listeners {
    pub(super) async fn bind() -> io::Result<Self> {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let (news, shop) = (TcpListener::bind(any).await?, TcpListener::bind(any).await?);
        let addresses = Addresses { news: news.local_addr()?, shop: shop.local_addr()? };
        Ok(Self { news, shop, addresses })
    }

    /// Serves both sites until they are dropped.
    pub(super) async fn serve(self, parts: Parts) -> io::Result<()> {
        let Self { news, shop, addresses } = self;
        let sites = Arc::new(Sites { parts, addresses, http: reqwest::Client::new() });
        let site = |address, home| Site { address, home, sites: Arc::clone(&sites) };
        let news = axum::serve(news, router(site(addresses.news, "landing.html")));
        let shop = axum::serve(shop, router(site(addresses.shop, "shop.html")));
        tokio::try_join!(news.into_future(), shop.into_future()).map(|_| ())
    }
}

fn router(site: Site) -> Router {
    Router::new()
        .route("/", get(home))
        .route("/{file}", get(file))
        .route("/app/open/{site}", get(open))
        .route("/app/tank", get(tank).post(activate))
        .route("/webhooks/orders/paid", post(paid))
        .route("/webhooks/refunds/create", post(refunded))
        .layer(DefaultBodyLimit::max(MOST_BYTES))
        .layer(from_fn_with_state(site.clone(), guard))
        .with_state(site)
}

/// Refuses what is not for this address, and what is to change something and is no JSON.
async fn guard(State(site): State<Site>, request: Request, next: Next) -> Response {
    const PLAIN: [(HeaderName, &str); 2] =
        [(header::CACHE_CONTROL, "no-store"), (header::X_CONTENT_TYPE_OPTIONS, "nosniff")];
    let (is_ours, is_json) = {
        let is = |name: HeaderName, value: &str| request.headers().get(name).is_some_and(|found| found == value);
        (is(header::HOST, &site.address.to_string()), is(header::CONTENT_TYPE, "application/json"))
    };
    if !is_ours {
        return StatusCode::MISDIRECTED_REQUEST.into_response();
    }
    if request.method().is_safe() || is_json {
        return (PLAIN, next.run(request).await).into_response();
    }
    StatusCode::UNSUPPORTED_MEDIA_TYPE.into_response()
}

async fn home(State(site): State<Site>) -> Response {
    site.file(site.home)
}

async fn file(State(site): State<Site>, Path(name): Path<String>) -> Response {
    site.file(&name)
}

/// Opens a page as an app does: with a package of this moment.
async fn open(State(site): State<Site>, Path(name): Path<String>) -> Response {
    let Addresses { news, shop } = site.sites.addresses;
    let address = match name.as_str() {
        "news" => news,
        "shop" => shop,
        _ => return StatusCode::NOT_FOUND.into_response(),
    };
    let now = i64::try_from(MeterClock::resume(None).wall().as_ms()).unwrap_or(i64::MAX);
    let Ok(now) = Timestamp::from_millisecond(now) else { return StatusCode::INTERNAL_SERVER_ERROR.into_response() };
    let package = json!({"timestamp": format!("{now:.3}"), "tokens": site.sites.parts.earner});
    let url = format!("http://{address}/#psicash={}", URL_SAFE_NO_PAD.encode(package.to_string()));
    (StatusCode::SEE_OTHER, [(header::LOCATION, url)]).into_response()
}

/// What an app shows of the tank.
async fn tank(State(site): State<Site>) -> impl IntoResponse {
    let Tank { runs, remaining_s } = *site.sites.parts.tank.borrow();
    axum::Json(json!({"runs": runs, "remaining_s": remaining_s}))
}

async fn activate(State(site): State<Site>) -> StatusCode {
    // Where it is asked for already, it is not asked for twice.
    let _asked_either_way = site.sites.parts.activate.try_send(());
    StatusCode::ACCEPTED
}

async fn paid(State(site): State<Site>, body: Bytes) -> StatusCode {
    site.sites.deliver("orders/paid", body).await
}

async fn refunded(State(site): State<Site>, body: Bytes) -> StatusCode {
    site.sites.deliver("refunds/create", body).await
}

impl Site {
    fn file(&self, name: &str) -> Response {
        let Some((_, text, kind)) = FILES.iter().find(|(known, ..)| *known == name) else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
        if *kind != HTML {
            return (headers, *text).into_response();
        }
        // The sites lead to each other as the app does, and the scripts are the service's.
        let text = text
            .replace("src=\"/", &format!("src=\"http://{}/", self.sites.parts.service))
            .replace("href=\"landing.html\"", "href=\"/app/open/news\" rel=\"noreferrer\"")
            .replace("href=\"shop.html\"", "href=\"/app/open/shop\" rel=\"noreferrer\"");
        (headers, text).into_response()
    }
}

impl Sites {
    /// Tells the service as Shopify does.
    async fn deliver(&self, topic: &'static str, body: Bytes) -> StatusCode {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.parts.secret.as_bytes());
        let signature = STANDARD.encode(hmac::sign(&key, &body));
        let request = self
            .http
            .post(format!("http://{}/hooks/shopify", self.parts.service))
            .header(header::CONTENT_TYPE, "application/json")
            .header("x-shopify-topic", topic)
            .header("x-shopify-shop-domain", SHOP)
            .header("x-shopify-hmac-sha256", signature)
            .timeout(std::time::Duration::from_secs(5))
            .body(body);
        request.send().await.map_or(StatusCode::BAD_GATEWAY, |answer| answer.status())
    }
}
