//! The images of a machine.
//!
//! ```text
//! images/
//!   lock            shared by whoever adds to the store, exclusive for whoever removes from it
//!   blobs/HEX       manifests and configurations, by digest
//!   layers/HEX      unpacked layers, by diff_id
//!   names/HEX       one file per name: the name and the digest of its manifest (HEX is the digest of the name)
//!   partial/HEX     what came of a layer's blob until a pull was interrupted, by the blob's digest
//!   staging/        what is being made, or was when its maker was killed
//! ```

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fs::{Lock, open_dir, remove_tree, unique_name, write_atomic};
use crate::manifest::{self, Document};
use crate::partial;
use crate::reference::Reference;

/// Mark of a layer that hides all below it: an extended attribute cannot say so of overlayfs' topmost directory.
pub(crate) const OPAQUE_ROOT: &str = "opaque";

/// The image store below a directory.
pub struct Store {
    root: PathBuf,
}

/// An image of the store.
#[derive(Clone, Debug)]
pub struct Image {
    id: Digest,
    manifest: Digest,
    names: Vec<Reference>,
    config: ImageConfiguration,
    diff_ids: Vec<Digest>,
    size: u64,
}

impl Image {
    /// Digest of its configuration, which is what Docker calls the image ID.
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// Digest of its manifest.
    pub fn manifest(&self) -> &Digest {
        &self.manifest
    }

    /// Its names, sorted.
    pub fn names(&self) -> &[Reference] {
        &self.names
    }

    /// What it runs, and how.
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// Sum of its layers' sizes as they were fetched, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
}

#[derive(Serialize, Deserialize)]
struct Name {
    name: String,
    manifest: Digest,
}

impl Store {
    /// Open the store, made if it is not there, and remove what killed makers left.
    ///
    /// # Errors
    /// If the directory cannot be made or locked.
    pub fn open(root: &Path) -> Result<Store> {
        let store = Store { root: root.into() };
        make_private(root)?;
        for dir in ["blobs", "layers", "names", "partial", "staging"] {
            let path = store.root.join(dir);
            fs::create_dir_all(&path).at("creating", &path)?;
        }
        // Nobody adds anything just now: what is in staging is nobody's.
        if let Some(_alone) = Lock::try_exclusive(&store.lock_path())? {
            store.clear_staging()?;
            partial::sweep(&store.partial_path())?;
        }
        Ok(store)
    }

