//! What a container could leave behind, counted.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything that must be the same before and after, by name.
#[derive(PartialEq, Eq)]
pub struct Census {
    kinds: Vec<(&'static str, BTreeSet<String>)>,
}

impl Census {
    /// Count, for an engine whose state is below `dir`, in the namespaces of this thread.
    pub fn take(dir: &Path) -> Self {
        Self {
            kinds: vec![
                ("mounts", mounts()),
                ("interfaces", interfaces()),
                ("rules", rules()),
                ("cgroups", cgroups()),
                ("processes", processes(dir)),
                ("files", files(dir)),
            ],
        }
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: &str) -> usize {
        self.kinds.iter().filter(|(name, _)| *name == kind).map(|(_, names)| names.len()).sum()
    }

    /// What came and what went.
    pub fn compared_with(&self, before: &Self) -> String {
        let mut text = String::new();
        for ((kind, now), (_, then)) in self.kinds.iter().zip(&before.kinds) {
            text.extend(now.difference(then).map(|name| format!("\n  left behind, of {kind}: {name}")));
            text.extend(then.difference(now).map(|name| format!("\n  gone, of {kind}: {name}")));
        }
        text
    }
}

impl fmt::Display for Census {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts: Vec<_> = self.kinds.iter().map(|(kind, names)| format!("{} {kind}", names.len())).collect();
        out.write_str(&counts.join(", "))
    }
}

/// Without the ids, which the kernel gives anew.
fn mounts() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    text.lines().map(|line| line.splitn(3, ' ').last().unwrap_or_default().to_owned()).collect()
}

fn interfaces() -> BTreeSet<String> {
    let text = fs::read_to_string("/proc/thread-self/net/dev").unwrap();
    text.lines().skip(2).filter_map(|line| Some(line.split_once(':')?.0.trim().to_owned())).collect()
}

/// Each line of the rule set; which chain it is in does not matter for counting.
fn rules() -> BTreeSet<String> {
    let output = Command::new("nft").args(["-s", "list", "ruleset"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .enumerate()
        .map(|(number, line)| format!("{number}: {line}"))
        .collect()
}

/// All below a cgroup named `coracle`, in any cgroup v2 tree.
fn cgroups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for line in fs::read_to_string("/proc/thread-self/mountinfo").unwrap().lines() {
        let is_v2 = line.split_once(" - ").is_some_and(|(_, rest)| rest.starts_with("cgroup2 "));
        if let (true, Some(point)) = (is_v2, line.split(' ').nth(4)) {
            walk(&Path::new(point).join("coracle"), &mut |path, is_dir| {
                if is_dir {
                    found.insert(path.display().to_string());
                }
            });
        }
    }
    found
}

/// Processes of the engine have its state's path in their environment; payloads have the image's root.
fn processes(dir: &Path) -> BTreeSet<String> {
    let own = dir.as_os_str().as_bytes();
    let mut found = BTreeSet::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let process = entry.path();
        if entry.file_name() == std::process::id().to_string().as_str() {
            continue;
        }
        let environment = fs::read(process.join("environ")).unwrap_or_default();
        let has_state = environment.windows(own.len()).any(|window| window == own);
        let mounts = fs::read(process.join("mountinfo")).unwrap_or_default();
        // Of this engine's own children, such as nft, none is alive while this counts.
        let has_root = mounts.windows(own.len()).any(|window| window == own);
        if has_state || has_root {
            let line = fs::read(process.join("cmdline")).unwrap_or_default();
            let line = String::from_utf8_lossy(&line).replace('\0', " ");
            found.insert(format!("{} {line}", entry.file_name().to_string_lossy()));
        }
    }
    found
}

/// What the engine keeps on disk and in its volatile directory; images do not change here, but what is staged beside them counts.
fn files(dir: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["state", "run"] {
        walk(&dir.join(folder), &mut |path, _| {
            found.insert(path.display().to_string());
        });
    }
    found
}

fn walk(dir: &Path, visit: &mut dyn FnMut(&PathBuf, bool)) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        visit(&path, is_dir);
        if is_dir {
            walk(&path, visit);
        }
    }
}
