//! `ctr pod`: containers that share their network, IPC and UTS namespaces, as Kubernetes and rkt have them.
//!
//! A pod is a container of its own, `NAME-infra`, whose only process is this program and sleeps ([`PAUSE`]): it holds the namespaces.
//! Labels say which containers are of a pod, so there is no state of pods beside that of containers.

use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::{Args as _, FromArgMatches, Subcommand};
use serde_json::{Value, json};

use super::filter::{self, Filter, Filters};
use super::format::{Inspector, Listing, Row};
use super::lifecycle::{self, Manner, each};
use super::options::Options;
use super::record::{Record, State, Status};
use super::{create, docker_init, files, names, paths, ps, reaper, run, time};
use crate::runtime;

/// A container's pod.
const LABEL: &str = "io.coracle.pod";
/// The container that holds the namespaces.
const INFRA: &str = "io.coracle.pod.infra";
/// The namespaces that are shared, with commas between.
const SHARE: &str = "io.coracle.pod.share";
/// All that can be.
const ALL_SHARED: [&str; 3] = ["ipc", "net", "uts"];

/// `pod`.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Create a pod, not started
    Create(CreateArgs),
    /// Print all that is known of pods
    Inspect {
        /// Print as `json`, or by a Go template
        #[arg(short, long, value_name = "FORMAT")]
        format: Option<String>,

        /// Pods, by name or id
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
    },
    /// List pods
    #[command(visible_aliases = ["list", "ps"])]
    Ls(LsArgs),
    /// Remove pods with all their containers
    Rm {
        /// Kill what runs; a pod that does not exist is no error
        #[arg(short, long)]
        force: bool,

        /// Pods, by name or id
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
    },
    /// Start all containers of pods
    Start {
        /// Pods, by name or id
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
    },
    /// Stop all containers of pods
    Stop {
        #[command(flatten)]
        manner: Manner,

        /// Pods, by name or id
        #[arg(required = true, value_name = "POD")]
        pods: Vec<String>,
    },
}

/// `pod create`.
#[derive(clap::Args)]
struct CreateArgs {
    /// Line of /etc/hosts
    #[arg(long, value_name = "NAME:ADDRESS")]
    add_host: Vec<String>,

    /// Name server
    #[arg(long, value_name = "ADDRESS")]
    dns: Vec<String>,

    /// Host name; the pod's name without it
    #[arg(long)]
    hostname: Option<String>,

    /// Set a label
    #[arg(short, long, value_name = "KEY[=VALUE]")]
    label: Vec<String>,

    /// Name of the pod
    #[arg(short, long, value_parser = names::parse)]
    name: Option<String>,

    /// Network
    #[arg(long, default_value = "bridge")]
    network: String,

    /// Publish a port on the host
    #[arg(short, long, value_name = "[[ADDRESS:]HOST-PORT:]PORT[/tcp|/udp]")]
    publish: Vec<String>,

    /// Namespaces that are shared: net, ipc, uts
    #[arg(long, value_delimiter = ',', default_values_t = ["ipc", "net", "uts"].map(String::from),
          value_parser = clap::builder::PossibleValuesParser::new(ALL_SHARED))]
    share: Vec<String>,

    /// Name of the pod, as well as by --name
    #[arg(value_name = "NAME", value_parser = names::parse, conflicts_with = "name")]
    pod: Option<String>,
}

/// `pod ls`.
#[derive(clap::Args)]
struct LsArgs {
    /// Show those that meet a condition: id, label, name, status
    #[arg(short, long, value_name = "KEY=VALUE", value_parser = filter::parse)]
    filter: Vec<Filter>,

    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,

    /// Print ids only
    #[arg(short, long)]
    quiet: bool,
}

/// Do what was asked for.
pub fn pod(args: &Args) -> anyhow::Result<i32> {
    match &args.command {
        Command::Create(args) => create(args),
        Command::Inspect { format, pods } => inspect(format.as_deref(), pods),
        Command::Ls(args) => list(args),
        Command::Rm { force, pods } => each(pods, |name| match Pod::find(name) {
            Ok(pod) => pod.remove(*force),
            Err(error) if *force => {
                eprintln!("ctr: {error:#}");
                Ok(())
            }
            Err(error) => Err(error),
        }),
        Command::Start { pods } => {
            runtime::seal_self()?;
            each(pods, |name| Pod::find(name)?.start())
        }
        Command::Stop { manner, pods } => each(pods, |name| Pod::find(name)?.stop(manner)),
    }
}

