//! `ctr stats`: what containers use, from the files of their cgroups.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use coracle_cgroups::{Ceiling, Cgroup};

use super::format::{Listing, Row, binary_size, decimal_size};
use super::record::{self, Record};
use super::{limits, names, ps, reaper};

/// How long CPU time is measured for, and how often the table is printed.
const INTERVAL: Duration = Duration::from_secs(1);

/// `stats`.
#[derive(clap::Args)]
pub struct Args {
    /// Also containers that do not run
    #[arg(short, long)]
    all: bool,

    /// Print as `table`, `table TEMPLATE`, `json` or a Go template
    #[arg(long, value_name = "FORMAT")]
    format: Option<String>,

    /// Print once and end
    #[arg(long)]
    no_stream: bool,

    /// Print whole ids
    #[arg(long)]
    no_trunc: bool,

    /// Containers, by name or id; all that run without any
    #[arg(value_name = "CONTAINER")]
    containers: Vec<String>,
}

const LISTING: Listing<'_> = Listing {
    type_name: "*container.statsContext",
    titles: &[
        ("Container", "CONTAINER"),
        ("ID", "CONTAINER ID"),
        ("Name", "NAME"),
        ("CPUPerc", "CPU %"),
        ("MemUsage", "MEM USAGE / LIMIT"),
        ("MemPerc", "MEM %"),
        ("NetIO", "NET I/O"),
        ("BlockIO", "BLOCK I/O"),
        ("PIDs", "PIDS"),
    ],
    columns: r"{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}",
};

/// What is looked at once.
#[derive(Clone, Default)]
struct Sample {
    cpu_us: Option<u64>,
    memory: Option<u64>,
    memory_limit: Option<u64>,
    received: u64,
    sent: u64,
    block: Option<(u64, u64)>,
    pids: Option<usize>,
}

/// Print what containers use.
pub fn stats(args: &Args) -> anyhow::Result<i32> {
    for name in &args.containers {
        record::resolve(name)?;
    }
    let mut before = samples(args)?;
    check(&before)?;
    let clear = io::stdout().is_terminal() && !args.no_stream;
    let mut since = Instant::now();
    loop {
        std::thread::sleep(INTERVAL);
        let now = samples(args)?;
        let elapsed = since.elapsed();
        since = Instant::now();
        let rows: Vec<_> = now
            .iter()
            .map(|(record, sample)| {
                let last = before.iter().find(|(other, _)| other.id == record.id).map(|(_, sample)| sample);
                row(record, sample, last, elapsed, args.no_trunc)
            })
            .collect();
        let mut text = Vec::new();
        LISTING.print(&mut text, args.format.as_deref(), &rows)?;
        let mut out = io::stdout().lock();
        if clear {
            // From the top, each line to its end, and nothing below.
            let text = String::from_utf8_lossy(&text).replace('\n', "\x1b[K\n");
            write!(out, "\x1b[H{text}\x1b[J")?;
        } else {
            out.write_all(&text)?;
        }
        out.flush()?;
        if args.no_stream {
            return Ok(0);
        }
        before = now;
    }
}

/// The containers that are asked for, each with what it uses if it runs.
fn samples(args: &Args) -> anyhow::Result<Vec<(Record, Option<Sample>)>> {
    reaper::sweep_all()?;
    let records = if args.containers.is_empty() {
        let mut all = ps::records()?;
        all.retain(|record| args.all || record.state.running);
        all
    } else {
        // One that is gone meanwhile is no longer shown.
        args.containers.iter().filter_map(|name| Record::load(&record::resolve(name).ok()?).ok()).collect()
    };
    let sample = |record: Record| {
        let sample = record.state.running.then(|| sample(&record));
        (record, sample)
    };
    Ok(records.into_iter().map(sample).collect())
}

