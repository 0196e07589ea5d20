//! Archives as GNU tar writes them: what comes out is what went in.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, UNIX_EPOCH};

use crate::content::noise;
use crate::place::{Place, is_root, listing};

/// One of everything that a layer may hold.
fn plant(tree: &Path) {
    let dir = |name: &str| fs::create_dir_all(tree.join(name)).unwrap();
    for name in ["empty", "bin", "d/e/e/p", &"long-directory-name/".repeat(12)] {
        dir(name);
    }
    fs::write(tree.join("bin/su"), noise(70_001)).unwrap();
    fs::set_permissions(tree.join("bin/su"), Permissions::from_mode(0o4711)).unwrap();
    fs::hard_link(tree.join("bin/su"), tree.join("bin/su2")).unwrap();
    symlink("su", tree.join("bin/link")).unwrap();
    symlink("/absolute/".to_owned() + &"t".repeat(200), tree.join("bin/long-link")).unwrap();
    fs::write(tree.join("d/e/e/p/file"), "deep").unwrap();
    fs::write(tree.join("long-directory-name/".repeat(12) + &"n".repeat(200)), "long").unwrap();
    fs::write(tree.join("zeros"), vec![0; 300_000]).unwrap();
    fs::write(tree.join("nothing"), "").unwrap();
    let mode = nix::sys::stat::Mode::from_bits_truncate(0o640);
    nix::unistd::mkfifo(&tree.join("pipe"), mode).unwrap();
    let sparse = File::create(tree.join("sparse")).unwrap();
    sparse.write_all_at(b"begin", 0).unwrap();
    for hole in 1..9 {
        sparse.write_all_at(&noise(5000), hole * 1_000_000).unwrap();
    }
    sparse.set_len(10_000_000).unwrap();
    sparse.set_modified(UNIX_EPOCH + Duration::from_secs(86_400)).unwrap();
    fs::set_permissions(tree.join("empty"), Permissions::from_mode(0o1777)).unwrap();
    fs::set_permissions(tree.join("d/e"), Permissions::from_mode(0o2750)).unwrap();
}

/// Below the folder, without its own path; seconds only, where the format has no more.
fn content(folder: &Path, whole_seconds: bool) -> Vec<String> {
    let cut = |line: String| {
        let line = line.replace(folder.to_str().unwrap(), "");
        let mut words: Vec<&str> = line.split(' ').collect();
        if whole_seconds {
            words[4] = words[4].split('.').next().unwrap();
        }
        words.join(" ")
    };
    let mut lines: Vec<String> = listing(folder).into_iter().map(cut).collect();
    lines.sort();
    lines
}

/// Owners are kept by root only.
fn is_root_or_skipped(test: &str) -> bool {
    let is_root = is_root();
    if !is_root {
        println!("SKIP {test}: needs root");
    }
    is_root
}

/// Archive the tree by GNU tar, import it, and compare.
fn comes_back(options: &[&str], plant_more: impl Fn(&Path)) {
    let place = Place::new();
    let file = place.input("tree/x", b"");
    let tree = file.parent().unwrap();
    plant(tree);
    plant_more(tree);
    let archive = place.input("layer.tar", b"");
    let mut tar = Command::new("tar");
    tar.args(options).arg("-cf").arg(&archive).arg("-C").arg(tree).arg(".");
    assert!(tar.status().unwrap().success());
    place.accepts(&["import", archive.to_str().unwrap(), "test"]);
    let whole_seconds = !options.contains(&"--format=posix");
    let (was, is) = (content(tree, whole_seconds), content(&place.layer(), whole_seconds));
    for (was, is) in was.iter().zip(&is) {
        assert!(was == is, "{options:?}: was {:.300}\nis {:.300}", was, is);
    }
    assert_eq!(was.len(), is.len());
}

#[test]
fn of_each_format() {
    if !is_root_or_skipped("of_each_format") {
        return;
    }
    for format in ["--format=gnu", "--format=posix"] {
        for more in [&[][..], &["--sparse"], &["--gzip"], &["--sparse", "--zstd"]] {
            comes_back(&[&[format], more].concat(), |_| {});
        }
    }
    comes_back(&["--sparse", "--sparse-version=0.0", "--format=posix"], |_| {});
    comes_back(&["--sparse", "--sparse-version=0.1", "--format=posix"], |_| {});
}

#[test]
fn names_that_are_no_text() {
    if !is_root_or_skipped("names_that_are_no_text") {
        return;
    }
    for format in ["--format=gnu", "--format=posix"] {
        comes_back(&[format], |tree| {
            fs::write(tree.join(OsStr::from_bytes(b"\xff\xfe\n\x1b[m*")), "x").unwrap();
            fs::write(tree.join(OsStr::from_bytes(&b"\xf0\x9f".repeat(120))), "x").unwrap();
        });
    }
}

#[test]
fn times_before_1970_and_owners_of_more_than_octal() {
    if !is_root_or_skipped("times_before_1970_and_owners_of_more_than_octal") {
        return;
    }
    for format in ["--format=gnu", "--format=posix"] {
        comes_back(&[format], |tree| {
            let file = File::create(tree.join("old")).unwrap();
            file.set_modified(UNIX_EPOCH - Duration::from_millis(1_500)).unwrap();
            std::os::unix::fs::chown(tree.join("old"), Some(3_000_000_000), Some(2_097_152)).unwrap();
        });
    }
}
