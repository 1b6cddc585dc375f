//! Bytes on a connection, as no client library would send them.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection to the service.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    read: Vec<u8>,
}

/// What was answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: &str) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), read: Vec::new() }
    }

    /// A connection from another address of this machine.
    pub(crate) async fn connect_from(from: &str, addr: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((from.parse::<std::net::IpAddr>().unwrap(), 0).into()).unwrap();
        Self { stream: socket.connect(addr.parse().unwrap()).await.unwrap(), read: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// The next answer; its length is told by `content-length`. `None` when the connection ends instead.
    pub(crate) async fn response(&mut self) -> Option<Response> {
        timeout(PATIENCE, self.next()).await.expect("no answer in time")
    }

    async fn next(&mut self) -> Option<Response> {
        loop {
            if let Some(head) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8(self.read[..head].to_vec()).unwrap();
                let length =
                    text.lines().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
                let end = head + 4 + length.unwrap_or(0);
                if self.read.len() >= end {
                    let body = self.read[head + 4..end].to_vec();
                    self.read.drain(..end);
                    let status = text[9..12].parse().unwrap();
                    return Some(Response { status, head: text, body });
                }
            }
            let mut buffer = [0; 4096];
            match self.stream.read(&mut buffer).await {
                Ok(0) | Err(_) => return None,
                Ok(length) => self.read.extend_from_slice(&buffer[..length]),
            }
        }
    }

    /// Everything until the connection ends. Panics when it does not.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        let mut rest = std::mem::take(&mut self.read);
        // A reset is an end as well.
        let _ = timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await.expect("the connection stays open");
        rest
    }

    /// Whether the connection is still open after `span` of silence.
    pub(crate) async fn is_open(&mut self, span: Duration) -> bool {
        let mut byte = [0];
        match timeout(span, self.stream.read(&mut byte)).await {
            Err(_) => true,
            Ok(Ok(1)) => {
                self.read.push(byte[0]);
                true
            }
            Ok(_) => false,
        }
    }
}

/// How often a status was answered in a run of answers.
pub(crate) fn statuses(answers: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(answers);
    text.match_indices("HTTP/1.1 ").map(|(at, _)| text[at + 9..at + 12].to_owned()).collect()
}
