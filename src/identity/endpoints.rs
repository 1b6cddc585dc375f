//! Where a provider is asked: the endpoints that its metadata names (OpenID Connect Discovery 1.0, 4), kept for an hour.
//!
//! A provider that hangs holds up nobody who can be served without it: what was known before goes on, and is asked for anew
//! beside the sign-ins. Where nothing is known yet, everybody who waits has the outcome of one question.

use std::sync::Arc;

use parking_lot::Mutex;
use reqwest::Url;
use serde::Deserialize;
use tokio::sync::{Mutex as Gate, Semaphore};

use super::fetch::{FetchError, Fetcher, is_loopback, is_safe};
use crate::time::{Clock, MeterTime, Millis};

/// How long the provider's metadata is kept.
const KEEP: Millis = Millis::from_secs(3600);
/// How soon a provider that did not answer is asked again.
const RETRY: Millis = Millis::from_secs(1);
/// Sign-ins that wait for the provider's first answer.
const WAITING: usize = 64;

/// Where a provider is asked.
pub(super) struct Endpoints {
    pub(super) authorization: Url,
    pub(super) token: Url,
    pub(super) userinfo: Option<Url>,
    /// Its answers name it (RFC 9207).
    pub(super) names_itself: bool,
    /// It takes the client secret in `Authorization`.
    pub(super) takes_basic: bool,
}

/// The endpoints of a provider, as its metadata last named them.
pub(super) struct Directory {
    issuer: String,
    metadata: Url,
    fetcher: Fetcher,
    clock: Arc<dyn Clock>,
    known: Mutex<Known>,
    /// Held while the provider is asked.
    asking: Gate<()>,
    waiting: Semaphore,
}

/// What is known of the provider's endpoints.
#[derive(Default)]
struct Known {
    endpoints: Option<(Arc<Endpoints>, MeterTime)>,
    failed_at: Option<MeterTime>,
}

impl Known {
    fn endpoints(&self) -> Option<Arc<Endpoints>> {
        self.endpoints.as_ref().map(|(endpoints, _)| Arc::clone(endpoints))
    }

    /// Whether the provider is to be asked.
    fn is_due(&self, now: MeterTime) -> bool {
        let is_kept = self.endpoints.as_ref().is_some_and(|(_, at)| now.since(*at) < KEEP);
        !is_kept && self.failed_at.is_none_or(|at| now.since(at) >= RETRY)
    }
}

impl Directory {
    pub(super) fn new(issuer: &str, metadata: Url, fetcher: Fetcher, clock: Arc<dyn Clock>) -> Self {
        let (known, asking, waiting) = (Mutex::default(), Gate::default(), Semaphore::new(WAITING));
        Self { issuer: issuer.to_owned(), metadata, fetcher, clock, known, asking, waiting }
    }

    /// The endpoints; `None` while none are known and the provider does not answer.
    pub(super) async fn find(self: &Arc<Self>) -> Option<Arc<Endpoints>> {
        let came = self.clock.now();
        let (endpoints, is_due) = {
            let known = self.known.lock();
            (known.endpoints(), known.is_due(came))
        };
        if !is_due {
            return endpoints;
        }
        // In a task of its own: what was found out counts though a caller goes away.
        let asked = |this: Arc<Self>| tokio::spawn(async move { this.ask(came).await });
        // What was good an hour ago is better than to wait.
        if endpoints.is_some() {
            if self.asking.try_lock().is_ok() {
                drop(asked(Arc::clone(self)));
            }
            return endpoints;
        }
        let _place = self.waiting.try_acquire().ok()?;
        asked(Arc::clone(self)).await.ok()?;
        self.known.lock().endpoints()
    }

    /// Asks the provider, unless that was done since somebody came.
    async fn ask(&self, came: MeterTime) {
        let _turn = self.asking.lock().await;
        {
            let known = self.known.lock();
            // Who waited for an answer that did not come does not wait for another.
            if !known.is_due(self.clock.now()) || known.failed_at.is_some_and(|at| at > came) {
                return;
            }
        }
        let discovered = self.discover().await;
        // An answer that does not come takes seconds.
        let now = self.clock.now();
        let mut known = self.known.lock();
        match discovered {
            Ok(endpoints) => *known = Known { endpoints: Some((Arc::new(endpoints), now)), failed_at: None },
            Err(error) => {
                tracing::warn!(%error, issuer = self.issuer, "the identity provider does not tell its endpoints");
                known.failed_at = Some(now);
            }
        }
    }

    async fn discover(&self) -> Result<Endpoints, FetchError> {
        let document = self.fetcher.get(&self.metadata).await?;
        Endpoints::read(&document.body, &self.issuer, is_loopback(&self.metadata))
    }
}

