//! Images as an archive that docker, podman and containerd load: an OCI layout (image-spec image-layout.md) with the files of
//! `docker save` beside it, as Docker writes since version 25. The same images give the same bytes.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};

use serde_json::{Value, json};

use crate::digest::{Digest, Hasher};
use crate::error::{Context, Error, Result};
use crate::manifest::{self, Descriptor, OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST};
use crate::reference::Reference;
use crate::store::{Image, Store};
use crate::tarball::{BLOCK, Format, Kind, Member, encode};

/// Pieces in which layers are copied.
const PIECE: usize = 256 << 10;

/// An image to be saved, and the names that it shall have.
#[derive(Clone, Debug)]
pub struct Selected {
    /// The image.
    pub image: Image,
    /// Its names; there may be none.
    pub names: Vec<Reference>,
}

/// What is in `blobs/`.
enum Blob {
    Bytes(Vec<u8>),
    /// A layer, of this many bytes.
    Layer(u64),
}

impl Store {
    /// Write images to `out`.
    ///
    /// # Errors
    /// If a layer is missing, can no longer be written as it was, or `out` fails; what has been written then is of no use.
    pub fn save(&self, images: &[Selected], out: &mut dyn Write) -> Result<()> {
        let _hold = self.adding()?;
        let mut blobs: BTreeMap<Digest, Blob> = BTreeMap::new();
        let (mut index, mut manifests) = (Vec::new(), Vec::new());
        let mut repositories: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for Selected { image, names } in images {
            let layers = self.saved_layers(image)?;
            blobs.extend(layers.iter().map(|layer| (layer.digest.clone(), Blob::Layer(layer.size))));
            let config = self.read_blob(image.id())?;
            let described = Descriptor::new(OCI_CONFIG, image.id().clone(), config.len() as u64);
            let manifest = manifest::write(&described, &layers);
            let entry = Descriptor::new(OCI_MANIFEST, Digest::of(&manifest), manifest.len() as u64);
            manifests.push(docker_entry(image, &layers, names));
            blobs.insert(image.id().clone(), Blob::Bytes(config));
            blobs.insert(entry.digest.clone(), Blob::Bytes(manifest));
            for name in names {
                let tags = repositories.entry(name.familiar_name()).or_default();
                let top = layers.last().map(|layer| layer.digest.hex().to_owned());
                tags.extend(name.tag().map(|tag| (tag.to_owned(), top.unwrap_or_default())));
            }
            index.extend(index_entries(entry, names));
        }
        let mut archive = Archive { out };
        archive.folder("blobs/")?;
        archive.folder("blobs/sha256/")?;
        for (digest, blob) in &blobs {
            let name = format!("blobs/sha256/{}", digest.hex());
            match blob {
                Blob::Bytes(bytes) => archive.file(&name, bytes)?,
                Blob::Layer(length) => archive.layer(&name, digest, *length, &mut self.layer_archive(digest)?)?,
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": index });
        archive.file("index.json", index.to_string().as_bytes())?;
        archive.file("manifest.json", Value::from(manifests).to_string().as_bytes())?;
        archive.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        if !repositories.is_empty() {
            archive.file("repositories", json!(repositories).to_string().as_bytes())?;
        }
        archive.write(&[0; 2 * BLOCK])
    }

    fn saved_layers(&self, image: &Image) -> Result<Vec<Descriptor>> {
        let layer = |diff_id: &Digest| {
            let length = self.layer_length(diff_id).ok_or_else(|| Error::NoRecipe(diff_id.clone()))?;
            Ok(Descriptor::new(OCI_LAYER, diff_id.clone(), length))
        };
        image.diff_ids().iter().map(layer).collect()
    }
}

/// An entry of `manifest.json`.
fn docker_entry(image: &Image, layers: &[Descriptor], names: &[Reference]) -> Value {
    let path = |digest: &Digest| format!("blobs/sha256/{}", digest.hex());
    let tags: Vec<String> = names.iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let sources: BTreeMap<String, &Descriptor> = layers.iter().map(|layer| (layer.digest.to_string(), layer)).collect();
    json!({
        "Config": path(image.id()),
        "RepoTags": if tags.is_empty() { Value::Null } else { tags.into() },
        "Layers": layers.iter().map(|layer| path(&layer.digest)).collect::<Vec<_>>(),
        "LayerSources": sources,
    })
}

/// The manifest's entries in the index: one for each name, or one without.
fn index_entries(entry: Descriptor, names: &[Reference]) -> Vec<Descriptor> {
    let notes = |name: &Reference| {
        let mut notes = BTreeMap::from([("io.containerd.image.name".to_owned(), name.to_string())]);
        notes.extend(name.tag().map(|tag| ("org.opencontainers.image.ref.name".to_owned(), tag.to_owned())));
        notes
    };
    let named: BTreeSet<&Reference> = names.iter().collect();
    let mut all: Vec<Descriptor> =
        named.into_iter().map(|name| Descriptor { annotations: Some(notes(name)), ..entry.clone() }).collect();
    if all.is_empty() {
        all.push(entry);
    }
    all
}

struct Archive<'a> {
    out: &'a mut dyn Write,
}

impl Archive<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.out.write_all(bytes).doing(|| "writing the archive".into())
    }

    fn header(&mut self, name: &str, kind: Kind, mode: u32, size: u64) -> Result<()> {
        let member = Member {
            name: name.into(),
            link: Vec::new(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            user: Vec::new(),
            group: Vec::new(),
            size,
            mtime: (0, 0),
            device: (0, 0),
            xattrs: Vec::new(),
        };
        let blocks = encode(&member, Format::Pax).map_err(|unfit| Error::invalid(name, unfit.to_string()))?;
        self.write(&blocks)
    }

    fn folder(&mut self, name: &str) -> Result<()> {
        self.header(name, Kind::Directory, 0o755, 0)
    }

    fn file(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.header(name, Kind::File, 0o644, bytes.len() as u64)?;
        self.write(bytes)?;
        self.pad(bytes.len() as u64)
    }

    /// A layer, checked while it is written.
    fn layer(&mut self, name: &str, digest: &Digest, length: u64, source: &mut dyn Read) -> Result<()> {
        self.header(name, Kind::File, 0o644, length)?;
        copy_verified(source, digest, length, &mut self.out)?;
        self.pad(length)
    }

    fn pad(&mut self, length: u64) -> Result<()> {
        self.write(&[0; BLOCK][..usize::try_from(length.wrapping_neg() % BLOCK as u64).unwrap_or(0)])
    }
}

