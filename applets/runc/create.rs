//! `create` and `run`.

use std::path::PathBuf;

use anyhow::Context;

use super::container::Container;
use super::options::Global;
use super::{console, delete, launch};
use crate::runtime;

/// `create`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle (default: the current directory)
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    pub bundle: PathBuf,

    /// AF_UNIX socket that receives a descriptor of the master end of the console's pseudoterminal
    #[arg(long, value_name = "SOCKET")]
    pub console_socket: Option<PathBuf>,

    /// AF_UNIX socket that receives a descriptor of the container's first process (pidfd)
    #[arg(long, value_name = "SOCKET")]
    pub pidfd_socket: Option<PathBuf>,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pub pid_file: Option<PathBuf>,

    /// Do not use pivot_root, which does not work when the host's root is a ramdisk
    #[arg(long)]
    pub no_pivot: bool,

    /// Do not make a new session keyring for the container: it inherits the caller's
    #[arg(long)]
    pub no_new_keyring: bool,

    /// Pass N additional file descriptors to the container (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub preserve_fds: u32,

    /// Name of the container
    #[arg(value_name = "container-id")]
    pub id: String,
}

/// `run`.
#[derive(clap::Args)]
pub struct RunArgs {
    #[command(flatten)]
    create: Args,

    /// Do not wait for the container's end
    #[arg(short, long)]
    detach: bool,

    /// Do not delete the container after it has ended
    #[arg(long)]
    keep: bool,

    /// Do not adopt the orphans of the container's processes
    #[arg(long)]
    no_subreaper: bool,
}

/// Create a container whose program waits for `start`.
pub fn create(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let doing = "runc create failed";
    runtime::seal_self().map_err(super::words::runtime).context(doing)?;
    let prepared = launch::prepare(global, args, true, true).context(doing)?;
    prepared.hand_over().context(doing)?;
    Ok(0)
}

/// Create a container and run its program; in the foreground, to its end.
pub fn run(global: &Global, args: &RunArgs) -> anyhow::Result<i32> {
    let doing = "runc run failed";
    runtime::seal_self().map_err(super::words::runtime).context(doing)?;
    if !args.detach && !args.no_subreaper {
        // Without a PID namespace of its own, the container's orphans are ours to the end.
        nix::sys::prctl::set_child_subreaper(true).context("cannot become a subreaper").context(doing)?;
    }
    let prepared = launch::prepare(global, &args.create, args.detach, false).context(doing)?;
    let signals = if args.detach { None } else { Some(console::signals()?) };
    let started = prepared.start().context(doing)?;
    let Some(signals) = signals else { return Ok(0) };
    let status = console::follow(&started.running, started.console.as_ref(), &signals);
    if !args.keep
        && let Some(container) = Container::find(global, &started.id)?
    {
        delete::remove(global, &container)?;
    }
    status
}
