//! A client as the tour plays it: it activates with an account key and beats, over any transport, and believes no ack whose
//! tag it has not verified.

use std::time::{Duration, Instant};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Url;
use serde::Deserialize;
use serde_json::json;
use tokio::{net::UdpSocket, time::timeout};

use super::quic::{ACK_TIMEOUT, Datagrams, Http3};
use crate::{
    cli::{CliError, Transport, api::Api},
    entropy::{OsEntropy, draw},
    time::{MeterTime, Millis},
    tls::CertHash,
    wire::{Ack, BodyMac, FRAME_LEN, Heartbeat, HeartbeatKind, SessionId, SessionKey, StateBits},
};

/// A client with a session.
pub(super) struct Client {
    /// The session's token.
    pub(super) token: String,
    /// How long the token lives from its activation on.
    pub(super) expires_in_s: i64,
    /// What was left to burn at activation.
    pub(super) fuel_s: i64,
    /// When the session started.
    pub(super) started: MeterTime,
    /// Silence after which the service ends the session.
    pub(super) timeout: Duration,
    /// Whether another session ended for this one.
    pub(super) superseded: bool,
    session: SessionId,
    mac: BodyMac,
    activated: Instant,
    seq: u32,
    line: Line,
}

/// An ack that was verified, and how long it took.
#[derive(Clone, Copy, Debug)]
pub(super) struct VerifiedAck {
    pub(super) ack: Ack,
    pub(super) rtt: Duration,
}

enum Line {
    Udp(UdpSocket),
    Http { api: Api, url: Url },
    Quic(Datagrams),
    Http3(Http3),
}

/// What `POST /v1/activate` answers, as far as the tour uses it.
#[derive(Deserialize)]
struct Activation {
    token: String,
    expires_in_s: i64,
    session_id: String,
    heartbeat_key: String,
    meter_ms: u64,
    remaining_s: i64,
    heartbeat: Ways,
    superseded: bool,
}

#[derive(Deserialize)]
struct Ways {
    timeout_ms: u64,
    http: String,
    udp: Option<String>,
    quic: Option<String>,
    #[serde(default)]
    cert_hashes: Vec<String>,
}

impl Client {
    /// Opens a session whose token is for `audience`. A person's act.
    pub(super) async fn activate(api: &Api, audience: &str, transport: Transport) -> Result<Self, CliError> {
        let activated = instant();
        let name = URL_SAFE_NO_PAD.encode(draw::<16>(&OsEntropy));
        let answer = api.post_once(&["v1", "activate"], &name, &json!({ "audience": audience })).await?;
        let strange = |what: &str| CliError::strange(api.base(), format!("the activation {what}"));
        let answer: Activation =
            serde_json::from_value(answer).map_err(|error| strange(&format!("is not one: {error}")))?;
        let session = bytes(&answer.session_id).ok_or_else(|| strange("has no session id of 16 bytes"))?;
        let key = bytes(&answer.heartbeat_key).ok_or_else(|| strange("has no heartbeat key of 32 bytes"))?;
        let ways = &answer.heartbeat;
        let hashes = ways.cert_hashes.iter().map(|hash| bytes(hash).map(CertHash)).collect::<Option<Vec<_>>>();
        let hashes = hashes.ok_or_else(|| strange("has hashes of certificates that are none"))?;
        let http = |api: Api| {
            let url = ways.http.parse().map_err(|_| strange("has no URL for heartbeats"))?;
            Ok::<_, CliError>(Line::Http { api, url })
        };
        let line = match transport {
            Transport::Udp => Line::udp(ways.udp.as_deref()).await?,
            Transport::Http1 => http(api.over_http1()?)?,
            Transport::Http2 => http(api.over_http2()?)?,
            Transport::Quic => Line::Quic(Datagrams::connect(ways.quic.as_deref(), &hashes).await?),
            Transport::Http3 => Line::Http3(Http3::connect(ways.quic.as_deref(), &hashes).await?),
        };
        Ok(Self {
            token: answer.token,
            expires_in_s: answer.expires_in_s,
            fuel_s: answer.remaining_s,
            started: MeterTime::from_ms(answer.meter_ms),
            timeout: Duration::from_millis(answer.heartbeat.timeout_ms),
            superseded: answer.superseded,
            session: SessionId::from_bytes(session),
            mac: SessionKey::from_bytes(key).body_mac(),
            activated,
            seq: 0,
            line,
        })
    }

