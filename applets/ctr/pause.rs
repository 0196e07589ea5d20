//! `ctr pause`, `ctr unpause` and `ctr rename`.

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use coracle_cgroups::Cgroup;

use super::lifecycle::{each, payload};
use super::record::{self, Record, Status, claim_name, named, release_name};
use super::{events, limits, names, network};

/// How long the kernel may take to stop or start all processes of a container.
const PATIENCE: Duration = Duration::from_secs(10);

/// `pause` and `unpause`.
#[derive(clap::Args)]
pub struct Args {
    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// `rename`.
#[derive(clap::Args)]
pub struct RenameArgs {
    /// Container, by name or id
    container: String,

    /// Its new name
    #[arg(value_parser = names::parse)]
    new_name: String,
}

/// Stop all processes where they are.
pub fn pause(args: &Args) -> anyhow::Result<i32> {
    each(&args.containers, |name| {
        let (record, group) = running(name)?;
        ensure!(!limits::is_frozen(&record.id), "Container {} is already paused", record.id);
        group.freeze()?;
        settle(&group, true)?;
        events::of_container(&record, "pause", &[]);
        Ok(())
    })
}

/// Let them go on.
pub fn unpause(args: &Args) -> anyhow::Result<i32> {
    each(&args.containers, |name| {
        let (record, group) = running(name)?;
        ensure!(limits::is_frozen(&record.id), "Container {} is not paused", record.id);
        group.thaw()?;
        settle(&group, false)?;
        events::of_container(&record, "unpause", &[]);
        Ok(())
    })
}

/// Do something while all processes of a cgroup, if there is one, stand still.
pub fn while_frozen<T>(group: Option<&Cgroup>, work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<T> {
    let Some(group) = group else { return work() };
    let done = group.freeze().map_err(Into::into).and_then(|()| settle(group, true)).and_then(|()| work());
    let thawed = group.thaw().context("cannot let the container go on");
    let done = done?;
    thawed.map(|()| done)
}

fn running(name: &str) -> anyhow::Result<(Record, Cgroup)> {
    let id = record::resolve(name)?;
    let payload = payload(&id)?;
    let record = Record::read(&id)?;
    let restarts = record.state.status == Status::Restarting;
    ensure!(!restarts, "Container {id} is restarting, wait until the container is running");
    ensure!(payload.is_some(), "container {id} is not running");
    let group = limits::open(&id).context("pausing needs cgroup v2, which this host has not mounted")?;
    Ok((record, group))
}

/// The kernel freezes each task when it comes by.
fn settle(group: &Cgroup, frozen: bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while group.events()?.frozen != frozen {
        ensure!(
            Instant::now() < deadline,
            "the container's processes do not {}",
            if frozen { "stop" } else { "go on" }
        );
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Give a container another name. Whoever is killed on the way leaves it with one name or both.
pub fn rename(args: &RenameArgs) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    let mut old = String::new();
    let record = Record::change(&id, |record| {
        old = record.short_name().to_owned();
        ensure!(old != args.new_name, "Renaming a container with the same name as its current name");
        if !claim_name(&args.new_name, &id)? {
            let holder = named(&args.new_name).unwrap_or_default();
            bail!(
                "Error when allocating new name: Conflict. The container name \"/{}\" is already in use by container \
                 \"{holder}\". You have to remove (or rename) that container to be able to reuse that name.",
                args.new_name
            );
        }
        record.name = format!("/{}", args.new_name);
        Ok(())
    })?;
    release_name(&old, &id)?;
    network::renamed(&record)?;
    events::of_container(&record, "rename", &[("oldName", format!("/{old}"))]);
    Ok(0)
}
