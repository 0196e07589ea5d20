//! `ctr ps`: containers as Docker lists them.

use std::io;
use std::path::{Path, PathBuf};

use super::create::store;
use super::filter::{self, Filter, Filters};
use super::format::{Listing, Row, decimal_size};
use super::record::{self, HostPort, Record, Status};
use super::{names, reaper, time};

/// `ps`.
#[derive(clap::Args)]
pub struct PsArgs {
    /// Also those that do not run
    #[arg(short, long)]
    all: bool,

    /// Show those that meet a condition
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Show the newest containers, also those that do not run; -1 for all
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = -1, allow_hyphen_values = true)]
    last: i64,

    /// Show the newest container, also if it does not run
    #[arg(short, long)]
    latest: bool,

    /// Print whole ids and commands
    #[arg(long)]
    no_trunc: bool,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Print how much is on disk
    #[arg(short, long)]
    size: bool,
}

/// What `--filter` knows.
const FILTERS: [&str; 14] = [
    "ancestor", "before", "exited", "expose", "health", "id", "label", "label!", "name", "network", "publish", "since",
    "status", "volume",
];

const LISTING: Listing<'_> = Listing {
    type_name: "*formatter.ContainerContext",
    titles: &[
        ("ID", "CONTAINER ID"),
        ("Names", "NAMES"),
        ("Image", "IMAGE"),
        ("Command", "COMMAND"),
        ("CreatedAt", "CREATED AT"),
        ("RunningFor", "CREATED"),
        ("Ports", "PORTS"),
        ("State", "STATE"),
        ("Status", "STATUS"),
        ("Size", "SIZE"),
        ("Labels", "LABELS"),
        ("Mounts", "MOUNTS"),
        ("LocalVolumes", "LOCAL VOLUMES"),
        ("Networks", "NETWORKS"),
    ],
    columns: r"{{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}",
};

/// List containers, the newest first.
pub fn ps(args: &PsArgs) -> anyhow::Result<i32> {
    let filters = Filters::new(&args.filter, &FILTERS)?;
    check(&filters)?;
    reaper::sweep_all()?;
    let mut all = records()?;
    let limit = if args.latest { 1 } else { args.last };
    let stopped = args.all || args.latest || limit > 0 || filters.has("status");
    let ancestors = ancestors(&filters)?;
    let bounds = Bounds::new(&filters)?;
    all.retain(|record| {
        (stopped || is_live(record)) && bounds.contain(record) && fits(record, &filters) && descends(record, &ancestors)
    });
    if let (true, Ok(limit)) = (limit > 0, usize::try_from(limit)) {
        all.truncate(limit);
    }
    let wants_size = args.size || Listing::mentions(args.format.as_deref(), "Size");
    let rows: Vec<_> = all.iter().map(|record| row(record, args.no_trunc, wants_size)).collect();
    let columns = format!("{}{}", LISTING.columns, if args.size { r"\t{{.Size}}" } else { "" });
    let format = if args.quiet { Some("{{.ID}}") } else { args.format.as_deref() };
    Listing { columns: &columns, ..LISTING }.print(&mut io::stdout().lock(), format, &rows)?;
    Ok(0)
}

/// All containers, the newest first.
pub fn records() -> anyhow::Result<Vec<Record>> {
    let mut all: Vec<Record> = record::ids()?.iter().filter_map(|id| Record::load(id).ok()).collect();
    all.sort_by(|one, other| other.created.cmp(&one.created));
    Ok(all)
}

fn is_live(record: &Record) -> bool {
    record.state.status.is_live() || record.state.paused
}

/// Docker's word for how a container is.
pub fn state(record: &Record) -> &'static str {
    match record.state.status {
        Status::Running if record.state.restarting => "restarting",
        Status::Running if record.state.paused => "paused",
        status => status.word(),
    }
}

