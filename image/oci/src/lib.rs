//! Container images: pull, verify, unpack, store, garbage collection.
//!
//! # Principles
//! - Nothing foreign is believed: every document is bounded and parsed into a type of its own, every byte is checked against its digest
//!   while it streams, and a layer's entries are resolved below the layer's directory by descriptors.
//! - A layer is unpacked once, by the digest of its uncompressed archive, into a directory that overlayfs stacks as it is; it appears
//!   by a rename when it is complete, and never changes after.
//! - State is files. Whatever is killed at any instruction leaves at most a staging directory that the next one removes, and
//!   beginnings of layers that the next pull goes on with.
#![forbid(unsafe_code)]

mod archive;
mod collect;
mod commit;
pub mod decompress;
pub mod digest;
mod error;
mod fs;
mod import;
mod json;
mod layer;
mod load;
pub mod manifest;
mod names;
mod parallel;
mod partial;
mod pipe;
pub mod platform;
pub mod policy;
pub mod progress;
mod pull;
mod push;
mod recipe;
pub mod reference;
pub mod registry;
mod save;
mod stage;
mod store;
pub mod tarball;
mod tree;
pub mod unpack;

pub use collect::{Alone, Collected};
pub use commit::{Hold, Layer};
pub use digest::Digest;
pub use error::{Error, Result};
pub use platform::Platform;
pub use policy::Policy;
pub use progress::{LayerState, Progress, Silent};
pub use pull::PullOptions;
pub use push::{PushProgress, PushState, Pushed};
pub use reference::Reference;
pub use registry::{Credentials, RegistryOptions, Server};
pub use save::Selected;
pub use store::{Image, Store};
pub use tree::{Marks, Part, is_kept_xattr, write_part, write_tree, xattrs};
pub use unpack::{DevicePolicy, Limits};
