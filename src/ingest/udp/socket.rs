//! The sockets of a UDP listener.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

/// How long a thread may sleep in the kernel before it looks up. Being told to stop wakes it at once, where the kernel
/// can.
const LOOK_UP: Duration = Duration::from_secs(1);
/// How long a full send buffer is waited for before acks are dropped.
const FLUSH: Duration = Duration::from_millis(10);

/// Bytes that a socket's buffers are asked to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Buffers {
    /// For datagrams that wait to be read.
    pub receive: usize,
    /// For acks that wait to be sent.
    pub send: usize,
}

/// Bytes that the kernel granted. Linux counts its own overhead in, and grants twice what it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Granted {
    /// For datagrams that wait to be read.
    pub receive: usize,
    /// For acks that wait to be sent.
    pub send: usize,
}

/// Binds `count` sockets to one address; answers the address, and the least that was granted to any of them.
pub(super) fn bind(addr: SocketAddr, count: usize, buffers: Buffers) -> io::Result<(Vec<Socket>, SocketAddr, Granted)> {
    let first = prepared(addr, buffers)?;
    // Shared only once it is bound: a socket that is to be shared from the start would be let in beside another
    // program's that is shared as well, and each would get some of the clients.
    first.bind(&addr.into())?;
    let addr = first.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    let mut sockets = vec![first];
    if count > 1 {
        sockets[0].set_reuse_port(true)?;
        for _ in 1..count {
            let further = prepared(addr, buffers)?;
            further.set_reuse_port(true)?;
            further.bind(&addr.into())?;
            sockets.push(further);
        }
    }
    let mut granted = Granted { receive: usize::MAX, send: usize::MAX };
    for socket in &sockets {
        granted.receive = granted.receive.min(socket.recv_buffer_size()?);
        granted.send = granted.send.min(socket.send_buffer_size()?);
    }
    Ok((sockets, addr, granted))
}

fn prepared(addr: SocketAddr, buffers: Buffers) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_recv_buffer_size(buffers.receive)?;
    socket.set_send_buffer_size(buffers.send)?;
    socket.set_read_timeout(Some(LOOK_UP))?;
    socket.set_write_timeout(Some(FLUSH))?;
    if let IpAddr::V6(ip) = addr.ip() {
        socket.set_only_v6(!ip.is_unspecified())?;
    }
    if says_where_to(addr) {
        match addr.ip() {
            IpAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            IpAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
    }
    Ok(socket)
}

/// Whether a socket that is bound to `addr` says of each datagram which address it came to. One that is bound to a single
/// address need not: its acks leave from there.
pub(super) const fn says_where_to(addr: SocketAddr) -> bool {
    addr.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUFFERS: Buffers = Buffers { receive: 65_536, send: 65_536 };

    fn any(ip: &str) -> SocketAddr {
        SocketAddr::new(ip.parse().unwrap(), 0)
    }

    #[test]
    fn sockets_of_one_listener_share_the_port_and_nobody_else_gets_it() {
        let (sockets, addr, _) = bind(any("127.0.0.1"), 3, BUFFERS).unwrap();
        assert_eq!(sockets.len(), 3);
        assert!(sockets.iter().all(|socket| socket.local_addr().unwrap().as_socket() == Some(addr)));
        for count in [1, 2] {
            assert_eq!(bind(addr, count, BUFFERS).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        }
    }

    #[test]
    fn small_buffers_are_granted_in_full() {
        let (_, _, granted) = bind(any("127.0.0.1"), 2, BUFFERS).unwrap();
        assert!(granted.receive >= BUFFERS.receive && granted.send >= BUFFERS.send, "{granted:?}");
    }

    #[test]
    fn the_address_of_all_interfaces_takes_both_versions_of_ip() {
        let Ok((sockets, addr, _)) = bind(any("::"), 2, BUFFERS) else {
            crate::skips::skipped("this machine has no IPv6");
            return;
        };
        let client = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        client.send_to(b"x", ("127.0.0.1", addr.port())).unwrap();
        let got = sockets.iter().any(|socket| {
            socket.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
            socket.recv_from(&mut [std::mem::MaybeUninit::uninit(); 8]).is_ok()
        });
        assert!(got);
    }
}
