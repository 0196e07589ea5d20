//! Neighbours: which hardware address an address of the link has (`RTM_*NEIGH`, rtnetlink(7)).

use std::net::IpAddr;

use crate::Result;
use crate::address::{from_octets, octets};
use crate::netlink::{Answer, Message, NLM_F_CREATE, NLM_F_DUMP, NLM_F_REPLACE, Socket, u16_at, u32_at};

const RTM_NEWNEIGH: u16 = 28;
const RTM_DELNEIGH: u16 = 29;
const RTM_GETNEIGH: u16 = 30;
const NDA_DST: u16 = 1;
const NDA_LLADDR: u16 = 2;
const NDMSG: usize = 12;
/// State: never checked again.
pub const NUD_PERMANENT: u16 = 0x80;

/// A neighbour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The interface's number.
    pub index: u32,
    /// Its address.
    pub destination: IpAddr,
    /// Its hardware address, if known.
    pub hardware: Vec<u8>,
    /// `NUD_*`.
    pub state: u16,
    /// `NTF_*`; 0x80 is a router.
    pub flags: u8,
}

impl Neighbour {
    fn parse(answer: Answer<'_>) -> Option<Self> {
        let fixed = answer.payload.get(..NDMSG).filter(|_| answer.kind == RTM_NEWNEIGH)?;
        let (mut destination, mut hardware) = (None, Vec::new());
        for (kind, value) in answer.attributes(NDMSG) {
            match kind {
                NDA_DST => destination = from_octets(value),
                NDA_LLADDR => hardware = value.to_vec(),
                _ => {}
            }
        }
        Some(Neighbour {
            index: u32_at(fixed, 4)?,
            destination: destination?,
            hardware,
            state: u16_at(fixed, 8)?,
            flags: fixed[10],
        })
    }

    fn message(&self, kind: u16, flags: u16) -> Message {
        let (family, bytes) = octets(self.destination);
        let mut fixed = [0; NDMSG];
        fixed[0] = family;
        fixed[4..8].copy_from_slice(&self.index.to_ne_bytes());
        fixed[8..10].copy_from_slice(&self.state.to_ne_bytes());
        fixed[10] = self.flags;
        let message = Message::new(kind, flags).fixed(&fixed).attribute(NDA_DST, &bytes);
        if self.hardware.is_empty() { message } else { message.attribute(NDA_LLADDR, &self.hardware) }
    }
}

/// Add or replace a neighbour.
///
/// # Errors
/// What the kernel said.
pub fn replace(socket: &mut Socket, neighbour: &Neighbour) -> Result<()> {
    let message = neighbour.message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
    socket.request(message, format!("set neighbour {}", neighbour.destination))
}

/// Remove a neighbour.
///
/// # Errors
/// What the kernel said.
pub fn remove(socket: &mut Socket, neighbour: &Neighbour) -> Result<()> {
    socket.request(neighbour.message(RTM_DELNEIGH, 0), format!("remove neighbour {}", neighbour.destination))
}

/// All neighbours of the socket's namespace.
///
/// # Errors
/// What the kernel said.
pub fn list(socket: &mut Socket) -> Result<Vec<Neighbour>> {
    let message = Message::new(RTM_GETNEIGH, NLM_F_DUMP).fixed(&[0; NDMSG]);
    let mut neighbours = Vec::new();
    socket.query(message, "list neighbours", |answer| neighbours.extend(Neighbour::parse(answer)))?;
    Ok(neighbours)
}
