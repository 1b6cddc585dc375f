//! The least that a POST costs with hyper: a service function that reads 48 bytes and answers 48.

use std::{convert::Infallible, net::SocketAddr};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::Incoming,
    header::{CONTENT_TYPE, HeaderValue},
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use crate::ready;

/// Which HTTP.
#[derive(Clone, Copy)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// The most that is read of a body.
const MAX_BODY: usize = 1024;
/// What every answer says.
const ANSWER: [u8; 48] = [7; 48];

/// Answers until the process is ended, on one thread for each processor.
pub(crate) fn serve(addr: SocketAddr, version: Version) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let listener = TcpListener::bind(addr).await?;
        ready::announce(listener.local_addr()?)?;
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let io = TokioIo::new(stream);
                // A client that hangs up is no error of ours.
                match version {
                    Version::Http1 => drop(http1::Builder::new().serve_connection(io, service_fn(answer)).await),
                    Version::Http2 => {
                        let builder = http2::Builder::new(TokioExecutor::new());
                        drop(builder.serve_connection(io, service_fn(answer)).await);
                    }
                }
            });
        }
    })
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    #[expect(clippy::disallowed_methods, reason = "the body is limited")]
    let body = Limited::new(request.into_body(), MAX_BODY).collect().await;
    let mut response = Response::new(Full::new(Bytes::from_static(&ANSWER)));
    if body.is_err() {
        *response.status_mut() = StatusCode::PAYLOAD_TOO_LARGE;
    }
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    Ok(response)
}
