//! How a pull or load tells what it does, whoever listens.

use crate::digest::Digest;

/// Where a layer is.
#[derive(Clone, Copy, Debug)]
pub enum LayerState<'a> {
    /// Its turn has not come.
    Queued,
    /// In the store already.
    Present,
    /// Another process is fetching it; this one waits for it to finish.
    Waiting,
    /// So much is there from a pull that was interrupted; the rest is fetched.
    Resuming {
        /// Bytes that are there.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// So many of so many bytes have come, resumed ones included.
    Downloading {
        /// Bytes so far.
        done: u64,
        /// All bytes.
        total: u64,
    },
    /// The transport failed; it is tried again.
    Retrying {
        /// Why.
        reason: &'a str,
    },
    /// All has come; the rest is unpacked and written to the disk.
    Unpacking,
    /// Unpacked and in the store.
    Done,
}

/// Listens to an operation. Called from several threads.
pub trait Progress: Sync {
    /// A layer has moved on.
    fn layer(&self, layer: &Digest, state: LayerState<'_>);
    /// Something worth a line.
    fn note(&self, text: &str);
}

/// Listens to nothing.
#[derive(Debug, Clone, Copy)]
pub struct Silent;

impl Progress for Silent {
    fn layer(&self, _: &Digest, _: LayerState<'_>) {}
    fn note(&self, _: &str) {}
}