    fn lock_path(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Keep others from removing while this one adds.
    pub(crate) fn adding(&self) -> Result<Lock> {
        Lock::take(&self.lock_path(), false)
    }

    /// Where a layer is, complete.
    pub(crate) fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex()).join("diff")
    }

    fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs").join(digest.hex())
    }

    pub(crate) fn staging_path(&self) -> PathBuf {
        self.root.join("staging")
    }

    pub(crate) fn partial_path(&self) -> PathBuf {
        self.root.join("partial")
    }

    pub(crate) fn has_layer(&self, diff_id: &Digest) -> bool {
        self.layer_path(diff_id).is_dir()
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Wait until nobody else makes this layer.
    pub(crate) fn lock_layer(&self, digest: &Digest, waiting: impl FnOnce()) -> Result<Lock> {
        Lock::take_transient(&self.root.join("staging").join(format!("{}.lock", digest.hex())), waiting)
    }

    /// Keep a manifest or configuration. One that is there but damaged is written again.
    pub(crate) fn add_blob(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let path = self.blob_path(&digest);
        if fs::read(&path).is_ok_and(|there| there == bytes) {
            return Ok(digest);
        }
        write_atomic(&path, bytes)?;
        Ok(digest)
    }

    /// Let a name stand for a manifest of the store, in place of what it stood for.
    pub(crate) fn set_name(&self, reference: &Reference, manifest: &Digest) -> Result<()> {
        let name = Name { name: reference.to_string(), manifest: manifest.clone() };
        let text = serde_json::to_vec(&name).map_err(|error| Error::invalid("name", error.to_string()))?;
        write_atomic(&self.name_path(&name.name), &text)
    }

    /// Give an image, found as [`Store::resolve`] does, a further name; the name moves if another image has it.
    ///
    /// # Errors
    /// If there is no such image, or the name cannot be written.
    pub fn tag(&self, text: &str, name: &Reference) -> Result<()> {
        let _adding = self.adding()?;
        self.set_name(name, &self.resolve(text)?.manifest)
    }

    fn name_path(&self, name: &str) -> PathBuf {
        self.root.join("names").join(Digest::of(name.as_bytes()).hex())
    }

    fn names(&self) -> Result<Vec<(Reference, Digest)>> {
        let dir = self.root.join("names");
        let mut all = Vec::new();
        for entry in fs::read_dir(&dir).at("listing", &dir)? {
            let path = entry.at("listing", &dir)?.path();
            let Ok(bytes) = fs::read(&path) else { continue };
            // A temporary of a killed writer, or a damaged file: not a name.
            let Ok(name) = serde_json::from_slice::<Name>(&bytes) else { continue };
            if let Ok(reference) = name.name.parse::<Reference>() {
                all.push((reference, name.manifest));
            }
        }
        all.sort();
        Ok(all)
    }

    fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).at("reading", &path)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::DigestMismatch { what: path.display().to_string(), expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    fn load(&self, manifest: &Digest, names: Vec<Reference>) -> Result<Image> {
        let Document::Manifest(document) = manifest::parse(&self.read_blob(manifest)?, None)? else {
            return Err(Error::invalid("manifest", "it is an index"));
        };
        let (config, diff_ids) =
            manifest::parse_config(&self.read_blob(&document.config.digest)?, document.layers.len())?;
        let size = document.layers.iter().fold(0u64, |sum, layer| sum.saturating_add(layer.size));
        Ok(Image { id: document.config.digest, manifest: manifest.clone(), names, config, diff_ids, size })
    }

    /// All images, sorted by name. One that is damaged is left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let mut images: Vec<Image> = Vec::new();
        for (reference, manifest) in self.names()? {
            match images.iter_mut().find(|image| image.manifest == manifest) {
                Some(image) => image.names.push(reference),
                None => images.extend(self.load(&manifest, vec![reference])),
            }
        }
        Ok(images)
    }

    /// Find an image by name, ID, or an unambiguous beginning of its ID.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let images = self.images()?;
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(image) = images.iter().find(|image| image.names.contains(&reference))
        {
            return Ok(image.clone());
        }
        let prefix = text.strip_prefix("sha256:").unwrap_or(text).to_ascii_lowercase();
        if prefix.len() < 2 || !prefix.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(Error::NoSuchImage(text.into()));
        }
        let mut found = images.into_iter().filter(|image| image.id.hex().starts_with(&prefix));
        match (found.next(), found.next()) {
            (Some(image), None) => Ok(image),
            (Some(_), Some(_)) => Err(Error::Ambiguous(text.into())),
            (None, _) => Err(Error::NoSuchImage(text.into())),
        }
    }

    /// The directories that overlayfs stacks for an image, top-most last.
    ///
    /// # Errors
    /// If a layer is missing.
    pub fn layers(&self, image: &Image) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        for diff_id in &image.diff_ids {
            let path = self.layer_path(diff_id);
            if !path.is_dir() {
                return Err(Error::NoSuchImage(format!(
                    "{} (its layer {} is gone; pull it again)",
                    image.id,
                    diff_id.short()
                )));
            }
            if path.with_file_name(OPAQUE_ROOT).exists() {
                layers.clear();
            }
            // Overlayfs refuses to stack a directory twice; of a layer that occurs twice only the upper one can be seen.
            layers.retain(|lower| *lower != path);
            layers.push(path);
        }
        Ok(layers)
    }

    /// Remove an image by name (only that name), or by ID (all its names), and what no other image needs. `used` are the images'
    /// layers that containers stand on: they stay.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`]; [`Error::InUse`] if it is the last name of an image that a container needs.
    pub fn remove(&self, text: &str, used: &[PathBuf]) -> Result<Vec<String>> {
        let _alone = Lock::take(&self.lock_path(), true)?;
        let image = self.resolve(text)?;
        let named: Vec<Reference> = match text.parse::<Reference>() {
            Ok(reference) if image.names.contains(&reference) => vec![reference],
            _ => image.names.clone(),
        };
        let is_last = named.len() == image.names.len();
        if is_last && self.layers(&image)?.iter().any(|layer| used.contains(layer)) {
            return Err(Error::InUse { image: text.into(), by: "a container; remove that first".into() });
        }
        let mut gone = Vec::new();
        for reference in &named {
            let path = self.name_path(&reference.to_string());
            fs::remove_file(&path).at("removing", &path)?;
            gone.push(format!("Untagged: {}", reference.familiar()));
        }
        self.collect(used)?;
        if is_last {
            gone.push(format!("Deleted: {}", image.id));
        }
        Ok(gone)
    }

    /// Remove what no name leads to. The caller holds the store's lock alone.
    fn collect(&self, used: &[PathBuf]) -> Result<()> {
        let images = self.images()?;
        let blobs: Vec<&Digest> = images.iter().flat_map(|image| [&image.id, &image.manifest]).collect();
        let layers: Vec<&Digest> = images.iter().flat_map(|image| &image.diff_ids).collect();
        self.sweep("blobs", |digest| blobs.contains(&digest))?;
        self.sweep("layers", |digest| layers.contains(&digest) || used.contains(&self.layer_path(digest)))?;
        self.clear_staging()
    }

    /// Move to staging what is not kept: it is gone at once, and removed by whoever comes next if this is killed.
    fn sweep(&self, folder: &str, keep: impl Fn(&Digest) -> bool) -> Result<()> {
        let dir = self.root.join(folder);
        for entry in fs::read_dir(&dir).at("listing", &dir)? {
            let path = entry.at("listing", &dir)?.path();
            let digest = path.file_name().and_then(|name| Digest::from_hex(name.to_str()?).ok());
            if !digest.is_some_and(|digest| keep(&digest)) {
                fs::rename(&path, self.root.join("staging").join(unique_name())).at("removing", &path)?;
            }
        }
        Ok(())
    }

    fn clear_staging(&self) -> Result<()> {
        let path = self.root.join("staging");
        for entry in fs::read_dir(&path).at("listing", &path)? {
            remove_staged(&entry.at("listing", &path)?.path())?;
        }
        Ok(())
    }
}

/// Make the store's directory, if it is not there, and close it to all but its owner: a set-uid program of an image is not
/// for the host's users (CVE-2021-41103).
fn make_private(root: &Path) -> Result<()> {
    if let Some(parent) = root.parent() {
        fs::create_dir_all(parent).at("creating", parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let meta = fs::metadata(root).at("reading", root)?;
            if meta.permissions().mode() & 0o077 == 0 {
                return Ok(());
            }
            fs::set_permissions(root, fs::Permissions::from_mode(0o700)).at("closing to other users", root)
        }
        other => other.at("creating", root),
    }
}

/// Remove something of the staging directory, whatever an image has made of it.
pub(crate) fn remove_staged(path: &Path) -> Result<()> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    // A name that came from the kernel or from this crate has no NUL byte.
    let Ok(name) = CString::new(name.as_encoded_bytes()) else { return Ok(()) };
    remove_tree(open_dir(parent)?.as_fd(), &name).at("removing", path)
}
