//! A flood of frames with wrong tags, as fast as it is told: of sessions that there are, or of ids that nobody gave.
//!
//! Nobody answers them, so that what reached the server is what was sent but for what its sockets dropped.

use std::{
    fs::File,
    io::{BufRead, BufReader, IoSlice},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use gastank::{
    engine::parse_session,
    time::MeterTime,
    wire::{BODY_LEN, FRAME_LEN, Heartbeat, HeartbeatKind, SecretId, SessionId, SessionKey, StateBits},
};
use nix::sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, sendmmsg};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};

/// As many as a server may have sockets on its port, and more, so that each gets its share.
const SOCKETS: usize = 16;
/// Datagrams in a system call.
const BATCH: usize = 64;
/// Frames that are made beforehand, and sent again and again.
const FRAMES: u32 = 100_000;
/// How long to let the server take what is waiting at the end.
const PATIENCE: Duration = Duration::from_millis(200);

/// Sends at `rate` a second for `duration`, and prints how many reached the server.
pub(crate) fn run(addr: SocketAddr, rate: f64, duration: Duration, sessions_file: Option<&Path>) -> anyhow::Result<()> {
    ensure!(rate > 0.0, "there is nothing to send");
    let ids = match sessions_file {
        Some(path) => sessions(path).with_context(|| format!("{}", path.display()))?,
        None => (0..FRAMES).map(stranger).collect(),
    };
    let frames: Vec<_> = ids.iter().map(forged).collect();
    ensure!(!frames.is_empty(), "there are no sessions in the file");
    let mut sockets = Vec::with_capacity(SOCKETS);
    for _ in 0..SOCKETS {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(addr)?;
        sockets.push(socket);
    }
    let dropped = || loadtest::process::udp_drops(addr.port()).unwrap_or_default();
    let before = dropped();
    let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let began = now();
    let mut sent = 0u64;
    for (turn, batch) in frames.chunks(BATCH).cycle().enumerate() {
        let slices: Vec<_> = batch.iter().map(|frame| [IoSlice::new(frame)]).collect();
        let (socket, none): (_, [ControlMessage<'_>; 0]) = (&sockets[turn % SOCKETS], []);
        let nowhere = [None; BATCH];
        let taken =
            sendmmsg(socket.as_raw_fd(), &mut headers, &slices, &nowhere[..batch.len()], none, MsgFlags::empty());
        sent += taken?.count() as u64;
        let elapsed = now() - began;
        if elapsed >= duration {
            break;
        }
        thread::sleep(Duration::from_secs_f64(sent as f64 / rate).saturating_sub(elapsed));
    }
    thread::sleep(PATIENCE);
    let lost = dropped().saturating_sub(before);
    let report = json!({ "operations": sent.saturating_sub(lost), "sent": sent, "lost": lost });
    serde_json::to_writer(std::io::stdout(), &report)?;
    Ok(())
}

/// The first sessions of a file as loadtest keeps them.
fn sessions(path: &Path) -> anyhow::Result<Vec<SessionId>> {
    #[derive(Deserialize)]
    struct Line {
        session_id: String,
    }
    let lines = BufReader::new(File::open(path)?).lines().take(FRAMES as usize);
    lines.map(|line| parse_session(&serde_json::from_str::<Line>(&line?)?.session_id).context("no session")).collect()
}

/// An id that looks like any other, under the first cluster secret.
fn stranger(n: u32) -> SessionId {
    let digest = Sha256::digest(n.to_le_bytes());
    SessionId::new(SecretId::default(), *digest.first_chunk().expect("a digest is longer"))
}

/// A frame under a key that is not the session's, nor that of the floor.
fn forged(session: &SessionId) -> [u8; FRAME_LEN] {
    let beat = Heartbeat {
        kind: HeartbeatKind::Beat,
        state: StateBits::default(),
        seq: 1,
        session: *session,
        clock: MeterTime::ZERO,
    };
    let mut frame = beat.sign(&SessionKey::from_bytes([1; 32]).body_mac());
    frame[BODY_LEN] ^= 1;
    frame
}

#[expect(clippy::disallowed_methods, reason = "a load is an edge of the program: it measures time")]
fn now() -> Instant {
    Instant::now()
}
