//! What can go wrong between a specification and a running payload.

use std::io;

/// Why a container or a process in one did not start. [`Error::exit_code`] maps it to Docker's exit codes.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The specification asks for something that is wrong or that this runtime does not do.
    #[error("{what}: {why}")]
    Spec {
        /// The property, as a path in config.json.
        what: String,
        /// What is wrong with it, and what to write instead.
        why: String,
    },
    /// The device rules cannot be kept: a container with CAP_MKNOD could open any device.
    #[error(
        "cannot attach the device rules to the container's cgroup (needs cgroup v2 and CONFIG_CGROUP_BPF), and they do not hold \
         without; drop CAP_MKNOD and give devices with all of rwm"
    )]
    Devices(#[source] io::Error),
    /// A limit cannot be set.
    #[error("cannot limit the container's resources")]
    Limits(#[from] coracle_cgroups::Error),
    /// Set-up failed.
    #[error("cannot {doing}")]
    Setup {
        /// What was being done, and to what.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The program exists but cannot be executed.
    #[error("cannot execute {program:?}")]
    NotExecutable {
        /// `process.args[0]`.
        program: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is no such program in the container.
    #[error("{program:?}: no such program in the container (looked for by its PATH if there is no slash in the name)")]
    NotFound {
        /// `process.args[0]`.
        program: String,
    },
    /// A hook failed.
    #[error("error running {point} hook #{index}: {why}")]
    Hook {
        /// The point of the container's life, as config.json has it.
        point: &'static str,
        /// Its place in the list, from 0.
        index: usize,
        /// How it ended, and the beginning of its output.
        why: String,
    },
    /// The same of a hook that ran in the container's namespaces.
    #[error("{0}")]
    HookInContainer(String),
    /// Nobody waits at the gate.
    #[error("no process waits for its start there: it has been started, or has ended")]
    NotWaiting,
    /// The child ended before it could say why.
    #[error("the container's first process ended during set-up (out of memory, or killed)")]
    Vanished,
}

impl Error {
    /// The exit status that Docker's commands end with: 127 program not found, 126 not executable, 125 anything else.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::NotFound { .. } => 127,
            Error::NotExecutable { .. } => 126,
            _ => 125,
        }
    }

    pub(super) fn spec(what: impl Into<String>, why: impl Into<String>) -> Self {
        Error::Spec { what: what.into(), why: why.into() }
    }

    pub(super) fn setup(doing: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Error::Setup { doing: doing.into(), source: source.into() }
    }
}
