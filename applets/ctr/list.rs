//! `ctr inspect`.

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::create::store;
use super::format::Inspector;
use super::record::{self, Record};
use super::{Exit, image_inspect, paths, ps, reaper, volume, volumes};

/// `inspect`.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// Print as `json`, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    /// Also tell how much is on disk
    #[arg(short, long)]
    size: bool,

    /// What it is: container, image, volume; without it any of them
    #[arg(long, value_enum, value_name = "TYPE")]
    r#type: Option<Kind>,

    /// Containers, images or volumes, by name or id
    #[arg(required = true, value_name = "NAME|ID")]
    containers: Vec<String>,
}

/// What `inspect` is to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Kind {
    Container,
    Image,
    Volume,
}

/// Print all that is known of containers. What is not there is named, and the rest printed all the same.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(args.format.as_deref()).map_err(|error| Exit { status: 64, error })?;
    let by_template = !matches!(args.format.as_deref(), None | Some("" | "json"));
    let mut status = 0;
    for name in &args.containers {
        match find(name, args) {
            Ok(document) => inspector.add(if by_template { complete(document) } else { document })?,
            Err(error) => {
                eprintln!("ctr: {error:#}");
                status = 1;
            }
        }
    }
    inspector.finish()?;
    Ok(status)
}

/// A container, or else an image, or else a volume.
fn find(name: &str, args: &InspectArgs) -> anyhow::Result<Value> {
    if args.r#type == Some(Kind::Volume) {
        return volume::document(&volumes::read(name)?);
    }
    if args.r#type != Some(Kind::Image) {
        match document(name, args.size) {
            Err(error) if args.r#type == Some(Kind::Container) => return Err(error),
            Err(_) => {}
            found => return found,
        }
    }
    let store = store()?;
    if let (None, Err(coracle_image_oci::Error::NoSuchImage(_)), Ok(found)) =
        (args.r#type, store.resolve(name), volumes::read(name))
    {
        return volume::document(&found);
    }
    let image = store.resolve(name).map_err(|error| match (error, args.r#type) {
        (coracle_image_oci::Error::NoSuchImage(_), None) => anyhow::anyhow!("no such object: {name}"),
        (error, _) => error.into(),
    });
    image_inspect::document(&store, &image?)
}

/// What a record may lack, so that templates can ask whether it is there.
fn complete(mut document: Value) -> Value {
    for (parent, field) in [("State", "Health"), ("Config", "Healthcheck")] {
        if let Some(parent) = document.get_mut(parent).and_then(Value::as_object_mut) {
            parent.entry(field).or_insert(Value::Null);
        }
    }
    document
}

/// All that is known of a container.
fn document(name: &str, size: bool) -> anyhow::Result<Value> {
    let id = record::resolve(name)?;
    reaper::sweep(&id)?;
    let record = Record::load(&id)?;
    let mut document = serde_json::to_value(&record).context("cannot print the record")?;
    document["State"]["Status"] = ps::state(&record).into();
    if size {
        let own = ps::disk_usage(&paths::container(&id).join("upper"));
        let image: u64 = record.layers.iter().map(|layer| ps::disk_usage(layer)).sum();
        document["SizeRw"] = own.into();
        document["SizeRootFs"] = (own + image).into();
    }
    Ok(document)
}
