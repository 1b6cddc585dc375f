//! The least that QUIC costs: quinn alone, which sends every datagram back; and h3 on it, which answers every POST.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Buf, Bytes};
use hyper::{Request, Response};
use quinn::{
    Endpoint, EndpointConfig, Incoming, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
    rustls::{self, pki_types::PrivateKeyDer},
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::ready;

/// What runs on QUIC.
#[derive(Clone, Copy)]
pub(crate) enum Over {
    /// Datagrams, as heartbeats travel.
    Datagrams,
    /// HTTP/3.
    Http3,
}

impl Over {
    const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Datagrams => b"gastank/1",
            Self::Http3 => b"h3",
        }
    }
}

/// Of the socket, asked for; the kernel grants what it is allowed to. Bursts of many connections need it.
const BUFFER: usize = 4 << 20;
/// The most that is read of a body.
const MAX_BODY: usize = 1024;
/// What every answer of HTTP/3 says.
const ANSWER: [u8; 48] = [7; 48];

/// Answers until the process is ended, on one thread for each processor.
pub(crate) fn serve(addr: SocketAddr, over: Over) -> anyhow::Result<()> {
    tokio::runtime::Runtime::new()?.block_on(async {
        let endpoint = endpoint(addr, over.alpn())?;
        ready::announce(endpoint.local_addr()?)?;
        while let Some(incoming) = endpoint.accept().await {
            // A client that goes away is no error of ours.
            match over {
                Over::Datagrams => drop(tokio::spawn(send_back(incoming))),
                Over::Http3 => drop(tokio::spawn(answer_posts(incoming))),
            }
        }
        Ok(())
    })
}

fn endpoint(addr: SocketAddr, alpn: &[u8]) -> anyhow::Result<Endpoint> {
    let pair = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    let key = PrivateKeyDer::try_from(pair.signing_key.serialize_der()).map_err(anyhow::Error::msg)?;
    let mut tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(vec![pair.cert.into()], key)?;
    tls.alpn_protocols = vec![alpn.to_vec()];
    let mut config = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(tls)?));
    config.transport_config(Arc::new(transport()?));
    let endpoint = Endpoint::new(EndpointConfig::default(), Some(config), bind(addr)?, Arc::new(TokioRuntime))?;
    Ok(endpoint)
}

/// The service's settings (`ingest/quic/setup.rs`): what a connection may take of memory and time.
fn transport() -> anyhow::Result<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(32))
        .max_concurrent_uni_streams(VarInt::from_u32(8))
        .max_idle_timeout(Some(Duration::from_secs(120).try_into()?))
        .stream_receive_window(VarInt::from_u32(16 << 10))
        .receive_window(VarInt::from_u32(128 << 10))
        .send_window(128 << 10)
        .datagram_receive_buffer_size(Some(16 << 10))
        .datagram_send_buffer_size(16 << 10);
    Ok(transport)
}

fn bind(addr: SocketAddr) -> io::Result<std::net::UdpSocket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(BUFFER)?;
    socket.set_send_buffer_size(BUFFER)?;
    socket.bind(&addr.into())?;
    Ok(socket.into())
}

async fn send_back(incoming: Incoming) -> anyhow::Result<()> {
    let connection = incoming.await?;
    loop {
        connection.send_datagram(connection.read_datagram().await?)?;
    }
}

async fn answer_posts(incoming: Incoming) -> anyhow::Result<()> {
    let connection = h3_quinn::Connection::new(incoming.await?);
    let mut connection = h3::server::Connection::<_, Bytes>::new(connection).await?;
    while let Some(resolver) = connection.accept().await? {
        tokio::spawn(async move {
            let (_request, mut stream): (Request<()>, _) = resolver.resolve_request().await?;
            let mut length = 0;
            while let Some(chunk) = stream.recv_data().await? {
                length += chunk.remaining();
                anyhow::ensure!(length <= MAX_BODY, "a body is too long");
            }
            let response = Response::builder().header("content-type", "application/octet-stream").body(())?;
            stream.send_response(response).await?;
            stream.send_data(Bytes::from_static(&ANSWER)).await?;
            stream.finish().await?;
            anyhow::Ok(())
        });
    }
    Ok(())
}
