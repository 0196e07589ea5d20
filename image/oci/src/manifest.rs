//! Manifests and indexes: OCI image-spec v1.1 and Docker image manifest version 2, schema 2.
//!
//! A registry is not trusted to say what a document is: its shape decides, and one that could be read as both a manifest
//! and an index is refused (GO-2022-0360, "Clarify mediaType handling" in the image specification).

use oci_spec::image::ImageConfiguration;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::error::{Error, Result};
use crate::json;
use crate::platform::Platform;

/// Largest manifest, index or token answer that is read: distribution-spec asks registries to take 4 MiB.
pub const MANIFEST_MAX: u64 = 4 << 20;
/// Largest image configuration.
pub const CONFIG_MAX: u64 = 16 << 20;
/// Most values in an image configuration, by the marks between them. In memory one takes hundreds of bytes, in a document three.
const CONFIG_MARKS_MAX: usize = 1 << 16;
/// Most layers of an image: the kernel stacks at most 500 lower directories.
pub const LAYERS_MAX: usize = 500;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const OCI_LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// The `Accept` header of a manifest request.
pub(crate) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// Points to content: its type, digest and size (image-spec descriptor.md).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the content is.
    #[serde(default)]
    pub media_type: String,
    /// Its address.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// In an index: what it runs on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    /// Free notes; `load` reads image names from them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<std::collections::BTreeMap<String, String>>,
}

impl Descriptor {
    /// Of content that runs anywhere.
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.into(), digest, size, platform: None, annotations: None }
    }
}

/// An image manifest that passed the checks of [`parse`].
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The image configuration.
    pub config: Descriptor,
    /// The layers, base first.
    pub layers: Vec<Descriptor>,
}

/// An index that passed the checks of [`parse`].
#[derive(Clone, Debug)]
pub struct Index {
    /// What it offers.
    pub manifests: Vec<Descriptor>,
}

