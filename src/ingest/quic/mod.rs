//! QUIC: one endpoint, three kinds of guests.
//!
//! What a connection speaks is told by its ALPN: [`frames`] in datagrams (`gastank/1`), or [`h3`], which also carries
//! WebTransport sessions of browsers. Every frame goes to the same [`Handler`] and every request to the same
//! [`Site`] as those of the other transports.

mod admission;
mod bounded;
mod datagram;
mod frames;
mod h3;
mod origin;
mod setup;
mod webtransport;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{Connecting, Connection, Endpoint, Incoming, VarInt, crypto::rustls::HandshakeData};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    peer::Peer,
    telemetry::{Arrival, QuicProtocol, Telemetry},
    tls::Certificates,
};

use super::{
    Handler,
    http::{Fallback, Site},
};
use admission::{Door, Greeting, Guest, Turned};
use frames::Desk;

pub use admission::Room;
pub use origin::{Origins, OriginsError};
pub use webtransport::{PATH as WEBTRANSPORT_PATH, SessionLimits};

/// The protocol of bare frames.
pub const FRAMES: &[u8] = b"gastank/1";
/// HTTP/3.
pub const HTTP_3: &[u8] = b"h3";
/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Stops whose end is being committed at the same time; further ones are left unanswered, and their clients retry.
const SETTLING: usize = 1024;
/// How long what was said last is given to leave, before connections are closed.
const LAST_WORDS: Duration = Duration::from_millis(50);
/// How long peers are given to take notice that connections are closed.
const FAREWELL: Duration = Duration::from_millis(500);
/// What connections of frames are closed with: the service stops, or a handshake took too long.
const GOING: VarInt = VarInt::from_u32(0);

/// What the listener allows.
#[derive(Clone, Debug)]
pub struct QuicLimits {
    /// Connections and handshakes.
    pub room: Room,
    /// How long a connection may be silent.
    pub idle: Duration,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long an HTTP/3 connection may stay open without a request.
    pub http_idle: Duration,
    /// Bytes that a request's body may have.
    pub max_body_bytes: usize,
    /// Bytes of the socket's buffers that are asked for.
    pub buffer_bytes: usize,
    /// WebTransport sessions.
    pub sessions: SessionLimits,
}

/// A bound QUIC listener.
pub struct Listener {
    endpoint: Endpoint,
    buffers: Buffers,
    limits: QuicLimits,
    telemetry: Telemetry,
}

/// Bytes of a socket's buffers, as the kernel granted them.
#[derive(Clone, Copy, Debug)]
pub struct Buffers {
    /// For what comes.
    pub receive: usize,
    /// For what goes.
    pub send: usize,
}

