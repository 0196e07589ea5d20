//! Our applets against the host's tools: each case is a shell script run twice in fresh copies of one folder, once with our applets
//! first in PATH and once with the host's; output and status must be the same. A case whose tool the host lacks is skipped and said
//! so.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use crate::fixture::{binary, fixture};

/// One script and the tools that it needs from the host.
pub type Case = (&'static str, &'static str);

const TOOLS: &[&str] = &[
    "tar",
    "gzip",
    "gunzip",
    "zcat",
    "zstd",
    "unzstd",
    "zstdcat",
    "hexdump",
    "xxd",
    "mountpoint",
    "which",
    "mkswap",
    "blkid",
];

/// Where the host's tools are.
const HOST_PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

fn run(script: &str, path: &str) -> Output {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("w");
    fs::create_dir(&work).unwrap();
    fixture(&work);
    Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(&work)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env_remove("GREP_COLORS")
        .env_remove("NO_COLOR")
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap()
}

fn on_host(tool: &str) -> bool {
    HOST_PATH.split(':').any(|dir| Path::new(dir).join(tool).exists())
}

/// Run all cases of a group and fail with those that differ.
pub fn compare(group: &str, cases: &[Case]) {
    let links = tempfile::tempdir().unwrap();
    let list = Command::new(binary()).arg("--list").output().unwrap().stdout;
    let list = String::from_utf8(list).unwrap();
    let is_ours = |tool: &str| list.lines().any(|name| name == tool);
    assert!(is_ours(group), "the binary has no {group}");
    for tool in TOOLS.iter().filter(|tool| is_ours(tool)) {
        symlink(binary(), links.path().join(tool)).unwrap();
    }
    let ours = format!("{}:{HOST_PATH}", links.path().display());
    let mut failures = Vec::new();
    let (mut missing, mut skipped) = (BTreeSet::new(), 0);
    for (tools, script) in cases {
        if let Some(tool) = tools.split_whitespace().find(|tool| !on_host(tool)) {
            missing.insert(tool);
            skipped += 1;
            continue;
        }
        let (expected, got) = (run(script, HOST_PATH), run(script, &ours));
        if (&expected.stdout, expected.status.code()) != (&got.stdout, got.status.code()) {
            failures.push(format!(
                "--- {script}\nhost ({:?}):\n{}{}\nours ({:?}):\n{}{}",
                expected.status.code(),
                String::from_utf8_lossy(&expected.stdout),
                String::from_utf8_lossy(&expected.stderr),
                got.status.code(),
                String::from_utf8_lossy(&got.stdout),
                String::from_utf8_lossy(&got.stderr),
            ));
        }
    }
    println!("{group}: {} cases, {skipped} skipped, {} differ", cases.len(), failures.len());
    if skipped > 0 {
        // One line for one test, which is how the suite counts.
        println!("SKIP {group}: {skipped} of {} cases, the host has no {missing:?}", cases.len());
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
