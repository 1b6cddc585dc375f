//! What attackers do on the network, and what newcomers do.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use quinn::{ClientConfig, Connection, Endpoint, TransportConfig, crypto::rustls::QuicClientConfig};
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::{Attacker, http};
use crate::{clock::unix_s, transport::SessionTarget};

/// How long anything is held that the service does not end.
const HOLD: Duration = Duration::from_secs(30);
/// How long an answer is waited for.
const ANSWER: Duration = Duration::from_secs(10);
/// Between two requests of an attacker.
const APART: Duration = Duration::from_millis(20);
/// Requests of a connection, and datagrams of a socket, before another is taken.
const OF_ONE: u64 = 100;
/// Streams that an attacker opens at once.
const STREAMS: u32 = 128;
/// WebTransport sessions of a connection.
const SESSIONS: usize = 16;

impl Attacker {
    async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        self.begins();
        let socket = TcpSocket::new_v4()?;
        socket.bind(self.from())?;
        timeout(ANSWER, socket.connect(to)).await?
    }

    /// Says a little, and waits until it is let go.
    pub(super) async fn hold(&self, to: SocketAddr, says: &[u8]) -> anyhow::Result<()> {
        let mut stream = self.connect(to).await?;
        stream.write_all(says).await?;
        let mut answer = Vec::new();
        match timeout(HOLD, stream.read_to_end(&mut answer)).await {
            Ok(_) => anyhow::bail!("let go"),
            Err(_) => Ok(()),
        }
    }

    pub(super) async fn silent_tls(&self) -> anyhow::Result<()> {
        self.hold(self.besieged.https.context("no TLS")?, b"").await
    }

    /// Opens as many streams as there may be, again and again.
    pub(super) async fn streams(&self) -> anyhow::Result<()> {
        let mut stream = self.connect(self.besieged.http).await?;
        stream.write_all(http::HTTP_2).await?;
        stream.write_all(http::SETTINGS_ACK).await?;
        let (mut reader, mut writer) = stream.into_split();
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 16 << 10];
            while matches!(reader.read(&mut buffer).await, Ok(length) if length > 0) {}
        });
        for round in 0..8 {
            let streams = (0..STREAMS).flat_map(|n| http::revocation_without_body(2 * (round * STREAMS + n) + 1));
            writer.write_all(&streams.collect::<Vec<u8>>()).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            anyhow::ensure!(!reading.is_finished(), "let go");
        }
        reading.abort();
        Ok(())
    }

    /// Asks one thing after another on a connection.
    pub(super) async fn ask(&self, request: fn(u64, u64) -> Vec<u8>) -> anyhow::Result<()> {
        let mut stream = self.connect(self.besieged.http).await?;
        for turn in 0..OF_ONE {
            let number = self.number << 32 | self.counts.begun.load(std::sync::atomic::Ordering::Relaxed) << 8 | turn;
            stream.write_all(&request(number, unix_s())).await?;
            let status = answer(&mut stream).await?;
            anyhow::ensure!(status != 200 && status != 204, "it was taken for good");
            self.counts.refused.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.begins();
            tokio::time::sleep(APART).await;
        }
        Ok(())
    }

    pub(super) async fn garbage(&self) -> anyhow::Result<()> {
        let socket = UdpSocket::bind(self.from()).await?;
        let quic = self.besieged.quic.as_ref().map(|(quic, _)| *quic);
        for turn in 0..OF_ONE {
            for (to, lengths) in [(self.besieged.udp, [48, 47]), (quic, [1200, 48])] {
                let Some(to) = to else { continue };
                for length in lengths {
                    self.begins();
                    let mut noise = http::noise(self.number << 32 | turn, length);
                    noise[0] |= 0xc0;
                    socket.send_to(&noise, to).await?;
                }
            }
            tokio::time::sleep(APART).await;
        }
        Ok(())
    }

    /// Opens a connection of QUIC, and whatever can be opened there, and never sends a frame.
    pub(super) async fn idle(&self, alpn: &[u8]) -> anyhow::Result<()> {
        let (connection, _endpoint) = self.quic(alpn).await?;
        let (_, url) = self.besieged.quic.as_ref().context("no QUIC")?;
        let mut sessions = Vec::new();
        while alpn == b"h3" && sessions.len() < SESSIONS {
            self.begins();
            match SessionTarget::at(url.clone()).open(&connection).await {
                Ok(session) => sessions.push(session),
                Err(_) => break,
            }
        }
        let let_go = async {
            match sessions.pop() {
                Some(last) => last.last().await,
                None => drop(connection.closed().await),
            }
        };
        match timeout(HOLD, let_go).await {
            Ok(()) => anyhow::bail!("let go"),
            Err(_) => Ok(()),
        }
    }

    async fn quic(&self, alpn: &[u8]) -> anyhow::Result<(Connection, Endpoint)> {
        let (to, _) = self.besieged.quic.as_ref().context("no QUIC")?;
        self.begins();
        let mut config = ClientConfig::new(Arc::new(QuicClientConfig::try_from(self.besieged.trust.client(&[alpn])?)?));
        let mut transport = TransportConfig::default();
        transport.keep_alive_interval(Some(Duration::from_secs(2)));
        config.transport_config(Arc::new(transport));
        let endpoint = Endpoint::client(self.from())?;
        let connection = timeout(ANSWER, endpoint.connect_with(config, *to, "localhost")?).await??;
        Ok((connection, endpoint))
    }

    /// Comes as a good client does that was not here before, by each listener.
    pub(super) async fn newcomer(&self) -> anyhow::Result<()> {
        let mut stream = self.connect(self.besieged.http).await?;
        served(&mut stream).await.context("by HTTP")?;
        if let Some(https) = self.besieged.https {
            let tls = Arc::new(self.besieged.trust.client(&[b"http/1.1"])?);
            let stream = self.connect(https).await?;
            let name = ServerName::try_from("localhost")?;
            let mut stream = timeout(ANSWER, TlsConnector::from(tls).connect(name, stream)).await??;
            served(&mut stream).await.context("by TLS")?;
        }
        if self.besieged.quic.is_some() {
            let (connection, endpoint) = self.quic(b"gastank/1").await.context("by QUIC")?;
            connection.close(0_u32.into(), b"");
            endpoint.wait_idle().await;
        }
        Ok(())
    }
}

async fn served<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) -> anyhow::Result<()> {
    stream.write_all(http::DOCUMENT).await?;
    let status = answer(stream).await?;
    anyhow::ensure!(status == 200, "answered {status}");
    Ok(())
}

/// The status of the next answer. Its body, if it has one, is thrown away with what follows.
async fn answer<S: AsyncRead + Unpin>(stream: &mut S) -> anyhow::Result<u16> {
    let mut buffer = vec![0; 16 << 10];
    let mut filled = 0;
    loop {
        let length = timeout(ANSWER, stream.read(&mut buffer[filled..])).await??;
        anyhow::ensure!(length > 0, "let go");
        filled += length;
        let Some(head) = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let text = String::from_utf8_lossy(&buffer[..head]).to_lowercase();
        let body = text.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
        if filled >= (head + 4 + body.unwrap_or(0)).min(buffer.len()) {
            return text.get(9..12).and_then(|status| status.parse().ok()).context("no status");
        }
    }
}
