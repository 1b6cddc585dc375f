//! The sockets that the service listens on.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::{
    config::Config,
    ingest::{
        http::{self, HttpLimits},
        quic::{self, QuicLimits},
        udp,
    },
    telemetry::{HttpListener, Telemetry, UdpListener},
    tls::Certificates,
};

use super::error::ServiceError;

pub(super) async fn listen(
    listener: HttpListener,
    name: &'static str,
    addr: SocketAddr,
    limits: HttpLimits,
    telemetry: &Telemetry,
) -> Result<http::Listener, ServiceError> {
    http::Listener::bind(addr, listener, limits, telemetry.clone()).await.map_err(|source| ServiceError::Bind {
        name,
        addr,
        source,
    })
}

pub(super) fn listen_udp(
    addr: SocketAddr,
    config: &Config,
    telemetry: &Telemetry,
) -> Result<udp::Listener, ServiceError> {
    let buffers =
        udp::Buffers { receive: config.udp.receive_buffer_bytes as usize, send: config.udp.send_buffer_bytes as usize };
    let options = udp::Options { threads: config.udp.threads as usize, buffers };
    let listener =
        udp::Listener::bind(addr, options).map_err(|source| ServiceError::Bind { name: "udp", addr, source })?;
    let (threads, granted) = (listener.threads(), listener.granted());
    telemetry.watch_udp(UdpListener::Udp, listener.local_addr().port());
    telemetry.udp_sockets(UdpListener::Udp, threads, granted.receive, granted.send);
    let udp::Granted { receive, send } = granted;
    tracing::info!(threads, receive_buffer = receive, send_buffer = send, "each UDP socket was granted these buffers");
    // Linux doubles what it is asked for.
    for (which, wanted, granted, limit) in
        [("receive", buffers.receive, receive, "net.core.rmem_max"), ("send", buffers.send, send, "net.core.wmem_max")]
    {
        if granted < wanted {
            tracing::warn!(
                wanted,
                granted,
                "the kernel grants a smaller UDP {which} buffer; raise {limit} to lose less in bursts"
            );
        }
    }
    Ok(listener)
}

pub(super) fn listen_quic(
    addr: SocketAddr,
    config: &Config,
    certificates: &Arc<Certificates>,
    telemetry: &Telemetry,
) -> Result<quic::Listener, ServiceError> {
    let wanted = config.quic.buffer_bytes as usize;
    let limits = QuicLimits {
        connections: config.quic.connections(),
        handshakes: config.quic.handshakes(),
        first_frame: config.quic.first_frame_timeout(config.heartbeat.interval()),
        idle: config.quic.idle_timeout(config.heartbeat.interval()),
        head: config.http.header_timeout(),
        http_idle: config.http.idle_timeout(),
        max_body_bytes: config.http.max_body_bytes as usize,
        buffer_bytes: wanted,
        sessions: config.webtransport.limits(),
    };
    let listener = quic::Listener::bind(addr, limits, certificates, telemetry.clone())
        .map_err(|source| ServiceError::Bind { name: "quic", addr, source })?;
    telemetry.watch_udp(UdpListener::Quic, listener.local_addr()?.port());
    let buffers = listener.buffers();
    telemetry.udp_sockets(UdpListener::Quic, 1, buffers.receive, buffers.send);
    tracing::info!(wanted, receive = buffers.receive, send = buffers.send, "buffers of the QUIC socket");
    if buffers.receive.min(buffers.send) < wanted {
        tracing::warn!("the kernel grants smaller QUIC buffers; raise net.core.rmem_max and net.core.wmem_max");
    }
    Ok(listener)
}
