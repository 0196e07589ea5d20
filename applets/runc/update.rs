//! `update`: change a container's limits.

use std::io::Read;

use anyhow::{Context, bail};
use coracle_cgroups::units::parse_size;
use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::container::{Container, Status};
use super::options::Global;
use super::words;
use crate::runtime::Resources;

/// Longest file of resources.
const FILE_MAX: u64 = 1 << 20;

/// `update`.
#[derive(clap::Args)]
pub struct Args {
    /// File with the resources to change, as `linux.resources` in config.json; `-` is standard input. Other options are then ignored
    #[arg(short, long, value_name = "FILE")]
    resources: Option<String>,

    /// Relative weight of block I/O, 10 to 1000
    #[arg(long, value_name = "WEIGHT")]
    blkio_weight: Option<u16>,

    /// Period of the CPU limit, microseconds
    #[arg(long, value_name = "USEC")]
    cpu_period: Option<u64>,

    /// CPU time per period, microseconds; -1 is no limit
    #[arg(long, value_name = "USEC", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,

    /// CPU time that may be saved up for a burst, microseconds
    #[arg(long, value_name = "USEC")]
    cpu_burst: Option<u64>,

    /// CPU shares, relative to other containers
    #[arg(long, value_name = "SHARES", alias = "cpu-shares")]
    cpu_share: Option<u64>,

    /// Run only when nothing else wants to (1), or as others do (0)
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,

    /// Period of the real-time limit, microseconds
    #[arg(long, value_name = "USEC")]
    cpu_rt_period: Option<u64>,

    /// Real-time CPU time per period, microseconds
    #[arg(long, value_name = "USEC")]
    cpu_rt_runtime: Option<i64>,

    /// CPUs to use
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// Memory limit, bytes or with a unit; -1 is no limit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory: Option<String>,

    /// Memory that is reclaimed last, bytes or with a unit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_reservation: Option<String>,

    /// Memory and swap together, bytes or with a unit; -1 is no limit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_swap: Option<String>,

    /// How many processes there may be; -1 is no limit
    #[arg(long, value_name = "COUNT", allow_negative_numbers = true)]
    pids_limit: Option<i64>,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,
}

/// Set the limits, and keep them.
pub fn update(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let container = Container::load(global, &args.id)?;
    let changes = match &args.resources {
        Some(file) => read(file)?,
        None => from_options(args)?,
    };
    if container.status()? == Status::Stopped {
        bail!("container not running");
    }
    let mut spec = container.state.spec()?;
    let linux = spec.linux().clone().context("the container has no linux section")?;
    let old = linux.resources().as_ref().map(serde_json::to_value).transpose()?.unwrap_or_else(|| json!({}));
    let merged: LinuxResources =
        serde_json::from_value(merge(old, changes)).context("cannot understand the resources")?;
    let plan = Resources::plan(&merged)?;
    if !plan.is_empty() {
        let cgroup = container.cgroup().context("cannot update: the container has no cgroup")?;
        plan.apply(&cgroup).map_err(words::runtime)?;
    }
    let mut linux = linux;
    linux.set_resources(Some(merged));
    spec.set_linux(Some(linux));
    container.state.write_spec(&spec)?;
    Ok(0)
}

fn read(file: &str) -> anyhow::Result<Value> {
    let mut text = String::new();
    let reader: Box<dyn Read> = match file {
        "-" => Box::new(std::io::stdin()),
        path => Box::new(std::fs::File::open(path).with_context(|| format!("cannot open {path}"))?),
    };
    reader.take(FILE_MAX).read_to_string(&mut text).with_context(|| format!("cannot read {file}"))?;
    let mut value: Value = serde_json::from_str(&text).with_context(|| format!("cannot understand {file}"))?;
    // Rules for devices are not limits; they stay as they are.
    value.as_object_mut().with_context(|| format!("{file} is no JSON object"))?.remove("devices");
    Ok(value)
}

fn from_options(args: &Args) -> anyhow::Result<Value> {
    let cpu = [
        ("period", args.cpu_period.map(Value::from)),
        ("quota", args.cpu_quota.map(Value::from)),
        ("burst", args.cpu_burst.map(Value::from)),
        ("shares", args.cpu_share.map(Value::from)),
        ("idle", args.cpu_idle.map(Value::from)),
        ("realtimePeriod", args.cpu_rt_period.map(Value::from)),
        ("realtimeRuntime", args.cpu_rt_runtime.map(Value::from)),
        ("cpus", args.cpuset_cpus.clone().map(Value::from)),
        ("mems", args.cpuset_mems.clone().map(Value::from)),
    ];
    let memory = [
        ("limit", bytes("memory", args.memory.as_deref())?),
        ("reservation", bytes("memory-reservation", args.memory_reservation.as_deref())?),
        ("swap", bytes("memory-swap", args.memory_swap.as_deref())?),
    ];
    let sections = [
        ("cpu", section(cpu)),
        ("memory", section(memory)),
        ("pids", section([("limit", args.pids_limit.map(Value::from))])),
        ("blockIO", section([("weight", args.blkio_weight.map(Value::from))])),
    ];
    let set = sections.into_iter().filter(|(_, section)| !section.is_empty());
    Ok(Value::Object(set.map(|(name, section)| (name.to_owned(), section.into())).collect()))
}

fn section<const N: usize>(values: [(&str, Option<Value>); N]) -> Map<String, Value> {
    values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

fn bytes(option: &str, text: Option<&str>) -> anyhow::Result<Option<Value>> {
    match text {
        None => Ok(None),
        Some("-1") => Ok(Some(json!(-1))),
        Some(text) => {
            let bytes = parse_size(text).with_context(|| format!("invalid value for {option}"))?;
            Ok(Some(json!(bytes)))
        }
    }
}

/// What the changes do not name stays.
fn merge(old: Value, changes: Value) -> Value {
    match (old, changes) {
        (Value::Object(mut old), Value::Object(changes)) => {
            for (key, value) in changes {
                let merged = merge(old.remove(&key).unwrap_or(Value::Null), value);
                old.insert(key, merged);
            }
            Value::Object(old)
        }
        (old, Value::Null) => old,
        (_, changes) => changes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_stays() {
        let old = json!({"memory": {"limit": 1, "swap": 2}, "devices": [1], "pids": {"limit": 3}});
        let changes = json!({"memory": {"limit": 5}, "cpu": {"shares": 7}, "pids": null});
        let merged =
            json!({"memory": {"limit": 5, "swap": 2}, "devices": [1], "pids": {"limit": 3}, "cpu": {"shares": 7}});
        assert_eq!(merge(old, changes), merged);
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(bytes("memory", Some("64m")).unwrap(), Some(json!(64 << 20)));
        assert_eq!(bytes("memory", Some("-1")).unwrap(), Some(json!(-1)));
        assert!(bytes("memory", Some("lots")).is_err());
    }
}