/// Make the container that holds the namespaces.
fn create(args: &CreateArgs) -> anyhow::Result<i32> {
    let name = match args.pod.as_ref().or(args.name.as_ref()) {
        Some(name) => name.clone(),
        None => names::generate(0)?,
    };
    ensure!(Pod::all()?.iter().all(|pod| pod.name != name), "the name {name:?} is in use by another pod");
    let root = empty_root()?;
    let hostname = args.hostname.clone().unwrap_or_else(|| name.replace(['_', '.'], "-"));
    let mut words = vec!["create".to_owned()];
    let mut option = |key: &str, value: String| words.extend([format!("--{key}"), value]);
    option("name", format!("{name}-infra"));
    if args.network != "host" {
        option("hostname", hostname.chars().take(63).collect());
    }
    option("network", args.network.clone());
    if args.share.iter().any(|kind| kind == "ipc") {
        option("ipc", "shareable".into());
    }
    args.publish.iter().for_each(|port| option("publish", port.clone()));
    args.add_host.iter().for_each(|host| option("add-host", host.clone()));
    args.dns.iter().for_each(|server| option("dns", server.clone()));
    args.label.iter().for_each(|label| option("label", label.clone()));
    for (key, value) in [(LABEL, name.as_str()), (INFRA, "true"), (SHARE, &args.share.join(","))] {
        option("label", format!("{key}={value}"));
    }
    words.extend(["--init", "--read-only", "--rootfs"].map(String::from));
    words.extend([root.display().to_string(), docker_init::PAUSE.into()]);
    let command = Options::augment_args(clap::Command::new("ctr pod create"));
    let matches = command.try_get_matches_from(words).map_err(|error| anyhow::anyhow!("{}", error.render()))?;
    let options = Options::from_arg_matches(&matches)?;
    let (record, lock) = create::create(&options, State::default(), true)?;
    lock.remove()?;
    io::Write::write_all(&mut io::stdout(), format!("{}\n", record.id).as_bytes())?;
    Ok(0)
}

/// A root file system with nothing in it but what this program needs to run.
fn empty_root() -> anyhow::Result<PathBuf> {
    let dir = paths::state_dir().join("pods/root");
    files::private_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for (library, place) in libraries()? {
        let copy = dir.join(place.strip_prefix("/").unwrap_or(&place));
        if !copy.exists() {
            let failed = || format!("cannot copy {} to {}", library.display(), copy.display());
            std::fs::create_dir_all(copy.parent().unwrap_or(&dir)).with_context(failed)?;
            let part = copy.with_extension(format!("{}.part", std::process::id()));
            std::fs::copy(&library, &part).and_then(|_| std::fs::rename(&part, &copy)).with_context(failed)?;
        }
    }
    Ok(dir)
}

/// The shared libraries of this program, and where they are looked for: none, as it is shipped. The loader is named by its old path.
fn libraries() -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let maps = std::fs::read_to_string("/proc/self/maps").context("cannot read /proc/self/maps")?;
    let mapped: std::collections::BTreeSet<_> = maps.lines().filter_map(|line| line.split_once('/')).collect();
    let mapped = mapped.into_iter().map(|(_, path)| format!("/{path}")).filter(|path| path.contains(".so"));
    let mut all = Vec::new();
    for path in mapped {
        let name = path.rsplit('/').next().unwrap_or_default();
        if name.starts_with("ld-") {
            all.extend(["/lib", "/lib64"].map(|folder| (path.clone().into(), PathBuf::from(folder).join(name))));
        }
        all.push((path.clone().into(), path.into()));
    }
    all.sort();
    all.dedup();
    Ok(all)
}

/// A pod.
struct Pod {
    name: String,
    infra: Record,
    /// The other containers, the oldest first.
    members: Vec<Record>,
}

