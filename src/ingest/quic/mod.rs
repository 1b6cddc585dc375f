//! QUIC: one endpoint, three kinds of guests.
//!
//! What a connection speaks is told by its ALPN: [`frames`] in datagrams (`gastank/1`), or [`h3`], which also carries
//! WebTransport sessions of browsers. Every frame goes to the same [`Handler`] and every request to the same
//! [`Site`] as those of the other transports.

mod bounded;
mod datagram;
mod frames;
mod h3;
mod origin;
mod setup;
mod webtransport;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{Connecting, Connection, Endpoint, Incoming, VarInt, crypto::rustls::HandshakeData};
use tokio::{sync::Semaphore, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    telemetry::{Arrival, QuicProtocol, Telemetry},
    tls::Certificates,
    web::{
        admission::{
            Capacity, ConnectionPermit, Connections, HandshakePermit, Handshakes, Pool, Refused,
            Sessions as SessionKind,
        },
        peer::{Network, Peer},
    },
};

use super::{
    Handler,
    http::{Fallback, Site},
};
use frames::{FrameService, ValidFrames};

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
const CLOSE_DELAY: Duration = Duration::from_millis(50);
/// How long peers are given to take notice that connections are closed.
const IDLE_WAIT: Duration = Duration::from_millis(500);
/// What connections of frames are closed with: the service stops, or a handshake took too long.
const GOING: VarInt = VarInt::from_u32(0);
/// The same: no valid frame has come for too long.
const NO_FRAME: VarInt = VarInt::from_u32(1);

/// What the listener allows.
#[derive(Clone, Debug)]
pub struct QuicLimits {
    /// Connections.
    pub connections: Capacity,
    /// Handshakes under way.
    pub handshakes: Capacity,
    /// How long a connection of frames, or a WebTransport session, has to send its first valid frame.
    pub first_frame: Duration,
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

/// The state that all connections of the listener share.
struct ServerState<F> {
    service: Arc<FrameService>,
    site: Arc<Site<F>>,
    limits: QuicLimits,
    connections: Arc<Pool<Connections>>,
    handshakes: Arc<Pool<Handshakes>>,
    sessions: Arc<Pool<SessionKind>>,
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

