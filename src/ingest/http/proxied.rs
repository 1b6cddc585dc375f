//! Connections that begin with a proxy's announcement of its client (the PROXY protocol).

use std::time::Duration;

use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    telemetry::Seldom,
    web::peer::{Announced, Peer, Proxies, announced},
};

/// How long to wait before an announcement that is not whole is looked at again. Nearly all come whole.
const AGAIN: Duration = Duration::from_millis(5);

static MISSING: Seldom = Seldom::new();

/// Who is at the other end of a connection from `peer`; reads the announcement, if it has to begin with one, and not a byte
/// more. `None` if there is none: guessing would let others announce themselves. It is the listener that loses timeouts.
pub(super) async fn client(stream: &mut TcpStream, peer: Peer, proxies: &Proxies) -> Option<Peer> {
    if !proxies.announces(peer) {
        return Some(peer);
    }
    let mut bytes = [0; Proxies::MAX_ANNOUNCEMENT];
    loop {
        let length = stream.peek(&mut bytes).await.ok().filter(|length| *length > 0)?;
        let (client, length) = match announced(&bytes[..length]) {
            Announced::For(client, length) => (Peer(client), length),
            Announced::Itself(length) => (peer, length),
            Announced::Incomplete => {
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            Announced::Malformed => {
                if let Some(unsaid) = MISSING.speak() {
                    tracing::warn!(unsaid, "a proxy in http.trusted_proxies sent no PROXY protocol header");
                }
                return None;
            }
        };
        stream.read_exact(&mut bytes[..length]).await.ok()?;
        return Some(client);
    }
}
