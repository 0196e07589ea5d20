//! Fetch an image from a registry into the store: layers in parallel, each verified, decompressed and unpacked while it streams.

use std::io::Read;
use std::path::PathBuf;

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::Expected;
use crate::manifest::{self, Descriptor, Document, Manifest};
use crate::parallel::for_each;
use crate::partial::{Partial, Resumed};
use crate::platform::Platform;
use crate::policy::{self, Policy};
use crate::progress::{LayerState, Progress};
use crate::reference::Reference;
use crate::registry::{BlobReader, Client, RegistryOptions};
use crate::stage::{Incoming, Staged};
use crate::store::{Image, Store};
use crate::unpack::{Budget, DevicePolicy, Limits};

/// Layers that are fetched at the same time, as Docker does.
const PARALLEL: usize = 3;

/// How to pull.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// How to talk to the registry.
    pub registry: RegistryOptions,
    /// What the image must run on.
    pub platform: Platform,
    /// How large it may be.
    pub limits: Limits,
    /// Device nodes in layers.
    pub devices: DevicePolicy,
    /// The file that says which images may come in, instead of the user's or the machine's.
    pub policy: Option<PathBuf>,
}

impl PullOptions {
    /// What says which images may come in.
    pub(crate) fn policy(&self) -> Result<Option<Policy>> {
        self.policy.as_deref().map_or_else(Policy::system, |path| Policy::read(path).map(Some))
    }
}

impl Default for PullOptions {
    /// For this machine, with the default limits.
    fn default() -> Self {
        PullOptions {
            registry: RegistryOptions::default(),
            platform: Platform::host(),
            limits: Limits::default(),
            devices: DevicePolicy::default(),
            policy: None,
        }
    }
}

impl Store {
    /// The names of all tags that a repository has.
    ///
    /// # Errors
    /// Of the registry, or if it calls something a tag that cannot be one.
    pub fn remote_tags(&self, repository: &Reference, options: &PullOptions) -> Result<Vec<Reference>> {
        let tags = Client::new(repository, &options.registry)?.tags()?;
        tags.iter().map(|tag| format!("{}:{tag}", repository.name()).parse()).collect()
    }

    /// Fetch an image, or what of it is not in the store yet, and give it its name.
    ///
    /// # Errors
    /// Of the registry, of the image, or of the store; nothing of an image that failed is left, but for layers that are whole and,
    /// if the transport failed, beginnings of layers that a repetition goes on with.
    pub fn pull(&self, reference: &Reference, options: &PullOptions, progress: &dyn Progress) -> Result<Image> {
        let _adding = self.adding()?;
        let client = Client::new(reference, &options.registry)?;
        let Fetched { digest, bytes, manifest: document } = fetch_manifest(&client, reference, &options.platform)?;
        if let Some(policy) = options.policy()? {
            // cosign signs the index, or the manifest, or both.
            let manifest = Digest::of(&bytes);
            policy.judge(reference, &mut || {
                let mut found = policy::find(&client, &digest)?;
                if manifest != digest {
                    found.extend(policy::find(&client, &manifest)?);
                }
                Ok(found)
            })?;
        }
        document.check_is_image()?;
        let config_bytes = client.small_blob(&document.config, "image configuration")?;
        let (config, diff_ids) = manifest::parse_config(&config_bytes, document.layers.len())?;
        manifest::check_platform(&config, &options.platform)?;
        let budget = Budget::new(options.limits, self.root())?;
        let job = Job { store: self, client: &client, options, progress, budget: &budget };
        job.layers(&document.layers, &diff_ids)?;
        self.add_blob(&config_bytes)?;
        let manifest = self.add_blob(&bytes)?;
        self.set_name(&reference.canonical(), &manifest, Some(&digest))?;
        self.image(&manifest)
    }
}

/// What a registry has under a name.
struct Fetched {
    /// Of the manifest, or of the index that leads to it.
    digest: Digest,
    bytes: Vec<u8>,
    manifest: Manifest,
}