    /// Serves connections until `stop` is cancelled. Then it refuses new connections, lets requests and stops in progress
    /// finish, and closes all connections.
    pub async fn run<F: Fallback>(self, handler: Arc<Handler>, site: Arc<Site<F>>, stop: CancellationToken) {
        let work = TaskTracker::new();
        let settling = Arc::new(Semaphore::new(SETTLING));
        let service =
            Arc::new(FrameService { handler, telemetry: self.telemetry.clone(), settling, work: work.clone() });
        let proven = Arc::clone(&site.admission.proven);
        let state = Arc::new(ServerState {
            service,
            site,
            connections: Pool::new(self.limits.connections, Arc::clone(&proven)),
            handshakes: Pool::new(self.limits.handshakes, Arc::clone(&proven)),
            sessions: Pool::new(self.limits.sessions.capacity, proven),
            limits: self.limits,
            stop: stop.clone(),
        });
        let mut stopped = std::pin::pin!(stop.cancelled());
        loop {
            let incoming = tokio::select! {
                () = &mut stopped => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            admit(incoming, &state, &work);
        }
        // From now on the endpoint refuses new connections, while open ones finish.
        self.endpoint.set_server_config(None);
        work.close();
        work.wait().await;
        tokio::time::sleep(CLOSE_DELAY).await;
        self.endpoint.close(GOING, b"");
        drop(tokio::time::timeout(IDLE_WAIT, self.endpoint.wait_idle()).await);
    }
}

/// Lets a connection in, refuses it, or asks it to prove its address first.
///
/// Under load, and where a network has its share already, others may be speaking in its name: it is to prove itself before it
/// is refused, and until it has it counts in all but not for its network. Proving costs no memory here.
fn admit<F: Fallback>(incoming: Incoming, state: &Arc<ServerState<F>>, work: &TaskTracker) {
    let telemetry = &state.service.telemetry;
    let network = Peer(incoming.remote_address()).network();
    let (handshake, connection) = match permits(state, network, incoming.remote_address_validated()) {
        Ok(permits) => permits,
        Err(arrival) => {
            telemetry.quic_arrivals(arrival).increment(1);
            match arrival {
                // Only one whose address is proven cannot be asked to prove it.
                Arrival::Retry => drop(incoming.retry()),
                _ => incoming.refuse(),
            }
            return;
        }
    };
    telemetry.quic_handshakes(state.handshakes.taken());
    match incoming.accept() {
        Ok(connecting) => {
            let (state, work) = (Arc::clone(state), work.clone());
            tokio::spawn(async move {
                let shaken = shake_hands(connecting, Arc::new(connection), handshake, network, &state, &work);
                let shaken = tokio::time::timeout(HANDSHAKE, shaken).await;
                state.service.telemetry.quic_arrivals(shaken.unwrap_or(Arrival::Failed)).increment(1);
                state.service.telemetry.quic_handshakes(state.handshakes.taken());
            });
        }
        Err(_) => telemetry.quic_arrivals(Arrival::Failed).increment(1),
    }
}

/// Permits for a handshake and the connection that comes of it, or what is to become of the peer instead.
fn permits<F>(
    state: &ServerState<F>,
    network: Network,
    proven: bool,
) -> Result<(HandshakePermit, ConnectionPermit), Arrival> {
    let now = now();
    if !proven {
        let busy = state.handshakes.taken() >= state.handshakes.total().div_ceil(4);
        let handshake = state.handshakes.admit_unattributed(network, now);
        let connection = state.connections.admit_unattributed(network, now);
        return match (handshake, connection) {
            (Ok(handshake), Ok(connection)) if !busy => Ok((handshake, connection)),
            _ => Err(Arrival::Retry),
        };
    }
    let connection = state.connections.admit(network, now).map_err(|refused| match refused {
        Refused::Full => Arrival::Full,
        Refused::Network => Arrival::Address,
    })?;
    let handshake = state.handshakes.admit(network, now).map_err(|refused| match refused {
        Refused::Full => Arrival::Handshakes,
        Refused::Network => Arrival::AddressHandshakes,
    })?;
    Ok((handshake, connection))
}

#[expect(clippy::disallowed_methods, reason = "connection timeouts are measured by the runtime's clock")]
fn now() -> Instant {
    Instant::now()
}

/// Performs the handshake and starts to serve the connection. Returns the outcome.
async fn shake_hands<F: Fallback>(
    mut connecting: Connecting,
    permit: Arc<ConnectionPermit>,
    _handshake: HandshakePermit,
    network: Network,
    state: &Arc<ServerState<F>>,
    work: &TaskTracker,
) -> Arrival {
    // A handshake that is done proves the address too.
    let attributed = |permit: &ConnectionPermit| permit.attribute(network, now()).is_ok();
    match protocol(&mut connecting).await.as_deref() {
        Some(FRAMES) => {
            // Frames are answered from the first packet on, before the handshake is done: see `frames`.
            let Ok((connection, done)) = connecting.into_0rtt() else { return Arrival::Failed };
            let (counted, state) = (state.service.telemetry.quic_opened(QuicProtocol::Frames), Arc::clone(state));
            let close_on_failure = CloseOnDrop(Some(connection.clone()));
            let held = Arc::clone(&permit);
            tokio::spawn(async move {
                frames::serve(&connection, &state.service, ValidFrames::of(held, &state.limits)).await;
                drop(counted);
            });
            done.await;
            if !attributed(&permit) {
                return Arrival::Address;
            }
            if close_on_failure.keep() { Arrival::Admitted } else { Arrival::Failed }
        }
        Some(HTTP_3) => {
            // Requests in early data are read after the handshake, which an attacker who replays them cannot complete.
            let Ok(connection) = connecting.await else { return Arrival::Failed };
            if !attributed(&permit) {
                connection.close(GOING, b"");
                return Arrival::Address;
            }
            let (state, counted) = (Arc::clone(state), state.service.telemetry.quic_opened(QuicProtocol::Http3));
            work.spawn(async move {
                h3::serve(connection, state).await;
                drop((counted, permit));
            });
            Arrival::Admitted
        }
        _ => Arrival::Failed,
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
