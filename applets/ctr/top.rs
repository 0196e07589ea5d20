//! `ctr top`: the processes of a container, as ps tells of them.

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail, ensure};

use super::format::align_from;
use super::lifecycle::payload;
use super::record::{self, Live, Record};
use super::{events, limits};

/// The narrowest column: Docker's.
const MIN_WIDTH: usize = 20;

/// `top`.
#[derive(clap::Args)]
pub struct Args {
    /// Container, by name or id
    container: String,

    /// What ps is called with; -ef without any
    #[arg(value_name = "PS OPTIONS", trailing_var_arg = true, allow_hyphen_values = true)]
    options: Vec<String>,
}

/// List processes.
pub fn top(args: &Args) -> anyhow::Result<i32> {
    let id = record::resolve(&args.container)?;
    ensure!(payload(&id)?.is_some(), "container {id} is not running");
    let live = Live::read(&id).context("the container has just ended")?;
    let mut command = Command::new("/proc/self/exe");
    command.arg0("coracle").arg("ps");
    if args.options.is_empty() {
        command.arg("-ef");
    }
    let output = command.args(&args.options).output().context("cannot run ps")?;
    ensure!(output.status.success(), "ps: {}", String::from_utf8_lossy(&output.stderr).trim());
    let table = select(&String::from_utf8_lossy(&output.stdout), &processes(&id, live.pid))?;
    io::stdout().write_all(align_from(&table, MIN_WIDTH).as_bytes())?;
    events::of_container(&Record::read(&id)?, "top", &[]);
    Ok(0)
}

/// The heading and the rows of these processes, with tabs between the fields.
fn select(listed: &str, pids: &BTreeSet<i32>) -> anyhow::Result<String> {
    let mut lines = listed.lines();
    let titles: Vec<_> = lines.next().unwrap_or_default().split_whitespace().collect();
    let Some(place) = titles.iter().position(|title| *title == "PID") else {
        bail!("Couldn't find PID field in ps output");
    };
    let mut text = titles.join("\t");
    for line in lines {
        let fields = fields(line, titles.len());
        let pid = fields.get(place).and_then(|field| field.parse().ok());
        if pid.is_some_and(|pid| pids.contains(&pid)) {
            text.push('\n');
            text.push_str(&fields.join("\t"));
        }
    }
    text.push('\n');
    Ok(text)
}

/// So many fields of a line, the last of which is all that is left.
fn fields(line: &str, count: usize) -> Vec<&str> {
    let mut all = Vec::new();
    let mut rest = line.trim();
    while all.len() + 1 < count {
        let Some((field, after)) = rest.split_once(char::is_whitespace) else { break };
        all.push(field);
        rest = after.trim_start();
    }
    all.push(rest);
    all
}

/// The processes of a container on the host: those of its cgroup, or, without one, of its process id namespace.
pub fn processes(id: &str, payload: i32) -> BTreeSet<i32> {
    match limits::open(id) {
        Some(group) => in_cgroup(group.path()),
        None => in_namespace(payload),
    }
}

fn in_cgroup(dir: &Path) -> BTreeSet<i32> {
    let text = std::fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    let mut all: BTreeSet<i32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            all.extend(in_cgroup(&entry.path()));
        }
    }
    all
}

fn in_namespace(payload: i32) -> BTreeSet<i32> {
    let space = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/pid")).ok();
    let Some(own) = space(payload) else { return BTreeSet::new() };
    let pids = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| space(*pid).as_ref() == Some(&own)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_chosen_by_process_id() {
        let listed = "UID   PID  CMD\nroot    1  init x\nroot   22  sleep  100\n";
        assert_eq!(select(listed, &BTreeSet::from([22])).unwrap(), "UID\tPID\tCMD\nroot\t22\tsleep  100\n");
        assert!(select("CMD\nx\n", &BTreeSet::new()).unwrap_err().to_string().contains("Couldn't find PID field"));
    }
}
