//! A way to a server on which requests can be held up. The server is a real one.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::watch,
};

/// Version, flags, stream, opcode and length.
const HEADER: usize = 9;

/// How requests are treated.
struct Treatment {
    /// Requests with these bytes in them stand still, and whatever comes after them on the same connection.
    held: watch::Sender<Option<Vec<u8>>>,
    /// How many have come that stand still.
    holding: AtomicU64,
}

/// Takes connections to a server.
pub(crate) struct Proxy {
    addr: SocketAddr,
    treatment: Arc<Treatment>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).await.expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let treatment = Arc::new(Treatment { held: watch::Sender::new(None), holding: AtomicU64::new(0) });
        let of_all = Arc::clone(&treatment);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                tokio::spawn(carry(near, server, Arc::clone(&of_all)));
            }
        });
        Self { addr, treatment }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on requests with these bytes in them stand still, and whatever comes after them on the same connection.
    pub(crate) fn holds(&self, bytes: &[u8]) {
        self.treatment.held.send_replace(Some(bytes.to_vec()));
    }

    /// Waits until a request stands still.
    pub(crate) async fn has_one(&self) {
        while self.treatment.holding.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Everything goes on.
    pub(crate) fn lets_go(&self) {
        self.treatment.held.send_replace(None);
    }
}

/// One connection, until one of its ends ends it.
async fn carry(near: TcpStream, server: SocketAddr, treatment: Arc<Treatment>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let requests = async {
        while let Some(frame) = read_frame(&mut from_near).await {
            let is_held = |held: &Option<Vec<u8>>| {
                held.as_ref().is_some_and(|bytes| frame.windows(bytes.len()).any(|part| part == bytes))
            };
            if is_held(&treatment.held.borrow()) {
                treatment.holding.fetch_add(1, Ordering::SeqCst);
            }
            let mut held = treatment.held.subscribe();
            held.wait_for(|held| !is_held(held)).await.expect("it is here");
            if to_far.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    let answers = tokio::io::copy(&mut from_far, &mut to_near);
    tokio::select! {
        () = requests => {}
        _ = answers => {}
    }
}

async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEADER];
    from.read_exact(&mut frame).await.ok()?;
    let length = u32::from_be_bytes(frame[5..].try_into().expect("four bytes"));
    frame.resize(HEADER + usize::try_from(length).expect("it fits"), 0);
    from.read_exact(&mut frame[HEADER..]).await.ok()?;
    Some(frame)
}
