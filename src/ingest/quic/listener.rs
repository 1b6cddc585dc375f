//! The endpoint: it admits connections, shakes hands, and hands them to what they speak.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quinn::{Connecting, Connection, Endpoint, Incoming, crypto::rustls::HandshakeData};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    ingest::{
        Handler,
        http::{Fallback, Site},
    },
    telemetry::{Arrival, QuicProtocol, Telemetry},
    tls::Certificates,
    web::{
        admission::{ConnectionPermit, HandshakePermit, Pool, Refused},
        peer::{Network, Peer},
    },
};

use super::{
    frames::{self, FrameService, ValidFrames},
    h3,
    limits::{Buffers, CLOSE_DELAY, FRAMES, GOING, HTTP_3, QuicLimits, now},
    setup,
    state::ServerState,
};

/// How long a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Stops whose end is being committed at the same time; further ones are left unanswered, and their clients retry.
const SETTLING: usize = 1024;
/// How long peers are given to take notice that connections are closed.
const IDLE_WAIT: Duration = Duration::from_millis(500);

/// A bound QUIC listener.
pub struct Listener {
    endpoint: Endpoint,
    buffers: Buffers,
    limits: QuicLimits,
    telemetry: Telemetry,
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
            // Its driver has come to an end, and so will every connection: whoever runs this is told by its end.
            let Some(incoming) = incoming else { return };
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
    let counted = telemetry.quic_handshake_begun();
    match incoming.accept() {
        Ok(connecting) => {
            let (state, work) = (Arc::clone(state), work.clone());
            tokio::spawn(async move {
                let shaken = shake_hands(connecting, Arc::new(connection), handshake, network, &state, &work);
                let shaken = tokio::time::timeout(HANDSHAKE, shaken).await;
                state.service.telemetry.quic_arrivals(shaken.unwrap_or(Arrival::Failed)).increment(1);
                drop(counted);
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
