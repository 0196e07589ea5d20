//! Where a container's queries arrive: 127.0.0.11 in its own namespace, as under Docker, so that it is the same on every
//! network, of whatever driver, and in no firewall's way.
//!
//! Port 53 of that address is left to the container, which may be a name server itself: the sockets have other ports, to which
//! a table `inet coracle` in the container's namespace leads. It goes with the namespace.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::directory::Member;
use crate::netlink::Socket;
use crate::nft::{self, Batch, Hook, Meta, REG_1};
use crate::{Error, Protocol, Result, link, namespace};

/// The name server of containers.
pub const SERVER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);
const PORT: u16 = 53;
const TABLE: &str = "coracle";

/// The sockets of a container.
#[derive(Debug)]
pub struct Listener {
    /// Queries come here.
    pub udp: UdpSocket,
    /// Connections come here.
    pub tcp: TcpListener,
    /// The container's process: readable when it has ended.
    pub process: OwnedFd,
    /// The container's namespace.
    pub namespace: OwnedFd,
    /// Its inode number.
    pub number: u64,
}

impl Listener {
    /// Open the sockets, and lead queries to them; `None` if the container's process is gone.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn open(member: &Member) -> Result<Option<Self>> {
        let Some(pid) = Pid::from_raw(member.pid) else { return Ok(None) };
        // First the process, then its namespace: if the number is right, the process was the one.
        let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(None) };
        let Ok(space) = namespace::of_process(member.pid) else { return Ok(None) };
        if namespace::number(space.as_fd())? != member.namespace {
            return Ok(None);
        }
        let (udp, tcp) = namespace::within(space.as_fd(), || {
            let failed = |source| Error::kernel(format!("listen on {SERVER} in the container"), source);
            // Before loopback is up the namespace knows no address, lets a socket have any, and sends from another.
            if !link::find(&mut Socket::route()?, "lo")?.is_up() {
                return Err(failed(std::io::ErrorKind::AddrNotAvailable.into()));
            }
            let udp = UdpSocket::bind((SERVER, 0)).map_err(failed)?;
            let tcp = TcpListener::bind((SERVER, 0)).map_err(failed)?;
            udp.set_nonblocking(true).and_then(|()| tcp.set_nonblocking(true)).map_err(failed)?;
            let port = |address: std::io::Result<std::net::SocketAddr>| address.map(|it| it.port()).map_err(failed);
            redirect(port(udp.local_addr())?, port(tcp.local_addr())?)?;
            Ok((udp, tcp))
        })?;
        Ok(Some(Listener { udp, tcp, process, namespace: space, number: member.namespace }))
    }
}

/// Take the table away, of a container that goes on without.
///
/// # Errors
/// What the kernel said.
pub fn remove_redirect(space: BorrowedFd<'_>) -> Result<()> {
    namespace::within(space, || {
        let mut batch = Batch::new(TABLE);
        batch.add_table();
        batch.delete_table();
        batch.commit("remove the container's way to its name server")
    })
}

/// In the namespace that the thread is in: what is sent to port 53 goes to these ports, and what they send comes from it. The ports are
/// written into the packets, without the tracking of connections: there is nothing to remember, so nothing that can be wrong.
fn redirect(udp: u16, tcp: u16) -> Result<()> {
    const NETWORK_HEADER: u32 = 1;
    const TRANSPORT_HEADER: u32 = 2;
    const NFPROTO_IPV4: u8 = 2;
    const CHAIN: &str = "names";
    // Offsets: addresses in the IPv4 header, ports in the transport header, checksums in those of UDP and TCP.
    const SOURCE: (u32, u32) = (12, 0);
    const DESTINATION: (u32, u32) = (16, 2);
    let mut batch = Batch::new(TABLE);
    // Add, delete, add: replaces it whether or not it was there.
    batch.add_table();
    batch.delete_table();
    batch.add_table();
    batch.add_chain(CHAIN, &Hook { kind: "filter", number: 3, priority: -300 });
    for (protocol, own, checksum) in [(Protocol::Udp, udp, 6), (Protocol::Tcp, tcp, 16)] {
        for ((address, at), from, to) in [(DESTINATION, PORT, own), (SOURCE, own, PORT)] {
            let equals = |value: &[u8]| nft::compare(true, value.to_vec());
            batch.add_rule(
                CHAIN,
                vec![
                    nft::meta(Meta::Family, REG_1),
                    equals(&[NFPROTO_IPV4]),
                    nft::payload(NETWORK_HEADER, address, 4, REG_1),
                    equals(&SERVER.octets()),
                    nft::meta(Meta::Transport, REG_1),
                    equals(&[protocol.number()]),
                    nft::payload(TRANSPORT_HEADER, at, 2, REG_1),
                    equals(&from.to_be_bytes()),
                    nft::load(REG_1, to.to_be_bytes().to_vec()),
                    nft::rewrite(at, 2, checksum, REG_1),
                ],
            );
        }
    }
    batch.commit("lead the container's queries to its name server")
}
