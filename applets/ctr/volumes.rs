//! Volumes on disk: `volumes/NAME/` holds `_data`, which is mounted, `volume.json`, which describes it, and `fill.part` or `fill` while
//! it awaits its first content (see [`crate::runtime::CopyUp`]).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::files::{self, Durability};
use super::record::{self, MountPoint, Record};
use super::{names, paths, time};

/// Docker's label of a volume that goes with its container.
const ANONYMOUS: &str = "com.docker.volume.anonymous";

/// A volume, in the form that `docker volume inspect` prints.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Volume {
    /// RFC 3339.
    pub created_at: String,
    /// Always `local`.
    pub driver: String,
    /// As given.
    pub labels: BTreeMap<String, String>,
    /// The directory that is mounted.
    pub mountpoint: PathBuf,
    /// Its name.
    pub name: String,
    /// Always `local`.
    pub scope: String,
}

impl Volume {
    /// Whether it goes with its container.
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// Held while volumes come into use or are removed, so that none is removed that is about to be used.
pub struct Lock {
    _file: File,
}

/// Wait for the lock.
pub fn lock() -> anyhow::Result<Lock> {
    let dir = paths::volumes();
    files::private_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let file = File::open(&dir).with_context(|| format!("cannot open {}", dir.display()))?;
    flock(&file, FlockOperation::LockExclusive).with_context(|| format!("cannot lock {}", dir.display()))?;
    Ok(Lock { _file: file })
}

/// Make a volume, to be filled by the first container that mounts it; one that exists is left as it is.
pub fn create(_lock: &Lock, name: &str, labels: BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    let dir = paths::volumes().join(name);
    let data = dir.join("_data");
    if data.exists() {
        return Ok(data);
    }
    let volume = Volume {
        created_at: time::now(),
        driver: "local".into(),
        labels,
        mountpoint: data.clone(),
        name: name.into(),
        scope: "local".into(),
    };
    let make = || -> io::Result<()> {
        // Remains of a creation or a removal that was cut off.
        files::remove_tree(&dir)?;
        fs::create_dir(&dir)?;
        files::write(&dir.join("volume.json"), &serde_json::to_vec(&volume)?, Durability::Durable)?;
        fs::create_dir(dir.join("fill.part"))?;
        // With this it exists.
        fs::create_dir(&data)
    };
    make().with_context(|| format!("cannot create the volume {}", dir.display()))?;
    Ok(data)
}

/// Make a volume that goes with its container.
pub fn create_anonymous(lock: &Lock, name: &str, mut labels: BTreeMap<String, String>) -> anyhow::Result<PathBuf> {
    labels.insert(ANONYMOUS.into(), String::new());
    create(lock, name, labels)
}

/// Read what is known of a volume.
pub fn read(name: &str) -> anyhow::Result<Volume> {
    let name = names::parse(name).map_err(anyhow::Error::msg)?;
    let dir = paths::volumes().join(&name);
    ensure!(dir.join("_data").is_dir(), "no such volume: {name}");
    let path = dir.join("volume.json");
    let text = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let volume: Volume = serde_json::from_slice(&text).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Volume { mountpoint: dir.join("_data"), name, ..volume })
}

/// All volumes by name.
pub fn list() -> anyhow::Result<Vec<Volume>> {
    let dir = paths::volumes();
    let entries = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut all: Vec<_> = names.filter_map(|name| read(&name).ok()).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// The ids of the containers that have a volume.
pub fn users(name: &str) -> anyhow::Result<Vec<String>> {
    let uses = |record: &Record| record.mounts.iter().any(|mount| is_volume(mount) && mount.name == name);
    let records = record::ids()?.into_iter().filter_map(|id| Record::read(&id).ok());
    Ok(records.filter(uses).map(|record| record.id).collect())
}

/// Remove a volume that no container has.
pub fn remove(_lock: &Lock, name: &str) -> anyhow::Result<()> {
    let volume = read(name)?;
    let users = users(&volume.name)?;
    if let Some(user) = users.first() {
        bail!("the volume {name} is in use by the container {}", names::short(user));
    }
    remove_files(&volume.name)
}

/// Remove the anonymous volumes that only this container has, those included that were never finished.
pub fn remove_of(record: &Record) -> anyhow::Result<()> {
    if !record.mounts.iter().any(is_volume) {
        return Ok(());
    }
    let _lock = lock()?;
    for mount in record.mounts.iter().filter(|mount| is_volume(mount)) {
        let unfinished = !paths::volumes().join(&mount.name).join("_data").exists() && names::is_id(&mount.name);
        let anonymous = unfinished || read(&mount.name).is_ok_and(|volume| volume.is_anonymous());
        if anonymous && users(&mount.name)?.iter().all(|id| *id == record.id) {
            remove_files(&mount.name)?;
        }
    }
    Ok(())
}

/// The content goes first: as long as some of it is there, so is the description.
fn remove_files(name: &str) -> anyhow::Result<()> {
    let dir = paths::volumes().join(name);
    let removed = files::remove_tree(&dir.join("_data")).and_then(|()| files::remove_tree(&dir));
    removed.with_context(|| format!("cannot remove {}", dir.display()))
}

/// Remove what creations and removals that were cut off have left.
pub fn remove_remains(_lock: &Lock) -> anyhow::Result<()> {
    let dir = paths::volumes();
    for entry in fs::read_dir(&dir).with_context(|| format!("cannot list {}", dir.display()))?.filter_map(Result::ok) {
        if !entry.path().join("_data").exists() {
            files::remove_tree(&entry.path()).with_context(|| format!("cannot remove {}", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Whether a mount is a volume's.
pub fn is_volume(mount: &MountPoint) -> bool {
    mount.kind == "volume"
}