impl Endpoints {
    pub(super) fn read(document: &[u8], issuer: &str, may_be_loopback: bool) -> Result<Self, FetchError> {
        #[derive(Deserialize)]
        struct Metadata {
            issuer: String,
            authorization_endpoint: String,
            token_endpoint: String,
            userinfo_endpoint: Option<String>,
            #[serde(default)]
            authorization_response_iss_parameter_supported: bool,
            token_endpoint_auth_methods_supported: Option<Vec<String>>,
        }
        let metadata: Metadata = serde_json::from_slice(document)
            .map_err(|_| FetchError::Malformed("its metadata has no authorization or token endpoint"))?;
        if metadata.issuer != issuer {
            return Err(FetchError::Malformed("the metadata is another issuer's"));
        }
        // A provider elsewhere has no business to send us to a service on this machine.
        let url = |text: &str| {
            let url = Url::parse(text).ok().filter(|url| is_safe(url) && (may_be_loopback || !is_loopback(url)));
            url.ok_or(FetchError::Malformed("an endpoint is not an HTTPS URL"))
        };
        // `client_secret_basic` is what is meant where nothing is said (Discovery 1.0, 3).
        let methods = metadata.token_endpoint_auth_methods_supported;
        Ok(Self {
            authorization: url(&metadata.authorization_endpoint)?,
            token: url(&metadata.token_endpoint)?,
            userinfo: metadata.userinfo_endpoint.as_deref().map(url).transpose()?,
            names_itself: metadata.authorization_response_iss_parameter_supported,
            takes_basic: methods.is_none_or(|methods| methods.iter().any(|one| one == "client_secret_basic")),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpStream},
        sync::mpsc,
    };

    use super::*;
    use crate::time::{FakeClock, UnixMs};

    /// A provider that a test answers for, question by question.
    async fn provider() -> (Arc<Directory>, Arc<FakeClock>, mpsc::Receiver<TcpStream>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let (send, asked) = mpsc::channel(16);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = stream.read(&mut [0; 4096]).await;
                if send.send(stream).await.is_err() {
                    return;
                }
            }
        });
        let url = Url::parse(&issuer).unwrap();
        let clock = Arc::new(FakeClock::new(MeterTime::from_ms(0), UnixMs::from_ms(0)));
        let fetcher = Fetcher::new(&url).unwrap();
        let directory = Directory::new(&issuer, url, fetcher, Arc::<FakeClock>::clone(&clock) as Arc<dyn Clock>);
        (Arc::new(directory), clock, asked, issuer)
    }

    async fn answer(mut to: TcpStream, status: u16, body: &str) {
        let head = format!("HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
        to.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    }

    fn metadata(issuer: &str, at: &str) -> String {
        let (authorization, token) = (format!("{issuer}/{at}"), format!("{issuer}/token"));
        json!({"issuer": issuer, "authorization_endpoint": authorization, "token_endpoint": token}).to_string()
    }

    fn in_background(directory: &Arc<Directory>) -> tokio::task::JoinHandle<bool> {
        let directory = Arc::clone(directory);
        tokio::spawn(async move { directory.find().await.is_some() })
    }

    #[tokio::test]
    async fn all_who_wait_for_a_provider_that_hangs_have_one_outcome() {
        let (directory, clock, mut asked, _) = provider().await;
        let waiting: Vec<_> = (0..3).map(|_| in_background(&directory)).collect();
        let question = asked.recv().await.unwrap();
        // As long as an answer may take.
        clock.advance(Millis::from_secs(5));
        answer(question, 503, "").await;
        for found in waiting {
            assert!(!found.await.unwrap());
        }
        assert!(directory.find().await.is_none(), "it has just been asked");
        assert!(asked.try_recv().is_err(), "once");
    }

    #[tokio::test]
    async fn what_was_known_goes_on_while_the_provider_hangs() {
        let (directory, clock, mut asked, issuer) = provider().await;
        let first = in_background(&directory);
        answer(asked.recv().await.unwrap(), 200, &metadata(&issuer, "old")).await;
        assert!(first.await.unwrap());
        clock.advance(KEEP);
        for _ in 0..3 {
            assert_eq!(directory.find().await.unwrap().authorization.path(), "/old");
        }
        // It was not waited for, and its answer counts when it comes.
        answer(asked.recv().await.unwrap(), 200, &metadata(&issuer, "new")).await;
        let new = async {
            while directory.find().await.unwrap().authorization.path() != "/new" {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(30), new).await.expect("the new endpoints");
        assert!(asked.try_recv().is_err(), "it was asked once");
    }

    #[test]
    fn metadata_of_another_issuer_or_with_an_unsafe_endpoint_is_refused() {
        let read = |change: &dyn Fn(&mut Value)| {
            let mut metadata = json!({
                "issuer": "https://id.example",
                "authorization_endpoint": "https://id.example/auth",
                "token_endpoint": "https://id.example/token",
            });
            change(&mut metadata);
            Endpoints::read(metadata.to_string().as_bytes(), "https://id.example", false).is_ok()
        };
        assert!(read(&|_| {}));
        assert!(!read(&|metadata| metadata["issuer"] = json!("https://id.example/")));
        assert!(!read(&|metadata| metadata["token_endpoint"] = json!("http://id.example/token")));
        assert!(!read(&|metadata| metadata["token_endpoint"] = json!("https://127.0.0.1/token")));
        assert!(!read(&|metadata| metadata["userinfo_endpoint"] = json!("javascript:1")));
        assert!(!read(&|metadata| metadata["authorization_endpoint"] = json!(null)));
    }
}
