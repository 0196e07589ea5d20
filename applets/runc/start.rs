//! `start`: let the program of a created container run.

use anyhow::{Context, bail};

use super::container::{Container, Status};
use super::options::Global;
use super::state::GATE;
use super::words;
use crate::runtime;

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
        Ok(()) => Ok(0),
        // Another `start` was faster.
        Err(runtime::Error::NotWaiting) => bail!("cannot start an already running container"),
        Err(error) => Err(words::runtime(error)),
    }
}
