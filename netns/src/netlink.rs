//! A blocking netlink socket and the message codec: header, fixed part, attributes (type, length, value; nested).
//!
//! Source: netlink(7), `include/uapi/linux/netlink.h`. Integers are in host order unless said otherwise.

use std::io;

use rustix::fd::OwnedFd;
use rustix::net::{self, AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use crate::{Error, Result};

/// Ask the kernel to act on the message.
pub const NLM_F_REQUEST: u16 = 0x1;
/// Ask the kernel for an acknowledgement.
pub const NLM_F_ACK: u16 = 0x4;
/// Ask for all objects rather than one.
pub const NLM_F_DUMP: u16 = 0x300;
/// Replace an existing object.
pub const NLM_F_REPLACE: u16 = 0x100;
/// Fail if the object exists.
pub const NLM_F_EXCL: u16 = 0x200;
/// Make the object if it does not exist.
pub const NLM_F_CREATE: u16 = 0x400;
/// Add to the end of a list.
pub const NLM_F_APPEND: u16 = 0x800;
const NLM_F_DUMP_INTR: u16 = 0x10;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const HEADER: usize = 16;
const NLA_F_NESTED: u16 = 0x8000;
/// The kernel never sends a larger message (`netlink(7)`: a dump's skb is at most 32 KiB).
const RECEIVE_BUFFER: usize = 64 * 1024;

/// A request being built.
#[derive(Clone, Debug)]
pub struct Message(Vec<u8>);

impl Message {
    /// A request of type `kind`; `flags` beside `NLM_F_REQUEST`.
    pub fn new(kind: u16, flags: u16) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&0_u32.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        bytes.extend_from_slice(&(flags | NLM_F_REQUEST).to_ne_bytes());
        bytes.extend_from_slice(&[0; 8]);
        Message(bytes)
    }

    /// Add to the header's flags.
    #[must_use]
    pub(crate) fn with_flags(mut self, flags: u16) -> Self {
        let all = self.flags() | flags;
        self.0[6..8].copy_from_slice(&all.to_ne_bytes());
        self
    }

    /// Append the fixed part that follows the header, padded to four bytes.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self.pad();
        self
    }

    /// Append an attribute.
    #[must_use]
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        self.push(kind, value);
        self
    }

    /// Append a NUL-terminated string.
    #[must_use]
    pub fn string(self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.attribute(kind, &bytes)
    }

    /// Append a number in host order.
    #[must_use]
    pub fn u32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_ne_bytes())
    }

    /// Append a number in network order (all of nf_tables).
    #[must_use]
    pub fn be32(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Append an attribute made of what `fill` appends.
    #[must_use]
    pub fn nested(mut self, kind: u16, fill: impl FnOnce(Message) -> Message) -> Self {
        let start = self.0.len();
        self.push(kind | NLA_F_NESTED, &[]);
        let mut filled = fill(self);
        let length = u16::try_from(filled.0.len() - start).unwrap_or(u16::MAX);
        filled.0[start..start + 2].copy_from_slice(&length.to_ne_bytes());
        filled
    }

    fn push(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.pad();
    }

    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }

    fn wants_answer(&self) -> bool {
        self.flags() & NLM_F_ACK != 0
    }

    fn flags(&self) -> u16 {
        u16_at(&self.0, 6).unwrap_or(0)
    }

    /// The bytes to send: length and sequence number filled in.
    fn finish(mut self, sequence: u32) -> Vec<u8> {
        let length = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        self.0[0..4].copy_from_slice(&length.to_ne_bytes());
        self.0[8..12].copy_from_slice(&sequence.to_ne_bytes());
        self.0
    }
}

/// One message of an answer.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// The message's type.
    pub kind: u16,
    /// What follows the header.
    pub payload: &'a [u8],
}

impl<'a> Answer<'a> {
    /// The attributes behind a fixed part of `fixed` bytes.
    pub fn attributes(&self, fixed: usize) -> Attributes<'a> {
        Attributes(self.payload.get(fixed.next_multiple_of(4)..).unwrap_or_default())
    }
}

