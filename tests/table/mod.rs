//! Each case is a shell script, run with our applets first in PATH in a fresh copy of one folder; its output and status must be
//! those in the table. The tables hold what the GNU tools print: with `CORACLE_HOST_TOOLS=1` the host's own tools are run
//! instead of ours, which checks the tables against them.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::fixture::{binary, fixture};

/// A script, the status that it ends with, and what it prints on standard output.
pub type Case = (&'static str, i32, &'static str);

const TOOLS: &[&str] = &["cmp", "diff", "egrep", "fgrep", "find", "grep", "sed", "xargs"];

/// A script that takes longer than this hangs.
const TIME_MAX: Duration = Duration::from_secs(60);

/// Run a script; its status (128 and the signal's number, if killed) and output, or that it took too long.
fn run(script: &str, path: &str) -> Result<(i32, String), String> {
    let dir = tempfile::tempdir().unwrap();
    let work = dir.path().join("w");
    fs::create_dir(&work).unwrap();
    fixture(&work);
    let mut child = Command::new("/bin/sh")
        .args(["-c", script])
        .current_dir(&work)
        .env("PATH", path)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .env_remove("GREP_COLORS")
        .env_remove("NO_COLOR")
        .env_remove("POSIXLY_CORRECT")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut out = Vec::new();
        stdout.read_to_end(&mut out).unwrap();
        out
    });
    let begin = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        if begin.elapsed() > TIME_MAX {
            // The whole group: what hangs is the shell's child.
            let group = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
            nix::sys::signal::killpg(group, nix::sys::signal::Signal::SIGKILL).unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    let out = String::from_utf8_lossy(&reader.join().unwrap()).into_owned();
    match status {
        Some(status) => Ok((status.code().or(status.signal().map(|signal| 128 + signal)).unwrap(), out)),
        None => Err(out),
    }
}

/// Run all cases and tell which differ.
pub fn check(group: &str, cases: &[Case]) {
    let links = tempfile::tempdir().unwrap();
    let mut path = "/usr/bin:/bin".to_owned();
    if std::env::var_os("CORACLE_HOST_TOOLS").is_none() {
        for tool in TOOLS {
            symlink(binary(), links.path().join(tool)).unwrap();
        }
        path = format!("{}:{path}", links.path().display());
    }
    let mut failures = Vec::new();
    for (script, status, out) in cases {
        match run(script, &path) {
            Ok((got, text)) if got == *status && text == *out => {}
            Ok((got, text)) => {
                failures.push(format!("--- {script}\nexpected ({status}): {out:?}\ngot      ({got}): {text:?}"))
            }
            Err(text) => failures.push(format!("--- {script}\ndid not end within {TIME_MAX:?}; printed {text:?}")),
        }
    }
    println!("{group}: {} cases, {} differ", cases.len(), failures.len());
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
