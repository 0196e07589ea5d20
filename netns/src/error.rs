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
    /// The address that was asked for is someone else's. Docker's words.
    #[error("Address already in use")]
    AddressInUse,
    /// The address that was asked for is not the network's. Docker's words.
    #[error("no configured subnet or ip-range contain the IP address {0}")]
    ForeignAddress(std::net::IpAddr),
    /// Text that is no block of addresses. Docker's words.
    #[error("invalid CIDR address: {0}")]
    BadBlock(String),
    /// Another container has published a port of the host. Docker's words.
    #[error("Bind for {address} failed: port is already allocated")]
    PortAllocated {
        /// "0.0.0.0:80".
        address: String,
        /// The container.
        holder: String,
    },
    /// A process of the host listens on a port. Docker's words.
    #[error("failed to bind host port {port}: address already in use")]
    PortInUse {
        /// "0.0.0.0:80/tcp".
        port: String,
    },
    /// A port cannot be published on this address.
    #[error("cannot publish a port on {address}: {reason}")]
    BadHostAddress {
        /// The address of the host.
        address: std::net::IpAddr,
        /// Why not.
        reason: &'static str,
    },
    /// The interface that containers of a macvlan or ipvlan network are to be put on.
    #[error(
        "network {network}: parent interface {parent} is not there; make it, or make the network anew with -o parent="
    )]
    NoParent {
        /// The network.
        network: String,
        /// The interface.
        parent: String,
    },
    /// A container would be on a network without knowing the others' names.
    #[error("the name server of containers (ctr-dns) cannot serve the container: {reason}")]
    NoNames {
        /// What is wrong with it.
        reason: String,
    },
    /// A port specification that does not follow `[ADDRESS:][HOST_PORT:]PORT[/PROTOCOL]`.
    #[error("cannot publish {spec:?}: {reason} (expected [ADDRESS:][HOST_PORT[-LAST]:]PORT[-LAST][/tcp|/udp])")]
    BadPort {
        /// What was given.
        spec: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// Every default subnet is used by something. Docker's words.
    #[error(
        "could not find an available, non-overlapping IPv4 address pool among the defaults to assign to the network; \
         choose one with --subnet"
    )]
    NoPool,
    /// Another network has some of these addresses. Docker's words.
    #[error("invalid pool request: Pool overlaps with other one on this address space ({subnet} with network {other})")]
    PoolOverlap {
        /// The new network's subnet.
        subnet: String,
        /// The other network.
        other: String,
    },
    /// No network has this name or identifier. Docker's words.
    #[error("network {0} not found")]
    NoSuchNetwork(String),
    /// More than one network's identifier begins so. Docker's words.
    #[error("network {0} is ambiguous (2 matches found based on ID prefix)")]
    AmbiguousNetwork(String),
    /// Docker's words.
    #[error("network with name {0} already exists")]
    NetworkExists(String),
    /// A container is on the network.
    #[error("network {network} has active endpoints (container {container})")]
    NetworkInUse {
        /// The network.
        network: String,
        /// One of its containers.
        container: String,
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
