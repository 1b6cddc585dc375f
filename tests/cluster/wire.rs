//! A way to a server that can be cut, as a network is: what is sent waits, and nobody is told.

use std::{net::SocketAddr, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
};

/// The opcode of a batch in the CQL protocol: what acts are sent in.
const BATCH: u8 = 0x0d;

/// Takes connections to a server. While it is cut nothing comes through, of what is under way neither; afterwards all of
/// it does, as TCP sends again what was lost.
pub(crate) struct Wire {
    port: u16,
    state: Arc<State>,
}

struct State {
    cut: watch::Sender<bool>,
    /// To be cut before a batch that has these bytes in it.
    before: Mutex<Option<Vec<u8>>>,
}

impl Wire {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(State { cut: watch::Sender::new(false), before: Mutex::new(None) });
        let of_all = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let state = Arc::clone(&of_all);
                tokio::spawn(async move {
                    state.whole().await;
                    let Ok(far) = TcpStream::connect(server).await else { return };
                    let ((from_near, to_near), (from_far, to_far)) = (near.into_split(), far.into_split());
                    tokio::join!(state.carry_requests(from_near, to_far), state.carry_answers(from_far, to_near));
                });
            }
        });
        Self { port, state }
    }

    /// Where it takes connections.
    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn cut(&self) {
        self.state.cut.send_replace(true);
    }

    /// Is cut right before the next act that has these bytes in it gets through.
    pub(crate) fn cut_before_an_act_with(&self, bytes: &[u8]) {
        *self.state.before.lock() = Some(bytes.to_vec());
    }

    pub(crate) fn is_cut(&self) -> bool {
        *self.state.cut.borrow()
    }

    pub(crate) fn mend(&self) {
        self.state.cut.send_replace(false);
    }
}

impl State {
    /// Waits until the wire is not cut.
    async fn whole(&self) {
        self.cut.subscribe().wait_for(|cut| !cut).await.expect("it is here");
    }

    /// Frame by frame.
    async fn carry_requests(&self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
        let mut frame = vec![0; 9];
        while from.read_exact(&mut frame[..9]).await.is_ok() {
            let length = u32::from_be_bytes(frame[5..9].try_into().unwrap()) as usize;
            frame.resize(9 + length, 0);
            if from.read_exact(&mut frame[9..]).await.is_err() {
                break;
            }
            let is_it = |bytes: &mut Vec<u8>| frame[4] == BATCH && frame.windows(bytes.len()).any(|part| part == bytes);
            if self.before.lock().take_if(is_it).is_some() {
                self.cut.send_replace(true);
            }
            self.whole().await;
            if to.write_all(&frame).await.is_err() {
                break;
            }
        }
        self.whole().await;
    }

    async fn carry_answers(&self, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
        let mut buffer = vec![0; 16 << 10];
        while let Ok(length @ 1..) = from.read(&mut buffer).await {
            self.whole().await;
            if to.write_all(&buffer[..length]).await.is_err() {
                break;
            }
        }
    }
}