/// Refuse values that nothing can meet.
fn check(filters: &Filters) -> anyhow::Result<()> {
    let states = ["created", "restarting", "running", "removing", "paused", "exited", "dead"];
    for (key, known) in [("status", &states[..]), ("health", &["starting", "healthy", "unhealthy", "none"][..])] {
        if let Some(wrong) = filters.values(key).iter().find(|value| !known.contains(&value.as_str())) {
            anyhow::bail!("invalid filter '{key}={wrong}'");
        }
    }
    if let Some(wrong) = filters.values("exited").iter().find(|code| code.parse::<i32>().is_err()) {
        anyhow::bail!("invalid filter 'exited={wrong}'");
    }
    Ok(())
}

/// `before` and `since`, by the times of the containers that they name.
struct Bounds {
    before: Option<String>,
    since: Option<String>,
}

impl Bounds {
    fn new(filters: &Filters) -> anyhow::Result<Self> {
        let time = |key| {
            let name = filters.values(key).first();
            name.map(|name| anyhow::Ok(Record::read(&record::resolve(name)?)?.created)).transpose()
        };
        Ok(Bounds { before: time("before")?, since: time("since")? })
    }

    fn contain(&self, record: &Record) -> bool {
        self.before.as_ref().is_none_or(|time| record.created < *time)
            && self.since.as_ref().is_none_or(|time| record.created > *time)
    }
}

/// `ancestor`: an image by its name as it was asked for, by its id, or by the layers that are the container's lowest.
struct Ancestor {
    name: String,
    id: String,
    layers: Vec<PathBuf>,
}

fn ancestors(filters: &Filters) -> anyhow::Result<Option<Vec<Ancestor>>> {
    if !filters.has("ancestor") {
        return Ok(None);
    }
    let store = store()?;
    let find = |name: &String| {
        let image = store.resolve(name).ok();
        let id = image.as_ref().map_or_else(|| name.clone(), |image| image.id().to_string());
        let layers = image.and_then(|image| store.layers(&image).ok()).unwrap_or_default();
        Ancestor { name: name.clone(), id, layers }
    };
    Ok(Some(filters.values("ancestor").iter().map(find).collect()))
}

fn descends(record: &Record, ancestors: &Option<Vec<Ancestor>>) -> bool {
    let Some(ancestors) = ancestors else { return true };
    ancestors.iter().any(|ancestor| {
        record.config.image == ancestor.name
            || (!record.image.is_empty() && record.image == ancestor.id)
            || (!ancestor.layers.is_empty() && record.layers.starts_with(&ancestor.layers))
    })
}

/// Whether a container meets the conditions that need nothing but its record.
fn fits(record: &Record, filters: &Filters) -> bool {
    let networks = networks(record);
    filters.any("id", |id| record.id.starts_with(id.as_str()))
        && filters.matches("name", &[record.short_name(), &record.name])
        && filters.labels(&record.config.labels)
        && filters
            .any("exited", |code| record.state.status == Status::Exited && code.parse() == Ok(record.state.exit_code))
        && filters.any("status", |wanted| wanted == state(record))
        && filters.any("health", |wanted| *wanted == health(record))
        && filters.any("volume", |volume| {
            let mut mounts = record.mounts.iter();
            mounts
                .any(|mount| mount.name == *volume || mount.destination == *volume || mount.source == Path::new(volume))
        })
        && filters.any("network", |network| networks.contains(network))
        && filters.any("publish", |ports| published(record).any(|port| in_range(&port, ports)))
        && filters.any("expose", |ports| {
            let exposed = record.config.exposed_ports.keys().cloned();
            exposed.chain(record.host_config.port_bindings.keys().cloned()).any(|port| in_range(&port, ports))
        })
}