    /// The client's estimate of meter time.
    pub(super) fn clock(&self) -> MeterTime {
        let since = instant().duration_since(self.activated).as_millis();
        self.started.plus(Millis::new(u64::try_from(since).unwrap_or(u64::MAX)))
    }

    /// How many heartbeats have been sent.
    pub(super) fn beats(&self) -> u32 {
        self.seq
    }

    /// Sends a heartbeat and waits for its ack. `None`: none came.
    ///
    /// # Errors
    ///
    /// [`CliError::NotAsExpected`] when what came is not an ack of this heartbeat signed with the session's key.
    pub(super) async fn beat(&mut self) -> Result<Option<VerifiedAck>, CliError> {
        self.seq += 1;
        let beat = Heartbeat {
            kind: HeartbeatKind::Beat,
            state: StateBits::default(),
            seq: self.seq,
            session: self.session,
            clock: self.clock(),
        };
        let sent = instant();
        let frame = beat.sign(&self.mac);
        let ack = match &mut self.line {
            Line::Http { api, url } => {
                let answer = api.post_bytes(url, frame.to_vec()).await?;
                Some(self.answered(&answer, &beat)?)
            }
            Line::Http3(line) => {
                let answer = line.post(frame).await?;
                Some(self.answered(&answer, &beat)?)
            }
            Line::Udp(socket) => {
                socket.send(&frame).await.map_err(unheard)?;
                timeout(ACK_TIMEOUT, self.ack_of(&beat)).await.ok().transpose()?
            }
            Line::Quic(line) => {
                line.send(frame)?;
                timeout(ACK_TIMEOUT, self.ack_of(&beat)).await.ok().transpose()?
            }
        };
        Ok(ack.map(|ack| VerifiedAck { ack, rtt: instant().duration_since(sent) }))
    }

    /// The ack of `beat`; late acks of earlier ones are passed over.
    async fn ack_of(&self, beat: &Heartbeat) -> Result<Ack, CliError> {
        // One byte more than an ack has, so that a longer datagram shows.
        let mut buffer = [0; FRAME_LEN + 1];
        loop {
            let heard = match &self.line {
                Line::Udp(socket) => {
                    let length = socket.recv(&mut buffer).await.map_err(unheard)?;
                    self.verified(&buffer[..length], beat)?
                }
                Line::Quic(line) => self.verified(&line.receive().await?, beat)?,
                Line::Http { .. } | Line::Http3(_) => return Err(mistaken("cannot come this way")),
            };
            if let Some(ack) = heard {
                return Ok(ack);
            }
        }
    }

    /// The ack in the answer to a request.
    fn answered(&self, answer: &[u8], beat: &Heartbeat) -> Result<Ack, CliError> {
        self.verified(answer, beat)?.ok_or_else(|| mistaken("answers another heartbeat"))
    }

    fn verified(&self, bytes: &[u8], beat: &Heartbeat) -> Result<Option<Ack>, CliError> {
        let ack = Ack::verify(bytes, &self.mac)
            .map_err(|error| mistaken(&format!("is not one of this session: {error:?}")))?;
        Ok((ack.seq == beat.seq && ack.echo == beat.clock).then_some(ack))
    }
}

