//! The name server of containers on networks with names: one small process for all of them, `ctr-dns`.
//!
//! It has no state of its own. Who is called what is in the files of [`crate::ipam`]; it listens in the namespace of every
//! container that it finds there ([`listener`]), answers for names of the networks that the container is on, and passes all
//! other questions on to the container's own servers or the host's. So it may be killed at any moment: the next `ctr` that
//! needs it starts it anew, and it answers the same. It ends with the last container.
//!
//! No DNS library is used: all that is ever taken apart is a question, and all that is put together is addresses. What else
//! passes through is not looked at.

pub mod directory;
pub mod listener;
pub mod message;
mod reactor;
mod server;
mod stream;
mod summon;
mod upstream;

pub use listener::SERVER;
pub use server::serve;
pub use summon::{is_missing, settle, summon};
pub use upstream::{PUBLIC_SERVERS, servers_of};
