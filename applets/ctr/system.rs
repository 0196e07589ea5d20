//! `ctr system` and `ctr info`: the machine's containers, images and volumes as a whole.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use coracle_image_oci::{Digest, Image, Store};
use serde_json::{Value, json};

use super::create::store;
use super::filter::{self, Filter, Filters};
use super::format::{Listing, Row, binary_size, decimal_size, print_document};
use super::record::{Record, Status};
use super::{Exit, build, events, images, names, paths, prune, ps, reaper, time, version, volumes};

/// `system`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print how much is on disk
    Df(DfArgs),
    /// Print what happens to containers, images and volumes
    Events(events::Args),
    /// Print how things are
    Info(InfoArgs),
    /// Remove what nothing uses
    Prune(PruneArgs),
}

/// `system df`.
#[derive(clap::Args)]
struct DfArgs {
    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print each image, container and volume
    #[arg(short, long)]
    verbose: bool,
}

/// `info`.
#[derive(clap::Args)]
pub struct InfoArgs {
    /// Print as `json`, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
}

/// `system prune`.
#[derive(clap::Args)]
struct PruneArgs {
    /// Remove all images that no container uses, not only those without a name
    #[arg(short, long)]
    all: bool,

    /// Remove what meets a condition: label, until
    #[arg(long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Do not ask
    #[arg(short, long)]
    force: bool,

    /// Also remove anonymous volumes
    #[arg(long)]
    volumes: bool,
}

/// Do what was asked for.
pub fn system(args: &Args) -> anyhow::Result<i32> {
    match &args.command {
        Command::Df(args) => df(args),
        Command::Events(args) => events::events(args),
        Command::Info(args) => info(args),
        Command::Prune(args) => prune(args),
    }
}

const LISTING: Listing<'_> = Listing {
    type_name: "*formatter.diskUsageContext",
    titles: &[
        ("Type", "TYPE"),
        ("TotalCount", "TOTAL"),
        ("Active", "ACTIVE"),
        ("Size", "SIZE"),
        ("Reclaimable", "RECLAIMABLE"),
    ],
    columns: r"{{.Type}}\t{{.TotalCount}}\t{{.Active}}\t{{.Size}}\t{{.Reclaimable}}",
};

/// Everything that takes space.
struct Usage {
    store: Store,
    images: Vec<Image>,
    containers: Vec<(Record, u64)>,
    volumes: Vec<(volumes::Volume, usize, u64)>,
}

impl Usage {
    fn find() -> anyhow::Result<Usage> {
        reaper::sweep_all()?;
        let store = store()?;
        let images = images::select(&store, &Filters::default())?;
        let sized = |record: Record| {
            let size = prune::writable_size(&record);
            (record, size)
        };
        let containers = ps::records()?.into_iter().map(sized).collect();
        let mut found = Vec::new();
        for volume in volumes::list()? {
            let users = volumes::users(&volume.name)?.len();
            let size = ps::disk_usage(&volume.mountpoint);
            found.push((volume, users, size));
        }
        Ok(Usage { store, images, containers, volumes: found })
    }

    fn users(&self, image: &Image) -> usize {
        let id = image.id().to_string();
        self.containers.iter().filter(|(record, _)| record.image == id).count()
    }

    /// Results of builds, and the bytes of those that are no part of an image.
    fn cache(&self, in_images: &BTreeSet<&Digest>) -> (&'static str, usize, usize, u64, u64) {
        let (count, layers) = build::cached();
        let only = layers.iter().filter(|layer| !in_images.contains(layer)).collect::<BTreeSet<_>>();
        let bytes = only.into_iter().map(|layer| self.store.layer_size(layer).unwrap_or(0)).sum();
        ("Build Cache", count, 0, bytes, bytes)
    }

