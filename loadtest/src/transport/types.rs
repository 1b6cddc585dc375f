//! What every transport takes and gives.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use gastank::wire::FRAME_LEN;

use super::tls::Trust;

/// Sends the messages of a lane and receives the answers.
pub trait Transport {
    /// Takes a message to be sent, without waiting for anything. Messages of the same `client` use the same connection
    /// where that matters.
    ///
    /// # Errors
    ///
    /// [`SendError`]: the message will not be sent.
    fn send(&mut self, client: usize, seq: u32, message: &Message) -> Result<(), SendError>;

    /// Sends what waits to be sent together.
    fn flush(&mut self) {}

    /// Appends the answers that have come to `answers`; waits for the first one for at most `wait`.
    ///
    /// # Errors
    ///
    /// An error that no later call will get over.
    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()>;

    /// Drops every connection at once and opens them again. What was under way on them is lost.
    fn reconnect(&mut self) {}

    /// What else this transport has to tell.
    fn tally(&self) -> Tally {
        Tally::default()
    }
}

/// What a transport counts beside the messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Answers that this machine received and dropped before the generator read them.
    pub dropped: u64,
    /// Connections that were opened, those of the start included.
    pub connects: u64,
    /// Connections that broke or could not be opened, those that were dropped on purpose left out.
    pub broken: u64,
}

impl Tally {
    /// Adds another's.
    pub const fn add(&mut self, other: Self) {
        self.dropped += other.dropped;
        self.connects += other.connects;
        self.broken += other.broken;
    }
}

/// Something to send.
#[derive(Clone, Debug)]
pub enum Message {
    /// A heartbeat frame.
    Frame([u8; FRAME_LEN]),
    /// A call of the HTTP interface.
    Call(Call),
}

/// A call of the HTTP interface.
#[derive(Clone, Debug)]
pub struct Call {
    /// `GET`, `POST` or `DELETE`.
    pub method: Method,
    /// Path and query.
    pub path: Arc<str>,
    /// The `Authorization` header. Never shown.
    pub authorization: Option<Arc<str>>,
    /// The type of the body; `None` where there is none.
    pub content_type: Option<&'static str>,
    /// The body.
    pub body: Vec<u8>,
}

/// How to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "these are HTTP's")]
pub enum Method {
    Get,
    Post,
    Delete,
}

impl Method {
    /// As HTTP writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Delete => "DELETE",
        }
    }
}

/// Where heartbeats go over HTTP.
pub const HEARTBEAT_PATH: &str = "/v1/heartbeat";
/// The type of a frame's body.
pub const FRAME_TYPE: &str = "application/octet-stream";

/// Why a message has not been sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too many messages wait to be sent.
    #[error("too many messages wait to be sent")]
    Full,
    /// The system refused.
    #[error("the system refused to send")]
    Refused,
    /// This transport has no such messages.
    #[error("this transport carries frames alone")]
    FramesAlone,
}

/// Something that came back.
#[derive(Clone, Debug)]
pub struct Answer {
    /// When, on the program's clock.
    pub at: Duration,
    /// The message it answers, where the transport knows; else the answer itself has to say.
    pub seq: Option<u32>,
    /// What it is.
    pub reply: Reply,
}

/// What came back.
#[derive(Clone, Debug)]
pub enum Reply {
    /// As many bytes as a frame has.
    Frame([u8; FRAME_LEN]),
    /// Bytes of another length, where a frame was to come.
    Odd,
    /// An HTTP answer, other than 200 with a frame.
    Http(HttpReply),
    /// The exchange failed.
    Failed,
}

/// An HTTP answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpReply {
    /// The status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after_s: Option<u16>,
    /// The body.
    pub body: Vec<u8>,
}

impl HttpReply {
    /// A frame where the answer is one, and the answer itself otherwise.
    pub(super) fn sorted(self) -> Reply {
        match <[u8; FRAME_LEN]>::try_from(self.body.as_slice()) {
            Ok(frame) if self.status == 200 => Reply::Frame(frame),
            _ => Reply::Http(self),
        }
    }
}

/// How messages travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
#[clap(rename_all = "lowercase")]
pub enum TransportKind {
    /// Datagrams.
    Udp,
    /// QUIC datagrams (ALPN `gastank/1`).
    Quic,
    /// Datagrams of a WebTransport session, as browsers send them.
    WebTransport,
    /// HTTP/1.1, kept alive, one exchange at a time on each connection.
    #[value(alias = "http")]
    Http1,
    /// HTTP/2; without TLS with prior knowledge.
    Http2,
    /// HTTP/3.
    Http3,
}

impl TransportKind {
    /// The name that files and reports use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Quic => "quic",
            Self::WebTransport => "webtransport",
            Self::Http1 => "http1",
            Self::Http2 => "http2",
            Self::Http3 => "http3",
        }
    }

    /// Whether it runs over UDP.
    pub const fn is_datagrams(self) -> bool {
        matches!(self, Self::Udp | Self::Quic | Self::WebTransport | Self::Http3)
    }

    /// Whether it cannot be without TLS.
    pub const fn always_has_tls(self) -> bool {
        matches!(self, Self::Quic | Self::WebTransport | Self::Http3)
    }

    /// Whether it carries calls beside frames.
    pub const fn carries_calls(self) -> bool {
        matches!(self, Self::Http1 | Self::Http2 | Self::Http3)
    }
}

/// Where and how a lane's transport is to connect.
#[derive(Clone, Debug)]
pub struct Route {
    /// Which transport.
    pub kind: TransportKind,
    /// Whom to reach.
    pub server: SocketAddr,
    /// The name of the server, for TLS and the `host` header.
    pub name: Arc<str>,
    /// Where WebTransport sessions are opened.
    pub path: Arc<str>,
    /// Whom to trust; `None` is without TLS, where the transport can be without.
    pub trust: Option<Arc<Trust>>,
    /// How many sockets or connections.
    pub connections: usize,
    /// After how long an exchange that is not answered is given up.
    pub give_up: Duration,
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn send(&mut self, client: usize, seq: u32, message: &Message) -> Result<(), SendError> {
        (**self).send(client, seq, message)
    }

    fn flush(&mut self) {
        (**self).flush();
    }

    fn receive(&mut self, wait: Duration, answers: &mut Vec<Answer>) -> io::Result<()> {
        (**self).receive(wait, answers)
    }

    fn reconnect(&mut self) {
        (**self).reconnect();
    }

    fn tally(&self) -> Tally {
        (**self).tally()
    }
}
