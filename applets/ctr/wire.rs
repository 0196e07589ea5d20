//! What a monitor, its launcher and its clients say to each other: packets of one kind byte and a body, over sequenced-packet
//! sockets, which keep the packets apart and tell of the other's death.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, connect, listen, recvmsg, sendmsg,
    socket_with, socketpair,
};

/// Longest body.
pub const CHUNK: usize = 16 << 10;

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// The payload runs. From the launcher with descriptors: pidfd and, if it has one, the terminal's master.
    Started = b'S',
    /// It does not: exit status. The reason has been printed.
    Failed = b'F',
    /// The payload's standard output.
    Output = b'O',
    /// The payload's standard error.
    Error = b'E',
    /// The payload has ended: exit status.
    Exited = b'X',
    /// A client wants output and the end.
    Attach = b'A',
    /// A client wants to hear of the end only.
    Wait = b'W',
    /// Standard input for the payload.
    Input = b'I',
    /// No more of it.
    CloseInput = b'C',
    /// The client's terminal has so many rows and columns.
    Size = b'Z',
    /// A signal for the payload.
    Signal = b'K',
}

impl Kind {
    fn from_byte(byte: u8) -> Option<Self> {
        use Kind as K;
        let all = [
            K::Started,
            K::Failed,
            K::Output,
            K::Error,
            K::Exited,
            K::Attach,
            K::Wait,
            K::Input,
            K::CloseInput,
            K::Size,
            K::Signal,
        ];
        all.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// One end of a connection.
pub struct Wire(OwnedFd);

/// A received packet.
pub enum Packet {
    /// Kind and length of the body, which is in the caller's buffer.
    Body(Kind, usize),
    /// The other end is gone.
    Closed,
    /// Nothing just now, of a wire that does not block.
    Nothing,
}

impl Wire {
    /// Two connected ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (one, other) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Wire(one), Wire(other)))
    }

    /// Connect to the socket in a directory.
    pub fn connect(dir: &Path) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        with_address(dir, |address| connect(&socket, address))?;
        Ok(Wire(socket))
    }

    /// The descriptor, to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Send a packet.
    pub fn send(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.send_with(kind, body, &[], SendFlags::NOSIGNAL)
    }