/// What a registry serves under `/manifests/`.
#[derive(Clone, Debug)]
pub enum Document {
    /// One image.
    Manifest(Manifest),
    /// Images for several platforms.
    Index(Index),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Raw {
    schema_version: Option<u64>,
    media_type: Option<String>,
    config: Option<Descriptor>,
    layers: Option<Vec<Descriptor>>,
    manifests: Option<Vec<Descriptor>>,
    #[serde(rename = "fsLayers")]
    fs_layers: Option<serde::de::IgnoredAny>,
}

/// Read a manifest or index; `content_type` is the type that the registry or the descriptor gave it.
///
/// # Errors
/// If it is no JSON of these schemas, could be read as both, or contradicts its type.
pub fn parse(bytes: &[u8], content_type: Option<&str>) -> Result<Document> {
    let raw: Raw = json::object(bytes).map_err(bad)?;
    if raw.fs_layers.is_some() || raw.schema_version == Some(1) {
        return Err(bad("it is a Docker schema 1 manifest, which is no longer supported; push the image again"));
    }
    if raw.schema_version != Some(2) {
        return Err(bad("schemaVersion must be 2"));
    }
    let is_index = raw.manifests.is_some();
    if is_index && (raw.layers.is_some() || raw.config.is_some()) {
        return Err(bad("it has both `manifests` and `layers` or `config`, so its meaning depends on the reader"));
    }
    for media_type in [raw.media_type.as_deref(), content_type].into_iter().flatten() {
        check_kind(media_type, is_index)?;
    }
    if let Some(manifests) = raw.manifests {
        return Ok(Document::Index(Index { manifests }));
    }
    let config = raw.config.ok_or_else(|| bad("it has no `config`"))?;
    let layers = raw.layers.ok_or_else(|| bad("it has no `layers`"))?;
    check_layers(layers.len())?;
    if config.size > CONFIG_MAX {
        return Err(Error::Limit { what: "image configuration".into(), limit: format!("{CONFIG_MAX} bytes") });
    }
    Ok(Document::Manifest(Manifest { config, layers }))
}

impl Manifest {
    /// Refuse what is no container image (Helm charts, signatures and other artifacts) or has layers that cannot be read.
    ///
    /// # Errors
    /// Naming the media type.
    pub fn check_is_image(&self) -> Result<()> {
        let config = self.config.media_type.as_str();
        if !matches!(config, "" | OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream") {
            return Err(bad(format!(
                "its configuration is of type {config:?}: this is an artifact, not a container image"
            )));
        }
        match self.layers.iter().find(|layer| !is_layer_type(&layer.media_type)) {
            Some(layer) => Err(bad(format!("layer {} is of unsupported type {:?}", layer.digest, layer.media_type))),
            None => Ok(()),
        }
    }
}

impl Index {
    /// The best manifest for a platform.
    ///
    /// # Errors
    /// If there is none; the error names what is offered.
    pub fn select(&self, wanted: &Platform) -> Result<&Descriptor> {
        let mut best: Option<(u32, &Descriptor)> = None;
        for entry in &self.manifests {
            let fit = entry.platform.as_ref().and_then(|platform| wanted.fit(platform));
            // Of equals the first counts, as the specification asks.
            if let Some(fit) = fit
                && best.is_none_or(|(score, _)| fit > score)
            {
                best = Some((fit, entry));
            }
        }
        // An index of one image need not say its platform: the configuration does, and is checked.
        if best.is_none()
            && let [only] = &self.manifests[..]
            && only.platform.is_none()
        {
            return Ok(only);
        }
        best.map(|(_, entry)| entry).ok_or_else(|| {
            let offered: Vec<String> = self
                .manifests
                .iter()
                .filter_map(|entry| entry.platform.as_ref())
                .map(ToString::to_string)
                .take(50)
                .collect();
            let offered = if offered.is_empty() { "nothing".to_owned() } else { offered.join(", ") };
            Error::Platform { wanted: wanted.to_string(), offered }
        })
    }
}

/// Read an image configuration and the layers' digests in it, and check it against its manifest.
///
/// # Errors
/// If it cannot be read, or does not have one `diff_id` per layer.
pub fn parse_config(bytes: &[u8], layers: usize) -> Result<(ImageConfiguration, Vec<Digest>)> {
    let what = || "image configuration".to_owned();
    check_layers(layers)?;
    if json::marks(bytes) > CONFIG_MARKS_MAX {
        return Err(Error::invalid(what(), format!("it has more than {CONFIG_MARKS_MAX} values")));
    }
    let config: ImageConfiguration = json::object(bytes).map_err(|reason| Error::invalid(what(), reason))?;
    if config.rootfs().typ() != "layers" {
        return Err(Error::invalid(what(), format!("rootfs.type is {:?}, not \"layers\"", config.rootfs().typ())));
    }
    let diff_ids: Vec<Digest> = config.rootfs().diff_ids().iter().map(|id| id.parse()).collect::<Result<_>>()?;
    if diff_ids.len() != layers {
        let reason = format!("it names {} diff_ids, its manifest {layers} layers", diff_ids.len());
        return Err(Error::invalid(what(), reason));
    }
    Ok((config, diff_ids))
}

fn check_layers(count: usize) -> Result<()> {
    if count > LAYERS_MAX {
        return Err(bad(format!("it has {count} layers; at most {LAYERS_MAX} can be stacked")));
    }
    Ok(())
}

/// Refuse an image of another platform than the one that was asked for.
pub(crate) fn check_platform(config: &ImageConfiguration, wanted: &Platform) -> Result<()> {
    let offered = Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone().filter(|variant| !variant.is_empty()),
    };
    match wanted.fit(&offered) {
        Some(_) => Ok(()),
        None => Err(Error::Platform { wanted: wanted.to_string(), offered: offered.to_string() }),
    }
}

/// A manifest as `load` and `import` write it.
pub(crate) fn write(config: &Descriptor, layers: &[Descriptor]) -> Vec<u8> {
    serde_json::json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": layers,
    })
    .to_string()
    .into_bytes()
}

/// What a manifest says that it is; Docker's always do.
pub(crate) fn media_type(bytes: &[u8]) -> Option<String> {
    json::object::<Raw>(bytes).ok()?.media_type
}

fn check_kind(media_type: &str, is_index: bool) -> Result<()> {
    let said = media_type.split(';').next().unwrap_or("").trim();
    let contradicts = match said {
        OCI_INDEX | DOCKER_LIST => !is_index,
        OCI_MANIFEST | DOCKER_MANIFEST => is_index,
        // Registries on static file servers say application/json or octet-stream, which means nothing.
        _ => false,
    };
    if contradicts { Err(bad(format!("its type is {said:?}, its content is not"))) } else { Ok(()) }
}

/// The compression that a type names is not believed: the content's first bytes tell it.
fn is_layer_type(media_type: &str) -> bool {
    let base = media_type.strip_suffix("+gzip").or_else(|| media_type.strip_suffix("+zstd")).unwrap_or(media_type);
    matches!(
        base,
        OCI_LAYER
            | "application/vnd.oci.image.layer.nondistributable.v1.tar"
            | "application/vnd.docker.image.rootfs.diff.tar"
            | "application/vnd.docker.image.rootfs.diff.tar.gzip"
            | "application/vnd.docker.image.rootfs.diff.tar.zstd"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar"
            | "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip"
    )
}

