//! HTTP/2 and HTTP/3: many exchanges at a time on each connection.

use std::{sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use http::{Request, Response, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::{
    Answer, FRAME_TYPE, HEARTBEAT_PATH, HttpReply, Message, Reply, Route, SendError,
    driver::Inbox,
    links::{Protocol, Serving},
    quic::{Dialler, host},
    webtransport,
};

/// How long an answer's body may be: a status list is the longest.
const MAX_BODY: usize = 4 << 20;

/// HTTP/2, with TLS or with prior knowledge.
pub(super) struct Http2 {
    server: std::net::SocketAddr,
    name: Arc<str>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    give_up: Duration,
}

impl Http2 {
    pub(super) fn new(route: &Route) -> anyhow::Result<Self> {
        let tls = match &route.trust {
            Some(trust) => {
                let config = Arc::new(trust.client(&[b"h2"])?);
                Some((TlsConnector::from(config), ServerName::try_from(host(&route.name))?))
            }
            None => None,
        };
        Ok(Self { server: route.server, name: Arc::clone(&route.name), tls, give_up: route.give_up })
    }

    fn scheme(&self) -> &'static str {
        if self.tls.is_some() { "https" } else { "http" }
    }
}

impl Protocol for Http2 {
    type Line = http2::SendRequest<Full<Bytes>>;

    async fn open(&self, _inbox: &Arc<Inbox>) -> anyhow::Result<(Self::Line, Serving)> {
        let stream = TcpStream::connect(self.server).await?;
        stream.set_nodelay(true)?;
        let builder = http2::Builder::new(TokioExecutor::new());
        match &self.tls {
            None => {
                let (line, connection) = builder.handshake(TokioIo::new(stream)).await?;
                Ok((line, Box::pin(async move { drop(connection.await) })))
            }
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                let (line, connection) = builder.handshake(TokioIo::new(stream)).await?;
                Ok((line, Box::pin(async move { drop(connection.await) })))
            }
        }
    }

    fn send(&self, line: &Self::Line, inbox: &Arc<Inbox>, seq: u32, message: &Message) -> Result<(), SendError> {
        let (request, body) = request(self.scheme(), &self.name, message)?;
        let request = request.map(|()| Full::new(body));
        let mut line = line.clone();
        let exchange = async move {
            line.ready().await?;
            let response = line.send_request(request).await?;
            let (head, body) = response.into_parts();
            #[expect(clippy::disallowed_methods, reason = "no more than 4 MiB are read")]
            let body = Limited::new(body, MAX_BODY).collect().await.map_err(anyhow::Error::from_boxed)?;
            Ok(reply(&Response::from_parts(head, ()), body.to_bytes().to_vec()))
        };
        inbox.spawn(answer(Arc::clone(inbox), seq, self.give_up, exchange));
        Ok(())
    }

    fn close(&self, line: Self::Line) {
        drop(line);
    }
}

/// HTTP/3.
pub(super) struct Http3 {
    dialler: Dialler,
    name: Arc<str>,
    give_up: Duration,
}

/// An open connection.
#[derive(Clone)]
pub(super) struct Http3Line {
    connection: quinn::Connection,
    requests: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
}

impl Http3 {
    pub(super) fn new(route: &Route) -> anyhow::Result<Self> {
        let dialler = Dialler::new(route, b"h3")?;
        Ok(Self { dialler, name: Arc::clone(&route.name), give_up: route.give_up })
    }
}

impl Protocol for Http3 {
    type Line = Http3Line;

    async fn open(&self, _inbox: &Arc<Inbox>) -> anyhow::Result<(Http3Line, Serving)> {
        let connection = self.dialler.dial().await?;
        let (driving, requests) = webtransport::connect(&connection).await?;
        let line = Http3Line { connection: connection.clone(), requests };
        let serving = async move {
            connection.closed().await;
            driving.abort();
        };
        Ok((line, Box::pin(serving)))
    }

    fn send(&self, line: &Http3Line, inbox: &Arc<Inbox>, seq: u32, message: &Message) -> Result<(), SendError> {
        let (request, body) = request("https", &self.name, message)?;
        let mut requests = line.requests.clone();
        let exchange = async move {
            let mut stream = requests.send_request(request).await?;
            if !body.is_empty() {
                stream.send_data(body).await?;
            }
            stream.finish().await?;
            let response = stream.recv_response().await?;
            let mut body = Vec::new();
            while let Some(mut chunk) = stream.recv_data().await? {
                anyhow::ensure!(body.len() + chunk.remaining() <= MAX_BODY, "an answer is too long");
                let length = chunk.remaining();
                body.extend_from_slice(&chunk.copy_to_bytes(length));
            }
            Ok(reply(&response, body))
        };
        inbox.spawn(answer(Arc::clone(inbox), seq, self.give_up, exchange));
        Ok(())
    }

    fn close(&self, line: Http3Line) {
        // H3_NO_ERROR (RFC 9114, 8.1).
        line.connection.close(quinn::VarInt::from_u32(0x100), b"");
    }

    async fn farewell(&self) {
        self.dialler.farewell().await;
    }
}

async fn answer(
    inbox: Arc<Inbox>,
    seq: u32,
    give_up: Duration,
    exchange: impl Future<Output = anyhow::Result<HttpReply>>,
) {
    let reply = match tokio::time::timeout(give_up, exchange).await {
        Ok(Ok(reply)) => reply.sorted(),
        Ok(Err(_)) | Err(_) => Reply::Failed,
    };
    inbox.push(Answer { at: inbox.now(), seq: Some(seq), reply });
}

fn request(scheme: &str, name: &str, message: &Message) -> Result<(Request<()>, Bytes), SendError> {
    let refused = |_| SendError::Refused;
    let (method, path) = match message {
        Message::Frame(_) => ("POST", HEARTBEAT_PATH),
        Message::Call(call) => (call.method.name(), &*call.path),
    };
    let uri = Uri::builder().scheme(scheme).authority(name).path_and_query(path).build().map_err(refused)?;
    let mut request = Request::builder().method(method).uri(uri);
    let body = match message {
        Message::Frame(frame) => {
            request = request.header("content-type", FRAME_TYPE);
            Bytes::copy_from_slice(frame)
        }
        Message::Call(call) => {
            if let Some(value) = &call.authorization {
                request = request.header("authorization", &**value);
            }
            if let Some(value) = call.content_type {
                request = request.header("content-type", value);
            }
            Bytes::copy_from_slice(&call.body)
        }
    };
    if !body.is_empty() {
        request = request.header("content-length", body.len());
    }
    Ok((request.body(()).map_err(refused)?, body))
}

fn reply(response: &Response<()>, body: Vec<u8>) -> HttpReply {
    let retry_after = response.headers().get("retry-after");
    let retry_after_s = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
    HttpReply { status: response.status().as_u16(), retry_after_s, body }
}
