//! The streams that HTTP/3 reads, with a bound on what it may be made to keep.
//!
//! The crate that speaks HTTP/3 collects a frame of the control stream or a head whole, however long it says it is. Here
//! each stream may bring so many bytes and no more. It also forgives what the crate beneath does not: being told to stop
//! a stream while it waits for more of it.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use h3::{
    error::Code,
    quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf},
};

/// A connection whose streams are bounded.
pub(super) struct Bounded {
    inner: h3_quinn::Connection,
    each: usize,
}

impl Bounded {
    /// A connection each of whose streams may bring `each` bytes.
    pub(super) fn new(connection: quinn::Connection, each: usize) -> Self {
        Self { inner: h3_quinn::Connection::new(connection), each }
    }
}

/// Opens streams of such a connection.
pub(super) struct Opener {
    inner: h3_quinn::OpenStreams,
    each: usize,
}

/// A stream that may bring so many more bytes.
pub(super) struct Stream<S> {
    inner: S,
    left: usize,
    waiting: bool,
}

impl<S> Stream<S> {
    const fn new(inner: S, left: usize) -> Self {
        Self { inner, left, waiting: false }
    }
}

/// A stream brought more than any request has.
#[derive(Debug, thiserror::Error)]
#[error("the stream is longer than any request")]
struct TooLong;

impl<B: Buf> quic::Connection<B> for Bounded {
    type RecvStream = Stream<h3_quinn::RecvStream>;
    type OpenStreams = Opener;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let each = self.each;
        quic::Connection::<B>::poll_accept_recv(&mut self.inner, cx).map_ok(|stream| Stream::new(stream, each))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let each = self.each;
        quic::Connection::<B>::poll_accept_bidi(&mut self.inner, cx).map_ok(|stream| Stream::new(stream, each))
    }

    fn opener(&self) -> Self::OpenStreams {
        Opener { inner: quic::Connection::<B>::opener(&self.inner), each: self.each }
    }
}

macro_rules! open_streams {
    ($($opens:ty),+) => {
        $(
            impl<B: Buf> quic::OpenStreams<B> for $opens {
                type BidiStream = Stream<h3_quinn::BidiStream<B>>;
                type SendStream = h3_quinn::SendStream<B>;

                fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
                    let each = self.each;
                    quic::OpenStreams::<B>::poll_open_bidi(&mut self.inner, cx).map_ok(|stream| Stream::new(stream, each))
                }

                fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
                    quic::OpenStreams::<B>::poll_open_send(&mut self.inner, cx)
                }

                fn close(&mut self, code: Code, reason: &[u8]) {
                    quic::OpenStreams::<B>::close(&mut self.inner, code, reason);
                }
            }
        )+
    };
}

open_streams!(Bounded, Opener);

impl<S: quic::RecvStream<Buf = Bytes>> quic::RecvStream for Stream<S> {
    type Buf = Bytes;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, StreamErrorIncoming>> {
        self.waiting = true;
        let read = ready!(self.inner.poll_data(cx));
        self.waiting = false;
        let data = read?;
        let length = data.as_ref().map_or(0, Bytes::len);
        match self.left.checked_sub(length) {
            Some(left) => self.left = left,
            None => return Poll::Ready(Err(StreamErrorIncoming::Unknown(Box::new(TooLong)))),
        }
        Poll::Ready(Ok(data))
    }

    fn stop_sending(&mut self, code: u64) {
        // While it waits, the stream is not at hand. It is stopped when it is dropped.
        if !self.waiting {
            self.inner.stop_sending(code);
        }
    }

    fn recv_id(&self) -> StreamId {
        self.inner.recv_id()
    }
}

impl<S: quic::SendStream<B>, B: Buf> quic::SendStream<B> for Stream<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<B>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.inner.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.inner.poll_finish(cx)
    }

    fn reset(&mut self, code: u64) {
        self.inner.reset(code);
    }

    fn send_id(&self) -> StreamId {
        self.inner.send_id()
    }
}

impl<S, B> quic::BidiStream<B> for Stream<S>
where
    S: quic::BidiStream<B> + quic::RecvStream<Buf = Bytes>,
    S::RecvStream: quic::RecvStream<Buf = Bytes>,
    B: Buf,
{
    type SendStream = S::SendStream;
    type RecvStream = Stream<S::RecvStream>;

    fn split(self) -> (Self::SendStream, Self::RecvStream) {
        let Self { inner, left, waiting } = self;
        let (send, recv) = inner.split();
        (send, Stream { inner: recv, left, waiting })
    }
}
