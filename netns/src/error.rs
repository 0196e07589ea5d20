//! What can go wrong, said so that a user knows what to try.

use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's operations.
pub type Result<T> = std::result::Result<T, Error>;

/// An operation on the network that failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The kernel refused a request.
    #[error("cannot {action}")]
    Kernel {
        /// What was being done, to what: "add link eth0".
        action: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the network's state could not be read or written.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was being done: "write".
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// A file of the network's state holds something else.
    #[error("{} is not a network state file of this version; remove it", path.display())]
    BadState {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        #[source]
        source: serde_json::Error,
    },
    /// The kernel's answer was cut short or malformed.
    #[error("malformed netlink message from the kernel")]
    Malformed,
    /// No interface of that name.
    #[error("no interface named {0}")]
    NoSuchLink(String),
    /// A container identifier, interface or network name with characters or a length that cannot be used.
    #[error("{what} {name:?} is not valid: {rule}")]
    BadName {
        /// What the name is for.
        what: &'static str,
        /// The name.
        name: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// Every address of the pool is taken.
    #[error("no free address left in {subnet} of network {network}; remove containers or use a larger subnet")]
    PoolExhausted {
        /// The network.
        network: String,
        /// Its pool.
        subnet: String,
    },
    /// A port of the host is taken.
    #[error("port {port} of the host is in use by {user}; stop that or publish another port")]
    PortInUse {
        /// "0.0.0.0:80/tcp".
        port: String,
        /// "container abc", "another process".
        user: String,
    },
    /// A port specification that does not follow `[ADDRESS:][HOST_PORT:]PORT[/PROTOCOL]`.
    #[error("cannot publish {spec:?}: {reason} (expected [ADDRESS:][HOST_PORT[-LAST]:]PORT[-LAST][/tcp|/udp])")]
    BadPort {
        /// What was given.
        spec: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A network definition that cannot work.
    #[error("network {network}: {reason}")]
    BadNetwork {
        /// The network.
        network: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Wrap what the kernel said about a request.
    pub(crate) fn kernel(action: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Kernel { action: action.into(), source: source.into() }
    }

    /// Wrap what the kernel said about a file.
    pub(crate) fn file(action: &'static str, path: &Path, source: impl Into<io::Error>) -> Self {
        Error::File { action, path: path.into(), source: source.into() }
    }

    /// The kernel's error number, where there is one.
    pub fn raw_os_error(&self) -> Option<i32> {
        match self {
            Error::Kernel { source, .. } | Error::File { source, .. } => source.raw_os_error(),
            _ => None,
        }
    }

    /// Whether the kernel said `errno`.
    pub(crate) fn is(&self, errno: rustix::io::Errno) -> bool {
        self.raw_os_error() == Some(errno.raw_os_error())
    }
}
