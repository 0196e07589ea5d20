//! New images: layers of containers' writable directories or of archives, a configuration and a name.

use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::fs::{Lock, open_dir};
use crate::manifest::{self, Descriptor, OCI_CONFIG, OCI_LAYER};
use crate::reference::Reference;
use crate::stage::Incoming;
use crate::store::{Image, Store};
use crate::tree::{Marks, write_tree};
use crate::unpack::{Budget, DevicePolicy, Limits};

/// A layer of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// Digest of its uncompressed archive.
    pub diff_id: Digest,
    /// Length of the archive in bytes.
    pub size: u64,
}

/// Keeps everything in the store: while it lives nothing is removed, so what was found or added stays until a name or a container's
/// record leads to it. Whoever removes waits for it, so it must not be held by who calls [`Store::remove`] or [`Store::prune`].
pub struct Hold {
    _lock: Lock,
}

impl Store {
    /// Hold what is in the store.
    ///
    /// # Errors
    /// If the lock cannot be taken.
    pub fn hold(&self) -> Result<Hold> {
        Ok(Hold { _lock: self.adding()? })
    }

    /// Make a layer of an overlay's upper directory, which stays as it is: whiteouts and opaque directories take the image
    /// specification's form. Hold the store until an image has the layer.
    ///
    /// # Errors
    /// If the directory cannot be read, holds what no layer can say (see [`write_tree`]), or the store cannot be written.
    pub fn add_upper(&self, upper: &Path) -> Result<Layer> {
        let root = open_dir(upper)?;
        let (mut reader, writer) = io::pipe().map_err(|error| Error::from_io(|| "making a pipe".into(), error))?;
        let budget = Budget::new(Limits::default(), self.root())?;
        let staged = std::thread::scope(|scope| {
            let write = scope.spawn(move || {
                // Pieces as large as the other end takes them; a pipe takes no more than 64 KiB at once.
                let mut out = io::BufWriter::with_capacity(64 << 10, writer);
                write_tree(root.as_fd(), Marks::Layer { opaque_root: false }, &mut out)?;
                out.flush().map_err(|error| Error::from_io(|| "writing the archive".into(), error))
            });
            let devices = DevicePolicy::Create;
            let source = &mut reader;
            let staged = self.stage_layer(Incoming { source, expected: None, diff_id: None, devices, budget: &budget });
            // What was not read would be waited for.
            drop(reader);
            let written =
                write.join().unwrap_or_else(|_| Err(Error::Archive("internal error while writing it".into())));
            match (written, staged) {
                // The unpacking end went first, so its reason is the reason.
                (Err(Error::Io { source, .. }), Err(reason)) if source.kind() == io::ErrorKind::BrokenPipe => {
                    Err(reason)
                }
                (Err(reason), _) => Err(reason),
                (Ok(()), staged) => staged,
            }
        })?;
        let size = staged.length();
        Ok(Layer { diff_id: staged.publish()?, size })
    }

    /// Make a layer of an archive, plain or compressed. Hold the store until an image has the layer.
    ///
    /// # Errors
    /// Of the archive or of the store; nothing is left of one that failed.
    pub fn add_archive(&self, source: &mut (dyn Read + Send), devices: DevicePolicy) -> Result<Layer> {
        let budget = Budget::new(Limits::default(), self.root())?;
        let staged = self.stage_layer(Incoming { source, expected: None, diff_id: None, devices, budget: &budget })?;
        let size = staged.length();
        Ok(Layer { diff_id: staged.publish()?, size })
    }

    /// The layers of an image, base first, to build others on.
    pub fn layers_of(&self, image: &Image) -> Vec<Layer> {
        let sizes = image.blobs().iter().map(|blob| blob.size);
        image.diff_ids().iter().zip(sizes).map(|(diff_id, size)| Layer { diff_id: diff_id.clone(), size }).collect()
    }

    /// The directories that overlayfs stacks for these layers, top-most last; see [`Store::layers`].
    ///
    /// # Errors
    /// If one is missing.
    pub fn layer_paths(&self, layers: &[Layer]) -> Result<Vec<PathBuf>> {
        self.stack(layers.iter().map(|layer| &layer.diff_id))
    }

    /// Put an image together: `config` is an image configuration (image-spec config.md), of which `rootfs` is filled in. Each name
    /// moves to it; without one it is kept nameless, as `docker images` shows `<none>`, until it is removed or pruned.
    ///
    /// # Errors
    /// If the configuration is unreadable, a layer is missing, or the store cannot be written.
    pub fn create_image(&self, mut config: Value, layers: &[Layer], names: &[Reference]) -> Result<Image> {
        let _adding = self.adding()?;
        self.layer_paths(layers)?;
        let diff_ids: Vec<String> = layers.iter().map(|layer| layer.diff_id.to_string()).collect();
        config["rootfs"] = serde_json::json!({ "type": "layers", "diff_ids": diff_ids });
        let bytes = config.to_string().into_bytes();
        let blobs: Vec<Descriptor> =
            layers.iter().map(|layer| Descriptor::new(OCI_LAYER, layer.diff_id.clone(), layer.size)).collect();
        self.keep(&bytes, &blobs, names)
    }