/// Whether a port such as `80/tcp` is in `80`, `80/udp` or `80-90/tcp`.
fn in_range(port: &str, wanted: &str) -> bool {
    let split = |text: &str| {
        let (range, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some((first.parse::<u16>().ok()?, last.parse::<u16>().ok()?, protocol.to_owned()))
    };
    let (Some((port, _, protocol)), Some((first, last, wanted))) = (split(port), split(wanted)) else { return false };
    (first..=last).contains(&port) && protocol == wanted
}

/// Host ports, with their protocol.
fn published(record: &Record) -> impl Iterator<Item = String> + '_ {
    record.host_config.port_bindings.iter().flat_map(|(port, hosts)| {
        let protocol = port.split_once('/').map_or("tcp", |(_, protocol)| protocol);
        hosts.iter().map(move |host| format!("{}/{protocol}", host.host_port))
    })
}

/// The names of a container's networks.
fn networks(record: &Record) -> Vec<String> {
    let joined: Vec<_> = record.network_settings.networks.keys().cloned().collect();
    if joined.is_empty() { vec![record.host_config.network_mode.clone()] } else { joined }
}

/// `starting`, `healthy`, `unhealthy`, or `none` without a check.
fn health(record: &Record) -> String {
    let document = serde_json::to_value(record).unwrap_or_default();
    document["State"]["Health"]["Status"].as_str().filter(|word| !word.is_empty()).unwrap_or("none").to_owned()
}

fn row(record: &Record, no_trunc: bool, wants_size: bool) -> Row {
    let id = if no_trunc { &record.id } else { names::short(&record.id) };
    let image = match record.config.image.strip_prefix("sha256:") {
        Some(digest) if !no_trunc => names::short(digest),
        _ => &record.config.image,
    };
    let mounts = record.mounts.iter().map(|mount| {
        let name = if mount.name.is_empty() { mount.source.display().to_string() } else { mount.name.clone() };
        if no_trunc { name } else { ellipsis(&name, 15) }
    });
    let volumes = record.mounts.iter().filter(|mount| mount.kind == "volume").count();
    let command = record.command_line();
    let command = if no_trunc { command } else { ellipsis(&command, 20) };
    Row::new([
        ("ID", id.to_owned()),
        ("Names", record.short_name().to_owned()),
        ("Image", image.to_owned()),
        ("Command", format!("\"{}\"", command.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))),
        ("CreatedAt", time::in_words(&record.created)),
        ("RunningFor", format!("{} ago", time::human(time::since(&record.created)))),
        ("Ports", ports(record)),
        ("State", state(record).to_owned()),
        ("Status", status(record)),
        ("Size", if wants_size { size(record) } else { "0B".into() }),
        ("Mounts", mounts.collect::<Vec<_>>().join(",")),
        ("LocalVolumes", volumes.to_string()),
        ("Networks", networks(record).join(",")),
    ])
    .with_labels(&record.config.labels)
}

/// A text of at most so many characters, the last of which says that some are missing.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() > length { text.chars().take(length - 1).chain(['…']).collect() } else { text.to_owned() }
}

/// How a container is, in a sentence.
pub fn status(record: &Record) -> String {
    let ago = |time: &str| format!("{} ago", time::human(time::since(time)));
    match (record.state.status, state(record)) {
        (Status::Created, _) => "Created".into(),
        (Status::Restarting, _) | (_, "restarting") => {
            format!("Restarting ({}) {}", record.state.exit_code, ago(&record.state.finished_at))
        }
        (Status::Running, word) => {
            let remark = match health(record).as_str() {
                _ if word == "paused" => " (Paused)".into(),
                "none" => String::new(),
                "starting" => " (health: starting)".into(),
                other => format!(" ({other})"),
            };
            format!("Up {}{remark}", time::human(time::since(&record.state.started_at)))
        }
        (Status::Exited, _) => {
            let oom = if record.state.oom_killed { ", OOMKilled" } else { "" };
            format!("Exited ({}{oom}) {}", record.state.exit_code, ago(&record.state.finished_at))
        }
    }
}

