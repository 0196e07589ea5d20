//! `pause` and `resume`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use coracle_cgroups::Cgroup;

use super::container::{Container, Status};
use super::options::Global;
use super::words;

/// How long the kernel may take to stop or wake all processes.
const PATIENCE: Duration = Duration::from_secs(10);

/// Freeze all processes of a container.
pub fn pause(global: &Global, id: &str) -> anyhow::Result<i32> {
    global.warn_of_cgroups("pause");
    let container = Container::load(global, id)?;
    match container.status()? {
        Status::Running | Status::Created => {}
        Status::Paused | Status::Stopped => bail!("container not running"),
    }
    let cgroup = container.cgroup().context("cannot pause: the container has no cgroup")?;
    cgroup.freeze().map_err(words::cgroup)?;
    if wait(&cgroup, true)? {
        return Ok(0);
    }
    // As far as it came is no state to leave it in.
    cgroup.thaw().map_err(words::cgroup)?;
    bail!("unable to freeze")
}

/// Let them go on.
pub fn resume(global: &Global, id: &str) -> anyhow::Result<i32> {
    global.warn_of_cgroups("resume");
    let container = Container::load(global, id)?;
    if container.status()? != Status::Paused {
        bail!("container not paused");
    }
    let cgroup = container.cgroup().context("container not paused")?;
    cgroup.thaw().map_err(words::cgroup)?;
    anyhow::ensure!(wait(&cgroup, false)?, "unable to thaw");
    Ok(0)
}

fn wait(cgroup: &Cgroup, frozen: bool) -> anyhow::Result<bool> {
    let deadline = Instant::now() + PATIENCE;
    while cgroup.events().map_err(words::cgroup)?.frozen != frozen {
        if Instant::now() > deadline {
            return Ok(false);
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(true)
}