    /// The summary: kind, count, active ones, bytes, bytes to be had back.
    fn summary(&self) -> [(&'static str, usize, usize, u64, u64); 4] {
        let size = |layers: &BTreeSet<&Digest>| -> u64 {
            layers.iter().map(|layer| self.store.layer_size(layer).unwrap_or(0)).sum()
        };
        let layers: BTreeSet<&Digest> = self.images.iter().flat_map(Image::diff_ids).collect();
        let used = self.images.iter().filter(|image| self.users(image) > 0);
        let used_layers: BTreeSet<&Digest> = used.clone().flat_map(Image::diff_ids).collect();
        let (all, in_use) = (size(&layers), size(&used_layers));
        let running = |record: &Record| record.state.status == Status::Running;
        let sum = |which: bool| -> u64 {
            self.containers.iter().filter(|(record, _)| !which || !running(record)).map(|(_, size)| size).sum()
        };
        let active = self.containers.iter().filter(|(record, _)| running(record)).count();
        let volume_bytes: u64 = self.volumes.iter().map(|(_, _, size)| size).sum();
        let free_volumes: u64 = self.volumes.iter().filter(|(_, users, _)| *users == 0).map(|(_, _, size)| size).sum();
        let used_volumes = self.volumes.iter().filter(|(_, users, _)| *users > 0).count();
        [
            ("Images", self.images.len(), used.count(), all, all - in_use),
            ("Containers", self.containers.len(), active, sum(false), sum(true)),
            ("Local Volumes", self.volumes.len(), used_volumes, volume_bytes, free_volumes),
            self.cache(&layers),
        ]
    }
}

fn df(args: &DfArgs) -> anyhow::Result<i32> {
    let usage = Usage::find()?;
    let out = &mut io::stdout().lock();
    if args.verbose && args.format.is_none() {
        return verbose(out, &usage).map(|()| 0);
    }
    let rows: Vec<Row> = usage.summary().map(summary_row).into();
    LISTING.print(out, args.format.as_deref(), &rows)?;
    Ok(0)
}

fn summary_row((kind, total, active, size, free): (&str, usize, usize, u64, u64)) -> Row {
    let share = match (free * 100).checked_div(size) {
        Some(percent) if kind != "Build Cache" => format!("{} ({percent}%)", decimal_size(free)),
        _ => decimal_size(free),
    };
    Row::new([
        ("Type", kind.to_owned()),
        ("TotalCount", total.to_string()),
        ("Active", active.to_string()),
        ("Size", decimal_size(size)),
        ("Reclaimable", share),
    ])
}

fn verbose(out: &mut impl Write, usage: &Usage) -> anyhow::Result<()> {
    writeln!(out, "Images space usage:\n")?;
    let mut rows = Vec::new();
    for image in &usage.images {
        let (unique, shared) = prune::unique_and_shared(&usage.store, image, &usage.images);
        for name in images::all_names(image) {
            let mut row = images::row(image, &name, false);
            row.fields["UniqueSize"] = decimal_size(unique).into();
            row.fields["SharedSize"] = decimal_size(shared).into();
            row.fields["Containers"] = usage.users(image).to_string().into();
            rows.push(row);
        }
    }
    let columns =
        format!(r"{}\t{{{{.SharedSize}}}}\t{{{{.UniqueSize}}}}\t{{{{.Containers}}}}", images::LISTING.columns);
    Listing { columns: &columns, ..images::LISTING }.print(out, None, &rows)?;
    writeln!(out, "\nContainers space usage:\n")?;
    let rows: Vec<Row> = usage.containers.iter().map(|(record, size)| container_row(record, *size)).collect();
    CONTAINERS.print(out, None, &rows)?;
    writeln!(out, "\nLocal Volumes space usage:\n")?;
    let row = |(volume, users, size): &(volumes::Volume, usize, u64)| {
        Row::new([("Name", volume.name.clone()), ("Links", users.to_string()), ("Size", decimal_size(*size))])
    };
    VOLUMES.print(out, None, &usage.volumes.iter().map(row).collect::<Vec<_>>())?;
    let [.., (_, _, _, bytes, _)] = usage.summary();
    writeln!(out, "\nBuild cache usage: {}\n", decimal_size(bytes))?;
    Ok(())
}

const CONTAINERS: Listing<'_> = Listing {
    type_name: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Size", "SIZE"),
        ("RunningFor", "CREATED"),
        ("Status", "STATUS"),
        ("Names", "NAMES"),
    ],
    columns: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.LocalVolumes}}\t{{.Size}}\t{{.RunningFor}}\t{{.Status}}\t{{.Names}}",
};

const VOLUMES: Listing<'_> = Listing {
    type_name: "*formatter.volumeContext",
    titles: &[("Name", "VOLUME NAME"), ("Links", "LINKS"), ("Size", "SIZE")],
    columns: r"{{.Name}}\t{{.Links}}\t{{.Size}}",
};

fn container_row(record: &Record, size: u64) -> Row {
    let volumes = record.mounts.iter().filter(|mount| volumes::is_volume(mount)).count();
    Row::new([
        ("ID", names::short(&record.id).to_owned()),
        ("Image", record.config.image.clone()),
        ("Command", format!("\"{}\"", ps::ellipsis(&record.command_line(), 20))),
        ("LocalVolumes", volumes.to_string()),
        ("Size", decimal_size(size)),
        ("RunningFor", format!("{} ago", time::human(time::since(&record.created)))),
        ("Status", ps::status(record)),
        ("Names", record.short_name().to_owned()),
    ])
}

