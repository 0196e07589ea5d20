//! What is known of a container: `container.json`, in the form that `docker inspect` prints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
pub use super::record_config::{Config, Healthcheck};
pub use super::record_health::Health;
pub use super::record_host::{Device, HostConfig, RestartPolicy};
pub use super::record_network::{Endpoint, NetworkSettings};
use super::{paths, time};

/// The record.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Record {
    /// 64 hexadecimal digits.
    pub id: String,
    /// When it was created, RFC 3339.
    pub created: String,
    /// The program.
    pub path: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// How it is.
    pub state: State,
    /// The image's id.
    pub image: String,
    /// `/NAME`.
    pub name: String,
    /// The log file.
    pub log_path: PathBuf,
    /// Generated files that are mounted into the container.
    pub hosts_path: PathBuf,
    /// See `hosts_path`.
    pub hostname_path: PathBuf,
    /// See `hosts_path`.
    pub resolv_conf_path: PathBuf,
    /// What the host grants.
    pub host_config: HostConfig,
    /// Volumes and bind mounts.
    pub mounts: Vec<MountPoint>,
    /// What runs, and how.
    pub config: Config,
    /// How it is reached.
    pub network_settings: NetworkSettings,
    /// How often the restart policy has started it again since a person did.
    pub restart_count: u32,
    /// Always `linux`.
    pub platform: String,
    /// Always `overlayfs`.
    pub driver: String,
    /// Always empty, as there is no SELinux.
    pub mount_label: String,
    /// Always empty, as there is no SELinux.
    pub process_label: String,
    /// Always empty, as there is no AppArmor.
    pub app_armor_profile: String,
    /// Where the root file system comes from: unpacked layers, top-most last.
    pub layers: Vec<PathBuf>,
}

/// `State`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct State {
    /// `created`, `running`, `restarting` or `exited`.
    pub status: Status,
    /// Whether the payload runs.
    pub running: bool,
    /// Whether it is frozen.
    pub paused: bool,
    /// Whether it has ended and its restart policy is about to start it again.
    pub restarting: bool,
    /// Whether the OOM killer struck in it.
    #[serde(rename = "OOMKilled")]
    pub oom_killed: bool,
    /// Never.
    pub dead: bool,
    /// The payload's process id on the host, 0 if it does not run.
    pub pid: i32,
    /// Exit status, 128 + n if killed by signal n.
    pub exit_code: i32,
    /// Why it did not start, or was lost.
    pub error: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339.
    pub finished_at: String,
    /// How its health checks go, if it has any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// The boot in which it was started: process ids of another mean nothing.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub boot_id: String,
}

impl Default for State {
    fn default() -> Self {
        State {
            status: Status::Created,
            running: false,
            paused: false,
            restarting: false,
            oom_killed: false,
            dead: false,
            pid: 0,
            exit_code: 0,
            error: String::new(),
            started_at: time::NEVER.into(),
            finished_at: time::NEVER.into(),
            health: None,
            boot_id: String::new(),
        }
    }
}

impl State {
    /// Of a container that is about to be started.
    pub fn starting() -> Self {
        State { status: Status::Running, started_at: time::now(), ..State::default() }
    }
}

/// What a container does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Never started.
    Created,
    /// Started, and its end is not on record.
    Running,
    /// Ended, and about to be started again.
    Restarting,
    /// Ended.
    Exited,
}

impl Status {
    /// Whether a monitor is in charge of it.
    pub fn is_live(self) -> bool {
        matches!(self, Status::Running | Status::Restarting)
    }

    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
        }
    }
}

/// Container port (`80/tcp`) to host addresses.
pub type PortMap = BTreeMap<String, Vec<HostPort>>;

/// Where a port is published.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct HostPort {
    /// Address on the host.
    pub host_ip: String,
    /// Port on the host, as a text.
    pub host_port: String,
}

/// One of `Mounts`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct MountPoint {
    /// `bind`, `volume` or `tmpfs`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// A volume's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Path on the host.
    pub source: PathBuf,
    /// Path in the container.
    pub destination: String,
    /// Options.
    pub mode: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub rw: bool,
    /// Of a volume: always `local`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub driver: String,
    /// Of a bind mount: how mounts below it spread.
    pub propagation: String,
    /// Options of the runtime's that the rest does not say.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<String>,
}

