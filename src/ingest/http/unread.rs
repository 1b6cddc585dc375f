//! Bodies that an answer did not wait for.
//!
//! A request of HTTP/1.1 that is not read to its end leaves the connection at a place where no other request can begin.
//! Hyper closes such a connection without saying so, and a client that sends its next request meanwhile loses it. So a
//! body that nobody read comes back here: what is small is read and thrown away, and the connection goes on; for what is
//! large or slow, the answer says that the connection closes.

use std::{
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, SizeHint};
use parking_lot::Mutex;

/// Bytes of an unread body that are read and thrown away so that the connection can go on.
const MOST: usize = 64 << 10;
/// How long they may take. The answer waits for them.
const TIMEOUTS: Duration = Duration::from_millis(500);

/// A body that comes back when whoever was given it lets go of it before its end.
pub(super) struct Returning<B: Body> {
    body: Option<B>,
    rest: Rest<B>,
}

/// What came back of a body.
pub(super) struct Rest<B>(Arc<Mutex<Option<B>>>);

impl<B: Body> Returning<B> {
    pub(super) fn new(body: B) -> (Self, Rest<B>) {
        let slot = Arc::new(Mutex::new(None));
        (Self { body: Some(body), rest: Rest(Arc::clone(&slot)) }, Rest(slot))
    }
}

impl<B: Body + Unpin> Body for Returning<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(cx),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), Body::size_hint)
    }
}

impl<B: Body> Drop for Returning<B> {
    fn drop(&mut self) {
        if let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) {
            *self.rest.0.lock() = Some(body);
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Rest<B> {
    /// Whether bytes may follow that nobody has read.
    pub(super) fn is_there(&self) -> bool {
        self.0.lock().is_some()
    }

    /// Reads what is left and throws it away. `false` if that is too much or too slow: then no other request can be read
    /// from the connection.
    pub(super) async fn discarded(self) -> bool {
        let Some(mut body) = self.0.lock().take() else { return true };
        if body.size_hint().lower() > MOST as u64 {
            return false;
        }
        let mut reading = pin!(async {
            let mut length = 0;
            while let Some(frame) = body.frame().await {
                let Ok(frame) = frame else { return false };
                length += frame.data_ref().map_or(0, Bytes::len);
                if length > MOST {
                    return false;
                }
            }
            true
        });
        tokio::time::timeout(TIMEOUTS, &mut reading).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::{Full, StreamBody};

    use super::*;

    /// A body of so many chunks of 1 KiB, which then ends or does not.
    fn chunks(count: usize, ends: bool) -> impl Body<Data = Bytes, Error = std::io::Error> + Unpin {
        let chunks = (0..count).map(|_| Ok(Frame::data(Bytes::from(vec![b'x'; 1024]))));
        let chunks = futures_util::stream::iter(chunks);
        let more = futures_util::stream::poll_fn(move |_| if ends { Poll::Ready(None) } else { Poll::Pending });
        StreamBody::new(futures_util::StreamExt::chain(chunks, more))
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_small_and_there_is_read_and_what_is_not_is_given_up() {
        for (count, ends, discarded) in [(0, true, true), (64, true, true), (65, true, false), (1, false, false)] {
            let (body, rest) = Returning::new(chunks(count, ends));
            drop(body);
            assert!(rest.is_there());
            assert_eq!(rest.discarded().await, discarded, "{count} {ends}");
        }
        let (body, rest) = Returning::new(Full::new(Bytes::from(vec![0; MOST + 1])));
        drop(body);
        assert!(!rest.discarded().await, "its length is known beforehand");
    }

    #[tokio::test]
    async fn a_body_that_was_read_does_not_come_back() {
        let (mut body, rest) = Returning::new(Full::new(Bytes::from_static(b"x")));
        assert!(body.frame().await.is_some() && body.is_end_stream());
        drop(body);
        assert!(!rest.is_there() && rest.discarded().await);
    }
}
