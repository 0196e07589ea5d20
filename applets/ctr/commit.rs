//! `ctr commit`: an image of what a container has made of its own.

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::{Context, ensure};
use coracle_image_oci::Reference;
use serde_json::{Map, Value, json};

use super::build::change;
use super::create::store;
use super::pause::while_frozen;
use super::record::{self, Config, Record};
use super::{events, limits, paths, reaper, time};

/// `commit`.
#[derive(clap::Args)]
pub struct Args {
    /// Author, such as "Jane Doe <jane@example.com>"
    #[arg(short, long)]
    author: Option<String>,

    /// Change the image's configuration by a Containerfile's instruction
    #[arg(short, long, value_name = "INSTRUCTION")]
    change: Vec<String>,

    /// A word about it
    #[arg(short, long)]
    message: Option<String>,

    /// Pause the container meanwhile
    #[arg(short, long, default_value_t = true, action = clap::ArgAction::Set, num_args = 0..=1, require_equals = true,
          default_missing_value = "true")]
    pause: bool,

    /// Container, by name or id
    container: String,

    /// Name of the image
    #[arg(value_name = "REPOSITORY[:TAG]")]
    image: Option<Reference>,
}

/// Make the image and print its id.
pub fn commit(args: &Args) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    reaper::sweep(&id)?;
    let record = Record::load(&id)?;
    ensure!(!record.image.is_empty(), "the container stands on a directory (--rootfs), not on an image");
    let store = store()?;
    let base = store.resolve(&record.image).context("the container's image is gone")?;
    let _hold = store.hold()?;
    let to_pause = limits::open(&id).filter(|_| args.pause && record.state.running && !record.state.paused);
    let upper = paths::container(&id).join("upper");
    let layer = while_frozen(to_pause.as_ref(), || Ok(store.add_upper(&upper)?))?;
    let mut layers = store.layers_of(&base);
    layers.push(layer);
    let config = change::apply_texts(config_of(&record.config), &args.change)?;
    let mut document = base.document().clone();
    document["config"] = config.into();
    let now = time::now();
    document["created"] = now.clone().into();
    if let Some(author) = &args.author {
        document["author"] = author.clone().into();
    }
    let mut entry = json!({ "created": now, "created_by": record.command_line() });
    for (key, value) in [("author", &args.author), ("comment", &args.message)] {
        if let Some(value) = value {
            entry[key] = value.clone().into();
        }
    }
    match document["history"].as_array_mut() {
        Some(history) => history.push(entry),
        None => document["history"] = json!([entry]),
    }
    let names: Vec<_> = args.image.iter().cloned().collect();
    let image = store.create_image(document, &layers, &names)?;
    let name = args.image.as_ref().map(Reference::familiar).unwrap_or_default();
    events::of_container(
        &record,
        "commit",
        &[("comment", args.message.clone().unwrap_or_default()), ("imageRef", name)],
    );
    writeln!(io::stdout(), "{}", image.id())?;
    Ok(0)
}

/// A container's configuration as an image has it.
fn config_of(config: &Config) -> Map<String, Value> {
    let mut all = Map::new();
    let mut put = |key: &str, value: Value, empty: bool| {
        if !empty {
            all.insert(key.into(), value);
        }
    };
    let paths =
        |map: &BTreeMap<String, BTreeMap<String, String>>| map.keys().map(|key| (key.clone(), json!({}))).collect();
    put("User", json!(config.user), config.user.is_empty());
    put("ExposedPorts", paths(&config.exposed_ports), config.exposed_ports.is_empty());
    put("Env", json!(config.env), config.env.is_empty());
    put("Entrypoint", json!(config.entrypoint), config.entrypoint.is_empty());
    put("Cmd", json!(config.cmd), config.cmd.is_empty());
    put("Volumes", paths(&config.volumes), config.volumes.is_empty());
    put("WorkingDir", json!(config.working_dir), config.working_dir.is_empty());
    put("Labels", json!(config.labels), config.labels.is_empty());
    put("StopSignal", json!(config.stop_signal), config.stop_signal.is_empty());
    put("Healthcheck", json!(config.healthcheck), config.healthcheck.is_none());
    all
}