/// What is true only while the payload runs: `state.json` in the volatile directory.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Live {
    /// The payload's process id on the host.
    pub pid: i32,
    /// Its start time (field 22 of /proc/PID/stat), which tells a reused id.
    pub start_time: u64,
    /// Where it is on the network.
    pub network: NetworkSettings,
}

impl Record {
    /// The name without Docker's slash.
    pub fn short_name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    /// Whether there is a record on disk.
    pub fn exists(id: &str) -> bool {
        paths::container(id).join("container.json").exists()
    }

    /// Read the record on disk.
    pub fn read(id: &str) -> anyhow::Result<Self> {
        let path = paths::container(id).join("container.json");
        let text = std::fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))
    }

    /// Read the record and what is true of it just now. Call [`super::reaper::sweep`] first, so that `running` is believable.
    pub fn load(id: &str) -> anyhow::Result<Self> {
        let mut record = Self::read(id)?;
        if record.state.status == Status::Restarting {
            // As under Docker, which says so of one that is between two runs.
            record.state.running = true;
            record.state.restarting = true;
        }
        if record.state.status == Status::Running {
            match Live::read(id) {
                Some(live) => {
                    record.state.running = true;
                    record.state.pid = live.pid;
                    record.network_settings = live.network;
                    record.state.oom_killed = super::limits::oom_killed(id);
                    record.state.paused = super::limits::is_frozen(id);
                    record.state.health = Health::read(id);
                }
                // The start is under way, or the end is being written.
                None => record = Self::read(id)?,
            }
        }
        Ok(record)
    }

    /// Write the record.
    pub fn write(&self) -> anyhow::Result<()> {
        // Nothing of a container that removes itself need survive a power cut.
        let durability = if self.host_config.auto_remove { Durability::Volatile } else { Durability::Durable };
        let path = paths::container(&self.id).join("container.json");
        let text = serde_json::to_vec(self)?;
        files::write(&path, &text, durability).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Change the record on disk. Whoever else changes it waits, so that nobody's change is lost.
    pub fn change(id: &str, change: impl FnOnce(&mut Self) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let dir = paths::container(id);
        let held = std::fs::File::open(&dir).with_context(|| format!("cannot open {}", dir.display()))?;
        rustix::fs::flock(&held, rustix::fs::FlockOperation::LockExclusive)
            .with_context(|| format!("cannot lock {}", dir.display()))?;
        let mut record = Self::read(id)?;
        change(&mut record)?;
        record.write()?;
        Ok(record)
    }

    /// Who it runs as: root, looked up like any other, if nothing else is said.
    pub fn user(&self) -> &str {
        if self.config.user.is_empty() { "0" } else { &self.config.user }
    }

    fn draft_path(id: &str) -> PathBuf {
        paths::container(id).join("draft.json")
    }

    /// Say what a container that is about to be made will have beside its directory; only [`Record::write`] makes it one.
    pub fn write_draft(&self) -> anyhow::Result<()> {
        let path = Self::draft_path(&self.id);
        files::write(&path, &serde_json::to_vec(self)?, Durability::Durable)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// What a creation or a removal that was cut off was about.
    pub fn read_draft(id: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::draft_path(id)).ok()?).ok()
    }

    /// The creation is complete: forget its draft.
    pub fn remove_draft(id: &str) -> std::io::Result<()> {
        files::remove(&Self::draft_path(id))
    }

    /// From here on there is no such container. With `volumes`, what is left of it is a draft, by which its anonymous volumes are found.
    pub fn retire(&self, volumes: bool) -> anyhow::Result<()> {
        let path = paths::container(&self.id).join("container.json");
        let retired = if volumes {
            std::fs::rename(&path, Self::draft_path(&self.id))
        } else {
            Self::remove_draft(&self.id).and_then(|()| files::remove(&path))
        };
        retired.with_context(|| format!("cannot retire {}", path.display()))
    }

    /// Program and arguments in one line.
    pub fn command_line(&self) -> String {
        std::iter::once(self.path.as_str()).chain(self.args.iter().map(String::as_str)).collect::<Vec<_>>().join(" ")
    }
}