/// Say what this host cannot tell.
fn check(samples: &[(Record, Option<Sample>)]) -> anyhow::Result<()> {
    let running: Vec<_> = samples.iter().filter_map(|(record, sample)| Some((record, sample.as_ref()?))).collect();
    if running.iter().any(|(record, _)| limits::open(&record.id).is_none()) {
        anyhow::bail!("stats need cgroup v2, which this host has not mounted");
    }
    if running.iter().any(|(_, sample)| sample.memory.is_none()) {
        eprintln!(
            "ctr: the memory controller of cgroup v2 is not enabled on this host: what it would tell is shown as --"
        );
    }
    ensure!(samples.len() < 10_000, "too many containers");
    Ok(())
}

fn sample(record: &Record) -> Sample {
    let Some(group) = limits::open(&record.id) else { return Sample::default() };
    let (received, sent) = network(record.state.pid);
    Sample {
        cpu_us: group.cpu_stat().ok().map(|stat| stat.usage_us),
        memory: memory(&group).ok(),
        memory_limit: memory_limit(&group),
        received,
        sent,
        block: group.io_stat().ok().map(|devices| {
            devices.iter().fold((0, 0), |(read, written), device| (read + device.rbytes, written + device.wbytes))
        }),
        pids: Some(match group.pids_current() {
            Ok(count) => usize::try_from(count).unwrap_or(usize::MAX),
            Err(_) => super::top::processes(&record.id, record.state.pid).len(),
        }),
    }
}

/// Used memory without the cache that is the first to be reclaimed, as Docker counts it.
fn memory(group: &Cgroup) -> anyhow::Result<u64> {
    let current = group.memory_current().context("no memory controller")?;
    Ok(current.saturating_sub(group.memory_stat()?.inactive_file))
}

fn memory_limit(group: &Cgroup) -> Option<u64> {
    let info = rustix::system::sysinfo();
    let total = (info.totalram as u64).saturating_mul(u64::from(info.mem_unit));
    match group.memory_max().ok()? {
        Ceiling::Value(limit) => Some(limit.min(total)),
        Ceiling::Max => Some(total),
    }
}

/// Bytes that a container's network devices have received and sent, loopback aside (proc_pid_net(5), `dev`).
fn network(pid: i32) -> (u64, u64) {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    let devices = text.lines().filter_map(|line| line.split_once(':')).filter(|(name, _)| name.trim() != "lo");
    devices.fold((0, 0), |(received, sent), (_, counts)| {
        let counts: Vec<u64> = counts.split_whitespace().map(|count| count.parse().unwrap_or(0)).collect();
        let count = |index: usize| counts.get(index).copied().unwrap_or(0);
        (received + count(0), sent + count(8))
    })
}

fn row(record: &Record, now: &Option<Sample>, last: Option<&Option<Sample>>, elapsed: Duration, no_trunc: bool) -> Row {
    let unknown = || String::from("--");
    let id = if no_trunc { &record.id } else { names::short(&record.id) };
    let sample = now.clone().unwrap_or_default();
    let before = last.and_then(Option::as_ref).and_then(|sample| sample.cpu_us);
    let cpu = sample.cpu_us.zip(before).map(|(now, before)| {
        let used = now.saturating_sub(before) as f64;
        format!("{:.2}%", used / elapsed.as_micros().max(1) as f64 * 100.0)
    });
    let memory = sample.memory.zip(sample.memory_limit);
    let two = |one: String, other: String| format!("{one} / {other}");
    Row::new([
        ("Container", id.to_owned()),
        ("ID", id.to_owned()),
        ("Name", record.short_name().to_owned()),
        ("CPUPerc", cpu.unwrap_or_else(unknown)),
        ("MemUsage", memory.map_or("-- / --".into(), |(used, limit)| two(binary_size(used), binary_size(limit)))),
        (
            "MemPerc",
            memory.map_or_else(unknown, |(used, limit)| format!("{:.2}%", used as f64 / limit.max(1) as f64 * 100.0)),
        ),
        (
            "NetIO",
            if now.is_some() {
                two(decimal_size(sample.received), decimal_size(sample.sent))
            } else {
                "-- / --".into()
            },
        ),
        (
            "BlockIO",
            sample.block.map_or("-- / --".into(), |(read, written)| two(decimal_size(read), decimal_size(written))),
        ),
        ("PIDs", sample.pids.map_or_else(unknown, |count| count.to_string())),
    ])
}