impl Pod {
    /// All pods, the newest first.
    fn all() -> anyhow::Result<Vec<Self>> {
        reaper::sweep_all()?;
        let mut records = ps::records()?;
        let mut pods = Vec::new();
        for infra in records.extract_if(.., |record| record.config.labels.contains_key(INFRA)) {
            let name = infra.config.labels.get(LABEL).cloned().unwrap_or_default();
            pods.push(Pod { name, infra, members: Vec::new() });
        }
        for record in records.into_iter().rev() {
            let of = record.config.labels.get(LABEL);
            if let Some(pod) = pods.iter_mut().find(|pod| Some(&pod.name) == of) {
                pod.members.push(record);
            }
        }
        Ok(pods)
    }

    /// By its name, its id, or an unambiguous beginning of its id.
    fn find(text: &str) -> anyhow::Result<Self> {
        let mut pods = Self::all()?;
        if let Some(place) = pods.iter().position(|pod| pod.name == text) {
            return Ok(pods.swap_remove(place));
        }
        pods.retain(|pod| !text.is_empty() && pod.infra.id.starts_with(text));
        match pods.pop() {
            Some(pod) if pods.is_empty() => Ok(pod),
            Some(_) => bail!("{text} is the beginning of more than one pod's id"),
            None => bail!("No such pod: {text}"),
        }
    }

    fn shares(&self, kind: &str) -> bool {
        shares(&self.infra, kind)
    }

    /// `Created`, `Running`, `Degraded` (some do not run), `Exited`.
    fn status(&self) -> &'static str {
        let runs = |record: &Record| record.state.running;
        match (runs(&self.infra), self.infra.state.status) {
            (true, _) if self.members.iter().all(runs) => "Running",
            (true, _) => "Degraded",
            (false, Status::Created) => "Created",
            (false, _) => "Exited",
        }
    }

    fn start(&self) -> anyhow::Result<()> {
        start_infra_of(&self.infra)?;
        for member in self.members.iter().filter(|member| !member.state.running) {
            let code = run::start_again(&member.id);
            let code = code.with_context(|| format!("cannot start container {}", member.short_name()))?;
            ensure!(code == 0, "cannot start container {}", member.short_name());
        }
        Ok(())
    }

    fn stop(&self, manner: &Manner) -> anyhow::Result<()> {
        let ids: Vec<_> = self.members.iter().map(|member| member.id.clone()).collect();
        lifecycle::stop_all(&ids, manner)?;
        // The namespaces' holder has nothing to lose, and goes last.
        lifecycle::stop_all(std::slice::from_ref(&self.infra.id), &Manner::default())
    }

    fn remove(&self, force: bool) -> anyhow::Result<()> {
        let running = self.members.iter().chain([&self.infra]).any(|record| record.state.running);
        ensure!(force || !running, "pod {} has running containers: stop it before removing or force remove", self.name);
        for record in self.members.iter().chain([&self.infra]) {
            lifecycle::remove(&record.id, record.short_name(), force, true)?;
        }
        Ok(())
    }

    fn document(&self) -> Value {
        let shared: Vec<_> = ALL_SHARED.into_iter().filter(|kind| self.shares(kind)).collect();
        let containers = [&self.infra].into_iter().chain(&self.members);
        let containers: Vec<_> = containers
            .map(|record| json!({ "Id": record.id, "Name": record.short_name(), "State": ps::state(record) }))
            .collect();
        json!({
            "Id": self.infra.id, "Name": self.name, "Created": self.infra.created, "State": self.status(),
            "Hostname": self.infra.config.hostname, "Labels": self.labels(), "SharedNamespaces": shared,
            "InfraContainerID": self.infra.id, "NumContainers": containers.len(), "Containers": containers,
            "InfraConfig": {
                "PortBindings": self.infra.host_config.port_bindings, "HostNetwork": self.infra.host_config.network_mode == "host",
                "NetworkMode": self.infra.host_config.network_mode, "DNSServer": self.infra.host_config.dns,
                "HostAdd": self.infra.host_config.extra_hosts,
            },
            "NetworkSettings": self.infra.network_settings,
        })
    }

    /// Its own labels, without those that make it a pod.
    fn labels(&self) -> std::collections::BTreeMap<String, String> {
        let mut labels = self.infra.config.labels.clone();
        labels.retain(|key, _| !key.starts_with(LABEL));
        labels
    }
}