/// Published and exposed ports of a running container; what follows on each other as a range.
fn ports(record: &Record) -> String {
    if record.state.status != Status::Running {
        return String::new();
    }
    let map = &record.network_settings.ports;
    let number = |text: &str| text.parse::<u16>().unwrap_or(0);
    let mut all: Vec<(String, String, u16, u16)> = Vec::new();
    for (port, hosts) in map {
        let (private, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        for HostPort { host_ip, host_port } in hosts {
            let ip = if host_ip.contains(':') { format!("[{host_ip}]") } else { host_ip.clone() };
            all.push((protocol.to_owned(), ip, number(host_port), number(private)));
        }
        if hosts.is_empty() {
            all.push((protocol.to_owned(), String::new(), 0, number(private)));
        }
    }
    for port in record.config.exposed_ports.keys().filter(|port| !map.contains_key(*port)) {
        let (private, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
        all.push((protocol.to_owned(), String::new(), 0, number(private)));
    }
    all.sort_by(|one, other| (&one.0, &one.1, one.3, one.2).cmp(&(&other.0, &other.1, other.3, other.2)));
    let mut ranges: Vec<(String, String, u16, u16, u16)> = Vec::new();
    for (protocol, ip, host, private) in all {
        match ranges.last_mut() {
            Some((last_protocol, last_ip, first_host, first, length))
                if *last_protocol == protocol
                    && *last_ip == ip
                    && u32::from(*first) + u32::from(*length) == u32::from(private)
                    && (ip.is_empty() || u32::from(*first_host) + u32::from(*length) == u32::from(host)) =>
            {
                *length += 1;
            }
            _ => ranges.push((protocol, ip, host, private, 1)),
        }
    }
    let span = |first: u16, length: u16| match length {
        1 => first.to_string(),
        _ => format!("{first}-{}", first.saturating_add(length - 1)),
    };
    let texts = ranges.iter().map(|(protocol, ip, host, private, length)| {
        let private = format!("{}/{protocol}", span(*private, *length));
        if ip.is_empty() { private } else { format!("{ip}:{}->{private}", span(*host, *length)) }
    });
    texts.collect::<Vec<_>>().join(", ")
}

/// What a container has written, and with its image.
fn size(record: &Record) -> String {
    let own = disk_usage(&super::paths::container(&record.id).join("upper"));
    let image: u64 = record.layers.iter().map(|layer| disk_usage(layer)).sum();
    format!("{} (virtual {})", decimal_size(own), decimal_size(own + image))
}

/// The sum of the sizes of all files below a directory.
pub fn disk_usage(dir: &Path) -> u64 {
    let mut total = 0;
    let mut left = vec![dir.to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => left.push(entry.path()),
                Ok(kind) if kind.is_file() => total += entry.metadata().map_or(0, |meta| meta.len()),
                _ => {}
            }
        }
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_follow_on_each_other_are_a_range() {
        let mut record = Record::default();
        record.state.status = Status::Running;
        for (port, host) in [("80/tcp", 8080), ("81/tcp", 8081), ("90/tcp", 9000), ("53/udp", 53)] {
            let host = HostPort { host_ip: "0.0.0.0".into(), host_port: host.to_string() };
            record.network_settings.ports.insert(port.into(), vec![host]);
        }
        record.config.exposed_ports.insert("443/tcp".into(), Default::default());
        let wanted = "443/tcp, 0.0.0.0:8080-8081->80-81/tcp, 0.0.0.0:9000->90/tcp, 0.0.0.0:53->53/udp";
        assert_eq!(ports(&record), wanted);
        record.state.status = Status::Exited;
        assert_eq!(ports(&record), "");
    }

    #[test]
    fn port_filters() {
        assert!(in_range("80/tcp", "80") && in_range("80/tcp", "70-90/tcp") && in_range("53/udp", "53/udp"));
        assert!(!in_range("80/tcp", "81") && !in_range("53/udp", "53") && !in_range("x", "53"));
    }
}
