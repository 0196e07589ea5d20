//! The OS image: initramfs, EROFS root, UKI, GPT disk, A/B slots; one source of truth for the layout.
//!
//! Principles:
//! - One place says what an image looks like: [`layout`]. The packer on the build host writes by it, `init` and `update` on
//!   the machine read by it.
//! - The same input gives the same bytes: no clock, no random number, no order that a directory happens to have. Identifiers are
//!   derived from the version ([`guid::Guid::derive`]), times are `SOURCE_DATE_EPOCH`.
//! - What comes from a disk or the network is hostile until parsed: parsers return errors, never panic, and bound what they allocate.
//!
//! What only the build host needs is behind the feature `pack` and never part of the shipped binary.
#![forbid(unsafe_code)]

pub mod gpt;
pub mod grow;
pub mod guid;
pub mod layout;
pub mod pe;
pub mod slots;
pub mod uki;

#[cfg(feature = "pack")]
pub mod pack;
