//! Network namespaces, bridges, veth pairs, addresses, NAT and published ports.
//!
//! # Principles
//! - [`attach`] plugs a container into a [`Network`], [`detach`] undoes it. Both may be killed at any instruction and
//!   repeated: what is to be made is written down before it is made, and undoing tolerates what is not there.
//! - Every call blocks, starts no thread and no runtime: starting a container is a budget of CPU time, and the caller
//!   may be about to fork. Hence the small [`netlink`] codec of our own instead of `rtnetlink` (which needs tokio): one
//!   codec serves interfaces, routes and nf_tables alike, and a whole container is plugged in with a dozen messages.
//! - Packet filter rules live in one nf_tables table of our own, `inet coracle`, which is gone with the last container.
#![forbid(unsafe_code)]

pub mod address;
pub mod attachment;
pub mod bridge;
pub mod checksum;
pub mod cidr;
pub mod dhcp;
pub mod dns;
mod error;
mod files;
pub mod forwarding;
pub mod ipam;
pub mod link;
pub mod namespace;
pub mod nat;
pub mod neighbour;
pub mod netlink;
pub mod network;
mod nft;
pub mod pools;
pub mod ports;
pub mod route;
pub mod store;
pub mod sublink;
pub mod veth;

pub use attachment::{Attachment, Request, attach, detach};
pub use error::{Error, Result};
pub use network::Network;
pub use ports::{PortMapping, Protocol};