/// The manifest for the platform, by way of an index if there is one.
fn fetch_manifest(client: &Client, reference: &Reference, platform: &Platform) -> Result<Fetched> {
    let (bytes, content_type) = client.manifest(&reference.selector(), reference.digest())?;
    let digest = Digest::of(&bytes);
    let index = match manifest::parse(&bytes, content_type.as_deref())? {
        Document::Manifest(manifest) => return Ok(Fetched { digest, bytes, manifest }),
        Document::Index(index) => index,
    };
    let entry = index.select(platform)?;
    let (bytes, content_type) = client.manifest(&entry.digest.to_string(), Some(&entry.digest))?;
    match manifest::parse(&bytes, content_type.as_deref())? {
        Document::Manifest(manifest) => Ok(Fetched { digest, bytes, manifest }),
        Document::Index(_) => Err(Error::invalid("index", "it leads to another index")),
    }
}

struct Job<'a> {
    store: &'a Store,
    client: &'a Client,
    options: &'a PullOptions,
    progress: &'a dyn Progress,
    budget: &'a Budget,
}

impl Job<'_> {
    /// All layers, the first error of any ends it.
    fn layers(&self, layers: &[Descriptor], diff_ids: &[Digest]) -> Result<()> {
        for layer in layers {
            self.progress.layer(&layer.digest, LayerState::Queued);
        }
        let each = |index: usize| match (layers.get(index), diff_ids.get(index)) {
            (Some(layer), Some(diff_id)) => self.layer(layer, diff_id),
            _ => Ok(()),
        };
        for_each(PARALLEL, layers.len(), each).map(drop)
    }

    fn layer(&self, layer: &Descriptor, diff_id: &Digest) -> Result<()> {
        let tell = |state: LayerState<'_>| self.progress.layer(&layer.digest, state);
        let _making = self.store.lock_layer(diff_id, || tell(LayerState::Waiting))?;
        if self.store.has_layer(diff_id) {
            tell(LayerState::Present);
            return Ok(());
        }
        let mut partial = Partial::open(&self.store.partial_path(), &layer.digest, layer.size, self.budget)?;
        let kept = partial.as_ref().map_or(0, Partial::length);
        if kept > 0 {
            tell(LayerState::Resuming { done: kept, total: layer.size });
        }
        let mut staged = self.stage(layer, diff_id, partial.as_mut(), self.budget, &tell);
        if let Err(error) = &staged
            && let Some(partial) = partial.as_mut().filter(|_| kept > 0 && !error.is_transient())
        {
            // What was kept may be what is wrong: a power cut can leave zeros in it.
            tell(LayerState::Retrying { reason: "what was kept of an interrupted pull is of no use" });
            partial.restart()?;
            let budget = Budget::new(self.options.limits, self.store.root())?;
            staged = self.stage(layer, diff_id, Some(partial), &budget, &tell);
        }
        if let Some(partial) = partial
            && !(staged.as_ref().is_err_and(Error::is_transient) && partial.length() > 0)
        {
            // Before the sync, so that what is not needed is not written.
            partial.remove();
        }
        staged?.publish()?;
        tell(LayerState::Done);
        Ok(())
    }

    /// Fetch the part of a layer that is not kept, and unpack all of it.
    fn stage(
        &self,
        layer: &Descriptor,
        diff_id: &Digest,
        partial: Option<&mut Partial<'_>>,
        budget: &Budget,
        tell: &(dyn Fn(LayerState<'_>) + Sync),
    ) -> Result<Staged<'_>> {
        let retrying = |error: &Error| tell(LayerState::Retrying { reason: &error.to_string() });
        let kept = partial.as_ref().map_or(0, |partial| partial.length());
        let rest = BlobReader::new(self.client, &layer.digest, layer.size, kept, retrying);
        let source = Resumed::new(partial, rest);
        self.store.stage_layer(Incoming {
            source: &mut Counted { source, done: 0, told: 0, total: layer.size, tell },
            expected: Some(Expected { digest: &layer.digest, size: layer.size }),
            diff_id: Some(diff_id),
            devices: self.options.devices,
            budget,
        })
    }
}

/// Tells how much has been read, now and then.
struct Counted<'a, R> {
    source: R,
    done: u64,
    told: u64,
    total: u64,
    tell: &'a (dyn Fn(LayerState<'_>) + Sync),
}

impl<R: Read> Read for Counted<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        const STEP: u64 = 256 << 10;
        let length = self.source.read(buffer)?;
        self.done += length as u64;
        if self.done - self.told >= STEP || self.done == self.total {
            self.told = self.done;
            (self.tell)(LayerState::Downloading { done: self.done, total: self.total });
            if self.done == self.total {
                (self.tell)(LayerState::Unpacking);
            }
        }
        Ok(length)
    }
}
