//! DNS over TCP: messages with their length in front (RFC 1035, 4.2.2), on a socket that never blocks.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};

/// A connection that messages go over.
#[derive(Debug)]
pub struct Stream {
    socket: TcpStream,
    received: Vec<u8>,
    unsent: Vec<u8>,
}

impl Stream {
    /// Of a socket that does not block.
    pub fn new(socket: TcpStream) -> Self {
        Stream { socket, received: Vec::new(), unsent: Vec::new() }
    }

    /// Take in what there is, up to one message; `false` when the other side has closed or the connection is broken.
    pub fn fill(&mut self, buffer: &mut [u8]) -> bool {
        while !self.is_complete() {
            match self.socket.read(buffer) {
                Ok(0) => return false,
                Ok(length) => self.received.extend(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
        true
    }

    /// Whether a message is there whole.
    pub fn is_complete(&self) -> bool {
        self.received
            .first_chunk()
            .is_some_and(|length| self.received.len() >= 2 + usize::from(u16::from_be_bytes(*length)))
    }

    /// The next message that is there whole.
    pub fn take(&mut self) -> Option<Vec<u8>> {
        if !self.is_complete() {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(*self.received.first_chunk()?));
        let rest = self.received.split_off(2 + length);
        let message = std::mem::replace(&mut self.received, rest);
        Some(message[2..].to_vec())
    }

    /// Send a message, as far as the socket takes it; `false` when the connection is broken.
    pub fn send(&mut self, message: &[u8]) -> bool {
        let Ok(length) = u16::try_from(message.len()) else { return false };
        self.unsent.extend(length.to_be_bytes());
        self.unsent.extend(message);
        self.flush()
    }

    /// Go on sending; `false` when the connection is broken.
    pub fn flush(&mut self) -> bool {
        while !self.unsent.is_empty() {
            match self.socket.write(&self.unsent) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // A connection that is still being made is not connected.
                Err(error) => return matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected),
            }
        }
        true
    }

    /// Whether there is something left to send.
    pub fn owes(&self) -> bool {
        !self.unsent.is_empty()
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn messages_come_whole_and_one_by_one() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut far = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let near = listener.accept().unwrap().0;
        near.set_nonblocking(true).unwrap();
        let mut stream = Stream::new(near);
        let mut buffer = [0; 64];
        let mut after = |stream: &mut Stream, bytes: &[u8]| {
            far.write_all(bytes).unwrap();
            far.flush().unwrap();
            std::thread::sleep(std::time::Duration::from_millis(20));
            stream.fill(&mut buffer)
        };
        assert!(after(&mut stream, &[0]) && stream.take().is_none());
        assert!(after(&mut stream, &[2, 7]) && stream.take().is_none());
        assert!(after(&mut stream, &[8, 0, 1, 9, 0]));
        assert_eq!((stream.take(), stream.take(), stream.take()), (Some(vec![7, 8]), Some(vec![9]), None));
        assert!(stream.send(&[1, 2, 3]) && !stream.owes());
        drop(far);
        assert!(!stream.fill(&mut buffer));
    }
}
