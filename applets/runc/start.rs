//! `start`: let the program of a created container run.

use std::os::fd::AsFd;

use anyhow::{Context, bail};
use coracle_abi::process::pidfd_send_signal;
use oci_spec::runtime::Spec;

use super::container::{Container, Status};
use super::options::Global;
use super::state::{GATE, Record};
use super::{process, words};
use crate::runtime::{self, HookPoint};

/// Say go to the process that waits.
pub fn start(global: &Global, id: &str) -> anyhow::Result<i32> {
    let container = Container::load(global, id)?;
    match container.status()? {
        Status::Created => {}
        Status::Stopped => bail!("cannot start a container that has stopped"),
        Status::Running => bail!("cannot start an already running container"),
        status @ Status::Paused => bail!("cannot start a container in the {status} state"),
    }
    let spec = container.state.spec()?;
    let program = spec.process().as_ref().and_then(|process| process.args().as_ref()?.first().cloned());
    let program = program.context("process property must not be empty")?;
    match runtime::open_gate(container.state.as_fd(), GATE, &program) {
        Ok(()) => {}
        // Another `start` was faster.
        Err(runtime::Error::NotWaiting) => bail!("cannot start an already running container"),
        Err(error) => return Err(words::runtime(error)),
    }
    poststart(&container.record, &spec)?;
    Ok(0)
}

/// Run the hooks that follow the start; if one fails, the container is stopped.
pub fn poststart(record: &Record, spec: &Spec) -> anyhow::Result<()> {
    let pid = u32::try_from(record.pid).ok();
    runtime::run_hooks(spec, HookPoint::Poststart, record.identity(), pid).map_err(|error| {
        if let Ok(Some(pidfd)) = process::open(record.pid, record.start_time) {
            // Who has ended needs no signal.
            let _ = pidfd_send_signal(pidfd.as_fd(), libc::SIGKILL);
        }
        words::runtime(error)
    })
}
