//! How messages travel.
//!
//! A transport belongs to one lane and lives in its thread. It sends without waiting and hands over whatever has come
//! back; it believes nothing it receives. A further transport is one more file here and one more arm in [`open`].

mod calls;
mod driver;
mod http1;
mod links;
mod poll;
mod quic;
mod tls;
mod types;
mod udp;
mod webtransport;

use crate::clock::Clock;

use calls::{Http2, Http3};
use links::Links;
use quic::Datagrams;

pub use http1::Http1Transport;
pub use tls::{Trust, TrustError};
pub use types::{
    Answer, Call, FRAME_TYPE, HEARTBEAT_PATH, HttpReply, Message, Method, Reply, Route, SendError, Tally, Transport,
    TransportKind,
};
pub use udp::UdpTransport;
pub(crate) use webtransport::Target as SessionTarget;

/// Opens a lane's transport. To be called in the lane's own thread.
///
/// # Errors
///
/// The system's, and what the server's end of a handshake says.
pub fn open(clock: Clock, route: &Route) -> anyhow::Result<Box<dyn Transport>> {
    Ok(match route.kind {
        TransportKind::Udp => Box::new(UdpTransport::new(clock, route.server, route.connections)?),
        TransportKind::Http1 => Box::new(Http1Transport::new(clock, route)?),
        TransportKind::Quic => Box::new(Links::open(clock, route.connections, || Datagrams::bare(route))?),
        TransportKind::WebTransport => {
            Box::new(Links::open(clock, route.connections, || Datagrams::webtransport(route))?)
        }
        TransportKind::Http2 => Box::new(Links::open(clock, route.connections, || Http2::new(route))?),
        TransportKind::Http3 => Box::new(Links::open(clock, route.connections, || Http3::new(route))?),
    })
}
