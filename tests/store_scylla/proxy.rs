//! A way to a server that treats statements badly: it loses them, or their answers, delivers them when nobody waits for them
//! any more, or breaks. The server is a real one, and so is what it makes of them.

use std::{
    collections::HashSet,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::{mpsc, watch},
};

use crate::dice::Dice;

/// Opcodes of the CQL protocol (version 4, section 2.4) that carry statements.
const QUERY: u8 = 0x07;
const EXECUTE: u8 = 0x0a;
const BATCH: u8 = 0x0d;
/// Version, flags, stream, opcode and length.
const HEADER: usize = 9;

/// What becomes of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It is done, and answered.
    Passes,
    /// It is never done.
    LostThere,
    /// It is done, and nobody is told.
    LostBack,
    /// It is done when whoever sent it has given up.
    Late,
    /// The connection breaks before it is done.
    BreaksBefore,
    /// The connection breaks while it is done.
    BreaksAfter,
}

/// How badly statements are treated.
pub(crate) struct Treatment {
    /// Of a hundred statements, how many have a bad day; decisions, which come in batches, four times as many.
    bad: AtomicU64,
    /// How late the late ones are.
    late: Duration,
    dice: Mutex<Dice>,
    /// Requests with these bytes in them stand still, and whatever comes after them on the same connection.
    held: watch::Sender<Option<Vec<u8>>>,
    /// How many have come that stand still.
    holding: AtomicU64,
    fates: Mutex<Vec<Fate>>,
}

/// Takes connections to a server.
pub(crate) struct Proxy {
    addr: SocketAddr,
    treatment: Arc<Treatment>,
}

impl Proxy {
    pub(crate) async fn to(server: SocketAddr, seed: u64, late: Duration) -> Self {
        let listener = TcpListener::bind((server.ip(), 0)).await.expect("a port is free");
        let addr = listener.local_addr().expect("it is bound");
        let (bad, holding, fates) = Default::default();
        let (dice, held) = (Mutex::new(Dice::new(seed)), watch::Sender::new(None));
        let treatment = Arc::new(Treatment { bad, late, dice, held, holding, fates });
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

    /// So many statements of a hundred have a bad day from now on.
    pub(crate) fn treats_badly(&self, of_a_hundred: u64) {
        self.treatment.bad.store(of_a_hundred, Ordering::SeqCst);
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

    /// How often what became of statements.
    pub(crate) fn count(&self, fate: Fate) -> usize {
        self.treatment.fates.lock().iter().filter(|known| **known == fate).count()
    }
}

impl Treatment {
    fn fate(&self, opcode: u8) -> Fate {
        let bad = self.bad.load(Ordering::SeqCst) * if opcode == BATCH { 4 } else { 1 };
        let mut dice = self.dice.lock();
        let fate = if ![QUERY, EXECUTE, BATCH].contains(&opcode) || dice.below(100) >= bad {
            Fate::Passes
        } else {
            match dice.below(9) {
                0..=1 => Fate::LostThere,
                2..=4 => Fate::LostBack,
                5..=6 => Fate::Late,
                7 => Fate::BreaksBefore,
                _ => Fate::BreaksAfter,
            }
        };
        self.fates.lock().push(fate);
        fate
    }
}

/// One connection, until one end or the dice end it.
async fn carry(near: TcpStream, server: SocketAddr, treatment: Arc<Treatment>) {
    let Ok(far) = TcpStream::connect(server).await else { return };
    let ((mut from_near, mut to_near), (mut from_far, mut to_far)) = (near.into_split(), far.into_split());
    let (send, mut sent) = mpsc::channel::<Vec<u8>>(4096);
    let lost: Mutex<HashSet<[u8; 2]>> = Mutex::default();
    let broken = watch::Sender::new(false);
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
            match treatment.fate(frame[4]) {
                Fate::Passes => drop(send.send(frame).await),
                Fate::LostThere => {}
                Fate::LostBack => {
                    lost.lock().insert([frame[2], frame[3]]);
                    drop(send.send(frame).await);
                }
                Fate::Late => {
                    lost.lock().insert([frame[2], frame[3]]);
                    let (send, late) = (send.clone(), treatment.late);
                    tokio::spawn(async move {
                        tokio::time::sleep(late).await;
                        drop(send.send(frame).await);
                    });
                }
                Fate::BreaksBefore => break,
                Fate::BreaksAfter => {
                    drop(send.send(frame).await);
                    // The server has it, and is not heard any more.
                    broken.send_replace(true);
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    break;
                }
            }
        }
    };
    let carried = async {
        while let Some(frame) = sent.recv().await {
            if to_far.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    let answers = async {
        while let Some(frame) = read_frame(&mut from_far).await {
            let is_lost = lost.lock().remove(&[frame[2], frame[3]]) || *broken.borrow();
            if !is_lost && to_near.write_all(&frame).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = requests => {}
        () = carried => {}
        () = answers => {}
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
