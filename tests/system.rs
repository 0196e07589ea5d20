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
