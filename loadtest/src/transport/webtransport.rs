//! Opening a WebTransport session (draft-02, as browsers do), and what its datagrams start with.

use std::future::poll_fn;

use bytes::{BufMut, Bytes, BytesMut};
use h3::{
    client::{RequestStream, SendRequest},
    ext::Protocol,
};
use h3_quinn::{BidiStream, OpenStreams};
use http::{Method, Request, StatusCode};
use tokio::task::JoinHandle;

use super::Route;

/// Where to open sessions.
pub(crate) struct Target {
    url: String,
}

/// An open session.
pub(crate) struct Session {
    /// What each of its datagrams starts with: a quarter of the stream's id, as QUIC writes integers (RFC 9297, 2.1).
    pub(super) prefix: Bytes,
    stream: RequestStream<BidiStream<Bytes>, Bytes>,
    /// When the last one goes, h3 closes the connection.
    _requests: SendRequest<OpenStreams, Bytes>,
    driving: JoinHandle<()>,
}

impl Target {
    pub(super) fn new(route: &Route) -> Self {
        let (name, path) = (&route.name, &route.path);
        Self { url: format!("https://{name}{path}") }
    }

    /// Where this URL says.
    pub(crate) const fn at(url: String) -> Self {
        Self { url }
    }

    pub(crate) async fn open(&self, connection: &quinn::Connection) -> anyhow::Result<Session> {
        let (driving, mut requests) = connect(connection).await?;
        // No origin: that is for pages to have.
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(&self.url)
            .header("sec-webtransport-http3-draft02", "1")
            .extension(Protocol::WEB_TRANSPORT)
            .body(())?;
        let mut stream = requests.send_request(request).await?;
        let response = stream.recv_response().await?;
        anyhow::ensure!(response.status() == StatusCode::OK, "the server answers CONNECT with {}", response.status());
        let mut prefix = BytesMut::new();
        put_varint(&mut prefix, stream.id().into_inner() / 4);
        Ok(Session { prefix: prefix.freeze(), stream, _requests: requests, driving })
    }
}

impl Session {
    /// Waits until the session ends.
    pub(crate) async fn last(mut self) {
        while let Ok(Some(_)) = self.stream.recv_data().await {}
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.driving.abort();
    }
}

/// The client's side of HTTP/3 on this connection.
pub(super) async fn connect(
    connection: &quinn::Connection,
) -> anyhow::Result<(JoinHandle<()>, SendRequest<OpenStreams, Bytes>)> {
    let (mut driver, requests) = h3::client::builder()
        .enable_datagram(true)
        .enable_extended_connect(true)
        .build(h3_quinn::Connection::new(connection.clone()))
        .await?;
    let driving = tokio::spawn(async move {
        // How it ends shows in the requests.
        let _ = poll_fn(|context| driver.poll_close(context)).await;
    });
    Ok((driving, requests))
}

/// Writes an integer as QUIC does (RFC 9000, 16).
fn put_varint(out: &mut BytesMut, value: u64) {
    match value {
        0..0x40 => out.put_uint(value, 1),
        0x40..0x4000 => out.put_uint(value | 0x4000, 2),
        0x4000..0x4000_0000 => out.put_uint(value | 0x8000_0000, 4),
        _ => out.put_u64(value | 0xc000_0000_0000_0000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_written_as_rfc_9000_writes_them() {
        for (value, expected) in [
            (37, &[0x25][..]),
            (15_293, &[0x7b, 0xbd]),
            (494_878_333, &[0x9d, 0x7f, 0x3e, 0x7d]),
            (151_288_809_941_952_652, &[0xc2, 0x19, 0x7c, 0x5e, 0xff, 0x14, 0xe8, 0x8c]),
        ] {
            let mut out = BytesMut::new();
            put_varint(&mut out, value);
            assert_eq!(&out[..], expected);
        }
    }
}
