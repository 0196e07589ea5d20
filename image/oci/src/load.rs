//! Images from files: `docker save` archives and OCI layouts (image-spec image-layout.md) as a folder or an archive.

use std::cell::Cell;
use std::fs::File;
use std::path::Path;

use serde::Deserialize;

use crate::archive::Source;
use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::layer::Expected;
use crate::manifest::{self, CONFIG_MAX, Descriptor, Document, MANIFEST_MAX, OCI_LAYER};
use crate::progress::{LayerState, Progress};
use crate::pull::PullOptions;
use crate::reference::Reference;
use crate::stage::Incoming;
use crate::store::{Image, Store};
use crate::unpack::Budget;

/// Most images of one archive.
const IMAGES_MAX: usize = 4096;
/// Most bytes of the documents of an archive's images together: they may all name the same ones, and all are in memory at the end.
const DOCUMENTS_MAX: u64 = 32 << 20;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Saved {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Vec<String>,
}

struct Loader<'a> {
    store: &'a Store,
    source: Source,
    options: &'a PullOptions,
    budget: Budget,
    /// Bytes of documents that were read.
    documents: Cell<u64>,
    progress: &'a dyn Progress,
}

impl Store {
    /// Load the images of a `docker save` archive or an OCI layout archive, perhaps compressed; it may be a pipe.
    ///
    /// # Errors
    /// If it is neither, is damaged, or holds what is refused.
    pub fn load_archive(&self, input: File, options: &PullOptions, progress: &dyn Progress) -> Result<Vec<Image>> {
        let _lock = self.adding()?;
        let source = Source::tar(input, &self.staging_path(), options.limits)?;
        let transport = if source.open("manifest.json")?.is_some() { "docker-archive" } else { "oci-archive" };
        self.load_source(source, transport, options, progress)
    }

    /// Load the images of an OCI layout folder.
    ///
    /// # Errors
    /// As [`Store::load_archive`].
    pub fn load_layout(&self, folder: &Path, options: &PullOptions, progress: &dyn Progress) -> Result<Vec<Image>> {
        let _lock = self.adding()?;
        self.load_source(Source::Folder(folder.to_owned()), "oci", options, progress)
    }

    fn load_source(
        &self,
        source: Source,
        transport: &str,
        options: &PullOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Image>> {
        if let Some(policy) = options.policy()? {
            policy.judge_file(transport, "")?;
        }
        let budget = Budget::new(options.limits, &self.staging_path())?;
        let loader = Loader { store: self, source, options, budget, documents: Cell::new(0), progress };
        if let Some(saved) = loader.source.read("manifest.json", MANIFEST_MAX)? {
            return loader.docker(&saved);
        }
        match loader.source.read("index.json", MANIFEST_MAX)? {
            Some(index) => loader.layout(&index),
            None => {
                Err(Error::invalid("archive", "it has neither manifest.json (docker save) nor index.json (OCI layout)"))
            }
        }
    }
}

impl Loader<'_> {
    fn docker(&self, saved: &[u8]) -> Result<Vec<Image>> {
        let bad = |error: serde_json::Error| Error::invalid("manifest.json", error.to_string());
        let images: Vec<Saved> = serde_json::from_slice(saved).map_err(bad)?;
        check_images(images.len())?;
        images.iter().map(|image| self.docker_image(image)).collect()
    }

    fn docker_image(&self, saved: &Saved) -> Result<Image> {
        let bytes = self.document(&saved.config, CONFIG_MAX)?;
        let (config, diff_ids) = manifest::parse_config(&bytes, saved.layers.len())?;
        manifest::check_platform(&config, &self.options.platform)?;
        let names: Vec<Reference> = saved.repo_tags.iter().flatten().map(|tag| tag.parse()).collect::<Result<_>>()?;
        let mut layers = Vec::new();
        for (diff_id, name) in diff_ids.into_iter().zip(&saved.layers) {
            self.layer(&diff_id, name, None)?;
            let size = self.source.open(name)?.map_or(0, |(_, size)| size);
            layers.push(Descriptor::new(OCI_LAYER, diff_id, size));
        }
        self.store.keep(&bytes, &layers, &names)
    }

    fn layout(&self, index: &[u8]) -> Result<Vec<Image>> {
        let Document::Index(index) = manifest::parse(index, None)? else {
            return Err(Error::invalid("index.json", "it is no index"));
        };
        check_images(index.manifests.len())?;
        let wanted = &self.options.platform;
        let fits = |entry: &&Descriptor| entry.platform.as_ref().is_none_or(|platform| wanted.fit(platform).is_some());
        let images: Vec<Image> =
            index.manifests.iter().filter(fits).map(|entry| self.layout_image(entry)).collect::<Result<_>>()?;
        if images.is_empty() {
            // Says what there is instead.
            index.select(wanted)?;
        }
        Ok(images)
    }

    fn layout_image(&self, entry: &Descriptor) -> Result<Image> {
        let mut bytes = self.blob(entry, MANIFEST_MAX)?;
        let mut document = manifest::parse(&bytes, Some(&entry.media_type))?;
        if let Document::Index(index) = &document {
            let chosen = index.select(&self.options.platform)?;
            bytes = self.blob(chosen, MANIFEST_MAX)?;
            document = manifest::parse(&bytes, Some(&chosen.media_type))?;
        }
        let Document::Manifest(image) = document else {
            return Err(Error::invalid("index", "it points to another index"));
        };
        image.check_is_image()?;
        let config_bytes = self.blob(&image.config, CONFIG_MAX)?;
        let (config, diff_ids) = manifest::parse_config(&config_bytes, image.layers.len())?;
        manifest::check_platform(&config, &self.options.platform)?;
        for (diff_id, layer) in diff_ids.iter().zip(&image.layers) {
            self.layer(diff_id, &blob_name(layer), Some(layer))?;
        }
        self.store.add_blob(&config_bytes)?;
        let digest = self.store.add_blob(&bytes)?;
        self.store.name_all(&digest, &layout_name(entry))
    }

