use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags};

use super::*;
use crate::fs::open_dir;
use crate::tarball::Archive;

fn archive(root: &Path, marks: Marks) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    write_tree(open_dir(root).unwrap().as_fd(), marks, &mut bytes)?;
    Ok(bytes)
}

fn names(bytes: &[u8]) -> Vec<String> {
    let mut archive = Archive::new(bytes);
    let mut names = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        names.push(String::from_utf8(entry.path).unwrap());
    }
    names
}

const LAYER: Marks = Marks::Layer { opaque_root: false };

#[test]
fn the_same_content_gives_the_same_bytes() {
    let make = || {
        let temp = tempfile::tempdir().unwrap();
        for name in ["b", "a", "c/z", "c/y", "c.d"] {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, name.repeat(1000)).unwrap();
        }
        symlink("/etc/passwd", temp.path().join("link")).unwrap();
        fs::hard_link(temp.path().join("c/z"), temp.path().join("again")).unwrap();
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_234_567);
        for name in ["b", "a", "c/z", "c/y", "c.d", "c"] {
            File::open(temp.path().join(name)).unwrap().set_modified(old).unwrap();
        }
        let time = rustix::fs::Timespec { tv_sec: 5, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: time, last_modification: time };
        let link = temp.path().join("link");
        rustix::fs::utimensat(rustix::fs::CWD, &link, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        archive(temp.path(), LAYER).unwrap()
    };
    let bytes = make();
    assert!(bytes == make());
    assert_eq!(names(&bytes), ["a", "again", "b", "c/", "c/y", "c/z", "c.d", "link"]);
    let mut archive = Archive::new(&bytes[..]);
    let mut entries = Vec::new();
    while let Some(entry) = archive.next_entry().unwrap() {
        entries.push(entry);
    }
    assert_eq!((entries[5].kind, &entries[5].link[..]), (Kind::HardLink, &b"again"[..]));
    assert_eq!((entries[7].kind, &entries[7].link[..]), (Kind::Symlink, &b"/etc/passwd"[..]));
    assert_eq!(entries[0].mtime, (1234, 0));
}

#[test]
fn reserved_names_are_refused_in_a_layer() {
    let temp = tempfile::tempdir().unwrap();
    fs::write(temp.path().join(".wh.x"), "").unwrap();
    assert!(archive(temp.path(), LAYER).unwrap_err().to_string().contains(".wh."));
    assert_eq!(names(&archive(temp.path(), Marks::Plain).unwrap()), [".wh.x"]);
}

#[test]
fn trees_deeper_than_the_limit_on_open_files() {
    let temp = tempfile::tempdir().unwrap();
    let deep = "d/".repeat(1200);
    fs::create_dir_all(temp.path().join(&deep)).unwrap();
    assert_eq!(names(&archive(temp.path(), LAYER).unwrap()).len(), 1200);
}

/// Needs root: whiteouts are devices, and marks are trusted attributes.
#[test]
fn marks_of_overlayfs_become_those_of_images() {
    if !rustix::process::geteuid().is_root() {
        println!("SKIP marks_of_overlayfs_become_those_of_images: needs root");
        return;
    }
    let temp = tempfile::tempdir().unwrap();
    let dir = open_dir(temp.path()).unwrap();
    fs::create_dir(temp.path().join("d")).unwrap();
    fs::write(temp.path().join("d/kept"), "x").unwrap();
    for name in ["gone", "d/gone"] {
        rustix::fs::mknodat(&dir, name, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
    }
    let opaque = |path: &str, name: &str, value: &[u8]| {
        rustix::fs::setxattr(temp.path().join(path), name, value, XattrFlags::empty())
    };
    match opaque("d", "trusted.overlay.opaque", b"y") {
        Err(Errno::NOTSUP) => {
            println!("SKIP marks_of_overlayfs_become_those_of_images: no trusted attributes here");
            return;
        }
        set => set.unwrap(),
    }
    opaque("d", "trusted.overlay.impure", b"y").unwrap();
    fs::set_permissions(temp.path().join("d"), fs::Permissions::from_mode(0o1750)).unwrap();
    let bytes = archive(temp.path(), LAYER).unwrap();
    assert_eq!(names(&bytes), ["d/", "d/.wh..wh..opq", "d/.wh.gone", "d/kept", ".wh.gone"]);
    let entry = Archive::new(&bytes[..]).next_entry().unwrap().unwrap();
    assert_eq!((entry.mode, entry.xattrs.len()), (0o1750, 0));
    assert_eq!(names(&archive(temp.path(), Marks::Layer { opaque_root: true }).unwrap())[0], ".wh..wh..opq");
    opaque("d/kept", "trusted.overlay.metacopy", b"").unwrap();
    assert!(archive(temp.path(), LAYER).unwrap_err().to_string().contains("metacopy"));
    rustix::fs::removexattr(temp.path().join("d/kept"), "trusted.overlay.metacopy").unwrap();
    opaque("d", "trusted.overlay.redirect", b"/e").unwrap();
    assert!(archive(temp.path(), LAYER).unwrap_err().to_string().contains("redirect"));
}
