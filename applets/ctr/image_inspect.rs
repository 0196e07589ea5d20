//! `ctr image inspect`: an image as Docker describes it.

use std::path::PathBuf;

use coracle_image_oci::{Image, Reference, Store};
use serde_json::{Map, Value, json};

use super::Exit;
use super::create::store;
use super::format::Inspector;

/// `image inspect`.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// Print as `json`, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    /// Images, by name or id
    #[arg(required = true, value_name = "IMAGE")]
    images: Vec<String>,
}

/// Print all that is known of images. What is not there is named, and the rest printed all the same.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(args.format.as_deref()).map_err(|error| Exit { status: 64, error })?;
    let store = store()?;
    let mut status = 0;
    for name in &args.images {
        match store.resolve(name) {
            Ok(image) => inspector.add(document(&store, &image)?)?,
            Err(error) => {
                eprintln!("ctr: {error}");
                status = 1;
            }
        }
    }
    inspector.finish()?;
    Ok(status)
}

/// All that is known of an image.
pub fn document(store: &Store, image: &Image) -> anyhow::Result<Value> {
    let said = image.document();
    let text = |key: &str| said[key].as_str().unwrap_or_default();
    let tags: Vec<String> = image.names().iter().filter(|name| name.tag().is_some()).map(Reference::familiar).collect();
    let layers: Vec<String> = image.diff_ids().iter().map(ToString::to_string).collect();
    let last = said["history"].as_array().and_then(|steps| steps.last());
    let mut document = json!({
        "Id": image.id().to_string(),
        "RepoTags": tags,
        "RepoDigests": image.digests(),
        "Parent": "",
        "Comment": last.and_then(|step| step["comment"].as_str()).unwrap_or_default(),
        "Created": text("created"),
        "DockerVersion": text("docker_version"),
        "Author": text("author"),
        "Config": config(&said["config"]),
        "Architecture": text("architecture"),
        "Os": text("os"),
        "Size": image.size(),
        "VirtualSize": image.size(),
        "GraphDriver": { "Data": graph(&store.layers(image)?), "Name": "overlay2" },
        "RootFS": { "Type": "layers", "Layers": layers },
        "Metadata": { "LastTagTime": "0001-01-01T00:00:00Z" },
    });
    if let (Some(variant), Some(document)) = (said["variant"].as_str(), document.as_object_mut()) {
        document.insert("Variant".into(), variant.into());
    }
    Ok(document)
}

/// The image's own configuration, with what Docker prints of it even where it is empty.
fn config(said: &Value) -> Value {
    let mut all: Map<String, Value> = Map::new();
    for name in ["Hostname", "Domainname", "User", "Image", "WorkingDir"] {
        all.insert(name.into(), "".into());
    }
    for name in ["AttachStdin", "AttachStdout", "AttachStderr", "Tty", "OpenStdin", "StdinOnce"] {
        all.insert(name.into(), false.into());
    }
    for name in ["Env", "Cmd", "Volumes", "Entrypoint", "OnBuild", "Labels"] {
        all.insert(name.into(), Value::Null);
    }
    all.extend(said.as_object().cloned().unwrap_or_default());
    all.into()
}

/// Where its layers are, in the words of Docker's overlay driver.
fn graph(layers: &[PathBuf]) -> Value {
    let text = |path: &PathBuf| path.display().to_string();
    let mut data = Map::new();
    if let Some((top, below)) = layers.split_last() {
        if !below.is_empty() {
            let below: Vec<String> = below.iter().rev().map(text).collect();
            data.insert("LowerDir".into(), below.join(":").into());
        }
        data.insert("UpperDir".into(), text(top).into());
    }
    data.into()
}