/// Iterator over attributes: type without its flag bits, and value. Ends at the first malformed one.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a>(pub &'a [u8]);

impl<'a> Iterator for Attributes<'a> {
    type Item = (u16, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let length = usize::from(u16_at(self.0, 0)?);
        let kind = u16_at(self.0, 2)? & 0x3fff;
        let value = self.0.get(4..length)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    }
}

/// Read a host-order number at an offset.
pub fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(offset..offset + 2)?.try_into().ok()?))
}

/// Read a host-order number at an offset.
pub fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(offset..offset + 4)?.try_into().ok()?))
}

/// Read a host-order number that is the whole value.
pub fn u32_of(bytes: &[u8]) -> u32 {
    u32_at(bytes, 0).unwrap_or(0)
}

/// Read a NUL-terminated string.
pub fn string_of(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into_owned()
}

/// A request that the kernel refused, by its place in the batch.
#[derive(Debug)]
pub struct Refusal {
    /// Index of the message.
    pub index: usize,
    /// What the kernel said.
    pub source: io::Error,
}

/// A netlink socket. It belongs for ever to the network namespace in which it was made.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    sequence: u32,
    buffer: Vec<u8>,
}

impl Socket {
    /// A socket for interfaces, addresses, routes and neighbours (`NETLINK_ROUTE`).
    ///
    /// # Errors
    /// The kernel lacks netlink, or descriptors have run out.
    pub fn route() -> Result<Self> {
        Self::open(None, "open a route netlink socket")
    }

    /// A socket for nf_tables (`NETLINK_NETFILTER`).
    ///
    /// # Errors
    /// The kernel lacks netfilter, or descriptors have run out.
    pub fn netfilter() -> Result<Self> {
        Self::open(Some(net::netlink::NETFILTER), "open a netfilter netlink socket")
    }

