//! Put an image into a registry: what it has is left alone, what another of its repositories has is mounted, the rest is sent.
//!
//! The store has no compressed layers. A layer that came from a registry keeps its digest where that registry can still be asked for it,
//! and if all do the very manifest that was pulled is pushed. Other layers are packed anew, as Docker does: the image keeps its id,
//! the manifest gets a digest of its own.

use std::fs::{self, File};
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::fs::{Mode, OFlags};

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::fs::write_atomic;
use crate::manifest::{self, Descriptor, OCI_CONFIG, OCI_LAYER, OCI_MANIFEST};
use crate::parallel::for_each;
use crate::reference::Reference;
use crate::registry::{Client, Mount, Payload, RegistryOptions};
use crate::save::copy_verified;
use crate::store::{Image, Store};

/// Layers that are sent at the same time, as Docker does.
const PARALLEL: usize = 5;
/// File beside a layer: digest and size of what it was last packed to.
const PACKED: &str = "packed";

/// What becomes of a layer that is pushed.
#[derive(Clone, Copy, Debug)]
pub enum PushState<'a> {
    /// Its turn will come.
    Preparing,
    /// The registry has it.
    Exists,
    /// The registry took it from another repository.
    Mounted {
        /// Which.
        from: &'a str,
    },
    /// Bytes sent so far.
    Pushing {
        /// Sent.
        done: u64,
        /// In all.
        total: u64,
    },
    /// A transfer failed and is tried again.
    Retrying {
        /// Why.
        reason: &'a str,
    },
    /// The registry has it now.
    Pushed,
}

/// Told what a push does.
pub trait PushProgress: Sync {
    /// A layer, by its diff_id, is in a new state.
    fn layer(&self, diff_id: &Digest, state: PushState<'_>);
}

/// What the registry has now.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// Digest of the manifest.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
}

impl Store {
    /// Push the image that has this name.
    ///
    /// # Errors
    /// Of the registry; or if a layer cannot be written as it was.
    pub fn push(&self, name: &Reference, options: &RegistryOptions, progress: &dyn PushProgress) -> Result<Pushed> {
        let _hold = self.adding()?;
        let image = self.resolve(&name.to_string())?;
        let Some(tag) = name.tag().filter(|_| name.digest().is_none()) else {
            return Err(Error::invalid("reference", "cannot push a digest reference"));
        };
        let others = self.repositories_beside(name)?;
        let client = Client::pushing(name, options, &others)?;
        let job = Job { store: self, client: &client, image: &image, others: &others, progress };
        image.diff_ids().iter().for_each(|layer| progress.layer(layer, PushState::Preparing));
        let layers = for_each(PARALLEL, image.diff_ids().len(), |index| job.layer(index))?;
        let config = self.read_blob(image.id())?;
        if !client.has_blob(image.id())? {
            client.put_blob(image.id(), Payload::Bytes(&config), None, &|_| {})?;
        }
        let (bytes, media_type) = if layers.iter().zip(image.blobs()).all(|(layer, known)| layer.digest == known.digest)
        {
            let bytes = self.read_blob(image.manifest())?;
            let media_type = manifest::media_type(&bytes).unwrap_or_else(|| OCI_MANIFEST.to_owned());
            (bytes, media_type)
        } else {
            let config = Descriptor::new(OCI_CONFIG, image.id().clone(), config.len() as u64);
            (manifest::write(&config, &layers), OCI_MANIFEST.to_owned())
        };
        client.put_manifest(tag, &media_type, &bytes)?;
        let digest = Digest::of(&bytes);
        self.set_name(name, image.manifest(), Some(&digest))?;
        Ok(Pushed { digest, size: bytes.len() as u64 })
    }

    /// Other repositories of the name's registry that images came from or went to, with the layers that they may have.
    fn repositories_beside(&self, name: &Reference) -> Result<Vec<(String, Vec<Digest>)>> {
        let mut all: Vec<(String, Vec<Digest>)> = Vec::new();
        for image in self.images()? {
            for other in image.names().iter().filter(|other| other.registry() == name.registry()) {
                let prefix = format!("{}@", other.familiar_name());
                let known = image.digests().iter().any(|digest| digest.starts_with(&prefix));
                if known && other.repository() != name.repository() {
                    let digests = image.blobs().iter().map(|blob| blob.digest.clone());
                    let packed =
                        image.diff_ids().iter().filter_map(|layer| self.packed(layer)).map(|packed| packed.digest);
                    all.push((other.repository().to_owned(), digests.chain(packed).collect()));
                }
            }
        }
        Ok(all)
    }

