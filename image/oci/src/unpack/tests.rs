use std::fs;
use std::io::BufReader;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use super::*;
use crate::fs::open_dir;

struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    fn new() -> Self {
        Layer(tar::Builder::new(Vec::new()))
    }

    /// An entry with any name, `..` included, which the crate's own methods refuse.
    fn entry(mut self, name: &str, kind: tar::EntryType, link: &str, data: &[u8]) -> Self {
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..name.len()].copy_from_slice(name.as_bytes());
        header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1);
        header.set_size(data.len() as u64);
        header.set_cksum();
        self.0.append(&header, data).unwrap();
        self
    }

    fn file(self, name: &str, data: &str) -> Self {
        self.entry(name, tar::EntryType::Regular, "", data.as_bytes())
    }

    fn unpack_to(self, dir: &Path, limits: Limits) -> Result<Report> {
        let bytes = self.0.into_inner().unwrap();
        let budget = Budget::new(limits, dir)?;
        unpack(BufReader::new(&bytes[..]), open_dir(dir)?, DevicePolicy::Refuse, &budget)
    }
}

/// Unpack below a folder that has a neighbour to be reached; gives the error, and the neighbour must be as it was.
fn refused(layer: Layer) -> String {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    fs::write(temp.path().join("outside"), "untouched").unwrap();
    let result = layer.unpack_to(&root, Limits::default());
    assert_eq!(fs::read_to_string(temp.path().join("outside")).unwrap(), "untouched");
    assert_eq!(fs::read_dir(temp.path()).unwrap().count(), 2);
    result.map(|report| format!("accepted: {report:?}")).unwrap_or_else(|error| error.to_string())
}

#[test]
fn parent_directories_in_names_are_refused() {
    assert!(refused(Layer::new().file("../outside", "x")).contains("`..`"));
    assert!(refused(Layer::new().file("a/../../outside", "x")).contains("`..`"));
}

#[test]
fn hard_links_to_the_outside_are_refused() {
    let error = refused(Layer::new().entry("link", tar::EntryType::Link, "../outside", b""));
    assert!(error.contains("hard link to outside the layer"), "{error}");
    let error = refused(Layer::new().entry("link", tar::EntryType::Link, "/etc/shadow", b""));
    assert!(!error.starts_with("accepted"), "{error}");
}

#[test]
fn symbolic_links_lead_nowhere_but_into_the_root() {
    let temp = tempfile::tempdir().unwrap();
    let root = temp.path().join("root");
    fs::create_dir(&root).unwrap();
    for target in ["..", "/", "../../../../../.."] {
        let layer = Layer::new().entry("way", tar::EntryType::Symlink, target, b"").file("way/escaped", "x");
        let _ = layer.unpack_to(&root, Limits::default());
        assert!(!temp.path().join("escaped").exists() && !Path::new("/escaped").exists());
        fs::remove_dir_all(&root).unwrap();
        fs::create_dir(&root).unwrap();
    }
}

#[test]
fn absolute_names_lose_their_root() {
    let temp = tempfile::tempdir().unwrap();
    Layer::new().file("/etc/passwd", "inside").unpack_to(temp.path(), Limits::default()).unwrap();
    assert_eq!(fs::read_to_string(temp.path().join("etc/passwd")).unwrap(), "inside");
}

#[test]
fn device_nodes_are_refused() {
    for kind in [tar::EntryType::Char, tar::EntryType::Block] {
        assert!(!refused(Layer::new().entry("dev/sda", kind, "", b"")).starts_with("accepted"));
    }
}

#[test]
fn a_bomb_meets_the_limit() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 1000, entries: 10, reserve: 0 };
    let error = Layer::new().file("big", &"x".repeat(1001)).unpack_to(temp.path(), limits).unwrap_err();
    assert!(error.to_string().contains("exceeds the limit"), "{error}");
    let many = (0..11).fold(Layer::new(), |layer, n| layer.file(&format!("f{n}"), ""));
    let error = many.unpack_to(temp.path(), limits).unwrap_err();
    assert!(error.to_string().contains("exceeds the limit"), "{error}");
}

#[test]
fn directories_that_are_not_listed_count() {
    let temp = tempfile::tempdir().unwrap();
    let limits = Limits { bytes: 1000, entries: 10, reserve: 0 };
    let deep = |name: &str| format!("{name}{}", "/d".repeat(8));
    let error = Layer::new().file(&deep("a"), "").file(&deep("b"), "").unpack_to(temp.path(), limits).unwrap_err();
    assert!(error.to_string().contains("number of entries"), "{error}");
}

#[test]
fn directories_that_are_not_listed_are_made_where_they_are_missing() {
    let temp = tempfile::tempdir().unwrap();
    let layer = Layer::new()
        .entry("real/a/", tar::EntryType::Directory, "", b"")
        .entry("way", tar::EntryType::Symlink, "/real", b"")
        .file("way/a/b/c/d/e", "one")
        .file("way/a/b/x/y/z", "two")
        .file("new/x", "three");
    layer.unpack_to(temp.path(), Limits::default()).unwrap();
    let read = |name: &str| fs::read_to_string(temp.path().join(name)).unwrap();
    assert_eq!(["real/a/b/c/d/e", "real/a/b/x/y/z", "new/x"].map(read), ["one", "two", "three"]);
    assert_eq!(fs::metadata(temp.path().join("real/a/b/x")).unwrap().mode() & 0o7777, 0o755);
    assert!(refused(Layer::new().file("a/b", "").file("a/b/c/d", "")).contains("where a directory is needed"));
}

#[test]
fn whiteouts_take_the_form_of_overlayfs() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    Layer::new().file("etc/.wh.gone", "").unpack_to(temp.path(), Limits::default()).unwrap();
    let meta = fs::symlink_metadata(temp.path().join("etc/gone")).unwrap();
    assert!(meta.file_type().is_char_device() && meta.rdev() == 0);
    for name in [".wh.", ".wh...", ".wh.."] {
        assert!(!refused(Layer::new().file(name, "")).starts_with("accepted"), "{name}");
    }
}

#[test]
fn a_truncated_archive_is_damage() {
    let bytes = Layer::new().file("a", &"x".repeat(5000)).0.into_inner().unwrap();
    let temp = tempfile::tempdir().unwrap();
    let budget = Budget::new(Limits::default(), temp.path()).unwrap();
    let cut = BufReader::new(&bytes[..2000]);
    assert!(unpack(cut, open_dir(temp.path()).unwrap(), DevicePolicy::Refuse, &budget).is_err());
}