    fn open(protocol: Option<net::Protocol>, action: &str) -> Result<Self> {
        let fd = net::socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)
            .map_err(|errno| Error::kernel(action, errno))?;
        // An nf_tables transaction acknowledges each message at once; the default holds few hundred of them.
        let _ = net::sockopt::set_socket_recv_buffer_size(&fd, 1 << 20);
        Ok(Socket { fd, sequence: 0, buffer: Vec::new() })
    }

    /// Send requests in one go and wait until the last that asks for an acknowledgement has it. The kernel answers a
    /// refused request whether asked or not, and answers in order.
    ///
    /// # Errors
    /// The first one that was refused; the kernel has then carried out all others (of an nf_tables batch: none).
    pub fn execute(&mut self, messages: Vec<Message>) -> std::result::Result<(), Refusal> {
        let whole = |source: io::Error| Refusal { index: 0, source };
        let Some(last) = messages.iter().rposition(Message::wants_answer) else { return Ok(()) };
        // A batch refused as a whole (no permission, no such subsystem) is answered once, for its opening.
        let has_opening = messages.first().is_some_and(|message| !message.wants_answer());
        let first = self.sequence.wrapping_add(1);
        let mut bytes = Vec::new();
        for message in messages {
            self.sequence = self.sequence.wrapping_add(1);
            bytes.extend(message.finish(self.sequence));
        }
        net::send(&self.fd, &bytes, SendFlags::empty()).map_err(|errno| whole(errno.into()))?;
        let mut refusal: Option<Refusal> = None;
        loop {
            let length = self.receive().map_err(whole)?;
            for header in messages_in(&self.buffer[..length]).filter(|header| header.kind == NLMSG_ERROR) {
                let index = header.sequence.wrapping_sub(first) as usize;
                let code = u32_at(header.payload, 0).map_or(0, u32::cast_signed);
                if index > last {
                    continue;
                }
                if code != 0 && refusal.is_none() {
                    refusal = Some(Refusal { index, source: io::Error::from_raw_os_error(-code) });
                }
                if index == last || (has_opening && index == 0) {
                    return refusal.map_or(Ok(()), Err);
                }
            }
        }
    }

    /// Carry out one request; `action` says what it is for.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn request(&mut self, message: Message, action: impl Into<String>) -> Result<()> {
        self.execute(vec![message.with_flags(NLM_F_ACK)]).map_err(|refusal| Error::kernel(action, refusal.source))
    }

    /// Ask for one object or, with `NLM_F_DUMP`, for many; `each` sees every message of the answer.
    ///
    /// # Errors
    /// What the kernel said; a dump that changed under way is repeated a few times first, so `each` may see an object
    /// twice unless it replaces by key: it is therefore only called with a consistent dump.
    pub fn query(
        &mut self,
        message: Message,
        action: impl Into<String>,
        mut each: impl FnMut(Answer<'_>),
    ) -> Result<()> {
        let action = action.into();
        for _ in 0..8 {
            let (answers, interrupted) = self.collect(message.clone(), &action)?;
            if interrupted {
                continue;
            }
            answers.iter().for_each(|(kind, payload)| each(Answer { kind: *kind, payload }));
            return Ok(());
        }
        Err(Error::kernel(action, io::Error::from(io::ErrorKind::Interrupted)))
    }

    fn collect(&mut self, message: Message, action: &str) -> Result<(Vec<Kept>, bool)> {
        let is_dump = message.flags() & NLM_F_DUMP == NLM_F_DUMP;
        self.sequence = self.sequence.wrapping_add(1);
        let sequence = self.sequence;
        net::send(&self.fd, &message.finish(sequence), SendFlags::empty())
            .map_err(|errno| Error::kernel(action, errno))?;
        let mut answers = Vec::new();
        let mut interrupted = false;
        loop {
            let length = self.receive().map_err(|source| Error::kernel(action, source))?;
            for header in messages_in(&self.buffer[..length]) {
                if header.sequence != sequence {
                    continue;
                }
                interrupted |= header.flags & NLM_F_DUMP_INTR != 0;
                match header.kind {
                    NLMSG_DONE => return Ok((answers, interrupted)),
                    NLMSG_ERROR => {
                        let code = u32_at(header.payload, 0).ok_or(Error::Malformed)?.cast_signed();
                        if code != 0 {
                            return Err(Error::kernel(action, io::Error::from_raw_os_error(-code)));
                        }
                        return Ok((answers, interrupted));
                    }
                    kind => answers.push((kind, header.payload.to_vec())),
                }
            }
            if !is_dump && !answers.is_empty() {
                return Ok((answers, interrupted));
            }
        }
    }

    fn receive(&mut self) -> io::Result<usize> {
        self.buffer.resize(RECEIVE_BUFFER, 0);
        loop {
            match net::recv(&self.fd, self.buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((_, length)) => return Ok(length.min(RECEIVE_BUFFER)),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

/// An answer's type and payload, kept.
type Kept = (u16, Vec<u8>);

struct Header<'a> {
    kind: u16,
    flags: u16,
    sequence: u32,
    payload: &'a [u8],
}

/// The messages of one datagram; ends at the first malformed one.
fn messages_in(mut bytes: &[u8]) -> impl Iterator<Item = Header<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let header = Header {
            kind: u16_at(bytes, 4)?,
            flags: u16_at(bytes, 6)?,
            sequence: u32_at(bytes, 8)?,
            payload: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(header)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nested_attributes_are_read_back() {
        let message = Message::new(16, NLM_F_ACK).fixed(&[0; 16]).string(3, "eth0").nested(18, |m| m.u32(1, 7));
        let bytes = message.finish(5);
        let header = messages_in(&bytes).next().unwrap();
        assert_eq!((header.kind, header.sequence, header.flags), (16, 5, NLM_F_ACK | NLM_F_REQUEST));
        let attributes: Vec<_> = Answer { kind: 16, payload: header.payload }.attributes(16).collect();
        assert_eq!(string_of(attributes[0].1), "eth0");
        assert_eq!(attributes[1].0, 18);
        assert_eq!(Attributes(attributes[1].1).next(), Some((1, &7_u32.to_ne_bytes()[..])));
    }

    proptest! {
        #[test]
        fn hostile_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for header in messages_in(&bytes) {
                Attributes(header.payload).for_each(|(_, value)| { string_of(value); });
            }
        }
    }
}