fn shares(infra: &Record, kind: &str) -> bool {
    infra.config.labels.get(SHARE).is_some_and(|share| share.split(',').any(|shared| shared == kind))
}

fn inspect(format: Option<&str>, names: &[String]) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(format)?;
    let mut status = 0;
    for name in names {
        match Pod::find(name) {
            Ok(pod) => inspector.add(pod.document())?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    inspector.finish()?;
    Ok(status)
}

fn list(args: &LsArgs) -> anyhow::Result<i32> {
    const LISTING: Listing<'_> = Listing {
        type_name: "*formatter.PodContext",
        titles: &[
            ("Id", "POD ID"),
            ("Name", "NAME"),
            ("Status", "STATUS"),
            ("Created", "CREATED"),
            ("InfraId", "INFRA ID"),
            ("NumberOfContainers", "# OF CONTAINERS"),
            ("Labels", "LABELS"),
        ],
        columns: r"{{.Id}}\t{{.Name}}\t{{.Status}}\t{{.Created}}\t{{.InfraId}}\t{{.NumberOfContainers}}",
    };
    let filters = Filters::new(&args.filter, &["id", "label", "name", "status"])?;
    let mut pods = Pod::all()?;
    pods.retain(|pod| {
        filters.matches("name", &[&pod.name])
            && filters.any("id", |id| pod.infra.id.starts_with(id.as_str()))
            && filters.any("status", |status| status.eq_ignore_ascii_case(pod.status()))
            && filters.labels(&pod.labels())
    });
    let row = |pod: &Pod| {
        let id = if args.no_trunc { pod.infra.id.clone() } else { names::short(&pod.infra.id).to_owned() };
        Row::new([
            ("Id", id.clone()),
            ("Name", pod.name.clone()),
            ("Status", pod.status().to_owned()),
            ("Created", format!("{} ago", time::human(time::since(&pod.infra.created)))),
            ("InfraId", id),
            ("NumberOfContainers", (pod.members.len() + 1).to_string()),
        ])
        .with_labels(&pod.labels())
    };
    let rows: Vec<_> = pods.iter().map(row).collect();
    let format = if args.quiet { Some("{{.Id}}") } else { args.format.as_deref() };
    LISTING.print(&mut io::stdout().lock(), format, &rows)?;
    Ok(0)
}

/// Make a new container one of a pod: it gets the namespaces that the pod shares, and the files that tell of them.
pub fn join(name: &str, options: &Options, record: &mut Record) -> anyhow::Result<()> {
    let pod = Pod::find(name)?;
    let mode = format!("container:{}", pod.infra.id);
    if pod.shares("net") {
        ensure!(
            options.publish.is_empty() && !options.names.publish_all && record.host_config.dns.is_empty(),
            "ports and name servers of containers in a pod are the pod's: give them to `ctr pod create`"
        );
        record.host_config.network_mode = mode.clone();
        record.network_settings.networks.clear();
        record.hosts_path = pod.infra.hosts_path.clone();
        record.resolv_conf_path = pod.infra.resolv_conf_path.clone();
    }
    if pod.shares("ipc") {
        record.host_config.ipc_mode = mode.clone();
    }
    if pod.shares("uts") {
        ensure!(options.hostname.is_none(), "the host name of a container in a pod is the pod's");
        record.config.hostname = pod.infra.config.hostname.clone();
        record.hostname_path = pod.infra.hostname_path.clone();
        record.host_config.uts_mode = mode;
    }
    record.config.labels.insert(LABEL.into(), pod.name);
    Ok(())
}

/// Start the holder of the namespaces of a container that is in a pod, if it does not run.
pub fn start_infra(record: &Record) -> anyhow::Result<()> {
    let labels = &record.config.labels;
    match labels.get(LABEL).filter(|_| !labels.contains_key(INFRA)) {
        Some(name) => start_infra_of(&Pod::find(name)?.infra),
        None => Ok(()),
    }
}

fn start_infra_of(infra: &Record) -> anyhow::Result<()> {
    if lifecycle::payload(&infra.id)?.is_none() {
        let code = run::start_again(&infra.id).context("cannot start the pod")?;
        ensure!(code == 0, "cannot start the pod");
    }
    Ok(())
}