fn bad(reason: impl Into<String>) -> Error {
    Error::invalid("manifest", reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn descriptor(media_type: &str) -> String {
        format!(r#"{{"mediaType":"{media_type}","digest":"{D}","size":3}}"#)
    }

    fn manifest_json() -> String {
        format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{},"layers":[{}]}}"#,
            descriptor(OCI_CONFIG),
            descriptor("application/vnd.oci.image.layer.v1.tar+zstd")
        )
    }

    #[test]
    fn a_manifest() {
        let Document::Manifest(manifest) = parse(manifest_json().as_bytes(), Some(OCI_MANIFEST)).unwrap() else {
            panic!("an index?")
        };
        assert_eq!(manifest.layers.len(), 1);
        manifest.check_is_image().unwrap();
    }

    #[test]
    fn ambiguous_documents_are_refused() {
        let both = format!(
            r#"{{"schemaVersion":2,"config":{0},"layers":[{0}],"manifests":[{0}]}}"#,
            descriptor("application/json")
        );
        assert!(parse(both.as_bytes(), None).unwrap_err().to_string().contains("both"));
        let twice = manifest_json().replace(r#""layers""#, r#""layers":[],"layers""#);
        assert!(parse(twice.as_bytes(), None).unwrap_err().to_string().contains("duplicate field"));
        assert!(parse(manifest_json().as_bytes(), Some(OCI_INDEX)).is_err());
        let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","manifests":[]}}"#);
        assert!(parse(index.as_bytes(), None).is_err());
    }

    #[test]
    fn bad_documents_are_refused() {
        for bad in [
            "",
            "null",
            "[]",
            "[2]",
            "{}",
            r#"{"schemaVersion":2}"#,
            r#"{"schemaVersion":1,"fsLayers":[]}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:../../x","size":1},"layers":[]}"#,
            r#"{"schemaVersion":2,"config":{"digest":"sha256:e3b0","size":-1},"layers":[]}"#,
        ] {
            assert!(parse(bad.as_bytes(), None).is_err(), "{bad}");
        }
        let chart = manifest_json().replace(OCI_CONFIG, "application/vnd.cncf.helm.config.v1+json");
        let Document::Manifest(chart) = parse(chart.as_bytes(), None).unwrap() else { panic!() };
        assert!(chart.check_is_image().unwrap_err().to_string().contains("artifact"));
    }

    #[test]
    fn configurations_have_as_many_values_and_layers_as_fit_memory() {
        let config = |extra: &str, layers: usize| {
            let diff_ids = vec![format!("{D:?}"); layers].join(",");
            let rootfs = format!(r#"{{"type":"layers","diff_ids":[{diff_ids}]}}"#);
            format!(r#"{{"architecture":"amd64","os":"linux","rootfs":{rootfs}{extra}}}"#)
        };
        let strings = format!(r#","author":"{}\\\",""#, "{[,".repeat(100_000));
        parse_config(config(&strings, 500).as_bytes(), 500).unwrap();
        let history = format!(r#","history":[{}{{}}]"#, "{},".repeat(100_000));
        let error = parse_config(config(&history, 1).as_bytes(), 1).unwrap_err().to_string();
        assert!(error.contains("more than 65536 values"), "{error}");
        let error = parse_config(config("", 501).as_bytes(), 501).unwrap_err().to_string();
        assert!(error.contains("501 layers"), "{error}");
    }

    #[test]
    fn platform_of_an_index() {
        let entry = |platform: &str| format!(r#"{{"digest":"{D}","size":3,"platform":{platform}}}"#);
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{},{},{}]}}"#,
            entry(r#"{"os":"linux","architecture":"amd64"}"#),
            entry(r#"{"os":"linux","architecture":"arm64","variant":"v8"}"#),
            entry(r#"{"os":"unknown","architecture":"unknown"}"#),
        );
        let Document::Index(index) = parse(index.as_bytes(), None).unwrap() else { panic!() };
        let arm: Platform = "linux/arm64".parse().unwrap();
        assert_eq!(index.select(&arm).unwrap().platform.as_ref().unwrap().architecture, "arm64");
        let error = index.select(&"linux/s390x".parse().unwrap()).unwrap_err().to_string();
        assert!(error.contains("linux/s390x") && error.contains("linux/arm64/v8"), "{error}");
    }
}
