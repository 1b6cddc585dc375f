//! Heartbeats by UDP: one frame a datagram, 48 bytes each way.
//!
//! A few threads of their own do nothing else. Each has a socket; the sockets share the port, and the kernel deals
//! clients out among them. A thread sleeps in the kernel until a datagram is there, takes all that are waiting, up to
//! [`BATCH`], answers them together and sends the acks together. Where datagrams come thick it rests a moment between
//! batches, see [`pace`]. It waits for nothing else: what takes longer, committing a stop, is the runtime's.

mod address;
mod batch;
mod fullness;
mod pace;
mod settling;
mod socket;
mod worker;

use std::{
    io,
    net::SocketAddr,
    panic::{self, AssertUnwindSafe},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use nix::sys::socket::{SockaddrIn, SockaddrIn6};
use socket2::Socket;
use tokio_util::sync::CancellationToken;

use self::{fullness::Levels, settling::Settling, worker::Worker};
use super::Handler;

pub use self::batch::BATCH;
pub use self::socket::{Buffers, Granted};

/// How long a thread that panicked rests.
const REST: Duration = Duration::from_millis(10);

/// How a UDP listener is to be.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Threads, each with a socket of its own; 0 makes one for each processor.
    pub threads: usize,
    /// What each socket's buffers are asked to be.
    pub buffers: Buffers,
}

/// Sockets that are bound; what comes waits in them.
pub struct Listener {
    addr: SocketAddr,
    sockets: Vec<Arc<Socket>>,
    granted: Granted,
}

impl Listener {
    /// Binds `addr`.
    ///
    /// An address that another program has is refused, even by a program that would share it. `[::]` takes IPv4 as well.
    ///
    /// # Errors
    ///
    /// Those of the system, when the address cannot be bound.
    pub fn bind(addr: SocketAddr, options: Options) -> io::Result<Self> {
        let threads = match options.threads {
            0 => thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        let (sockets, addr, granted) = socket::bind(addr, threads, options.buffers)?;
        Ok(Self { addr, sockets: sockets.into_iter().map(Arc::new).collect(), granted })
    }

    /// The address that was bound.
    pub const fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many threads there will be.
    pub fn threads(&self) -> usize {
        self.sockets.len()
    }

    /// What the kernel granted each socket.
    pub const fn granted(&self) -> Granted {
        self.granted
    }

    /// Starts to answer. To be called in a runtime, which commits what clients stop.
    ///
    /// # Errors
    ///
    /// Those of the system, when it makes no more threads.
    pub fn start(self, handler: &Arc<Handler>) -> io::Result<Running> {
        let settling = Settling::new(Arc::clone(handler));
        let levels = Levels::new(Arc::clone(handler), self.sockets.len());
        let stopping = Arc::new(AtomicBool::new(false));
        let mut running = Running { sockets: Vec::new(), threads: Vec::new(), stopping, settling };
        for (number, socket) in self.sockets.into_iter().enumerate() {
            let mut worker = Worker {
                socket: Arc::clone(&socket),
                says_where_to: socket::says_where_to(self.addr),
                handler: Arc::clone(handler),
                settling: running.settling.clone(),
                level: levels.of(number),
                stopping: Arc::clone(&running.stopping),
            };
            let work = if self.addr.is_ipv4() { Worker::run::<SockaddrIn> } else { Worker::run::<SockaddrIn6> };
            running.sockets.push(socket);
            let work = move || again(&mut worker, work);
            running.threads.push(thread::Builder::new().name(format!("udp-{number}")).spawn(work)?);
        }
        Ok(running)
    }
}

/// Works until told to stop. A datagram that makes it panic costs its batch and no more: others come from other people.
fn again(worker: &mut Worker, work: fn(&mut Worker)) {
    while panic::catch_unwind(AssertUnwindSafe(|| work(worker))).is_err() {
        worker.handler.telemetry.part_restarted();
        tracing::error!("a UDP worker thread panicked and is restarted");
        if worker.stopping.load(Ordering::Acquire) {
            return;
        }
        thread::sleep(REST);
    }
}

/// Threads that answer. They end when this is dropped.
pub struct Running {
    sockets: Vec<Arc<Socket>>,
    threads: Vec<JoinHandle<()>>,
    stopping: Arc<AtomicBool>,
    settling: Settling,
}

impl Running {
    /// Answers datagrams until told to stop. Acks of stops that are being committed then still go out.
    pub async fn run(mut self, stop: CancellationToken) {
        stop.cancelled().await;
        self.wake();
        let threads = std::mem::take(&mut self.threads);
        let ended = tokio::task::spawn_blocking(move || threads.into_iter().all(|thread| thread.join().is_ok()));
        if !ended.await.unwrap_or(false) {
            tracing::error!("a UDP worker thread had panicked");
        }
        self.settling.done().await;
    }

    /// Makes the threads look up and see that they are to stop.
    fn wake(&self) {
        self.stopping.store(true, Ordering::Release);
        for socket in &self.sockets {
            // Linux wakes who waits for the socket and then says that it is not connected. A kernel that does not wake
            // them leaves them to the time-out of their receive call.
            drop(socket.shutdown(std::net::Shutdown::Read));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.wake();
    }
}
