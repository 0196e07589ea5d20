//! `free`: memory in use (procps free(1)).

use std::ffi::OsString;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use procfs::{Current as _, Meminfo};

use super::size;
use crate::common;
use crate::registry::{Applet, Dir};

/// `free`.
pub const APPLET: Applet = Applet { name: "free", aliases: &[], dir: Dir::Bin, summary: "memory in use", run };

/// Units of `-h`, as procps writes them.
const BINARY: &[&str] = &["B", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
const DECIMAL: &[&str] = &["B", "K", "M", "G", "T", "P", "E"];

#[derive(Parser)]
#[command(name = "free", about = "Show how much memory is in use", disable_help_flag = true)]
struct Options {
    /// In bytes
    #[arg(short, long, group = "unit")]
    bytes: bool,
    /// In kibibytes (the default)
    #[arg(short, long = "kibi", group = "unit")]
    kibi: bool,
    /// In mebibytes
    #[arg(short, long = "mebi", group = "unit")]
    mebi: bool,
    /// In gibibytes
    #[arg(short, long = "gibi", group = "unit")]
    gibi: bool,
    /// With units for people
    #[arg(short, long, group = "unit")]
    human: bool,
    /// Units of 1000, not 1024
    #[arg(long)]
    si: bool,
    /// A line with the sum of memory and swap
    #[arg(short, long)]
    total: bool,
    /// Buffers and cache in columns of their own
    #[arg(short, long)]
    wide: bool,
    /// Again and again, every N seconds
    #[arg(short, long, value_name = "N")]
    seconds: Option<f64>,
    /// So many times
    #[arg(short, long, value_name = "N")]
    count: Option<u64>,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| show_repeatedly(&options))
}

fn show_repeatedly(options: &Options) -> anyhow::Result<i32> {
    let pause = options.seconds.map(Duration::try_from_secs_f64).transpose().context("-s: not a time in seconds")?;
    let mut left = options.count.unwrap_or(if pause.is_some() { u64::MAX } else { 1 });
    anyhow::ensure!(left > 0, "-c: once at least");
    loop {
        let memory = Meminfo::current().context("cannot read /proc/meminfo; is /proc mounted?")?;
        io::stdout().write_all(table(&memory, options).as_bytes())?;
        left -= 1;
        if left == 0 {
            return Ok(0);
        }
        writeln!(io::stdout())?;
        io::stdout().flush()?;
        std::thread::sleep(pause.unwrap_or(Duration::from_secs(1)));
    }
}

/// The rows as procps computes them: used is what is not available to a new program.
fn table(memory: &Meminfo, options: &Options) -> String {
    let cache = memory.cached + memory.s_reclaimable.unwrap_or(0);
    let available = memory.mem_available.unwrap_or(memory.mem_free);
    let used = memory.mem_total.saturating_sub(available);
    let swap_used = memory.swap_total.saturating_sub(memory.swap_free);
    let shared = memory.shmem.unwrap_or(0);
    let head: &[&str] = match options.wide {
        true => &["total", "used", "free", "shared", "buffers", "cache", "available"],
        false => &["total", "used", "free", "shared", "buff/cache", "available"],
    };
    let mut first = vec![memory.mem_total, used, memory.mem_free, shared];
    match options.wide {
        true => first.extend([memory.buffers, cache]),
        false => first.push(memory.buffers + cache),
    }
    first.push(available);
    let swap = [memory.swap_total, swap_used, memory.swap_free];
    let mut text = format!("{:7}", "");
    head.iter().for_each(|word| text.push_str(&format!(" {word:>11}")));
    text.push('\n');
    let mut rows = vec![("Mem:", first.clone()), ("Swap:", swap.to_vec())];
    if options.total {
        rows.push(("Total:", swap.iter().zip(&first).map(|(a, b)| a + b).collect()));
    }
    for (label, numbers) in rows {
        text.push_str(&format!("{label:7}"));
        numbers.iter().for_each(|number| text.push_str(&format!(" {:>11}", scaled(*number, options))));
        text.push('\n');
    }
    text
}

fn scaled(bytes: u64, options: &Options) -> String {
    let step: u64 = if options.si { 1000 } else { 1024 };
    if options.human {
        return size::human(bytes, step, if options.si { DECIMAL } else { BINARY });
    }
    let power = [options.bytes, false, options.mebi, options.gibi].iter().position(|set| *set).unwrap_or(1);
    (bytes / step.pow(power as u32)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use procfs::FromRead as _;

    const FIXTURE: &str = "MemTotal: 1024000 kB\nMemFree: 512000 kB\nMemAvailable: 768000 kB\nBuffers: 1024 kB\nCached: 204800 kB\n\
        SwapCached: 0 kB\nActive: 0 kB\nInactive: 0 kB\nSwapTotal: 2048 kB\nSwapFree: 1024 kB\nDirty: 0 kB\nWriteback: 0 kB\n\
        Mapped: 0 kB\nSlab: 0 kB\nCommitted_AS: 0 kB\nVmallocTotal: 0 kB\nVmallocUsed: 0 kB\nVmallocChunk: 0 kB\nShmem: 512 kB\n\
        SReclaimable: 1024 kB\n";

    fn table_for(args: &[&str]) -> String {
        let memory = Meminfo::from_read(FIXTURE.as_bytes()).unwrap();
        let options = Options::parse_from(std::iter::once("free").chain(args.iter().copied()));
        table(&memory, &options)
    }

    #[test]
    fn columns() {
        let text = table_for(&[]);
        let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(words, ["Mem:", "1024000", "256000", "512000", "512", "206848", "768000"]);
        let words: Vec<&str> = text.lines().nth(2).unwrap().split_whitespace().collect();
        assert_eq!(words, ["Swap:", "2048", "1024", "1024"]);
    }

    #[test]
    fn units() {
        assert!(table_for(&["-m"]).contains(" 1000 "));
        assert!(table_for(&["-h"]).contains("1000Mi"));
        assert!(table_for(&["-h", "--si"]).contains("1.0G"));
        assert!(table_for(&["-b", "-t"]).contains("Total:"));
        assert!(table_for(&["-w"]).contains("buffers"));
        assert!(Options::try_parse_from(["free", "-b", "-m"]).is_err());
    }
}
