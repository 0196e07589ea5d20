//! The container runtime: from an OCI runtime specification to a running process.
//!
//! Principles:
//! - The payload itself is PID 1 of its container. It is made by one `clone3` (straight into its cgroup), sets itself up and
//!   executes the program: no stub, no second copy of this binary.
//! - A path inside a container is resolved below a descriptor of the container's root (`openat2` with `RESOLVE_IN_ROOT` and
//!   `RESOLVE_NO_MAGICLINKS`), a mount is attached to a descriptor, never to a path. An image or a racing container cannot
//!   redirect either.
//! - All mounts, the root's overlay included, live in the container's own mount namespace: when its processes are gone, so are
//!   they.
//! - What the kernel refuses becomes an [`Error`] in the caller, which says what was being done and to what.
//!
//! The caller must have one thread while it calls [`create`] or [`exec`]; both refuse otherwise. It must stay alive until
//! [`Created::start`] has returned (a child whose parent vanished before that ends by itself), and it is the payload's parent:
//! wait for it by the pidfd.
//!
//! ```ignore
//! runtime::seal_self()?;                       // first thing in the applet: the binary becomes unwritable for containers
//! let mut spec = runtime::default_spec();      // Docker's defaults; change it, store it as config.json
//! let mut created = runtime::create(&Launch {
//!     spec: &spec,
//!     root: Root::Overlay { lower: &layers, upper: &upper, work: &work, target: &rootfs },
//!     io: Io::Fds { stdin, stdout, stderr },   // or Io::Inherit, or Io::Terminal(None)
//!     cgroup: Some(cgroup.as_fd()),
//!     user: Some("redis:redis"),               // overrides spec.process.user, looked up in the container's /etc/passwd
//! })?;
//! // The namespaces exist now, the set-up goes on in the child: attach the network meanwhile.
//! netns::attach(net, id, created.pid(), &ports)?;
//! created.ready()?;                            // set-up done (optional: start() waits as well)
//! let console = created.take_console();        // pty master of Io::Terminal, after ready()
//! let running = created.start()?;              // Err: exit with error.exit_code() (125, 126 or 127)
//! let status = running.wait()?;                // or put running.pidfd() into an event loop; status.code() is 128+n for signals
//! ```

mod attributes;
mod capabilities;
mod channel;
mod copy_up;
mod defaults;
mod device_cgroup;
mod devices;
mod document;
mod error;
mod features;
mod gate;
mod hooks;
mod launch;
mod mapped_root;
mod masks;
mod mounts;
mod namespaces;
mod offline;
mod payload;
mod process;
mod procfs;
mod resources;
mod rlimits;
mod rootfs;
mod seal;
mod seccomp;
mod terminal;
mod user;
mod userns;

use std::os::fd::BorrowedFd;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{Process, Spec};

pub use defaults::{PATH, default_spec, exec_process};
pub use document::from_json;
pub use error::Error;
pub use features::features;
pub use gate::{gate_socket, is_waiting, open_gate};
pub use hooks::{HookPoint, run_hooks};
pub use offline::{OfflineMount, offline_root};
pub use process::{Created, Running};
pub use resources::Resources;
pub use seal::seal_self;
pub use seccomp::{compile as compile_seccomp, default_seccomp};
pub use userns::is_rootless;

/// What a container is started from.
pub struct Launch<'a> {
    /// The OCI runtime specification; `root.path` is ignored in favour of [`Launch::root`], `root.readonly` counts.
    pub spec: &'a Spec,
    /// The root file system.
    pub root: Root<'a>,
    /// The payload's standard streams.
    pub io: Io<'a>,
    /// Directory of the cgroup (v2) that the payload is born in, and that the device rules are attached to. `None`: the caller's
    /// cgroup; then the payload must not have CAP_MKNOD.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `USER[:GROUP]` as an image's configuration or `--user` has it, names looked up in the container's own /etc/passwd and
    /// /etc/group. It replaces `process.user`; `HOME` is added to the environment if it is not there. `None`: `process.user`.
    pub user: Option<&'a str>,
    /// Volumes to fill before they are mounted.
    pub copy_up: &'a [CopyUp],
    /// What callers of the OCI command line ask for beside the specification.
    pub caller: Caller<'a>,
}

