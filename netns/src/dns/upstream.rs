//! Questions that are passed on: to whom, and over which socket.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// What is asked where the host has no server.
pub const PUBLIC_SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(1, 1, 1, 1), Ipv4Addr::new(8, 8, 8, 8)];
/// How many servers are asked, one after the other (resolv.conf(5), MAXNS).
const MOST_SERVERS: usize = 3;
/// How long each has. All of them together have as long as most clients wait.
pub const PATIENCE: Duration = Duration::from_millis(1600);

/// The servers of resolv.conf(5).
pub fn servers_of(text: &str) -> Vec<IpAddr> {
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    };
    text.lines().filter_map(server).collect()
}

/// The host's servers at this moment. They are asked from the host, so its own loopback is among what can be reached.
pub fn host_servers() -> Vec<IpAddr> {
    let found = servers_of(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    if found.is_empty() { PUBLIC_SERVERS.map(IpAddr::from).to_vec() } else { found }
}

/// The addresses to ask, first things first.
pub fn addresses(servers: &[IpAddr]) -> Vec<SocketAddr> {
    servers.iter().take(MOST_SERVERS).map(|server| SocketAddr::new(*server, 53)).collect()
}

/// A socket of a port that nobody can guess, that hears from nobody but the server.
pub fn datagram_socket(server: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    socket.connect(server)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// A connection to the server, perhaps still being made.
pub fn stream_socket(server: SocketAddr) -> std::io::Result<TcpStream> {
    let family = if server.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)?;
    match connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket.into()),
        Err(errno) => Err(errno.into()),
    }
}

/// Numbers that cannot be guessed (RFC 5452), and for shuffling.
pub fn random() -> u16 {
    let mut bytes = [0; 2];
    let read = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    // Without it the port is still to be guessed.
    read.map_or(0, |()| u16::from_ne_bytes(bytes))
}

/// Put in an order that differs from time to time, so that of several containers of one name each is called.
pub fn shuffle<T>(all: &mut [T]) {
    for last in (1..all.len()).rev() {
        all.swap(last, usize::from(random()) % (last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read() {
        let text =
            "# nameserver 1.1.1.1\nnameserver 10.0.0.1\nnameserver fd00::1\nnameserver\nnameserver x\nsearch a\n";
        assert_eq!(servers_of(text), ["10.0.0.1".parse::<IpAddr>().unwrap(), "fd00::1".parse().unwrap()]);
        let many: Vec<IpAddr> = (0..9).map(|last| Ipv4Addr::new(10, 0, 0, last).into()).collect();
        assert_eq!(addresses(&many).len(), 3);
    }

    #[test]
    fn shuffling_keeps_all() {
        let mut all: Vec<u32> = (0..50).collect();
        shuffle(&mut all);
        assert_ne!(all, (0..50).collect::<Vec<_>>());
        all.sort_unstable();
        assert_eq!(all, (0..50).collect::<Vec<_>>());
    }
}
