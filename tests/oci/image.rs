//! Images in memory, and the forms in which they reach the binary.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::content::{digest, gzip, hex};
use crate::place::{Outcome, Place};
use crate::registry::{Registry, Reply};
use crate::tar::Tar;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// An image whose documents a test may bend before it is served.
pub struct Image {
    pub manifest: Value,
    pub config: Vec<u8>,
    /// As they are served.
    pub layers: Vec<Vec<u8>>,
    /// As they are unpacked.
    pub archives: Vec<Vec<u8>>,
}

impl Image {
    /// Of uncompressed archives, served with gzip.
    pub fn new(archives: &[Vec<u8>]) -> Image {
        let blobs = archives.iter().map(|archive| gzip(archive)).collect();
        Image::packed(archives, blobs)
    }

    /// Of archives and what they are served as.
    pub fn packed(archives: &[Vec<u8>], layers: Vec<Vec<u8>>) -> Image {
        let diff_ids: Vec<String> = archives.iter().map(|archive| digest(archive)).collect();
        let config = json!({
            "architecture": architecture(), "os": "linux",
            "config": { "Cmd": ["/bin/true"] },
            "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        let mut image =
            Image { manifest: Value::Null, config: config.to_string().into(), layers, archives: archives.to_vec() };
        image.describe();
        image
    }

    /// Write the manifest for what there is.
    pub fn describe(&mut self) {
        let layers: Vec<Value> = self.layers.iter().map(|layer| descriptor(LAYER, layer)).collect();
        let config = descriptor(CONFIG, &self.config);
        self.manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": layers });
    }

    pub fn manifest_bytes(&self) -> Vec<u8> {
        self.manifest.to_string().into()
    }

    /// What a registry answers for `test:latest`.
    pub fn content(&self) -> Vec<(String, Reply)> {
        let manifest = self.manifest_bytes();
        let blob = |bytes: &Vec<u8>| (format!("/v2/test/blobs/{}", digest(bytes)), Reply::ok(bytes));
        let mut content: Vec<_> = self.layers.iter().map(blob).collect();
        content.push(blob(&self.config));
        for selector in ["latest".to_owned(), digest(&manifest)] {
            let reply = Reply::ok(&manifest).with("Content-Type", MANIFEST);
            content.push((format!("/v2/test/manifests/{selector}"), reply));
        }
        content
    }

    /// The archive that `docker save` writes, to which a test may add.
    pub fn saved(&self) -> Tar {
        let config = format!("{}.json", hex(&self.config));
        let names: Vec<String> = (0..self.archives.len()).map(|at| format!("{at}/layer.tar")).collect();
        let manifest = json!([{ "Config": config, "RepoTags": ["test:latest"], "Layers": names }]).to_string();
        let tar = Tar::new().file("manifest.json", manifest).file(config, &self.config);
        self.archives.iter().zip(names).fold(tar, |tar, (archive, name)| tar.file(name, archive))
    }

    /// The files of an OCI layout.
    pub fn layout(&self) -> Vec<(String, Vec<u8>)> {
        let manifest = self.manifest_bytes();
        let index = json!({ "schemaVersion": 2, "manifests": [descriptor(MANIFEST, &manifest)] });
        let mut files: Vec<_> = [&manifest, &self.config]
            .into_iter()
            .chain(&self.layers)
            .map(|bytes| (format!("blobs/sha256/{}", hex(bytes)), bytes.clone()))
            .collect();
        files.push(("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec()));
        files.push(("index.json".into(), index.to_string().into()));
        files
    }
}

pub fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest(bytes), "size": bytes.len() })
}

pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// How a layer comes in.
#[derive(Clone, Copy, Debug)]
pub enum Way {
    Import,
    LoadSaved,
    LoadLayout,
    Pull,
}

pub const WAYS: [Way; 4] = [Way::Import, Way::LoadSaved, Way::LoadLayout, Way::Pull];

impl Way {
    /// The arguments that bring in an image of this layer. The registry serves until it is dropped.
    pub fn arguments(self, place: &Place, layer: &[u8]) -> (Vec<String>, Option<Registry>) {
        let image = Image::new(&[layer.to_vec()]);
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        match self {
            Way::Import => (vec!["import".into(), text(place.input("layer.tar", layer)), "test".into()], None),
            Way::LoadSaved => {
                let file = place.input("saved.tar", &image.saved().end());
                (vec!["load".into(), "-i".into(), text(file)], None)
            }
            Way::LoadLayout => {
                let files: Vec<_> =
                    image.layout().iter().map(|(name, bytes)| place.input(&format!("layout/{name}"), bytes)).collect();
                let folder = files.last().unwrap().parent().unwrap().to_owned();
                (vec!["load".into(), "-i".into(), text(folder)], None)
            }
            Way::Pull => {
                let registry = Registry::of(&image);
                (vec!["pull".into(), "-q".into(), registry.name()], Some(registry))
            }
        }
    }

    pub fn run(self, place: &Place, layer: &[u8], options: &[&str]) -> Outcome {
        let (arguments, _registry) = self.arguments(place, layer);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).chain(options.iter().copied()).collect();
        place.ctr(&arguments)
    }
}
