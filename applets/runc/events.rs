//! `events`: what a container uses, in runc's form, and when it runs out of memory.

use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use coracle_cgroups::{Ceiling, Cgroup};
use serde_json::{Map, Value, json};

use super::container::{Container, Status};
use super::options::Global;
use super::process;
use crate::duration::parse_go_duration;

/// How often the count of out-of-memory kills is looked at.
const OOM_INTERVAL: Duration = Duration::from_millis(200);

/// `events`.
#[derive(clap::Args)]
pub struct Args {
    /// Time between two samples
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    interval: String,

    /// Display the container's stats, then exit
    #[arg(long)]
    stats: bool,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,
}

/// Print them, a line each.
pub fn events(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let container = Container::load(global, &args.id)?;
    let interval = duration(&args.interval)?;
    ensure!(!interval.is_zero(), "duration interval must be greater than 0");
    let pidfd = match container.status()? {
        Status::Stopped => bail!("container with id {} is not running", args.id),
        _ => container.pidfd()?.with_context(|| format!("container with id {} is not running", args.id))?,
    };
    let cgroup = container.cgroup().context("the container has no cgroup")?;
    if args.stats {
        print("stats", &args.id, Some(stats(&cgroup)))?;
        return Ok(0);
    }
    follow(&args.id, &cgroup, &pidfd, interval)?;
    Ok(0)
}

/// Until the container ends.
fn follow(id: &str, cgroup: &Cgroup, pidfd: &OwnedFd, interval: Duration) -> anyhow::Result<()> {
    let kills = || cgroup.memory_events().map_or(0, |events| events.oom_kill);
    let mut seen = kills();
    let mut next = Instant::now() + interval;
    loop {
        let left = next.saturating_duration_since(Instant::now());
        let ended = process::wait_for_end(pidfd, left.min(OOM_INTERVAL))?;
        let now = kills();
        if now > seen {
            seen = now;
            print("oom", id, None)?;
        }
        if ended {
            return Ok(());
        }
        if Instant::now() >= next {
            next += interval;
            print("stats", id, Some(stats(cgroup)))?;
        }
    }
}

fn print(kind: &str, id: &str, data: Option<Value>) -> anyhow::Result<()> {
    // In runc's order; an id has nothing to be escaped.
    let data = data.map_or(String::new(), |data| format!(",\"data\":{data}"));
    let mut out = io::stdout().lock();
    writeln!(out, "{{\"type\":\"{kind}\",\"id\":\"{id}\"{data}}}")?;
    Ok(out.flush()?)
}

/// What the controllers that are there have counted.
fn stats(cgroup: &Cgroup) -> Value {
    json!({
        "cpu": cpu(cgroup),
        "cpuset": {},
        "memory": memory(cgroup),
        "pids": pids(cgroup),
        "blkio": blkio(cgroup),
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}

fn cpu(cgroup: &Cgroup) -> Value {
    let stat = cgroup.cpu_stat().unwrap_or_default();
    let mut throttling = Map::new();
    let mut count = |name: &str, value: u64| {
        if value > 0 {
            throttling.insert(name.into(), value.into());
        }
    };
    count("periods", stat.nr_periods);
    count("throttledPeriods", stat.nr_throttled);
    count("throttledTime", stat.throttled_us * 1000);
    json!({
        "usage": {"total": stat.usage_us * 1000, "kernel": stat.system_us * 1000, "user": stat.user_us * 1000},
        "throttling": throttling,
    })
}

fn memory(cgroup: &Cgroup) -> Value {
    let Ok(used) = cgroup.memory_current() else { return json!({"usage": {"limit": 0, "failcnt": 0}}) };
    let pairs = cgroup.memory_stat_pairs().unwrap_or_default();
    let value = |name: &str| pairs.iter().find(|(key, _)| key == name).map_or(0, |(_, value)| *value);
    let number = |name: &str| cgroup.read(name).ok().and_then(|text| text.trim().parse::<u64>().ok());
    let ceiling = |name: &str| match cgroup.read(name).ok().as_deref().and_then(Ceiling::parse) {
        Some(Ceiling::Value(limit)) => limit,
        _ => u64::MAX,
    };
    let failures = cgroup.memory_events().map_or(0, |events| events.max);
    let limit = ceiling("memory.max");
    let mut usage = json!({"limit": limit, "usage": used, "failcnt": failures});
    if let Ok(peak) = cgroup.memory_peak() {
        usage["max"] = peak.into();
    }
    // As cgroup v1 counted: memory and swap together.
    let swap = number("memory.swap.current").unwrap_or(0);
    let swap = json!({"limit": ceiling("memory.swap.max").saturating_add(limit), "usage": used + swap, "failcnt": 0});
    let raw: Map<String, Value> = pairs.iter().map(|(key, value)| (key.clone(), (*value).into())).collect();
    json!({
        "cache": value("file"),
        "usage": usage,
        "swap": swap,
        "kernel": {"limit": u64::MAX, "usage": value("kernel"), "failcnt": 0},
        "kernelTCP": {"limit": u64::MAX, "usage": value("sock"), "failcnt": 0},
        "raw": raw,
    })
}

fn pids(cgroup: &Cgroup) -> Value {
    let Ok(current) = cgroup.pids_current() else { return json!({}) };
    let limit = cgroup.read("pids.max").ok().and_then(|text| text.trim().parse::<u64>().ok());
    match limit {
        Some(limit) => json!({"current": current, "limit": limit}),
        None => json!({"current": current}),
    }
}

fn blkio(cgroup: &Cgroup) -> Value {
    let stats = cgroup.io_stat().unwrap_or_default();
    if stats.is_empty() {
        return json!({});
    }
    let entries = |read: fn(&coracle_cgroups::io::Stat) -> u64, write: fn(&coracle_cgroups::io::Stat) -> u64| {
        let mut all = Vec::new();
        for stat in &stats {
            for (op, value) in [("Read", read(stat)), ("Write", write(stat))] {
                all.push(json!({"major": stat.device.major, "minor": stat.device.minor, "op": op, "value": value}));
            }
        }
        all
    };
    json!({
        "ioServiceBytesRecursive": entries(|stat| stat.rbytes, |stat| stat.wbytes),
        "ioServicedRecursive": entries(|stat| stat.rios, |stat| stat.wios),
    })
}

/// A duration as Go writes it: numbers with units, `1m30s`, `500ms`.
fn duration(text: &str) -> anyhow::Result<Duration> {
    parse_go_duration(text).with_context(|| format!("invalid duration {text:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        assert_eq!(duration("5s").unwrap(), Duration::from_secs(5));
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("1.5h").unwrap(), Duration::from_secs(5400));
        assert_eq!(duration("250ms").unwrap(), Duration::from_millis(250));
        for wrong in ["", "5", "s", "5x", "-5s", "1..2s", "99999999999999999999h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn stats_of_a_fixture() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("cpu.stat", "usage_usec 5\nuser_usec 3\nsystem_usec 2\n"),
            ("memory.current", "4096\n"),
            ("memory.max", "8192\n"),
            ("memory.stat", "file 7\nkernel 3\n"),
            ("pids.current", "2\n"),
            ("pids.max", "max\n"),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let stats = stats(&Cgroup::open(dir.path()).unwrap());
        assert_eq!(stats["cpu"]["usage"]["total"], 5000);
        assert_eq!(stats["memory"]["usage"]["limit"], 8192);
        assert_eq!(stats["memory"]["cache"], 7);
        assert_eq!(stats["pids"], json!({"current": 2}));
    }
}
