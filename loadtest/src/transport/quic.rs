//! QUIC connections: datagrams by themselves (ALPN `gastank/1`), or inside a WebTransport session (ALPN `h3`).

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use bytes::{BufMut, Bytes, BytesMut};
use gastank::wire::FRAME_LEN;
use quinn::{
    ClientConfig, Connection, Endpoint, EndpointConfig, IdleTimeout, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicClientConfig,
};
use socket2::{Domain, Protocol as IpProtocol, Socket, Type};

use super::{
    Answer, Message, Reply, Route, SendError,
    driver::Inbox,
    links::{Protocol, Serving},
    webtransport,
};
use crate::verify::claimed_seq;

/// How large socket buffers are asked for: a burst of one datagram for each of 2,000 connections does not fit the default.
const SOCKET_BUFFER: usize = 4 << 20;
/// After how long without a packet a connection is over, if the server does not say less.
const IDLE: Duration = Duration::from_secs(300);
/// How many connections share a socket.
const PER_SOCKET: usize = 256;

/// Opens QUIC connections.
pub(super) struct Dialler {
    endpoints: Vec<Endpoint>,
    next: AtomicUsize,
    config: ClientConfig,
    server: SocketAddr,
    name: String,
}

impl Dialler {
    /// A dialler for this route that speaks `alpn`. To be called inside a runtime.
    pub(super) fn new(route: &Route, alpn: &[u8]) -> anyhow::Result<Self> {
        let trust = route.trust.as_ref().context("QUIC cannot be without TLS")?;
        let tls = QuicClientConfig::try_from(trust.client(&[alpn])?)?;
        let mut config = ClientConfig::new(Arc::new(tls));
        let mut transport = TransportConfig::default();
        transport
            .max_idle_timeout(Some(IdleTimeout::try_from(IDLE)?))
            .datagram_receive_buffer_size(Some(1 << 20))
            .max_concurrent_bidi_streams(VarInt::from_u32(16));
        config.transport_config(Arc::new(transport));
        let sockets = route.connections.div_ceil(PER_SOCKET).max(1);
        let endpoints = (0..sockets).map(|_| endpoint(route.server)).collect::<anyhow::Result<_>>()?;
        Ok(Self { endpoints, next: AtomicUsize::new(0), config, server: route.server, name: host(&route.name) })
    }

    pub(super) async fn dial(&self) -> anyhow::Result<Connection> {
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let endpoint = &self.endpoints[turn % self.endpoints.len()];
        Ok(endpoint.connect_with(self.config.clone(), self.server, &self.name)?.await?)
    }

    /// Closes all connections, and waits until the server has been told.
    pub(super) async fn farewell(&self) {
        self.endpoints.iter().for_each(|endpoint| endpoint.close(VarInt::from_u32(0), b""));
        for endpoint in &self.endpoints {
            endpoint.wait_idle().await;
        }
    }
}

fn endpoint(server: SocketAddr) -> anyhow::Result<Endpoint> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = Socket::new(Domain::for_address(server), Type::DGRAM, Some(IpProtocol::UDP))?;
    // The system may grant less; then bursts may be lost here, and `lost` tells.
    socket.set_recv_buffer_size(SOCKET_BUFFER)?;
    socket.set_send_buffer_size(SOCKET_BUFFER)?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(Endpoint::new(EndpointConfig::default(), None, socket.into(), Arc::new(TokioRuntime))?)
}

/// The host of `host:port`, as TLS wants to have it.
pub(super) fn host(name: &str) -> String {
    let host = match name.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) && !host.ends_with(':') => host,
        _ => name,
    };
    host.trim_start_matches('[').trim_end_matches(']').to_owned()
}

/// Heartbeats as datagrams.
pub(super) struct Datagrams {
    dialler: Dialler,
    /// Where to open a WebTransport session; `None`: datagrams stand by themselves.
    session: Option<webtransport::Target>,
}

/// An open connection.
#[derive(Clone)]
pub(super) struct DatagramLine {
    connection: Connection,
    /// What every datagram of the session starts with.
    prefix: Bytes,
}

impl Datagrams {
    /// Bare datagrams.
    pub(super) fn bare(route: &Route) -> anyhow::Result<Self> {
        Ok(Self { dialler: Dialler::new(route, b"gastank/1")?, session: None })
    }

    /// Datagrams of a WebTransport session.
    pub(super) fn webtransport(route: &Route) -> anyhow::Result<Self> {
        Ok(Self { dialler: Dialler::new(route, b"h3")?, session: Some(webtransport::Target::new(route)) })
    }
}

impl Protocol for Datagrams {
    type Line = DatagramLine;

    async fn open(&self, inbox: &Arc<Inbox>) -> anyhow::Result<(DatagramLine, Serving)> {
        let connection = self.dialler.dial().await?;
        anyhow::ensure!(connection.max_datagram_size().is_some(), "the server takes no datagrams");
        let inbox = Arc::clone(inbox);
        let Some(target) = &self.session else {
            let line = DatagramLine { connection: connection.clone(), prefix: Bytes::new() };
            return Ok((line, Box::pin(read(connection, Bytes::new(), inbox))));
        };
        let session = target.open(&connection).await?;
        let prefix = session.prefix.clone();
        let line = DatagramLine { connection: connection.clone(), prefix: prefix.clone() };
        let serving = async move {
            tokio::select! {
                () = read(connection, prefix, inbox) => {}
                () = session.last() => {}
            }
        };
        Ok((line, Box::pin(serving)))
    }

    fn send(&self, line: &DatagramLine, _inbox: &Arc<Inbox>, _seq: u32, message: &Message) -> Result<(), SendError> {
        let Message::Frame(frame) = message else { return Err(SendError::FramesAlone) };
        let mut datagram = BytesMut::with_capacity(line.prefix.len() + FRAME_LEN);
        datagram.put_slice(&line.prefix);
        datagram.put_slice(frame);
        line.connection.send_datagram(datagram.freeze()).map_err(|_| SendError::Refused)
    }

    fn close(&self, line: DatagramLine) {
        line.connection.close(VarInt::from_u32(0), b"");
    }

    async fn farewell(&self) {
        self.dialler.farewell().await;
    }
}

/// Reads datagrams until the connection breaks.
async fn read(connection: Connection, prefix: Bytes, inbox: Arc<Inbox>) {
    while let Ok(datagram) = connection.read_datagram().await {
        let Some(bytes) = datagram.strip_prefix(&*prefix) else { continue };
        let reply = bytes.try_into().map_or(Reply::Odd, Reply::Frame);
        inbox.push(Answer { at: inbox.now(), seq: claimed_seq(bytes), reply });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_for_tls_has_neither_port_nor_brackets() {
        for (name, expected) in [
            ("127.0.0.1:7443", "127.0.0.1"),
            ("[::1]:7443", "::1"),
            ("tank.example.org", "tank.example.org"),
            ("tank.example.org:443", "tank.example.org"),
        ] {
            assert_eq!(host(name), expected);
        }
    }
}
