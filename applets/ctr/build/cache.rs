//! What steps have come to before: `build/cache/HEX` in the state directory, by the digest of all that goes into a step. The layers
//! themselves are in the image store; a record whose layer is gone is as good as none.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::Context;
use coracle_image_oci::{Digest, Layer, Store};
use serde::{Deserialize, Serialize};

use super::super::files::{self, Durability};
use super::super::paths;

/// A record that has not been used for so long is removed by the next build.
const KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a step came to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Digest of its layer; none if it changed no file.
    layer: Option<Digest>,
    /// Length of the layer's archive.
    size: u64,
    /// When, RFC 3339.
    pub created: String,
    /// The instruction.
    pub description: String,
}

impl Record {
    /// Of a step that has just been carried out.
    pub fn new(layer: Option<&Layer>, created: &str, description: &str) -> Self {
        Record {
            layer: layer.map(|layer| layer.diff_id.clone()),
            size: layer.map_or(0, |layer| layer.size),
            created: created.into(),
            description: description.into(),
        }
    }

    /// Its layer.
    pub fn layer(&self) -> Option<Layer> {
        self.layer.clone().map(|diff_id| Layer { diff_id, size: self.size })
    }
}

fn folder() -> PathBuf {
    paths::state_dir().join("build/cache")
}

/// Directories of `RUN --mount=type=cache`.
pub fn mounts_folder() -> PathBuf {
    paths::state_dir().join("build/mounts")
}

/// What is on record, if the store still has its layer.
pub fn get(store: &Store, key: &Digest) -> Option<Record> {
    let path = folder().join(key.hex());
    let record: Record = serde_json::from_slice(&fs::read(&path).ok()?).ok()?;
    if let Some(layer) = record.layer() {
        store.layer_paths(&[layer]).ok()?;
    }
    // The time says when it was of use; without it the record is only removed earlier.
    let _ = fs::File::open(&path).and_then(|file| file.set_modified(SystemTime::now()));
    Some(record)
}

/// Put a step's result on record.
pub fn put(key: &Digest, record: &Record) -> anyhow::Result<()> {
    let dir = folder();
    files::private_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(key.hex());
    files::write(&path, &serde_json::to_vec(record)?, Durability::Volatile)
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Forget what has not been used for a week.
pub fn expire() -> anyhow::Result<()> {
    for (path, _) in entries()? {
        let used = fs::metadata(&path).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if used.elapsed().unwrap_or_default() > KEPT {
            files::remove(&path)?;
        }
    }
    Ok(())
}

/// Records that can be read, and where they are.
fn entries() -> anyhow::Result<Vec<(PathBuf, Option<Record>)>> {
    let dir = folder();
    let list = match fs::read_dir(&dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        list => list.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let read = |path: &Path| serde_json::from_slice(&fs::read(path).ok()?).ok();
    Ok(list.filter_map(|entry| entry.ok().map(|entry| entry.path())).map(|path| (path.clone(), read(&path))).collect())
}

/// The directories of the layers on record, whether they are there or not: garbage collection keeps them.
pub fn layers() -> Vec<PathBuf> {
    let layers = entries().unwrap_or_default().into_iter().filter_map(|(_, record)| record?.layer);
    layers.map(|layer| paths::state_dir().join("images/layers").join(layer.hex()).join("diff")).collect()
}

/// How many records there are, and the layers that they have.
pub fn usage() -> (usize, Vec<Digest>) {
    let records: Vec<Record> = entries().unwrap_or_default().into_iter().filter_map(|(_, record)| record).collect();
    (records.len(), records.into_iter().filter_map(|record| record.layer).collect())
}

/// Forget all.
pub fn clear() -> anyhow::Result<()> {
    for (path, _) in entries()? {
        files::remove(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
