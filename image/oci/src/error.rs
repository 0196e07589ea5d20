//! What can go wrong with an image, said so that the reader knows what to try.

use std::io;
use std::path::Path;

use crate::digest::Digest;

/// Result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an image operation failed. The cause beneath, where there is one, is the error's `source`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name that is no image reference.
    #[error("invalid image reference {text:?}: {reason}")]
    Reference {
        /// What was given.
        text: String,
        /// The rule that it breaks.
        reason: &'static str,
    },
    /// A digest that is not `sha256:` and 64 hexadecimal digits.
    #[error("invalid digest {0:?}: want sha256: and 64 lowercase hexadecimal digits")]
    BadDigest(String),
    /// The kernel refused something.
    #[error("{doing}")]
    Io {
        /// What was being done, to what.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// A request that got no usable answer.
    #[error("requesting {url}")]
    Request {
        /// The address, without credentials.
        url: String,
        /// What went wrong.
        source: Box<ureq::Error>,
    },
    /// A registry's error answer.
    #[error("{url}: the registry answered {status}{detail}")]
    Status {
        /// The address that was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// The registry's own words, with a leading separator, or nothing.
        detail: String,
    },
    /// Not allowed.
    #[error(
        "access to {what} denied{detail}; it may not exist, or need credentials (--creds, or an auth file: --authfile)"
    )]
    Denied {
        /// Repository.
        what: String,
        /// The registry's own words, with a leading separator, or nothing.
        detail: String,
    },
    /// Credentials that the registry does not take.
    #[error("login attempt to {url} failed with status: {status}")]
    LoginRefused {
        /// The address that was asked.
        url: String,
        /// Its answer.
        status: String,
    },
    /// An image that the signature policy does not let in.
    #[error("Source image rejected: {reason} ({image})")]
    Rejected {
        /// The image.
        image: String,
        /// Which requirement it does not meet.
        reason: String,
    },
    /// The registry has no such thing.
    #[error("{0} not found in the registry")]
    NotInRegistry(String),
    /// An answer that breaks the protocol.
    #[error("{url}: {reason}")]
    Protocol {
        /// The address that was asked.
        url: String,
        /// What is wrong with its answer.
        reason: String,
    },
    /// Content that is not what its digest says.
    #[error("{what}: content does not match its digest: expected {expected}, got {actual}")]
    DigestMismatch {
        /// Which content.
        what: String,
        /// From the descriptor.
        expected: Digest,
        /// Of the bytes that came.
        actual: Digest,
    },
    /// Content that is longer or shorter than its descriptor says.
    #[error("{what}: expected {expected} bytes, {actual}")]
    SizeMismatch {
        /// Which content.
        what: String,
        /// From the descriptor.
        expected: u64,
        /// What came instead.
        actual: String,
    },
    /// A limit on foreign input was reached.
    #[error("{what} exceeds the limit of {limit}")]
    Limit {
        /// What is too large.
        what: String,
        /// The limit with its unit.
        limit: String,
    },
    /// A manifest, index or configuration that cannot be accepted.
    #[error("invalid {what}: {reason}")]
    Invalid {
        /// Which document.
        what: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A layer entry that cannot be accepted.
    #[error("layer entry {entry:?}: {reason}")]
    Entry {
        /// Name of the entry in the archive.
        entry: String,
        /// The rule that it breaks.
        reason: String,
    },
    /// A layer that is no readable archive.
    #[error("damaged layer: {0}")]
    Archive(String),
    /// No manifest for the platform.
    #[error("no image for platform {wanted}; offered: {offered}")]
    Platform {
        /// What was asked for.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// No such image in the store.
    #[error("no such image: {0}")]
    NoSuchImage(String),
    /// A prefix of an image ID that fits more than one image.
    #[error("image ID prefix {0:?} fits more than one image")]
    Ambiguous(String),
    /// A layer whose archive cannot be made again.
    #[error("layer {0} cannot be written as it was; remove its image and pull or load it again")]
    NoRecipe(Digest),
    /// A layer that should be there.
    #[error("layer {0} is gone from the store; pull or load its image again")]
    NoSuchLayer(Digest),
}

impl Error {
    /// Whether trying again may help: a transport failure or a busy server, not a refused document.
    pub fn is_transient(&self) -> bool {
        match self {
            Error::Request { .. } => true,
            Error::Status { status, .. } => *status >= 500 || *status == 429,
            Error::Io { source, .. } => unwrap_ref(source).is_some_and(Error::is_transient),
            _ => false,
        }
    }

    pub(crate) fn invalid(what: impl Into<String>, reason: impl Into<String>) -> Error {
        Error::Invalid { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn entry(name: &[u8], reason: impl Into<String>) -> Error {
        Error::Entry { entry: String::from_utf8_lossy(name).into_owned(), reason: reason.into() }
    }

    /// Carry this error through an interface that knows only `io::Error`; `Error::from_io` takes it out again.
    pub(crate) fn into_io(self) -> io::Error {
        io::Error::other(self)
    }

    /// An I/O error with what was being done; an error of ours that travelled inside comes out unchanged.
    pub(crate) fn from_io(doing: impl FnOnce() -> String, source: io::Error) -> Error {
        if source.get_ref().is_some_and(|inner| inner.is::<Error>()) {
            if let Some(Ok(ours)) = source.into_inner().map(|inner| inner.downcast::<Error>()) {
                return *ours;
            }
            return Error::Archive("unreadable".into());
        }
        Error::Io { doing: doing(), source }
    }
}

fn unwrap_ref(error: &io::Error) -> Option<&Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref::<Error>())
}

/// Adds what was being done to an I/O or system call error.
pub(crate) trait Context<T> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T>;
    fn at(self, verb: &str, path: &Path) -> Result<T>;
}

impl<T, E: Into<io::Error>> Context<T> for std::result::Result<T, E> {
    fn doing(self, what: impl FnOnce() -> String) -> Result<T> {
        self.map_err(|error| Error::from_io(what, error.into()))
    }

    fn at(self, verb: &str, path: &Path) -> Result<T> {
        self.doing(|| format!("{verb} {}", path.display()))
    }
}