impl Live {
    fn path(id: &str) -> PathBuf {
        paths::live_container(id).join("state.json")
    }

    /// What is on record; `None` if the container does not run.
    pub fn read(id: &str) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(Self::path(id)).ok()?).ok()
    }

    /// Put it on record.
    pub fn write(&self, id: &str) -> anyhow::Result<()> {
        let path = Self::path(id);
        files::write(&path, &serde_json::to_vec(self)?, Durability::Volatile)
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// Open the payload; `None` if it has ended, even if its process id has a new owner.
    pub fn open(&self) -> anyhow::Result<Option<rustix::fd::OwnedFd>> {
        let Some(pid) = rustix::process::Pid::from_raw(self.pid) else { return Ok(None) };
        let pidfd = match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
            Ok(pidfd) => pidfd,
            // EINVAL, in newer kernels ENOENT: it was reaped while one looked, or the number is now a thread's.
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno).context("cannot open the container's process"),
        };
        // Looked at after the open: it is that process, or the id had been reused.
        Ok((super::start::start_time(self.pid) == self.start_time).then_some(pidfd))
    }

    /// Remove it from record.
    pub fn remove(id: &str) -> std::io::Result<()> {
        files::remove(&Self::path(id))
    }
}

/// The ids of all containers, in no order.
pub fn ids() -> anyhow::Result<Vec<String>> {
    ids_in(&paths::containers())
}

/// The ids of all containers that run, or whose end has not been tidied up.
pub fn live_ids() -> anyhow::Result<Vec<String>> {
    ids_in(&paths::live_containers())
}

fn ids_in(dir: &std::path::Path) -> anyhow::Result<Vec<String>> {
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
            Ok(names.filter(|name| super::names::is_id(name)).collect())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("cannot list {}", dir.display())),
    }
}

/// Find a container by its name, its id, or an unambiguous beginning of its id.
pub fn resolve(text: &str) -> anyhow::Result<String> {
    let missing = || anyhow::anyhow!("No such container: {text}");
    if let Ok(name) = super::names::parse(text)
        && let Some(id) = named(&name)
    {
        return Ok(id);
    }
    if text.is_empty() || text.len() > 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(missing());
    }
    let prefix = text.to_ascii_lowercase();
    let mut found = ids()?.into_iter().filter(|id| id.starts_with(&prefix));
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id),
        (Some(_), Some(_)) => anyhow::bail!("{text} is the beginning of more than one container's id"),
        (None, _) => Err(missing()),
    }
}

/// Who has a name.
pub fn named(name: &str) -> Option<String> {
    let id = std::fs::read_link(paths::names().join(name)).ok()?.into_os_string().into_string().ok()?;
    (super::names::is_id(&id) && paths::container(&id).exists()).then_some(id)
}

/// Claim a name for a container whose directory exists; false if someone else has it.
pub fn claim_name(name: &str, id: &str) -> anyhow::Result<bool> {
    let dir = paths::names();
    let link = dir.join(name);
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    for _ in 0..3 {
        match std::os::unix::fs::symlink(id, &link) {
            Ok(()) => return Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists && is_taken(name)? => return Ok(false),
            // A link that was left behind leads nowhere.
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => files::remove(&link)?,
            Err(error) => return Err(error).with_context(|| format!("cannot create {}", link.display())),
        }
    }
    Ok(false)
}

/// Whether a name belongs to a container, and not to what is left of one.
fn is_taken(name: &str) -> anyhow::Result<bool> {
    if let Some(owner) = named(name).filter(|owner| !Record::exists(owner)) {
        super::reaper::sweep(&owner)?;
    }
    Ok(named(name).is_some())
}

/// Give back whatever name a container has that is on record no more.
pub fn release_names(id: &str) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(paths::names()) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let link = entry?.path();
        if std::fs::read_link(&link).is_ok_and(|target| target.as_os_str() == id) {
            files::remove(&link)?;
        }
    }
    Ok(())
}

/// Give a name back, if it is this container's.
pub fn release_name(name: &str, id: &str) -> std::io::Result<()> {
    let link = paths::names().join(name);
    match std::fs::read_link(&link) {
        Ok(target) if target.as_os_str() == id => files::remove(&link),
        _ => Ok(()),
    }
}
