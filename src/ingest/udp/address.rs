//! Addresses of both versions of IP: of senders, and of ours that they sent to.

use std::net::{Ipv4Addr, Ipv6Addr};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessage, ControlMessageOwned, SockaddrIn, SockaddrIn6, SockaddrLike},
};

/// An address of a socket's family.
pub(super) trait Address: SockaddrLike + Copy + Send + 'static {
    /// One of our own addresses, which a datagram came to.
    type Local: Copy + Ord + Send + 'static;
    /// The same as the kernel is told it.
    type Info;

    /// Room for what the kernel says of a datagram.
    fn control_space() -> Vec<u8>;

    /// The address of ours that the kernel says a datagram came to, if an answer can leave from there.
    fn local(said: &ControlMessageOwned) -> Option<Self::Local>;

    /// An address of ours, to be told the kernel.
    fn info(local: Self::Local) -> Self::Info;

    /// Tells the kernel which of our addresses a datagram is to leave from.
    fn control(info: &Self::Info) -> ControlMessage<'_>;
}

impl Address for SockaddrIn {
    type Local = Ipv4Addr;
    type Info = libc::in_pktinfo;

    fn control_space() -> Vec<u8> {
        cmsg_space!(libc::in_pktinfo)
    }

    fn local(said: &ControlMessageOwned) -> Option<Ipv4Addr> {
        let ControlMessageOwned::Ipv4PacketInfo(info) = said else { return None };
        // Of a datagram to all, this is the address to answer from.
        let local = Ipv4Addr::from(info.ipi_spec_dst.s_addr.to_ne_bytes());
        (!local.is_unspecified()).then_some(local)
    }

    fn info(local: Ipv4Addr) -> libc::in_pktinfo {
        let address = |bytes| libc::in_addr { s_addr: u32::from_ne_bytes(bytes) };
        libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: address(local.octets()), ipi_addr: address([0; 4]) }
    }

    fn control(info: &libc::in_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv4PacketInfo(info)
    }
}

impl Address for SockaddrIn6 {
    /// With the number of its interface, where it is an address only there.
    type Local = (Ipv6Addr, u32);
    type Info = libc::in6_pktinfo;

    fn control_space() -> Vec<u8> {
        cmsg_space!(libc::in6_pktinfo)
    }

    fn local(said: &ControlMessageOwned) -> Option<(Ipv6Addr, u32)> {
        let ControlMessageOwned::Ipv6PacketInfo(info) = said else { return None };
        let local = Ipv6Addr::from(info.ipi6_addr.s6_addr);
        // The same of IPv4, where the socket takes both.
        let unusable = |ip: Ipv4Addr| ip.is_broadcast() || ip.is_multicast() || ip.is_unspecified();
        if local.is_unspecified() || local.is_multicast() || local.to_ipv4_mapped().is_some_and(unusable) {
            return None;
        }
        let interface = if local.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
        Some((local, interface))
    }

    fn info((local, interface): (Ipv6Addr, u32)) -> libc::in6_pktinfo {
        libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: local.octets() }, ipi6_ifindex: interface }
    }

    fn control(info: &libc::in6_pktinfo) -> ControlMessage<'_> {
        ControlMessage::Ipv6PacketInfo(info)
    }
}