fn prune(args: &PruneArgs) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &["label", "label!", "until"])?;
    anyhow::ensure!(
        !(args.volumes && filters.has("until")),
        r#"ERROR: The "until" filter is not supported with "--volumes""#
    );
    if !args.force {
        prune::confirm("system", &warning(args))?;
    }
    let mut bytes = 0;
    let mut show = |title: &str, pruned: prune::Pruned| {
        bytes += pruned.bytes;
        prune::print(title, &pruned)
    };
    show("Deleted Containers:", prune::prune_containers(&filters)?)?;
    show("Deleted Networks:", prune::prune_networks(&filters)?)?;
    if args.volumes {
        show("Deleted Volumes:", prune::prune_volumes(false, &filters)?)?;
    }
    show("Deleted Images:", prune::prune_images(args.all, &filters)?)?;
    if args.filter.is_empty() {
        show("Deleted build cache objects:", build::prune_cache(false)?)?;
    }
    writeln!(io::stdout(), "Total reclaimed space: {}", decimal_size(bytes))?;
    Ok(0)
}

fn warning(args: &PruneArgs) -> String {
    let mut lines = vec![
        "WARNING! This will remove:".to_owned(),
        "  - all stopped containers".into(),
        "  - all networks not used by at least one container".into(),
    ];
    if args.volumes {
        lines.push("  - all anonymous volumes not used by at least one container".into());
    }
    lines.push(if args.all {
        "  - all images without at least one container associated to them".into()
    } else {
        "  - all dangling images".into()
    });
    if args.filter.is_empty() {
        lines.push("  - all build cache".into());
    }
    lines.push(String::new());
    lines.join("\n")
}

/// Print how things are.
pub fn info(args: &InfoArgs) -> anyhow::Result<i32> {
    let document = facts()?;
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        print_document(format, &document).map_err(|error| Exit { status: 64, error })?;
        return Ok(0);
    }
    let mut out = io::stdout().lock();
    let text = |key: &str| match &document[key] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    writeln!(out, "Client:\n Version:    {}\n\nServer:", text("ServerVersion"))?;
    for (title, key) in [
        ("Containers", "Containers"),
        (" Running", "ContainersRunning"),
        (" Paused", "ContainersPaused"),
        (" Stopped", "ContainersStopped"),
        ("Images", "Images"),
        ("Server Version", "ServerVersion"),
        ("Storage Driver", "Driver"),
        ("Logging Driver", "LoggingDriver"),
        ("Cgroup Driver", "CgroupDriver"),
        ("Cgroup Version", "CgroupVersion"),
        ("Default Runtime", "DefaultRuntime"),
        ("Kernel Version", "KernelVersion"),
        ("Operating System", "OperatingSystem"),
        ("OSType", "OSType"),
        ("Architecture", "Architecture"),
        ("CPUs", "NCPU"),
    ] {
        writeln!(out, " {title}: {}", text(key))?;
    }
    writeln!(out, " Total Memory: {}", binary_size(document["MemTotal"].as_u64().unwrap_or(0)))?;
    for (title, key) in [("Name", "Name"), ("Docker Root Dir", "DockerRootDir")] {
        writeln!(out, " {title}: {}", text(key))?;
    }
    Ok(0)
}

/// The document that docker prints, as far as it has a meaning here.
fn facts() -> anyhow::Result<Value> {
    reaper::sweep_all()?;
    let records = ps::records()?;
    let running = records.iter().filter(|record| record.state.status == Status::Running);
    let paused = running.clone().filter(|record| record.state.paused).count();
    let running = running.count() - paused;
    let system = rustix::system::uname();
    let word = |text: &std::ffi::CStr| text.to_string_lossy().into_owned();
    let memory = rustix::system::sysinfo();
    let total = memory.totalram.saturating_mul(u64::from(memory.mem_unit));
    Ok(json!({
        "Containers": records.len(),
        "ContainersRunning": running,
        "ContainersPaused": paused,
        "ContainersStopped": records.len() - running - paused,
        "Images": store()?.images()?.len(),
        "Driver": "overlay2",
        "LoggingDriver": "json-file",
        "CgroupDriver": "cgroupfs",
        "CgroupVersion": if PathBuf::from("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" },
        "DefaultRuntime": "coracle",
        "SystemTime": time::now(),
        "KernelVersion": word(system.release()),
        "OperatingSystem": operating_system(),
        "OSType": "linux",
        "Architecture": word(system.machine()),
        "NCPU": std::thread::available_parallelism().map_or(1, usize::from),
        "MemTotal": total,
        "DockerRootDir": paths::state_dir().display().to_string(),
        "Name": word(system.nodename()),
        "ServerVersion": env!("CARGO_PKG_VERSION"),
        "ClientInfo": { "Version": env!("CARGO_PKG_VERSION"), "Os": "linux", "Arch": version::goarch() },
        "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns", "name=no-new-privileges"],
        "Warnings": Value::Null,
    }))
}

fn operating_system() -> String {
    let text = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    name.map_or_else(|| "Linux".into(), |name| name.trim_matches('"').to_owned())
}
