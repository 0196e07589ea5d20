//! `ctr inspect`.

use anyhow::Context;
use clap::ValueEnum;
use serde_json::Value;

use super::format::Inspector;
use super::record::{self, Record};
use super::{Exit, paths, ps, reaper};

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// One JSON object a line
    Json,
}

/// `inspect`.
#[derive(clap::Args)]
pub struct InspectArgs {
    /// Print as `json`, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,

    /// Also tell how much is on disk
    #[arg(short, long)]
    size: bool,

    /// Containers, by name or id
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

/// Print all that is known of containers. What is not there is named, and the rest printed all the same.
pub fn inspect(args: &InspectArgs) -> anyhow::Result<i32> {
    let mut inspector = Inspector::new(args.format.as_deref()).map_err(|error| Exit { status: 64, error })?;
    let by_template = !matches!(args.format.as_deref(), None | Some("" | "json"));
    let mut status = 0;
    for name in &args.containers {
        match document(name, args.size) {
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

/// What a record may lack, so that templates can ask whether it is there.
fn complete(mut document: Value) -> Value {
    for (parent, field) in [("State", "Health"), ("Config", "Healthcheck")] {
        if let Some(parent) = document[parent].as_object_mut() {
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