impl Line {
    async fn udp(addr: Option<&str>) -> Result<Self, CliError> {
        let Some(addr) = addr else {
            let what = "the service has no UDP listener; use --transport http";
            return Err(CliError::NotAsExpected(what.to_owned()));
        };
        let addr = addr.strip_prefix("udp://").unwrap_or(addr);
        let unknown = |source| CliError::System { what: "cannot resolve the UDP listener's address", source };
        let peer = tokio::net::lookup_host(addr).await.map_err(unknown)?.next();
        let peer = peer.ok_or_else(|| unknown(std::io::Error::other("it has no address")))?;
        let any = if peer.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = UdpSocket::bind(any).await.map_err(unheard)?;
        socket.connect(peer).await.map_err(unheard)?;
        Ok(Self::Udp(socket))
    }
}

#[expect(clippy::disallowed_methods, reason = "the tour is a client: it has no clock but its own")]
pub(super) fn instant() -> Instant {
    Instant::now()
}

fn bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

fn mistaken(what: &str) -> CliError {
    CliError::NotAsExpected(format!("an ack {what}"))
}

fn unheard(source: std::io::Error) -> CliError {
    CliError::System { what: "cannot beat over UDP (try --transport http)", source }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{AckFlags, WireVerdict};

    async fn client() -> (Client, UdpSocket) {
        let service = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
        let line = Line::udp(Some(&service.local_addr().expect("an address").to_string())).await.expect("a line");
        let client = Client {
            token: String::new(),
            expires_in_s: 60,
            fuel_s: 60,
            started: MeterTime::from_ms(5_000),
            timeout: Duration::from_secs(90),
            superseded: false,
            session: SessionId::from_bytes([7; 16]),
            mac: SessionKey::from_bytes([9; 32]).body_mac(),
            activated: instant(),
            seq: 0,
            line,
        };
        (client, service)
    }

    /// Answers one heartbeat with what `ack` makes of it.
    async fn answer(service: &UdpSocket, ack: impl FnOnce(Heartbeat) -> Vec<u8>) {
        let mut frame = [0; 64];
        let (length, peer) = service.recv_from(&mut frame).await.expect("a heartbeat");
        let mac = SessionKey::from_bytes([9; 32]).body_mac();
        let beat =
            crate::wire::SignedHeartbeat::parse(&frame[..length]).expect("a frame").verify(&mac).expect("signed");
        service.send_to(&ack(beat), peer).await.expect("sent");
    }

    fn ack_to(beat: Heartbeat) -> Ack {
        Ack {
            verdict: WireVerdict::Valid,
            seq: beat.seq,
            now: beat.clock,
            echo: beat.clock,
            remaining_s: 59,
            next_beat_100ms: 5,
            flags: AckFlags(0),
        }
    }

    #[tokio::test]
    async fn a_signed_ack_of_this_heartbeat_is_heard() {
        let (mut client, service) = client().await;
        let mac = SessionKey::from_bytes([9; 32]).body_mac();
        let (heard, ()) =
            tokio::join!(client.beat(), answer(&service, |beat| ack_to(beat).sign(&mac).as_bytes().to_vec()));
        assert_eq!(heard.expect("no failure").expect("an ack").ack.remaining_s, 59);
    }

    #[tokio::test]
    async fn an_ack_signed_with_another_key_fails_the_tour() {
        let (mut client, service) = client().await;
        let mac = SessionKey::from_bytes([8; 32]).body_mac();
        let (heard, ()) =
            tokio::join!(client.beat(), answer(&service, |beat| ack_to(beat).sign(&mac).as_bytes().to_vec()));
        assert_eq!(heard.expect_err("a failure").to_string(), "an ack is not one of this session: Tag");
    }

    #[tokio::test]
    async fn an_ack_of_an_earlier_heartbeat_is_passed_over() {
        let (mut client, service) = client().await;
        let mac = SessionKey::from_bytes([9; 32]).body_mac();
        let late = |beat: Heartbeat| Ack { seq: beat.seq - 1, ..ack_to(beat) }.sign(&mac).as_bytes().to_vec();
        let (heard, ()) = tokio::join!(client.beat(), answer(&service, late));
        assert!(heard.expect("no failure").is_none());
    }
}
