//! Programs that need a terminal or a running system, from the outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod cases {
    pub mod hexdump;
}
mod compare;
mod fixture;
mod pty;

use std::fs;

use compare::compare;
use pty::Pty;

const BINARY: &str = env!("CARGO_BIN_EXE_coracle");

#[test]
fn vi_edits_and_saves() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "one\ntwo\nthree\n").unwrap();
    let mut vi = Pty::spawn(&[BINARY, "vi", "file"], dir.path());
    vi.expect("3 lines, 14 bytes");
    vi.say("jcwzwei\x1b", "zwei");
    vi.say(":q\r", "there are changes");
    vi.resize(10, 40);
    vi.say(":w\r", "3 lines, 15 bytes written");
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "one\nzwei\nthree\n");
    vi.say("Gox\x1b", "x");
    vi.send("u:x\r");
    assert!(vi.wait().success());
    assert_eq!(fs::read_to_string(dir.path().join("file")).unwrap(), "one\nzwei\nthree\n");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn vi_keeps_changes_when_its_terminal_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut vi = Pty::spawn(&[BINARY, "vi", "new"], dir.path());
    vi.expect("new file");
    vi.say("iunsaved\x1b", "unsaved");
    vi.hang_up();
    assert_eq!(vi.wait().code(), Some(1));
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(names.len() == 1 && names[0].to_string_lossy().contains("new.rescued-"), "{names:?}");
    assert_eq!(fs::read_to_string(&names[0]).unwrap(), "unsaved\n");
}

#[test]
fn less_pages_and_searches() {
    let dir = tempfile::tempdir().unwrap();
    let text: String = (1..=1000).map(|n| format!("line {n}\n")).collect();
    fs::write(dir.path().join("file"), text).unwrap();
    let mut less = Pty::spawn(&[BINARY, "less", "file"], dir.path());
    less.expect("line 23\x1b");
    less.say(" ", "line 46");
    less.say("/77$\r", "line \x1b[7m77\x1b[m");
    less.say("G", "(END)");
    less.resize(10, 80);
    less.say("g", "line 9\x1b");
    less.say("=", "line 1 of 1000, 8893 bytes");
    less.send("q");
    assert!(less.wait().success());
}

#[test]
fn less_reads_a_pipe_that_never_ends() {
    let dir = tempfile::tempdir().unwrap();
    let fifo = dir.path().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        0,
    )
    .unwrap();
    let mut writer = fs::File::options().read(true).write(true).open(&fifo).unwrap();
    let mut less = Pty::spawn(&[BINARY, "less", "fifo"], dir.path());
    let lines: String = (1..=30).map(|n| format!("line {n}\n")).collect();
    std::io::Write::write_all(&mut writer, lines.as_bytes()).unwrap();
    less.expect("line 23\x1b");
    // To the end, which does not come: a key goes on.
    less.send("G");
    std::thread::sleep(std::time::Duration::from_millis(300));
    less.say("=", "line 8 of ?");
    less.send("q");
    assert!(less.wait().success());
}

#[test]
fn less_is_cat_without_a_terminal() {
    let output = std::process::Command::new(BINARY).args(["less", "/etc/passwd", "/nowhere"]).output().unwrap();
    assert_eq!(output.stdout, fs::read("/etc/passwd").unwrap());
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn top_shows_sorts_and_kills() {
    let dir = tempfile::tempdir().unwrap();
    let batch = std::process::Command::new(BINARY).args(["top", "-b", "-n", "2", "-d", "0.1"]).output().unwrap();
    let text = String::from_utf8(batch.stdout).unwrap();
    assert_eq!(text.matches("Tasks:").count(), 2);
    assert!(text.contains("PID USER") && text.contains("coracle"), "{text}");
    let mut sleeper = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
    let pid = sleeper.id().to_string();
    let mut top = Pty::spawn(&[BINARY, "top", "-p", &pid], dir.path());
    top.expect("sleep");
    top.say("c", "sleep 1000");
    top.say("1", "%Cpu0");
    top.say("h", "any key goes on");
    top.say(" k", "process id to signal");
    top.say(&format!("{pid}\r"), "signal for");
    top.say("\r", "signal sent");
    assert!(!sleeper.wait().unwrap().success());
    top.send("q");
    assert!(top.wait().success());
    let piped = std::process::Command::new(BINARY).arg("top").output().unwrap();
    assert_eq!(piped.status.code(), Some(1));
}

#[test]
fn watch_runs_until_told_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let mut watch = Pty::spawn(&[BINARY, "watch", "-n", "0.1", "echo x >> log; wc -l < log"], dir.path());
    watch.expect("Every 0.1s: echo x");
    watch.expect("5\x1b");
    watch.send("q");
    assert!(watch.wait().success());
    let watch = Pty::spawn(&[BINARY, "watch", "-e", "-x", "sh", "-c", "exit 7"], dir.path());
    assert_eq!(watch.wait().code(), Some(7));
}

#[test]
fn hexdump() {
    compare("hexdump", cases::hexdump::HEXDUMP);
}

#[test]
fn xxd() {
    compare("xxd", cases::hexdump::XXD);
}

#[test]
fn mountpoint() {
    compare(
        "mountpoint",
        &[(
            "mountpoint",
            "for p in / /proc /etc /dev words tree/link; do mountpoint $p; echo $?; mountpoint -q $p; echo $?; done; mountpoint -d /proc; mountpoint -q nowhere; echo $?; mountpoint -x words 2>/dev/null; echo $?",
        )],
    );
}

#[test]
fn which() {
    compare(
        "which",
        &[(
            "which",
            "which -a ls; which sh nowhere; echo $?; which /bin/sh; which ./words; echo $?; chmod +x words; which ./words",
        )],
    );
}

#[test]
fn swap_areas_and_file_systems_are_recognised() {
    let script = "truncate -s 1M s; chmod 600 s; mkswap -L name -U 01234567-89ab-cdef-0123-456789abcdef s >/dev/null; /usr/sbin/blkid -p -o export s | grep -E '^(LABEL|UUID|TYPE)' | sort; cmp -n 4096 s s && blkid s; blkid -o value -s UUID s; for o in full value export device; do blkid -o $o -s NOTHING s; echo $?; blkid -o $o s words s; echo $?; done; blkid words; echo $?";
    compare("mkswap", &[("mkswap blkid", script)]);
}

#[test]
fn lsblk_lists_what_the_kernel_has() {
    let run = |args: &[&str]| {
        let output = std::process::Command::new(BINARY).arg("lsblk").args(args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(run(&[]).starts_with("NAME"));
    let json: serde_json::Value = serde_json::from_str(&run(&["-J", "-b"])).unwrap();
    assert!(json["blockdevices"].is_array());
    if std::path::Path::new("/usr/bin/lsblk").exists() {
        let theirs =
            std::process::Command::new("/usr/bin/lsblk").args(["-nlbo", "KNAME,SIZE,TYPE,MAJ:MIN"]).output().unwrap();
        let words = |text: &str| {
            let mut lines: Vec<Vec<String>> =
                text.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect();
            lines.sort();
            lines
        };
        let ours = run(&["-nlbo", "KNAME,SIZE,TYPE,MAJ:MIN"]);
        assert_eq!(words(&ours), words(&String::from_utf8_lossy(&theirs.stdout)));
    }
    let unknown = std::process::Command::new(BINARY).args(["lsblk", "-o", "FOO"]).output().unwrap();
    assert_eq!(unknown.status.code(), Some(1));
}
