//! `delete`: remove what there is of a container.

use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use coracle_abi::process::pidfd_send_signal;

use super::container::{Container, Status};
use super::options::Global;
use super::process;
use super::state::StateDir;
use super::words;
use crate::runtime::{self, HookPoint};

/// How long a killed process may take to end, and others to finish their work.
const PATIENCE: Duration = Duration::from_secs(10);

/// `delete`.
#[derive(clap::Args)]
pub struct Args {
    /// Kill the container if it is still running, and do not mind if there is none
    #[arg(short, long)]
    force: bool,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,
}

/// Remove it.
pub fn delete(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let container = match Container::find(global, &args.id) {
        Ok(Some(container)) => container,
        Ok(None) => return delete_remains(global, args),
        // A damaged state must not stay for ever.
        Err(_) if args.force => return delete_remains(global, args),
        Err(error) => return Err(error),
    };
    match container.status()? {
        Status::Stopped => {}
        // Nothing of the user's runs yet.
        Status::Created => {}
        _ if args.force => {}
        status => bail!("cannot delete container {} that is not stopped: {status}", args.id),
    }
    kill(&container)?;
    remove(global, &container)?;
    Ok(0)
}

/// Clear away what a killed `create` left.
fn delete_remains(global: &Global, args: &Args) -> anyhow::Result<i32> {
    if let Some(state) = StateDir::open(global, &args.id)? {
        let deadline = Instant::now() + PATIENCE;
        // Its maker, or another `delete`.
        while !state.lock()? {
            if Instant::now() > deadline {
                bail!("container {} is being created", args.id);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        // Complete by now, or removed.
        match Container::find(global, &args.id) {
            Ok(Some(_)) => {
                state.unlock();
                return delete(global, args);
            }
            _ => state.remove()?,
        }
        return Ok(0);
    }
    if args.force { Ok(0) } else { bail!("container does not exist") }
}

fn kill(container: &Container) -> anyhow::Result<()> {
    let Some(pidfd) = container.pidfd()? else { return Ok(()) };
    match pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL) {
        Err(error) if error.raw_os_error() != Some(libc::ESRCH) => {
            return Err(error).context("cannot kill the container's first process");
        }
        _ => {}
    }
    if process::wait_for_end(&pidfd, PATIENCE)? {
        return Ok(());
    }
    bail!("container init still running")
}

/// Remove a container whose first process has ended: what is left in its cgroup is killed.
pub fn remove(global: &Global, container: &Container) -> anyhow::Result<()> {
    // Without its specification it is removed all the same.
    let spec = container.state.spec();
    container.state.remove()?;
    let ran = spec.and_then(|spec| {
        runtime::run_hooks(&spec, HookPoint::Poststop, container.record.identity(), None).map_err(words::runtime)
    });
    if let Err(error) = ran {
        global.log.warn(&error);
    }
    Ok(())
}
