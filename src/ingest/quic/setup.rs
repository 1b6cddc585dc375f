//! The socket and the figures of QUIC.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{
    Endpoint, EndpointConfig, IdleTimeout, ServerConfig, TokioRuntime, TransportConfig, VarInt,
    crypto::rustls::QuicServerConfig,
};
use socket2::{Domain, Protocol, Socket, Type};

use crate::tls::Certificates;

use super::limits::{Buffers, FRAMES, HTTP_3, QuicLimits};

/// Streams that a peer may have open at a time, in both directions: requests of HTTP/3, sessions of WebTransport.
const STREAMS: u32 = 32;
/// Streams of a peer in one direction. HTTP/3 needs three.
const ONE_WAY_STREAMS: u32 = 8;
/// Bytes of one stream that a peer may send before they are read.
const STREAM_WINDOW: u32 = 16 << 10;
/// The same of all streams together.
const WINDOW: u32 = 128 << 10;
/// Bytes that are sent and not acknowledged, at most.
const SEND_WINDOW: u64 = 128 << 10;
/// Bytes of datagrams that wait to be read or to be sent: some 300 frames.
const DATAGRAMS: usize = 16 << 10;
/// Connections that ask to be let in and have not been looked at.
const KNOCKING: usize = 4096;
/// Bytes that each of those, and all together, may send meanwhile.
const KNOCKING_BYTES: (u64, u64) = (16 << 10, 16 << 20);

/// Binds a socket and begins to speak QUIC there.
pub(super) fn bind(
    addr: SocketAddr,
    limits: &QuicLimits,
    certificates: &Arc<Certificates>,
) -> io::Result<(Endpoint, Buffers)> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    // The kernel grants what it is allowed to; what that was is told. Small buffers lose bursts.
    socket.set_recv_buffer_size(limits.buffer_bytes)?;
    socket.set_send_buffer_size(limits.buffer_bytes)?;
    socket.bind(&addr.into())?;
    let buffers = Buffers { receive: socket.recv_buffer_size()?, send: socket.send_buffer_size()? };
    let (endpoint, config) = (EndpointConfig::default(), server_config(limits, certificates));
    let endpoint = Endpoint::new(endpoint, Some(config), socket.into(), Arc::new(TokioRuntime))?;
    Ok((endpoint, buffers))
}

fn server_config(limits: &QuicLimits, certificates: &Arc<Certificates>) -> ServerConfig {
    let tls = certificates.for_quic(&[FRAMES, HTTP_3]);
    let tls = QuicServerConfig::try_from(tls).expect("the provider has the suite that QUIC begins with");
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config
        .transport_config(Arc::new(transport(limits.idle)))
        .migration(true)
        .max_incoming(KNOCKING)
        .incoming_buffer_size(KNOCKING_BYTES.0)
        .incoming_buffer_size_total(KNOCKING_BYTES.1);
    config
}

fn transport(idle: Duration) -> TransportConfig {
    let idle = IdleTimeout::try_from(idle).expect("the configuration allows hours, not ages");
    let mut transport = TransportConfig::default();
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(ONE_WAY_STREAMS))
        .max_idle_timeout(Some(idle))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(Some(DATAGRAMS))
        .datagram_send_buffer_size(DATAGRAMS);
    transport
}
