//! Programs that need a terminal or a running system, from the outside.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod pty;

use std::fs;

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
