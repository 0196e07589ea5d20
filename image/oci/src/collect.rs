//! Garbage collection: what no name and no container leads to goes.

use std::fs;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::{Context, Result};
use crate::fs::{Lock, unique_name};
use crate::reference::Reference;
use crate::store::{Image, Store};

/// The store to oneself: nobody adds, and nobody else removes. What is taken away is gone from the disk with [`Alone::collect`].
pub struct Alone<'a> {
    store: &'a Store,
    _lock: Lock,
}

/// What garbage collection removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Layers, by diff_id.
    pub layers: Vec<Digest>,
    /// Bytes of their files.
    pub bytes: u64,
}

impl Store {
    /// Wait until nobody adds to the store, and keep others out.
    ///
    /// # Errors
    /// If the lock cannot be taken.
    pub fn alone(&self) -> Result<Alone<'_>> {
        Ok(Alone { store: self, _lock: Lock::take(&self.lock_path(), true)? })
    }
}

impl Alone<'_> {
    /// Take a name away; the image that loses its last one is kept nameless.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn untag(&self, image: &Image, name: &Reference) -> Result<()> {
        if image.names() == std::slice::from_ref(name) {
            self.store.set_nameless(image.manifest())?;
        }
        self.store.drop_name(name)
    }

    /// Take all that leads to an image away.
    ///
    /// # Errors
    /// If the store cannot be written.
    pub fn forget(&self, image: &Image) -> Result<()> {
        for root in self.store.roots()?.iter().filter(|root| root.manifest == *image.manifest()) {
            match &root.name {
                Some(name) => self.store.drop_name(name)?,
                None => self.store.drop_nameless(&root.manifest)?,
            }
        }
        Ok(())
    }

    /// Remove what nothing leads to; the layers in `used`, which containers stand on, stay.
    ///
    /// # Errors
    /// If the store cannot be read or written.
    pub fn collect(&self, used: &[PathBuf]) -> Result<Collected> {
        let store = self.store;
        store.sweep_names()?;
        let roots = store.roots()?;
        let mut blobs: Vec<Digest> = Vec::new();
        let mut layers: Vec<Digest> = Vec::new();
        for root in &roots {
            // Of a damaged image as much stays as can be told; a pull mends it.
            blobs.push(root.manifest.clone());
            if let Ok(image) = store.image(&root.manifest) {
                blobs.push(image.id().clone());
                layers.extend_from_slice(image.diff_ids());
            }
        }
        self.sweep("blobs", |digest| blobs.contains(digest))?;
        let mut collected = Collected::default();
        self.sweep("layers", |digest| {
            let keep = layers.contains(digest) || used.contains(&store.layer_path(digest));
            if !keep {
                collected.bytes += store.layer_size(digest).unwrap_or(0);
                collected.layers.push(digest.clone());
            }
            keep
        })?;
        store.clear_staging()?;
        Ok(collected)
    }

    /// Move to staging what is not kept: it is gone at once, and removed by whoever comes next if this is killed.
    fn sweep(&self, folder: &str, mut keep: impl FnMut(&Digest) -> bool) -> Result<()> {
        let dir = self.store.root().join(folder);
        for entry in fs::read_dir(&dir).at("listing", &dir)? {
            let path = entry.at("listing", &dir)?.path();
            let digest = path.file_name().and_then(|name| Digest::from_hex(name.to_str()?).ok());
            if !digest.is_some_and(|digest| keep(&digest)) {
                let target = self.store.staging_path().join(unique_name());
                fs::rename(&path, target).at("removing", &path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
