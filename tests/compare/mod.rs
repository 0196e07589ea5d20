//! Our applets against the host's tools: each case is a shell script run twice in fresh copies of one folder, once with our applets
//! first in PATH and once with the host's; output and status must be the same. A case whose tool the host lacks is skipped and said
//! so.
//!
//! `CORACLE_BIN` names another binary to test than the one just built.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// One script and the tools that it needs from the host.
pub type Case = (&'static str, &'static str);

const TOOLS: &[&str] = &[
    "grep", "egrep", "fgrep", "sed", "find", "xargs", "tar", "gzip", "gunzip", "zcat", "zstd", "unzstd", "zstdcat",
    "diff", "cmp",
];

/// The binary under test.
pub fn binary() -> PathBuf {
    std::env::var_os("CORACLE_BIN").map_or_else(|| env!("CARGO_BIN_EXE_coracle").into(), PathBuf::from)
}

/// The files that scripts find in their folder.
fn fixture(dir: &Path) {
    let files: &[(&str, &str)] = &[
        ("words", "apple\nBanana\ncherry pie\n\nfoo bar\nfoobar\nbar foo\nabcabc\naa bb cc\nx.y*z\nlast"),
        ("numbers", "1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n"),
        ("utf8", "häuser\nÄPFEL\nnaïve café\n日本語 text\n"),
        (
            "passwd",
            "root:x:0:0:root:/root:/bin/sh\nbin:x:1:1:bin:/bin:/usr/sbin/nologin\nnobody:x:65534:65534::/:/bin/false\n",
        ),
        ("tree/a.txt", "alpha\nfoo\n"),
        ("tree/b.log", "beta\n"),
        ("tree/sub/c.txt", "gamma foo\n"),
        ("tree/sub/deep/d.TXT", "delta\n"),
        ("tree/empty", ""),
        ("tree/with space.txt", "space foo\n"),
        ("tree/.hidden", "hidden foo\n"),
    ];
    for (name, text) in files {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    fs::create_dir(dir.join("tree/void")).unwrap();
    fs::write(dir.join("binary"), b"text\0foo\nfoo\n").unwrap();
    fs::write(dir.join("tree/big"), vec![b'x'; 5000]).unwrap();
    fs::set_permissions(dir.join("tree/b.log"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a.txt", dir.join("tree/link")).unwrap();
    symlink("nowhere", dir.join("tree/broken")).unwrap();
    symlink("sub", dir.join("tree/dirlink")).unwrap();
    fs::hard_link(dir.join("tree/a.txt"), dir.join("tree/hard")).unwrap();
    let old = fs::File::options().write(true).open(dir.join("tree/b.log")).unwrap();
    old.set_modified(std::time::SystemTime::now() - std::time::Duration::from_secs(10 * 86400)).unwrap();
}

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
    ["/usr/bin", "/bin"].iter().any(|dir| Path::new(dir).join(tool).exists())
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
    let theirs = "/usr/bin:/bin";
    let ours = format!("{}:{theirs}", links.path().display());
    let mut failures = Vec::new();
    let mut skipped = 0;
    for (tools, script) in cases {
        if let Some(missing) = tools.split_whitespace().find(|tool| !on_host(tool)) {
            println!("{group}: skipped, the host has no {missing}: {script}");
            skipped += 1;
            continue;
        }
        let (expected, got) = (run(script, theirs), run(script, &ours));
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
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
