//! Removing what nothing uses: containers, images, networks and volumes.

use std::io::{self, BufRead, Write};

use anyhow::bail;
use coracle_image_oci::{Alone, Image, Store};

use super::create::store;
use super::filter::{self, Filter, Filters};
use super::format::decimal_size;
use super::record::{Record, Status};
use super::rmi::{InUse, chain_ids, untagged};
use super::{events, images, lifecycle, network, network_view, paths, ps, reaper, volume, volumes};

/// `image prune`.
#[derive(clap::Args)]
pub struct ImagePruneArgs {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Remove those that meet a condition: label, until, dangling
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,
}

/// What was removed of one kind, in docker's words, and how many bytes that gave back.
#[derive(Default)]
pub struct Pruned {
    /// A line for each.
    pub lines: Vec<String>,
    /// Bytes.
    pub bytes: u64,
}

/// Ask on the terminal; a prune that is not wanted is an error, as under docker.
pub fn confirm(what: &str, warning: &str) -> anyhow::Result<()> {
    let mut out = io::stdout();
    write!(out, "{warning}\nAre you sure you want to continue? [y/N] ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes" | "YES") {
        bail!("{what} prune has been cancelled");
    }
    Ok(())
}

/// Remove images that nothing uses.
pub fn images(args: &ImagePruneArgs) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &["label", "label!", "until", "dangling"])?;
    let all = args.all || filters.truth("dangling")? == Some(false);
    if !args.force {
        confirm("image", if all { WARNING_ALL } else { "WARNING! This will remove all dangling images." })?;
    }
    let pruned = prune_images(all, &filters)?;
    print("Deleted Images:", &pruned)?;
    writeln!(io::stdout(), "Total reclaimed space: {}", decimal_size(pruned.bytes))?;
    Ok(0)
}

const WARNING_ALL: &str = "WARNING! This will remove all images without at least one container associated to them.";

/// Print what was removed, if anything was.
pub fn print(title: &str, pruned: &Pruned) -> anyhow::Result<()> {
    if !pruned.lines.is_empty() {
        writeln!(io::stdout(), "{title}\n{}\n", pruned.lines.join("\n"))?;
    }
    Ok(())
}

/// Remove images that no container uses: those without a name, or all.
pub fn prune_images(all: bool, filters: &Filters) -> anyhow::Result<Pruned> {
    let store = store()?;
    let alone = store.alone()?;
    let in_use = InUse::find()?;
    let mut pruned = Pruned::default();
    let mut gone: Vec<Image> = Vec::new();
    let conditions = filters.without("dangling");
    for image in images::select(&store, &conditions)? {
        let is_wanted = (all || image.names().is_empty()) && in_use.of(&image).next().is_none();
        if is_wanted {
            pruned.lines.extend(forget(&alone, &image)?);
            gone.push(image);
        }
    }
    let collected = alone.collect(&in_use.layers())?;
    pruned.lines.extend(deleted(&gone, &collected.layers));
    pruned.bytes = collected.bytes;
    Ok(pruned)
}

fn forget(alone: &Alone<'_>, image: &Image) -> anyhow::Result<Vec<String>> {
    alone.forget(image)?;
    events::of_image("delete", image.id().to_string(), None);
    let names = untagged(image, |_| true).into_iter().map(|line| line.replacen("Untagged", "untagged", 1));
    let digests = image.digests().iter().map(|digest| format!("untagged: {digest}"));
    Ok(names.chain(digests).chain([format!("deleted: {}", image.id())]).collect())
}

fn deleted(images: &[Image], layers: &[coracle_image_oci::Digest]) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for image in images {
        let chain = image.diff_ids().iter().zip(chain_ids(image)).rev();
        for (_, chain) in chain.filter(|(diff_id, _)| layers.contains(diff_id)) {
            let line = format!("deleted: {chain}");
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }
    lines
}

/// Remove containers that do not run.
pub fn prune_containers(filters: &Filters) -> anyhow::Result<Pruned> {
    reaper::sweep_all()?;
    let mut pruned = Pruned::default();
    for record in ps::records()?.iter().filter(|record| record.state.status != Status::Running) {
        if !filters.labels(&record.config.labels) || !filters.until(&record.created)? {
            continue;
        }
        let bytes = writable_size(record);
        // One that was started meanwhile stays.
        if lifecycle::remove(&record.id, record.short_name(), false, false).is_ok() {
            pruned.lines.push(record.id.clone());
            pruned.bytes += bytes;
        }
    }
    Ok(pruned)
}

/// What a container has written.
pub fn writable_size(record: &Record) -> u64 {
    ps::disk_usage(&paths::container(&record.id).join("upper"))
}

/// Remove volumes that no container has: the anonymous ones, or all.
pub fn prune_volumes(all: bool, filters: &Filters) -> anyhow::Result<Pruned> {
    let lock = volumes::lock()?;
    volumes::remove_remains(&lock)?;
    let mut pruned = Pruned::default();
    for volume in volumes::list()? {
        let is_wanted = (all || volume.is_anonymous()) && filters.labels(&volume.labels);
        if is_wanted && volumes::users(&volume.name)?.is_empty() {
            pruned.bytes += ps::disk_usage(&volume.mountpoint);
            volumes::remove(&lock, &volume.name)?;
            volume::tell("destroy", &volume.name);
            pruned.lines.push(volume.name);
        }
    }
    Ok(pruned)
}

/// Remove networks that no running container is on.
pub fn prune_networks(filters: &Filters) -> anyhow::Result<Pruned> {
    reaper::sweep_live()?;
    let mut pruned = Pruned::default();
    for network in network::store().list()? {
        let is_wanted = !network_view::is_predefined(&network.name) && filters.labels(&network.labels);
        if !is_wanted || !filters.until(&network.created)? {
            continue;
        }
        match network::store().remove(&network) {
            Ok(()) => pruned.lines.push(network.name),
            Err(coracle_netns::Error::NetworkInUse { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(pruned)
}

/// Bytes of layers that only this image has, and of those that others have too.
pub fn unique_and_shared(store: &Store, image: &Image, all: &[Image]) -> (u64, u64) {
    let size = |layer| store.layer_size(layer).unwrap_or(0);
    let is_shared = |layer: &&coracle_image_oci::Digest| {
        all.iter().any(|other| other.id() != image.id() && other.diff_ids().contains(layer))
    };
    let (shared, unique): (Vec<_>, Vec<_>) = image.diff_ids().iter().partition(is_shared);
    (unique.into_iter().map(size).sum(), shared.into_iter().map(size).sum())
}