    /// Send a packet if there is room for it now.
    pub fn try_send(&self, kind: Kind, body: &[u8]) -> io::Result<()> {
        self.send_with(kind, body, &[], SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// Send a packet with up to two descriptors.
    pub fn send_fds(&self, kind: Kind, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        self.send_with(kind, &[], fds, SendFlags::NOSIGNAL)
    }

    fn send_with(&self, kind: Kind, body: &[u8], fds: &[BorrowedFd<'_>], flags: SendFlags) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(fds));
        }
        loop {
            match sendmsg(&self.0, &[IoSlice::new(&[kind as u8]), IoSlice::new(body)], &mut ancillary, flags) {
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }

    /// Receive a packet, waiting for one.
    pub fn receive(&self, buffer: &mut [u8; CHUNK]) -> io::Result<Packet> {
        self.receive_with(buffer, &mut Vec::new(), RecvFlags::empty())
    }

    /// Receive a packet if there is one.
    pub fn try_receive(&self, buffer: &mut [u8; CHUNK]) -> io::Result<Packet> {
        self.receive_with(buffer, &mut Vec::new(), RecvFlags::DONTWAIT)
    }

    /// Receive a packet and the descriptors that come with it.
    pub fn receive_fds(&self, buffer: &mut [u8; CHUNK], fds: &mut Vec<OwnedFd>) -> io::Result<Packet> {
        self.receive_with(buffer, fds, RecvFlags::empty())
    }

    fn receive_with(&self, buffer: &mut [u8; CHUNK], fds: &mut Vec<OwnedFd>, flags: RecvFlags) -> io::Result<Packet> {
        let mut kind = [0];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let length = loop {
            let mut slices = [IoSliceMut::new(&mut kind), IoSliceMut::new(buffer)];
            match recvmsg(&self.0, &mut slices, &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
                Ok(message) => break message.bytes,
                // The other end has closed without reading all that it was sent. That is said once; what it sent before follows.
                Err(Errno::INTR | Errno::CONNRESET) => {}
                Err(Errno::AGAIN) => return Ok(Packet::Nothing),
                Err(errno) => return Err(errno.into()),
            }
        };
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(received) = message {
                fds.extend(received);
            }
        }
        match (length.checked_sub(1), Kind::from_byte(kind[0])) {
            (None, _) => Ok(Packet::Closed),
            (Some(length), Some(kind)) => Ok(Packet::Body(kind, length)),
            (Some(_), None) => Err(io::Error::new(io::ErrorKind::InvalidData, "unknown kind of packet")),
        }
    }
}

/// A monitor's socket.
pub struct Listener(OwnedFd);

impl Listener {
    /// Make the socket in a directory.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        super::files::remove(&dir.join("socket"))?;
        with_address(dir, |address| bind(&socket, address))?;
        listen(&socket, 16)?;
        Ok(Listener(socket))
    }

    /// The descriptor, to poll.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Accept a client, if there is one.
    pub fn accept(&self) -> Option<Wire> {
        accept_with(&self.0, SocketFlags::CLOEXEC).ok().map(Wire)
    }
}

/// The socket's address by way of a descriptor: a path of its own could exceed the 108 bytes of an address.
fn with_address(dir: &Path, then: impl FnOnce(&SocketAddrUnix) -> rustix::io::Result<()>) -> io::Result<()> {
    let dir = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let address = SocketAddrUnix::new(format!("/proc/self/fd/{}/socket", dir.as_raw_fd()))?;
    Ok(then(&address)?)
}

/// A number in a packet's body.
pub fn number(body: &[u8]) -> Option<i32> {
    body.first_chunk().map(|bytes| i32::from_le_bytes(*bytes))
}

/// Rows and columns as a body.
pub fn size(rows: u16, columns: u16) -> [u8; 4] {
    let [a, b] = rows.to_le_bytes();
    let [c, d] = columns.to_le_bytes();
    [a, b, c, d]
}

/// Rows and columns of a body.
pub fn parse_size(body: &[u8]) -> Option<(u16, u16)> {
    let [a, b, c, d] = *body.first_chunk()?;
    Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_keep_apart_and_the_end_is_seen() {
        let (one, other) = Wire::pair().unwrap();
        one.send(Kind::Output, b"abc").unwrap();
        one.send(Kind::Exited, &7_i32.to_le_bytes()).unwrap();
        let mut buffer = [0; CHUNK];
        assert!(matches!(other.receive(&mut buffer).unwrap(), Packet::Body(Kind::Output, 3)));
        assert_eq!(&buffer[..3], b"abc");
        assert!(matches!(other.receive(&mut buffer).unwrap(), Packet::Body(Kind::Exited, 4)));
        assert_eq!(number(&buffer), Some(7));
        assert!(matches!(other.try_receive(&mut buffer).unwrap(), Packet::Nothing));
        drop(one);
        assert!(matches!(other.receive(&mut buffer).unwrap(), Packet::Closed));
    }

    #[test]
    fn the_last_word_is_heard_of_an_end_that_has_not_read_all() {
        let (one, other) = Wire::pair().unwrap();
        one.send(Kind::Input, b"unread").unwrap();
        other.send(Kind::Exited, &7_i32.to_le_bytes()).unwrap();
        drop(other);
        let mut buffer = [0; CHUNK];
        assert!(matches!(one.receive(&mut buffer).unwrap(), Packet::Body(Kind::Exited, 4)));
        assert!(matches!(one.receive(&mut buffer).unwrap(), Packet::Closed));
    }

    #[test]
    fn a_long_directory_is_no_obstacle() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let listener = Listener::bind(&deep).unwrap();
        let client = Wire::connect(&deep).unwrap();
        client.send(Kind::Size, &size(24, 80)).unwrap();
        let mut buffer = [0; CHUNK];
        let server = listener.accept().unwrap();
        assert!(matches!(server.receive(&mut buffer).unwrap(), Packet::Body(Kind::Size, 4)));
        assert_eq!(parse_size(&buffer), Some((24, 80)));
    }
}