    /// Keep a configuration, a manifest made for it, and names.
    pub(crate) fn keep(&self, config: &[u8], layers: &[Descriptor], names: &[Reference]) -> Result<Image> {
        manifest::parse_config(config, layers.len())?;
        let config = Descriptor::new(OCI_CONFIG, self.add_blob(config)?, config.len() as u64);
        let digest = self.add_blob(&manifest::write(&config, layers))?;
        self.name_all(&digest, names)
    }

    /// Give an image its names; one without any is kept nameless.
    pub(crate) fn name_all(&self, manifest: &Digest, names: &[Reference]) -> Result<Image> {
        if names.is_empty() {
            self.set_nameless(manifest)?;
        } else {
            self.set_names(names, manifest, None)?;
        }
        self.image(manifest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// In the tree: where tests run, /tmp may know no trusted attributes.
    pub(crate) fn place() -> (tempfile::TempDir, Store) {
        let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let store = Store::open(&temp.path().join("images")).unwrap();
        (temp, store)
    }

    fn upper(temp: &tempfile::TempDir, content: &str) -> PathBuf {
        let upper = temp.path().join("upper");
        let _ = fs::remove_dir_all(&upper);
        fs::create_dir_all(upper.join("dir")).unwrap();
        fs::write(upper.join("dir/file"), content).unwrap();
        upper
    }

    fn config() -> Value {
        serde_json::json!({ "architecture": "amd64", "os": "linux", "config": { "Healthcheck": { "Test": ["NONE"] } } })
    }

    #[test]
    fn a_directory_becomes_a_layer_and_an_image() {
        let (temp, store) = place();
        let upper = upper(&temp, "content");
        let layer = store.add_upper(&upper).unwrap();
        assert_eq!(layer, store.add_upper(&upper).unwrap(), "the same content is the same layer");
        let name: Reference = "app:1".parse().unwrap();
        let image = store.create_image(config(), std::slice::from_ref(&layer), std::slice::from_ref(&name)).unwrap();
        assert_eq!(image.names(), [name]);
        assert_eq!(image.document()["config"]["Healthcheck"]["Test"][0], "NONE");
        assert_eq!(image.size(), 7);
        assert_eq!(store.layers_of(&image), [layer]);
        let paths = store.layers(&image).unwrap();
        assert_eq!(fs::read_to_string(paths[0].join("dir/file")).unwrap(), "content");
        assert_eq!(fs::read_to_string(upper.join("dir/file")).unwrap(), "content");
        assert_eq!(fs::read_dir(temp.path().join("images/staging")).unwrap().count(), 0);
    }

    #[test]
    fn an_image_that_loses_its_name_stays_until_it_is_forgotten() {
        let (temp, store) = place();
        let name: Reference = "app".parse().unwrap();
        let make = |content: &str, names: &[Reference]| {
            let layer = store.add_upper(&upper(&temp, content)).unwrap();
            store.create_image(config(), &[layer], names).unwrap()
        };
        let first = make("one", std::slice::from_ref(&name));
        let second = make("two", std::slice::from_ref(&name));
        assert_eq!(store.resolve("app").unwrap().id(), second.id());
        assert!(store.resolve(first.id().hex()).unwrap().names().is_empty());
        let alone = store.alone().unwrap();
        let used = store.layers(&first).unwrap();
        alone.forget(&first).unwrap();
        assert_eq!(alone.collect(&used).unwrap(), Default::default(), "a container stands on its layer");
        assert!(store.resolve(first.id().hex()).is_err() && used[0].exists());
        let collected = alone.collect(&[]).unwrap();
        assert_eq!((collected.layers.as_slice(), collected.bytes), (first.diff_ids(), 3));
        alone.untag(&second, &name).unwrap();
        drop(alone);
        assert!(store.resolve("app").is_err());
        store.tag(second.id().hex(), &name).unwrap();
        assert_eq!(store.resolve("app").unwrap().id(), second.id());
        let nameless = make("three", &[]);
        assert!(nameless.names().is_empty());
        assert_eq!(store.images().unwrap().len(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused_and_leaves_nothing() {
        let (temp, store) = place();
        let upper = upper(&temp, "x");
        let missing = Layer { diff_id: Digest::of(b"missing"), size: 1 };
        assert!(matches!(store.create_image(config(), &[missing], &[]), Err(Error::NoSuchLayer(_))));
        assert!(store.create_image(serde_json::json!({ "os": 1 }), &[], &[]).is_err());
        fs::write(upper.join(".wh.x"), "").unwrap();
        assert!(store.add_upper(&upper).unwrap_err().to_string().contains(".wh."));
        assert!(store.add_upper(&temp.path().join("nowhere")).is_err());
        for folder in ["staging", "layers"] {
            assert_eq!(fs::read_dir(temp.path().join("images").join(folder)).unwrap().count(), 0, "{folder}");
        }
    }
}