    /// What a layer was packed to before.
    fn packed(&self, diff_id: &Digest) -> Option<Descriptor> {
        let text = fs::read_to_string(self.layer_path(diff_id).with_file_name(PACKED)).ok()?;
        let (digest, size) = text.trim().split_once(' ')?;
        Some(Descriptor::new(&gzip_type(), digest.parse().ok()?, size.parse().ok()?))
    }
}

fn gzip_type() -> String {
    format!("{OCI_LAYER}+gzip")
}

struct Job<'a> {
    store: &'a Store,
    client: &'a Client,
    image: &'a Image,
    others: &'a [(String, Vec<Digest>)],
    progress: &'a dyn PushProgress,
}

impl Job<'_> {
    /// See to it that the registry has a layer. Gives what the manifest is to say of it.
    fn layer(&self, index: usize) -> Result<Descriptor> {
        let (Some(diff_id), Some(original)) = (self.image.diff_ids().get(index), self.image.blobs().get(index)) else {
            return Err(Error::invalid("image", "it has fewer layers than it says"));
        };
        let tell = |state: PushState<'_>| self.progress.layer(diff_id, state);
        let original = (original.digest != *diff_id).then(|| original.clone());
        let known: Vec<Descriptor> = original.into_iter().chain(self.store.packed(diff_id)).collect();
        for layer in &known {
            if self.client.has_blob(&layer.digest)? {
                tell(PushState::Exists);
                return Ok(as_oci(layer));
            }
        }
        let mut begun = None;
        for layer in &known {
            for (repository, _) in self.others.iter().filter(|(_, digests)| digests.contains(&layer.digest)) {
                match self.client.mount(&layer.digest, repository) {
                    Ok(Mount::Done) => {
                        tell(PushState::Mounted { from: repository });
                        return Ok(as_oci(layer));
                    }
                    Ok(Mount::Upload(url)) => begun = Some(url),
                    // Not allowed to read there: it is sent then.
                    Err(Error::Denied { .. } | Error::NotInRegistry(_) | Error::Status { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        let (file, packed) = self.pack(diff_id)?;
        if self.client.has_blob(&packed.digest)? {
            tell(PushState::Exists);
        } else {
            let total = packed.size;
            let sent = |done: u64| tell(PushState::Pushing { done, total });
            let payload = Payload::File { file: &file, offset: 0, size: total, sent: &sent };
            let retrying = |error: &Error| tell(PushState::Retrying { reason: &error.to_string() });
            self.client.put_blob(&packed.digest, payload, begun, &retrying)?;
            tell(PushState::Pushed);
        }
        let note = self.store.layer_path(diff_id).with_file_name(PACKED);
        write_atomic(&note, format!("{} {}\n", packed.digest, packed.size).as_bytes())?;
        Ok(packed)
    }

    /// Pack a layer into a nameless file.
    fn pack(&self, diff_id: &Digest) -> Result<(File, Descriptor)> {
        let temp = self.store.staging_path();
        let fd = rustix::fs::open(&temp, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::RUSR | Mode::WUSR)
            .at("making a temporary file in", &temp)?;
        let length = self.store.layer_length(diff_id).ok_or_else(|| Error::NoRecipe(diff_id.clone()))?;
        let out = Hashed { file: File::from(fd), hasher: Hasher::default(), size: 0 };
        let mut packer = GzEncoder::new(out, Compression::default());
        copy_verified(&mut self.store.layer_archive(diff_id)?, diff_id, length, &mut packer)?;
        let out = packer.finish().doing(|| "packing the layer".into())?;
        let packed = Descriptor::new(&gzip_type(), out.hasher.finish(), out.size);
        Ok((out.file, packed))
    }
}

struct Hashed {
    file: File,
    hasher: Hasher,
    size: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.hasher.update(&bytes[..length]);
        self.size += length as u64;
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A layer of Docker's type, as a manifest of the OCI's has it.
fn as_oci(layer: &Descriptor) -> Descriptor {
    let suffix = [".gzip", "+gzip", ".zstd", "+zstd"].iter().find(|suffix| layer.media_type.ends_with(**suffix));
    let suffix = suffix.map(|suffix| suffix.replace('.', "+")).unwrap_or_default();
    Descriptor::new(&format!("{OCI_LAYER}{suffix}"), layer.digest.clone(), layer.size)
}