    fn document(&self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.source.need(name, limit)?;
        let total = self.documents.get() + bytes.len() as u64;
        if total > DOCUMENTS_MAX {
            let what = "manifests and configurations of the archive together".into();
            return Err(Error::Limit { what, limit: format!("{DOCUMENTS_MAX} bytes") });
        }
        self.documents.set(total);
        Ok(bytes)
    }

    fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>> {
        let bytes = self.document(&blob_name(descriptor), limit)?;
        let actual = Digest::of(&bytes);
        if actual == descriptor.digest {
            return Ok(bytes);
        }
        Err(Error::DigestMismatch { what: blob_name(descriptor), expected: descriptor.digest.clone(), actual })
    }

    fn layer(&self, diff_id: &Digest, name: &str, blob: Option<&Descriptor>) -> Result<()> {
        let say = |state: LayerState<'_>| self.progress.layer(diff_id, state);
        let _lock = self.store.lock_layer(diff_id, || say(LayerState::Waiting))?;
        if self.store.has_layer(diff_id) {
            say(LayerState::Present);
            return Ok(());
        }
        let missing = || Error::invalid("archive", format!("layer {name:?} is missing"));
        let (mut reader, _) = self.source.open(name)?.ok_or_else(missing)?;
        let expected = blob.map(|blob| Expected { digest: &blob.digest, size: blob.size });
        say(LayerState::Unpacking);
        self.store.add_layer(Incoming {
            source: &mut *reader,
            expected,
            diff_id: Some(diff_id),
            devices: self.options.devices,
            budget: &self.budget,
        })?;
        say(LayerState::Done);
        Ok(())
    }
}

fn check_images(count: usize) -> Result<()> {
    if count > IMAGES_MAX {
        return Err(Error::Limit { what: "the number of images".into(), limit: IMAGES_MAX.to_string() });
    }
    Ok(())
}

fn blob_name(descriptor: &Descriptor) -> String {
    format!("blobs/sha256/{}", descriptor.digest.hex())
}

/// containerd and Docker write the full name; others only a tag, or a whole reference in the tag's place.
fn layout_name(entry: &Descriptor) -> Vec<Reference> {
    let note = |key: &str| entry.annotations.as_ref().and_then(|notes| notes.get(key));
    let full = note("io.containerd.image.name").and_then(|name| name.parse::<Reference>().ok());
    let short = || {
        let name = note("org.opencontainers.image.ref.name")?;
        if name.contains(['/', ':']) { name.parse().ok() } else { format!("localhost/loaded:{name}").parse().ok() }
    };
    full.or_else(short).into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use serde_json::{Value, json};

    /// Load an archive of these documents.
    fn load(store: &Store, files: &[(&str, &Value)]) -> Result<Vec<Image>> {
        let mut archive = tar::Builder::new(tempfile::tempfile().unwrap());
        for (name, document) in files {
            let text = document.to_string();
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o644);
            header.set_uid(0);
            header.set_gid(0);
            archive.append_data(&mut header, name, text.as_bytes()).unwrap();
        }
        let mut file = archive.into_inner().unwrap();
        std::io::Seek::rewind(&mut file).unwrap();
        let options = PullOptions { platform: "linux/amd64".parse().unwrap(), ..PullOptions::default() };
        store.load_archive(file, &options, &Silent)
    }

    fn config(layers: usize) -> Value {
        let rootfs = json!({ "type": "layers", "diff_ids": vec![Digest::of(b"").to_string(); layers] });
        json!({ "architecture": "amd64", "os": "linux", "rootfs": rootfs })
    }

    #[test]
    fn an_archive_of_many_names_is_loaded_in_their_number() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let tags: Vec<String> = (0..2000).map(|number| format!("app:{number}")).collect();
        let saved = json!([{ "Config": "c", "RepoTags": tags, "Layers": [] }]);
        let started = std::time::Instant::now();
        let images = load(&store, &[("manifest.json", &saved), ("c", &config(0))]).unwrap();
        assert_eq!(images[0].names().len(), 2000);
        // Reading all names again for each is some 20 s.
        assert!(started.elapsed().as_secs() < 10, "{:?}", started.elapsed());
    }

    #[test]
    fn what_no_machine_holds_is_refused_and_leaves_no_name() {
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path()).unwrap();
        let layers = json!([{ "Config": "c", "RepoTags": ["app"], "Layers": vec!["l"; 501] }]);
        let error = load(&store, &[("manifest.json", &layers), ("c", &config(501))]).unwrap_err().to_string();
        assert!(error.contains("501 layers"), "{error}");
        let images = json!(vec![json!({ "Config": "c", "Layers": [] }); 4097]);
        let error = load(&store, &[("manifest.json", &images), ("c", &config(0))]).unwrap_err().to_string();
        assert!(error.contains("the number of images"), "{error}");
        let mut long = config(0);
        long["author"] = "a".repeat(15 << 20).into();
        let images = json!(vec![json!({ "Config": "c", "Layers": [] }); 3]);
        let error = load(&store, &[("manifest.json", &images), ("c", &long)]).unwrap_err().to_string();
        assert!(error.contains("of the archive together"), "{error}");
        assert!(store.images().unwrap().iter().all(|image| image.names().is_empty()));
    }
}