/// What all connections of the listener share.
struct Hall<F> {
    desk: Arc<Desk>,
    site: Arc<Site<F>>,
    limits: QuicLimits,
    /// Places for WebTransport sessions.
    sessions: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Listener {
    /// Binds `addr`. Must be called in a runtime.
    ///
    /// # Errors
    ///
    /// Those of the system, when the address cannot be bound.
    pub fn bind(
        addr: SocketAddr,
        limits: QuicLimits,
        certificates: &Arc<Certificates>,
        telemetry: Telemetry,
    ) -> io::Result<Self> {
        let (endpoint, buffers) = setup::bind(addr, &limits, certificates)?;
        Ok(Self { endpoint, buffers, limits, telemetry })
    }

    /// The address that was bound.
    ///
    /// # Errors
    ///
    /// Those of the system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The buffers that the kernel granted.
    pub const fn buffers(&self) -> Buffers {
        self.buffers
    }

    /// Serves connections until told to stop. Then nobody new is let in, requests and stops under way finish, and all
    /// connections are closed.
    pub async fn run<F: Fallback>(self, handler: Arc<Handler>, site: Arc<Site<F>>, stop: CancellationToken) {
        let work = TaskTracker::new();
        let settling = Arc::new(Semaphore::new(SETTLING));
        let desk = Arc::new(Desk { handler, telemetry: self.telemetry.clone(), settling, work: work.clone() });
        let sessions = Arc::new(Semaphore::new(self.limits.sessions.in_all));
        let door = Door::new(self.limits.room);
        let hall = Arc::new(Hall { desk, site, limits: self.limits, sessions, stop: stop.clone() });
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let incoming = tokio::select! {
                () = &mut stopped => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            admit(incoming, &door, &hall, &work);
        }
        // From now on whoever comes is refused; the endpoint itself still serves who is here.
        self.endpoint.set_server_config(None);
        work.close();
        work.wait().await;
        tokio::time::sleep(LAST_WORDS).await;
        self.endpoint.close(GOING, b"");
        drop(tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await);
    }
}

/// Lets a connection in, or turns it away.
fn admit<F: Fallback>(incoming: Incoming, door: &Arc<Door>, hall: &Arc<Hall<F>>, work: &TaskTracker) {
    let telemetry = &hall.desk.telemetry;
    let from = Peer(incoming.remote_address()).network();
    let proven = incoming.remote_address_validated();
    let (guest, greeting) = match door.enter(from, proven) {
        Ok(entered) => entered,
        Err(Turned::Prove) => {
            telemetry.quic_arrivals(Arrival::Retry).increment(1);
            // Only one whose address is proven cannot be asked to prove it.
            drop(incoming.retry());
            return;
        }
        Err(why) => {
            let arrival = match why {
                Turned::Full | Turned::Prove => Arrival::Full,
                Turned::Address => Arrival::Address,
                Turned::Handshakes => Arrival::Handshakes,
            };
            telemetry.quic_arrivals(arrival).increment(1);
            incoming.refuse();
            return;
        }
    };
    telemetry.quic_handshakes(door.handshakes());
    match incoming.accept() {
        Ok(connecting) => {
            let (hall, door, work) = (Arc::clone(hall), Arc::clone(door), work.clone());
            tokio::spawn(async move {
                let greeted = tokio::time::timeout(HANDSHAKE, greet(connecting, guest, greeting, &hall, &work)).await;
                let arrival = if greeted == Ok(true) { Arrival::Admitted } else { Arrival::Failed };
                hall.desk.telemetry.quic_arrivals(arrival).increment(1);
                hall.desk.telemetry.quic_handshakes(door.handshakes());
            });
        }
        Err(_) => telemetry.quic_arrivals(Arrival::Failed).increment(1),
    }
}

/// Goes through the handshake with a guest, and shows it to where it is served. Whether it came that far.
async fn greet<F: Fallback>(
    mut connecting: Connecting,
    guest: Guest,
    _greeting: Greeting,
    hall: &Arc<Hall<F>>,
    work: &TaskTracker,
) -> bool {
    match protocol(&mut connecting).await.as_deref() {
        Some(FRAMES) => {
            // Frames are answered from the first packet on, before the handshake is done: see `frames`.
            let Ok((connection, done)) = connecting.into_0rtt() else { return false };
            let (desk, counted) = (Arc::clone(&hall.desk), hall.desk.telemetry.quic_opened(QuicProtocol::Frames));
            let given_up = CloseOnDrop(Some(connection.clone()));
            tokio::spawn(async move {
                frames::serve(&connection, &desk).await;
                drop((counted, guest));
            });
            done.await;
            given_up.keep()
        }
        Some(HTTP_3) => {
            // Requests in early data are read when the handshake is done, which who repeats them cannot bring about.
            let Ok(connection) = connecting.await else { return false };
            let (hall, counted) = (Arc::clone(hall), hall.desk.telemetry.quic_opened(QuicProtocol::Http3));
            work.spawn(async move {
                h3::serve(connection, hall).await;
                drop((counted, guest));
            });
            true
        }
        _ => false,
    }
}

/// The protocol that a connection was agreed to speak.
async fn protocol(connecting: &mut Connecting) -> Option<Vec<u8>> {
    let data = connecting.handshake_data().await.ok()?;
    data.downcast::<HandshakeData>().ok()?.protocol
}

/// Closes a connection whose handshake is given up.
struct CloseOnDrop(Option<Connection>);

impl CloseOnDrop {
    /// The handshake is over. Whether the connection is there still.
    fn keep(mut self) -> bool {
        self.0.take().is_some_and(|connection| connection.close_reason().is_none())
    }
}

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        if let Some(connection) = &self.0 {
            connection.close(GOING, b"");
        }
    }
}

/// For the fuzzer: reads bytes as a datagram and as capsules of WebTransport. Whether they close a session.
#[cfg(fuzzing)]
pub fn fuzz(bytes: &[u8]) -> bool {
    datagram::fuzz(bytes)
}
