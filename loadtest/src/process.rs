//! What the system says of a process and of a socket (Linux, `/proc`).

use std::{
    fs,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

/// A process's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pid(pub u32);

/// What a process has used so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Processor time, user and system, of all its threads.
    pub cpu: Duration,
    /// Memory that is resident now, in bytes.
    pub rss: u64,
}

/// What a process has used so far; `None` when it is gone or the system does not say.
pub fn usage(pid: Pid) -> Option<Usage> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.0)).ok()?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.0)).ok()?;
    Some(Usage { cpu: cpu(&stat)?, rss: rss(&status)? })
}

/// The process that listens on this TCP address, if it runs on this machine and may be looked at.
pub fn listener(address: SocketAddr) -> Option<Pid> {
    let tables = [fs::read_to_string("/proc/net/tcp").ok(), fs::read_to_string("/proc/net/tcp6").ok()];
    let inode = tables.iter().flatten().flat_map(|table| rows(table)).find(|row| {
        row.listens && row.port == address.port() && (is_local(address.ip()) || address.ip().is_unspecified())
    })?;
    holder(inode.inode)
}

/// The process that has this UDP address bound, if it runs on this machine and may be looked at.
pub fn udp_listener(address: SocketAddr) -> Option<Pid> {
    let tables = [fs::read_to_string("/proc/net/udp").ok(), fs::read_to_string("/proc/net/udp6").ok()];
    // A client's socket may have the port by chance, but is connected; a server's is not.
    let row =
        tables.iter().flatten().flat_map(|table| rows(table)).find(|row| row.port == address.port() && row.bare)?;
    holder(row.inode)
}

/// How many datagrams the system has dropped because this UDP port's queue was full; over all sockets of the port.
pub fn udp_drops(port: u16) -> Option<u64> {
    let tables = [fs::read_to_string("/proc/net/udp").ok(), fs::read_to_string("/proc/net/udp6").ok()];
    let drops: Vec<_> = tables.iter().flatten().flat_map(|table| rows(table)).filter(|row| row.port == port).collect();
    (!drops.is_empty()).then(|| drops.iter().map(|row| row.drops).sum())
}

/// Whether an address is this machine's, as far as can be told without asking: the loopback ones are.
pub const fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
}

/// One line of `/proc/net/{tcp,udp}{,6}`.
struct Row {
    port: u16,
    listens: bool,
    /// Not connected to anyone.
    bare: bool,
    inode: u64,
    drops: u64,
}

fn rows(table: &str) -> impl Iterator<Item = Row> {
    table.lines().skip(1).filter_map(|line| {
        let fields: Vec<_> = line.split_ascii_whitespace().collect();
        let (_, port) = fields.get(1)?.rsplit_once(':')?;
        Some(Row {
            port: u16::from_str_radix(port, 16).ok()?,
            listens: *fields.get(3)? == "0A",
            bare: fields.get(2)?.ends_with(":0000"),
            inode: fields.get(9)?.parse().ok()?,
            drops: fields.get(12).and_then(|drops| drops.parse().ok()).unwrap_or_default(),
        })
    })
}

/// The process that holds the socket with this inode.
fn holder(inode: u64) -> Option<Pid> {
    let link = format!("socket:[{inode}]");
    let holds = |pid: u32| {
        let Ok(fds) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
        fds.flatten().any(|fd| fs::read_link(fd.path()).is_ok_and(|target| target.as_os_str() == link.as_str()))
    };
    let entries = fs::read_dir("/proc").ok()?.flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid| holds(*pid)).map(Pid)
}

/// `utime` and `stime` of `/proc/PID/stat`. They count in hundredths of a second on every Linux there is.
fn cpu(stat: &str) -> Option<Duration> {
    // The second field is the program's name, which may hold anything; what follows its parenthesis does not.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11).map(|field| field.parse::<u64>().ok());
    Some(Duration::from_millis(10 * (ticks.next()?? + ticks.next()??)))
}

fn rss(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(1024 * line.split_ascii_whitespace().next()?.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn the_listener_of_a_port_is_found_and_measured() {
        let listener_socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let pid = listener(listener_socket.local_addr().unwrap()).unwrap();
        assert_eq!(pid, Pid(std::process::id()));
        assert!(usage(pid).unwrap().rss > 100_000);
    }

    #[test]
    fn datagrams_that_overflow_a_queue_are_counted() {
        let receiver = UdpSocket::bind("127.0.0.1:0").unwrap();
        let to = receiver.local_addr().unwrap();
        assert_eq!(udp_drops(to.port()), Some(0));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        for _ in 0..5000 {
            let _ = sender.send_to(&[0; 1000], to);
        }
        assert!(udp_drops(to.port()).unwrap() > 0);
    }

    #[test]
    fn a_program_name_with_spaces_and_parentheses_does_not_confuse() {
        let stat = "7 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0";
        assert_eq!(cpu(stat), Some(Duration::from_secs(2)));
    }
}
