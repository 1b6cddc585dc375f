//! A handler with sessions, and what beats may not cost.

use super::*;
use crate::{
    engine::{
        Account, ActivationNames, Credit, EntryKind, ListId, Moment, NewEntry, Policy, SecretRing, Session, Source,
        StatusIndex, TokenHash, Tokens,
    },
    ingest::udp,
    telemetry::{Health, Phase},
    time::{FakeClock, MeterTime, Millis, UnixMs},
    wire::{BodyMac, ClusterSecret, FRAME_LEN, Heartbeat, HeartbeatKind, SecretId, StateBits},
};

const SECRET: [u8; 32] = [9; 32];

struct Nobody;

#[async_trait]
impl Followup for Nobody {
    async fn settle(&self, _account: AccountId) -> bool {
        false
    }

    fn look_up(&self, _session: SessionId) {}
}

/// Panics when it is asked to look up the first session.
#[derive(Default)]
struct Startled(std::sync::atomic::AtomicU32);

#[async_trait]
impl Followup for Startled {
    async fn settle(&self, _account: AccountId) -> bool {
        false
    }

    fn look_up(&self, _session: SessionId) {
        assert!(self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) > 0, "nobody expected this");
    }
}

/// A handler that is warm.
pub(in crate::ingest) fn handler() -> (Arc<Engine>, Arc<Handler>, Telemetry) {
    handler_with(Arc::new(Nobody))
}

fn handler_with(followup: Arc<dyn Followup>) -> (Arc<Engine>, Arc<Handler>, Telemetry) {
    let secrets = SecretRing::new(SecretId::default(), ClusterSecret::from_bytes(SECRET));
    let engine = Arc::new(Engine::new(Policy::default(), secrets, 100));
    let clock = Arc::new(FakeClock::new(MeterTime::from_ms(1000), UnixMs::from_ms(1000)));
    let telemetry = Telemetry::new(Health::new());
    telemetry.health().enter(Phase::Ready);
    let handler = Handler::new(Arc::clone(&engine), clock, followup, telemetry.clone());
    (engine, Arc::new(handler), telemetry)
}

/// Opens a session, and signs a beat of it.
pub(in crate::ingest) fn beat_of_a_new_session(engine: &Engine, number: u8) -> [u8; FRAME_LEN] {
    // The first byte says which secret.
    let mut id = [0; 16];
    id[15] = number;
    let (policy, moment) =
        (*engine.policy(), Moment { now: MeterTime::ZERO, wall: UnixMs::from_ms(0), sighting: None });
    let tokens = Tokens {
        current: TokenHash::of(&id),
        previous: None,
        expires_at: UnixMs::from_ms(u64::MAX),
        expires: None,
        uncharged: Millis::ZERO,
        renewed: None,
        status: StatusIndex { list: ListId::from_bytes([0; 8]), idx: 0 },
    };
    let (started, started_at) = (MeterTime::ZERO, UnixMs::from_ms(0));
    let audience = "edge".to_owned();
    let session = Session {
        id: SessionId::from_bytes(id),
        started,
        started_at,
        audience,
        tokens,
        names: ActivationNames::default(),
        end: None,
    };
    let entry = NewEntry {
        kind: EntryKind::Grant,
        amount: Credit::from_ms(1_000_000_000),
        source: Source::Admin,
        external_id: "credit".to_owned(),
        reason: None,
    };
    let account = Account::new(AccountId::from_bytes(id));
    let act = account.credit(&moment, &policy, entry).unwrap();
    let account = account.after(&act);
    let act = account.activate(&moment, &policy, session);
    engine.apply(&account.after(&act), &act, &moment);
    signed(SessionId::from_bytes(id))
}

fn signed(session: SessionId) -> [u8; FRAME_LEN] {
    let mac: BodyMac = ClusterSecret::from_bytes(SECRET).session_key(&session).body_mac();
    let (kind, state, clock) = (HeartbeatKind::Beat, StateBits::default(), MeterTime::from_ms(900));
    Heartbeat { kind, state, seq: 1, session, clock }.sign(&mac)
}

#[test]
fn a_batch_of_beats_allocates_nothing() {
    let (engine, handler, telemetry) = handler();
    let mut frames: Vec<_> = (0..60).map(|number| beat_of_a_new_session(&engine, number)).collect();
    frames[7][40] ^= 1;
    frames[8][0] = 77;
    let frames: Vec<&[u8]> = frames.iter().map(|frame| &frame[..]).chain([&[1, 2, 3][..]]).collect();
    let mut acked = 0;
    let mut batch = || {
        handler.beats(Transport::Udp, &frames, |_, reply| acked += u64::from(matches!(reply, Reply::Now(_))));
        handler.sent_together(Transport::Udp, 58);
    };
    // What a thread has once and keeps.
    batch();
    for _ in 0..10 {
        let info = allocation_counter::measure(&mut batch);
        assert_eq!((info.count_total, info.bytes_total), (0, 0));
    }
    assert_eq!(acked, 11 * 58);
    let page = telemetry.render();
    let series = "gastank_heartbeats_total{transport=\"udp\",outcome=\"valid\"}";
    let valid = page.lines().find_map(|line| line.strip_prefix(series));
    assert_eq!(valid, Some(" 638"));
}

#[tokio::test]
async fn a_datagram_that_makes_its_thread_panic_does_not_end_the_thread() {
    let (engine, handler, telemetry) = handler_with(Arc::<Startled>::default());
    let buffers = udp::Buffers { receive: 1 << 16, send: 1 << 16 };
    let any = "127.0.0.1:0".parse().unwrap();
    let listener = udp::Listener::bind(any, udp::Options { threads: 1, buffers }).unwrap();
    let (to, stop) = (listener.local_addr(), tokio_util::sync::CancellationToken::new());
    let running = tokio::spawn(listener.start(&handler).unwrap().run(stop.clone()));
    let socket = tokio::net::UdpSocket::bind(any).await.unwrap();
    socket.connect(to).await.unwrap();

    socket.send(&signed(SessionId::from_bytes([0; 16]))).await.unwrap();
    let beat = beat_of_a_new_session(&engine, 7);
    let mut ack = [0; 64];
    let mut answered = false;
    // What was in the batch that panicked is lost, as a datagram may be.
    for _ in 0..50 {
        socket.send(&beat).await.unwrap();
        let waiting = tokio::time::timeout(std::time::Duration::from_millis(100), socket.recv(&mut ack));
        if matches!(waiting.await, Ok(Ok(FRAME_LEN))) {
            answered = true;
            break;
        }
    }
    assert!(answered, "the thread answers again");
    assert!(telemetry.render().contains("\ngastank_parts_restarted_total 1\n"));
    stop.cancel();
    running.await.unwrap();
}
