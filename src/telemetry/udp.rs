//! How many datagrams the kernel dropped because a socket's receive buffer was full.

use std::fs;

/// Datagrams that the kernel dropped at this machine's UDP sockets bound to `port`, IPv4 and IPv6 together, since
/// those sockets were opened. Sockets that share the port are summed.
///
/// `None` where the kernel does not tell, or nothing is bound to the port.
pub fn udp_drops(port: u16) -> Option<u64> {
    let tables = ["/proc/self/net/udp", "/proc/self/net/udp6"];
    tables.into_iter().filter_map(|path| drops_in(&fs::read_to_string(path).ok()?, port)).reduce(u64::saturating_add)
}

/// Sums the last column, `drops`, of the rows whose local address has this port. A row that does not have the
/// expected shape is passed over.
fn drops_in(table: &str, port: u16) -> Option<u64> {
    // sl, local, remote, st, tx:rx, tr:when, retrnsmt, uid, timeout, inode, ref, pointer, drops
    const COLUMNS: usize = 13;
    let row = |line: &str| {
        let mut columns = line.split_ascii_whitespace();
        let (_, local_port) = columns.nth(1)?.rsplit_once(':')?;
        let drops = columns.nth(COLUMNS - 3)?.parse::<u64>().ok()?;
        (u16::from_str_radix(local_port, 16).ok()? == port).then_some(drops)
    };
    table.lines().skip(1).filter_map(row).reduce(u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Health, Telemetry, UdpListener};

    const TABLE: &str = "   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops            
  356: 0100007F:1BA8 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 31337 2 0000000000000000 12         
  357: 0100007F:1BA8 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 31338 2 0000000000000000 30         
 1210: 00000000:0044 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 1210 2 0000000000000000 7          
";
    const TABLE_6: &str = "  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  499: 00000000000000000000000001000000:1BA8 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 27203 2 0000000000000000 5
";

    #[test]
    fn sockets_that_share_a_port_are_summed() {
        assert_eq!(drops_in(TABLE, 7080), Some(42));
        assert_eq!(drops_in(TABLE, 68), Some(7));
        assert_eq!(drops_in(TABLE_6, 7080), Some(5));
    }

    #[test]
    fn a_port_nobody_is_bound_to_has_no_figure() {
        assert_eq!(drops_in(TABLE, 7081), None);
        assert_eq!(drops_in("", 7080), None);
    }

    #[test]
    fn rows_of_another_shape_are_passed_over() {
        let header = TABLE.lines().next().expect("has a header");
        for row in
            ["", ":", "1: 7080", "1: 0100007F:1BA8 0 0 0 0 0 0 0 0 0 0", "1: 0:1BA8 0 0 0 0 0 0 0 0 0 0 x", "é: :é"]
        {
            assert_eq!(drops_in(&format!("{header}\n{row}\n"), 7080), None, "{row}");
        }
    }

    #[test]
    fn the_running_kernel_is_asked_without_failing() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let port = socket.local_addr().expect("is bound").port();
        // Some sandboxes keep an empty table: both answers are right, a crash or a wrong count is not.
        assert!(matches!(udp_drops(port), None | Some(0)));
    }

    #[test]
    fn what_a_full_socket_drops_is_counted_and_shown() {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("binds");
        let (addr, sender) = (socket.local_addr().expect("is bound"), std::net::UdpSocket::bind("127.0.0.1:0"));
        let sender = sender.expect("binds");
        if udp_drops(addr.port()).is_none() {
            crate::skips::skipped("the kernel does not tell");
            return;
        }
        let telemetry = Telemetry::new(Health::new());
        telemetry.watch_udp(UdpListener::Quic, addr.port());
        let shown = |drops| {
            let row = format!("gastank_udp_kernel_drops_total{{listener=\"quic\"}} {drops}\n");
            telemetry.render().contains(&row)
        };
        assert!(shown(0));
        // Nobody reads; some buffers are large.
        let datagram = [0; 1400];
        let full = (0..100_000).any(|n| {
            drop(sender.send_to(&datagram, addr));
            n % 1000 == 0 && udp_drops(addr.port()) > Some(0)
        });
        assert!(full, "a hundred thousand datagrams fit into it");
        let drops = udp_drops(addr.port()).expect("it is told");
        assert!(drops > 0 && shown(drops));
    }
}