/// Copy a layer's archive, which must have this digest and length.
pub(crate) fn copy_verified(source: &mut dyn Read, digest: &Digest, length: u64, out: &mut dyn Write) -> Result<()> {
    let mut hasher = Hasher::default();
    let mut buffer = vec![0; PIECE];
    let mut copied = 0u64;
    loop {
        let read = crate::pipe::fill(source, &mut buffer).doing(|| format!("reading layer {}", digest.short()))?;
        copied += read as u64;
        if copied > length || (read == 0 && copied < length) {
            let what = format!("layer {} of the store", digest.short());
            return Err(Error::SizeMismatch { what, expected: length, actual: format!("got {copied}") });
        }
        if read == 0 {
            break;
        }
        hasher.update(&buffer[..read]);
        out.write_all(&buffer[..read]).doing(|| "writing the archive".into())?;
    }
    let actual = hasher.finish();
    if actual == *digest {
        return Ok(());
    }
    let what = format!("layer {} of the store", digest.short());
    Err(Error::DigestMismatch { what, expected: digest.clone(), actual })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::progress::Silent;
    use crate::pull::PullOptions;
    use crate::unpack::DevicePolicy;

    #[test]
    fn what_is_saved_is_loaded_as_it_was() {
        let temp = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).unwrap();
        let store = Store::open(&temp.path().join("one")).unwrap();
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(7);
        tar.append_data(&mut header, "etc/file", &b"content"[..]).unwrap();
        let archive = tar.into_inner().unwrap();
        let layer = store.add_archive(&mut &archive[..], DevicePolicy::Refuse).unwrap();
        let host = crate::Platform::host();
        let config = json!({ "os": host.os, "architecture": host.architecture, "config": { "Shell": ["x"] } });
        let names: Vec<Reference> = vec!["app:1".parse().unwrap(), "quay.io/team/app:2".parse().unwrap()];
        let image = store.create_image(config, &[layer.clone(), layer.clone()], &names).unwrap();
        let save = |names: &[Reference]| {
            let mut bytes = Vec::new();
            store.save(&[Selected { image: image.clone(), names: names.to_vec() }], &mut bytes).unwrap();
            bytes
        };
        let bytes = save(&names);
        assert!(bytes == save(&names), "the same bytes each time");
        let load = |bytes: &[u8], manifest: bool| {
            let other = tempfile::tempdir_in(temp.path()).unwrap();
            let path = temp.path().join("saved.tar");
            // Without the file that Docker reads it is a layout still.
            let bytes = if manifest { bytes.to_vec() } else { renamed(bytes) };
            std::fs::write(&path, bytes).unwrap();
            let store = Store::open(&other.path().join("two")).unwrap();
            let file = std::fs::File::open(&path).unwrap();
            let loaded = store.load_archive(file, &PullOptions::default(), &Silent).unwrap();
            assert!(loaded.iter().all(|loaded| loaded.id() == image.id()));
            store.resolve(image.id().hex()).unwrap().names().to_vec()
        };
        assert_eq!(load(&bytes, true), names);
        assert_eq!(load(&bytes, false), names);
        assert!(load(&save(&[]), true).is_empty());
        std::fs::write(store.layer_path(&layer.diff_id).join("etc/file"), "Content").unwrap();
        let selected = Selected { image, names };
        let error = store.save(&[selected], &mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("does not match its digest"), "{error}");
    }

    /// `manifest.json` under another name.
    fn renamed(bytes: &[u8]) -> Vec<u8> {
        let mut bytes = bytes.to_vec();
        let at = bytes.windows(14).position(|window| window == b"manifest.json\0").unwrap();
        bytes[at] = b'M';
        let header: &mut [u8] = &mut bytes[at..at + BLOCK];
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        bytes
    }
}
