//! Names of images, and what is kept without one: files of `names/`, the roots of garbage collection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fs::write_atomic;
use crate::reference::Reference;
use crate::store::Store;

/// A file of `names/`.
#[derive(Serialize, Deserialize)]
struct File {
    /// The full name; empty of an image that is kept without one.
    name: String,
    manifest: Digest,
    /// What the registry called the content: the digest of an index, or of the manifest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    digest: Option<Digest>,
}

/// What leads to an image.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Root {
    /// `None`: it is kept without a name.
    pub name: Option<Reference>,
    pub manifest: Digest,
    pub digest: Option<Digest>,
}

impl Store {
    /// Let a name stand for a manifest of the store. What it stood for is kept without a name if it has no other. `digest` is
    /// what the name's registry calls the content.
    pub(crate) fn set_name(&self, name: &Reference, manifest: &Digest, digest: Option<&Digest>) -> Result<()> {
        self.set_names(std::slice::from_ref(name), manifest, digest)
    }

    /// The same of several names, of which an archive can bring very many: those that are there are read once.
    pub(crate) fn set_names(&self, names: &[Reference], manifest: &Digest, digest: Option<&Digest>) -> Result<()> {
        let roots = self.roots()?;
        let mut left: HashMap<&Digest, usize> = HashMap::new();
        roots.iter().for_each(|root| *left.entry(&root.manifest).or_default() += 1);
        let old: BTreeMap<&Reference, &Root> =
            roots.iter().filter_map(|root| Some((root.name.as_ref()?, root))).collect();
        for name in names.iter().collect::<BTreeSet<_>>() {
            let old = old.get(name);
            if let Some(old) = old.filter(|old| old.manifest != *manifest)
                && let Some(left) = left.get_mut(&old.manifest)
            {
                *left -= 1;
                if *left == 0 {
                    self.set_nameless(&old.manifest)?;
                }
            }
            // A local repetition does not make a registry forget.
            let known = old.filter(|old| old.manifest == *manifest).and_then(|old| old.digest.clone());
            let digest = digest.cloned().or(known);
            self.write_root(&File { name: name.to_string(), manifest: manifest.clone(), digest })?;
        }
        Ok(())
    }

    /// Keep an image that has no name.
    pub(crate) fn set_nameless(&self, manifest: &Digest) -> Result<()> {
        self.write_root(&File { name: String::new(), manifest: manifest.clone(), digest: None })
    }

    /// Take a name away.
    pub(crate) fn drop_name(&self, name: &Reference) -> Result<()> {
        self.drop_file(&name.to_string())
    }

    /// No longer keep an image that has no name.
    pub(crate) fn drop_nameless(&self, manifest: &Digest) -> Result<()> {
        self.drop_file(&format!("@{manifest}"))
    }

    fn drop_file(&self, key: &str) -> Result<()> {
        let path = self.root_path(key);
        match fs::remove_file(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            removed => removed.at("removing", &path),
        }
    }

    fn write_root(&self, file: &File) -> Result<()> {
        let text = serde_json::to_vec(file).map_err(|error| Error::invalid("name", error.to_string()))?;
        let key = if file.name.is_empty() { format!("@{}", file.manifest) } else { file.name.clone() };
        write_atomic(&self.root_path(&key), &text)
    }

    fn root_path(&self, key: &str) -> PathBuf {
        self.root().join("names").join(Digest::of(key.as_bytes()).hex())
    }

    /// Remove what killed writers left. The caller holds the store's lock alone.
    pub(crate) fn sweep_names(&self) -> Result<()> {
        let dir = self.root().join("names");
        for entry in fs::read_dir(&dir).at("listing", &dir)? {
            let path = entry.at("listing", &dir)?.path();
            if !is_root(&path) {
                fs::remove_file(&path).at("removing", &path)?;
            }
        }
        Ok(())
    }

    /// All names, sorted, after what has none.
    pub(crate) fn roots(&self) -> Result<Vec<Root>> {
        let dir = self.root().join("names");
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).at("listing", &dir)? {
            let path = entry.at("listing", &dir)?.path();
            // A temporary of a killed writer is not a name.
            if !is_root(&path) {
                continue;
            }
            let Ok(bytes) = fs::read(&path) else { continue };
            let Ok(File { name, manifest, digest }) = serde_json::from_slice::<File>(&bytes) else { continue };
            match name.parse::<Reference>() {
                Ok(name) => all.push(Root { name: Some(name), manifest, digest }),
                Err(_) if name.is_empty() => all.push(Root { name: None, manifest, digest }),
                Err(_) => {}
            }
        }
        all.sort();
        Ok(all)
    }
}

/// Whether a file's name is one that [`Store::set_name`] gives.
fn is_root(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| Digest::from_hex(name).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_writer_left_is_no_name() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let name: Reference = "app".parse().unwrap();
        let manifest = Digest::of(b"x");
        store.set_name(&name, &manifest, None).unwrap();
        let written = store.root_path(&name.to_string());
        let left = written.with_file_name(".417a3610.9619-2.tmp");
        fs::rename(&written, &left).unwrap();
        assert!(store.roots().unwrap().is_empty());
        Store::open(temp.path()).unwrap();
        assert!(!left.exists());
    }
}
