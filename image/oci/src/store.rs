//! The images of a machine.
//!
//! ```text
//! images/
//!   lock            shared by whoever adds to the store, exclusive for whoever removes from it
//!   blobs/HEX       manifests and configurations, by digest
//!   layers/HEX      unpacked layers, by diff_id: `diff` is the directory, `size` the sum of its files' lengths and its
//!                   archive's, `recipe` how to write the archive again
//!   names/HEX       one file per name: the name and the digest of its manifest (HEX is the digest of the name); one per
//!                   image without a name
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
use serde_json::Value;

use crate::digest::Digest;
use crate::error::{Context, Error, Result};
use crate::fs::{Lock, open_dir, remove_tree, write_atomic};
use crate::manifest::{self, Descriptor, Document};
use crate::names::Root;
use crate::partial;
use crate::recipe::Rewriter;
use crate::reference::Reference;

/// Mark of a layer that hides all below it: an extended attribute cannot say so of overlayfs' topmost directory.
pub(crate) const OPAQUE_ROOT: &str = "opaque";
/// File beside a layer: the sum of its files' lengths, and the length of its archive.
pub(crate) const SIZE: &str = "size";

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
    digests: Vec<String>,
    config: ImageConfiguration,
    document: Value,
    diff_ids: Vec<Digest>,
    blobs: Vec<Descriptor>,
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

    /// Its names, sorted; an image may be kept without one.
    pub fn names(&self) -> &[Reference] {
        &self.names
    }

    /// What registries call it: `NAME@DIGEST`, of each repository from which it came or to which it was pushed.
    pub fn digests(&self) -> &[String] {
        &self.digests
    }

    /// What it runs, and how.
    pub fn config(&self) -> &ImageConfiguration {
        &self.config
    }

    /// Its configuration as it is written, with what [`Image::config`] does not know.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Digests of its layers' uncompressed archives, base first.
    pub fn diff_ids(&self) -> &[Digest] {
        &self.diff_ids
    }

    /// Its layers as its manifest has them.
    pub fn blobs(&self) -> &[Descriptor] {
        &self.blobs
    }

    /// Whether a reference leads to it. With a digest the tag does not count, as under Docker.
    pub fn is_called(&self, reference: &Reference) -> bool {
        match reference.digest() {
            None => self.names.contains(reference),
            Some(digest) => {
                let known = self.digests.contains(&format!("{}@{digest}", reference.familiar_name()));
                let here = || self.names.iter().any(|name| name.name() == reference.name());
                known || (*digest == self.manifest && here())
            }
        }
    }

    /// Sum of its files' lengths, in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }
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
            store.sweep_names()?;
            partial::sweep(&store.partial_path())?;
        }
        Ok(store)
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
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

    /// Give an image, found as [`Store::resolve`] does, a further name; the name moves if another image has it.
    ///
    /// # Errors
    /// If there is no such image, or the name cannot be written.
    pub fn tag(&self, text: &str, name: &Reference) -> Result<()> {
        let _adding = self.adding()?;
        if name.digest().is_some() {
            return Err(Error::invalid("tag", "refusing to create a tag with a digest reference"));
        }
        self.set_name(name, &self.resolve(text)?.manifest, None)
    }

    /// An image's configuration as it is stored: it may say more than the specification knows, such as Docker's `Healthcheck`.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn raw_config(&self, image: &Image) -> Result<Vec<u8>> {
        self.read_blob(image.id())
    }

    pub(crate) fn read_blob(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.blob_path(digest);
        let bytes = fs::read(&path).at("reading", &path)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(Error::DigestMismatch { what: path.display().to_string(), expected: digest.clone(), actual });
        }
        Ok(bytes)
    }

    /// An image, whatever leads to it.
    pub(crate) fn image(&self, manifest: &Digest) -> Result<Image> {
        let roots = self.roots()?;
        self.load(manifest, roots.iter().filter(|root| root.manifest == *manifest))
    }

    fn load<'a>(&self, manifest: &Digest, roots: impl Iterator<Item = &'a Root>) -> Result<Image> {
        let Document::Manifest(document) = manifest::parse(&self.read_blob(manifest)?, None)? else {
            return Err(Error::invalid("manifest", "it is an index"));
        };
        let bytes = self.read_blob(&document.config.digest)?;
        let (config, diff_ids) = manifest::parse_config(&bytes, document.layers.len())?;
        let bad = |error: serde_json::Error| Error::invalid("image configuration", error.to_string());
        let sizes = diff_ids.iter().zip(&document.layers);
        let size = sizes.map(|(diff_id, layer)| self.layer_size(diff_id).unwrap_or(layer.size));
        let mut image = Image {
            id: document.config.digest,
            manifest: manifest.clone(),
            names: Vec::new(),
            digests: Vec::new(),
            config,
            document: serde_json::from_slice(&bytes).map_err(bad)?,
            size: size.fold(0, u64::saturating_add),
            diff_ids,
            blobs: document.layers,
        };
        for root in roots {
            let Some(name) = &root.name else { continue };
            if let Some(digest) = name.digest().or(root.digest.as_ref()) {
                let digest = format!("{}@{digest}", name.familiar_name());
                if !image.digests.contains(&digest) {
                    image.digests.push(digest);
                }
            }
            image.names.push(name.clone());
        }
        Ok(image)
    }

    /// All images, sorted by name, those without one first. One that is damaged is left out.
    ///
    /// # Errors
    /// If the store cannot be read.
    pub fn images(&self) -> Result<Vec<Image>> {
        let roots = self.roots()?;
        let mut manifests: Vec<&Digest> = Vec::new();
        for root in &roots {
            if !manifests.contains(&&root.manifest) {
                manifests.push(&root.manifest);
            }
        }
        let of = |manifest: &Digest| self.load(manifest, roots.iter().filter(|root| root.manifest == *manifest)).ok();
        Ok(manifests.into_iter().filter_map(of).collect())
    }

    /// Find an image by name, ID, or an unambiguous beginning of its ID.
    ///
    /// # Errors
    /// [`Error::NoSuchImage`], [`Error::Ambiguous`].
    pub fn resolve(&self, text: &str) -> Result<Image> {
        let images = self.images()?;
        if let Ok(reference) = text.parse::<Reference>()
            && let Some(image) = images.iter().find(|image| image.is_called(&reference))
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
        self.stack(image.diff_ids.iter())
    }

    pub(crate) fn stack<'a>(&self, diff_ids: impl Iterator<Item = &'a Digest>) -> Result<Vec<PathBuf>> {
        let mut layers = Vec::new();
        for diff_id in diff_ids {
            let path = self.layer_path(diff_id);
            if !path.is_dir() {
                return Err(Error::NoSuchLayer(diff_id.clone()));
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

    /// A layer's archive, uncompressed, as it was. Whoever reads it must check that its digest is the layer's.
    pub(crate) fn layer_archive(&self, diff_id: &Digest) -> Result<Rewriter> {
        let diff = self.layer_path(diff_id);
        if !diff.is_dir() {
            return Err(Error::NoSuchLayer(diff_id.clone()));
        }
        let dir = diff.parent().unwrap_or(&diff);
        Rewriter::open(dir)?.ok_or_else(|| Error::NoRecipe(diff_id.clone()))
    }

    /// Sum of the lengths of a layer's files, in bytes, if it is on record.
    pub fn layer_size(&self, diff_id: &Digest) -> Option<u64> {
        self.size_on_record(diff_id, 0)
    }

    /// Length of a layer's archive, in bytes.
    pub(crate) fn layer_length(&self, diff_id: &Digest) -> Option<u64> {
        self.size_on_record(diff_id, 1)
    }

    fn size_on_record(&self, diff_id: &Digest, word: usize) -> Option<u64> {
        let path = self.layer_path(diff_id).with_file_name(SIZE);
        fs::read_to_string(path).ok()?.split_whitespace().nth(word)?.parse().ok()
    }

    pub(crate) fn clear_staging(&self) -> Result<()> {
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
