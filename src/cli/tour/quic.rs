//! How the tour beats over QUIC: in datagrams, and by HTTP/3.

use bytes::{Buf, Bytes};
use h3::client::SendRequest;
use hyper::{Request, StatusCode, header};
use quinn::{ClientConfig, Connection, Endpoint, crypto::rustls::QuicClientConfig};
use std::{sync::Arc, time::Duration};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cli::CliError,
    ingest::{
        http::HEARTBEAT_PATH,
        quic::{FRAMES, HTTP_3},
    },
    tls::{self, CertHash},
    wire::FRAME_LEN,
};

pub(super) const ACK_TIMEOUT: Duration = Duration::from_secs(1);

/// A connection for frames in datagrams.
pub(super) struct Datagrams {
    connection: Connection,
    // Without it the connection is over.
    _endpoint: Endpoint,
}

/// A connection for requests.
pub(super) struct Http3 {
    requests: SendRequest<h3_quinn::OpenStreams, Bytes>,
    url: String,
    _driver: AbortOnDropHandle<()>,
    _endpoint: Endpoint,
}

impl Datagrams {
    /// Connects to the listener at `addr`, which shows a certificate with one of `hashes`, or one that this machine trusts.
    pub(super) async fn connect(addr: Option<&str>, hashes: &[CertHash]) -> Result<Self, CliError> {
        let (endpoint, connection) = connect(addr, hashes, FRAMES).await?;
        Ok(Self { connection, _endpoint: endpoint })
    }

    pub(super) fn send(&self, frame: [u8; FRAME_LEN]) -> Result<(), CliError> {
        self.connection.send_datagram(Bytes::copy_from_slice(&frame)).map_err(|error| failed(&error))
    }

    pub(super) async fn receive(&self) -> Result<Bytes, CliError> {
        self.connection.read_datagram().await.map_err(|error| failed(&error))
    }
}

impl Http3 {
    /// The same, for requests.
    pub(super) async fn connect(addr: Option<&str>, hashes: &[CertHash]) -> Result<Self, CliError> {
        let (endpoint, connection) = connect(addr, hashes, HTTP_3).await?;
        let url = format!("https://{}{HEARTBEAT_PATH}", addr.unwrap_or_default());
        let built = h3::client::builder().send_grease(false).build(h3_quinn::Connection::new(connection)).await;
        let (mut driver, requests) = built.map_err(|error| failed(&error))?;
        // How it ends is told by the requests.
        let driver = tokio::spawn(async move { drop(driver.wait_idle().await) });
        Ok(Self { requests, url, _driver: AbortOnDropHandle::new(driver), _endpoint: endpoint })
    }

    /// Posts a frame; answers what came back.
    pub(super) async fn post(&mut self, frame: [u8; FRAME_LEN]) -> Result<Vec<u8>, CliError> {
        let request = Request::post(&self.url).header(header::CONTENT_TYPE, "application/octet-stream").body(());
        let request = request.map_err(|error| failed(&error))?;
        let answered = async {
            let mut stream = self.requests.send_request(request).await?;
            stream.send_data(Bytes::copy_from_slice(&frame)).await?;
            stream.finish().await?;
            let status = stream.recv_response().await?.status();
            let mut body = Vec::new();
            while let Some(mut data) = stream.recv_data().await? {
                if body.len() + data.remaining() > FRAME_LEN {
                    break;
                }
                body.extend_from_slice(&data.copy_to_bytes(data.remaining()));
            }
            Ok::<_, h3::error::StreamError>((status, body))
        };
        match timeout(ACK_TIMEOUT, answered).await {
            Ok(Ok((StatusCode::OK, body))) => Ok(body),
            Ok(Ok((status, _))) => Err(failed(&format_args!("a heartbeat was answered with {status}"))),
            Ok(Err(error)) => Err(failed(&error)),
            Err(_) => Err(failed(&"a heartbeat was not answered in time")),
        }
    }
}

async fn connect(addr: Option<&str>, hashes: &[CertHash], protocol: &[u8]) -> Result<(Endpoint, Connection), CliError> {
    let Some(addr) = addr else {
        return Err(failed(&"the service has no QUIC listener"));
    };
    let name = addr.rsplit_once(':').map_or(addr, |(host, _)| host).trim_matches(['[', ']']);
    let peer = tokio::net::lookup_host(addr).await.map_err(|error| failed(&error))?.next();
    let peer = peer.ok_or_else(|| failed(&format_args!("{addr} has no address")))?;
    let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let endpoint = Endpoint::client(any.parse().expect("is an address")).map_err(|error| failed(&error))?;
    let tls = tls::client(hashes, &[protocol]).map_err(|error| failed(&error))?;
    let tls = QuicClientConfig::try_from(tls).map_err(|error| failed(&error))?;
    let connecting = endpoint.connect_with(ClientConfig::new(Arc::new(tls)), peer, name);
    let connecting = connecting.map_err(|error| failed(&error))?;
    let connection = timeout(ACK_TIMEOUT * 3, connecting).await.map_err(|_| failed(&"no response"))?;
    Ok((endpoint, connection.map_err(|error| failed(&error))?))
}

fn failed(why: &dyn std::fmt::Display) -> CliError {
    CliError::NotAsExpected(format!("cannot beat over QUIC: {why} (try --transport udp)"))
}