/// Wishes of the caller that are not in the specification. The default is none.
#[derive(Clone, Copy, Default)]
pub struct Caller<'a> {
    /// So many descriptors from 3 on stay open in the program.
    pub preserve_fds: u32,
    /// Stay in the caller's session keyring.
    pub keep_keyring: bool,
    /// Make the root `/` by moving its mount and chroot(2), for a host whose own root is an initramfs.
    pub no_pivot: bool,
    /// Who the container is to its hooks; a specification without any needs none.
    pub identity: Option<Identity<'a>>,
    /// This program, to be executed as `docker-init -- PROGRAM ARGS` in place of the payload's program.
    pub init: Option<BorrowedFd<'a>>,
    /// Groups of the payload beside its user's, by name or number as the container's /etc/group has them.
    pub groups: &'a [String],
    /// A listening socket of [`gate_socket`]: after [`Created::hand_over`] the process waits there for [`open_gate`].
    pub gate: Option<BorrowedFd<'a>>,
}

/// What a container's state says of it (runtime-spec runtime.md, "State").
#[derive(Clone, Copy, Debug)]
pub struct Identity<'a> {
    /// The container's id.
    pub id: &'a str,
    /// Absolute path of the bundle's directory.
    pub bundle: &'a Path,
}

/// A volume that takes on what the root has at a path.
pub struct CopyUp {
    /// The path in the container.
    pub destination: PathBuf,
    /// The volume's directory. What is mounted is `_data` in it; it is filled if a directory `fill.part` lies beside that.
    pub volume: PathBuf,
}

/// The root file system of a container.
pub enum Root<'a> {
    /// A directory, used in place.
    Path(&'a Path),
    /// An overlay, mounted in the container's mount namespace only: nothing of it is visible on the host. In a user namespace its
    /// files belong to the container's users (then `upper` and `work` lie in one directory).
    Overlay {
        /// Layer directories, top-most last (the order of `Store::layers`); at least one.
        lower: &'a [PathBuf],
        /// The writable layer.
        upper: &'a Path,
        /// overlayfs' work directory, on the file system of `upper`.
        work: &'a Path,
        /// An existing empty directory of the host; in the container's mount namespace the overlay is attached to it for a
        /// moment.
        target: &'a Path,
    },
}

/// Standard streams of a payload.
#[derive(Clone, Copy)]
pub enum Io<'a> {
    /// Those of the caller.
    Inherit,
    /// These descriptors (pipes, files, sockets).
    Fds {
        /// Descriptor 0.
        stdin: BorrowedFd<'a>,
        /// Descriptor 1.
        stdout: BorrowedFd<'a>,
        /// Descriptor 2.
        stderr: BorrowedFd<'a>,
    },
    /// A pseudo-terminal of the container's own devpts, as controlling terminal; its master comes from
    /// [`Created::take_console`]. Size as (rows, columns) if known.
    Terminal(Option<(u16, u16)>),
}

/// A further process in a running container.
pub struct Exec<'a> {
    /// pidfd of the container's first process.
    pub target: BorrowedFd<'a>,
    /// The container's specification: its namespaces, seccomp profile and rlimits hold for the new process too.
    pub spec: &'a Spec,
    /// Arguments, environment, working directory, user, capabilities of the new process. [`exec_process`] makes one from the
    /// container's.
    pub process: &'a Process,
    /// Standard streams.
    pub io: Io<'a>,
    /// Directory of the container's cgroup.
    pub cgroup: Option<BorrowedFd<'a>>,
    /// `USER[:GROUP]`, as in [`Launch::user`].
    pub user: Option<&'a str>,
    /// As in [`Launch::caller`]; a gate is none of its own.
    pub caller: Caller<'a>,
}

/// Understand a specification, and do nothing: what [`create`] would refuse by name is refused. Namespaces that are joined by path are
/// opened for it.
///
/// # Errors
/// What is wrong with it, or not supported.
pub fn check(spec: &Spec, identity: Option<Identity<'_>>) -> Result<(), Error> {
    launch::check(spec, identity)
}

/// Create a container: its namespaces and cgroup membership exist when this returns, the set-up goes on in the child, which then
/// waits for [`Created::start`].
///
/// # Errors
/// A specification that cannot be honoured ([`Error::Devices`]: try again without CAP_MKNOD), a caller with more than one thread, or
/// the kernel's refusal to make the process.
pub fn create(launch: &Launch<'_>) -> Result<Created, Error> {
    launch::create(launch)
}

/// Create a further process in the namespaces of a running container. It waits for [`Created::start`].
///
/// # Errors
/// As for [`create`]; also when the container has ended.
pub fn exec(exec: &Exec<'_>) -> Result<Created, Error> {
    launch::exec(exec)
}

/// Mount a root in the caller's mount namespace, which must be one of its own: it is cut off from the host's.
///
/// # Errors
/// What the kernel refused.
pub fn mount_root(root: &Root<'_>) -> Result<(), Error> {
    rootfs::Rootfs::attach(root, None, false).map(drop).map_err(|failure| Error::setup(failure.doing, failure.errno))
}
