//! A monitor's last words: what the payload has left in its pipes, and its exit status, to every client at its own pace.

use std::io;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::wire::{Kind, Wire};

/// What is still to be said, in order. It is no more than pipes hold.
pub type Packets = Vec<(Kind, Vec<u8>)>;

/// Who it is said to: each client with the index of the first packet that it wants.
pub struct Listeners(Vec<(Wire, usize)>);

impl Listeners {
    /// From these clients.
    pub fn new(clients: impl IntoIterator<Item = (Wire, usize)>) -> Self {
        Listeners(clients.into_iter().collect())
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Send every client its packets. One that takes nothing keeps no other waiting.
    pub fn tell(mut self, packets: &[(Kind, Vec<u8>)]) {
        loop {
            self.0.retain_mut(|(wire, next)| is_behind(wire, next, packets));
            if self.0.is_empty() {
                return;
            }
            let fds = self.0.iter().map(|(wire, _)| PollFd::from_borrowed_fd(wire.as_fd(), PollFlags::OUT));
            let mut polled: Vec<_> = fds.collect();
            if poll(&mut polled, None).is_err_and(|errno| errno != Errno::INTR) {
                return;
            }
        }
    }
}

/// Send as much as there is room for; false when the client has it all, or is gone.
fn is_behind(wire: &Wire, next: &mut usize, packets: &[(Kind, Vec<u8>)]) -> bool {
    while let Some((kind, body)) = packets.get(*next) {
        match wire.try_send(*kind, body) {
            Ok(()) => *next += 1,
            Err(error) => return error.kind() == io::ErrorKind::WouldBlock,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::super::wire::{CHUNK, Packet};
    use super::*;

    #[test]
    fn a_stalled_client_keeps_no_other_waiting() {
        let (stalled, stalled_end) = Wire::pair().unwrap();
        let (quick, quick_end) = Wire::pair().unwrap();
        let mut packets: Packets = (0..200).map(|_| (Kind::Output, vec![7; CHUNK])).collect();
        packets.push((Kind::Exited, 3_i32.to_le_bytes().to_vec()));
        let last = packets.len() - 1;
        let teller = std::thread::spawn(move || Listeners::new([(stalled, 0), (quick, last)]).tell(&packets));
        let mut buffer = [0; CHUNK];
        assert!(matches!(quick_end.receive(&mut buffer).unwrap(), Packet::Body(Kind::Exited, 4)));
        let mut outputs = 0;
        while let Packet::Body(Kind::Output, CHUNK) = stalled_end.receive(&mut buffer).unwrap() {
            outputs += 1;
        }
        assert_eq!(outputs, 200);
        teller.join().unwrap();
    }
}
