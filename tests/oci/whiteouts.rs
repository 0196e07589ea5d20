//! Whiteouts (image-spec layer.md, "Whiteouts"): they hide what is in lower layers, and nothing else.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use crate::image::{Image, Way};
use crate::place::{Place, is_root, names};
use crate::tar::Tar;

fn imported(tar: Tar) -> Option<Place> {
    if !is_root() {
        println!("SKIP whiteouts: need root");
        return None;
    }
    let place = Place::new();
    let outcome = Way::Import.run(&place, &tar.end(), &[]);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    place.untouched();
    Some(place)
}

fn hides(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_char_device() && meta.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    let mut value = [0; 8];
    rustix::fs::lgetxattr(path, "trusted.overlay.opaque", &mut value).is_ok_and(|length| value[..length] == *b"y")
}

#[test]
fn whiteout_hides_a_name() {
    let Some(place) = imported(Tar::new().file(".wh.top", "").file("etc/.wh.passwd", "").file("a/b/.wh...c", ""))
    else {
        return;
    };
    let layer = place.layer();
    assert!(hides(&layer.join("top")) && hides(&layer.join("etc/passwd")) && hides(&layer.join("a/b/..c")));
    assert_eq!(names(&layer), ["a", "etc", "top"]);
}

#[test]
fn whiteout_leaves_what_the_layer_itself_holds_in_any_order() {
    let after = Tar::new().file("d/x", "mine").file("d/.wh.x", "").file("e/f", "mine").file(".wh.e", "");
    let before = Tar::new().file("d/.wh.x", "").file("d/x", "mine").file(".wh.e", "").file("e/f", "mine");
    for tar in [after, before] {
        let Some(place) = imported(tar) else { return };
        let layer = place.layer();
        assert_eq!(fs::read(layer.join("d/x")).unwrap(), b"mine");
        assert_eq!(fs::read(layer.join("e/f")).unwrap(), b"mine");
        assert!(is_opaque(&layer.join("e")), "what is below e in lower layers is hidden");
    }
}

#[test]
fn whiteout_of_all_of_a_directory_in_any_order() {
    for tar in [
        Tar::new().file("d/.wh..wh..opq", "").file("d/mine", "x"),
        Tar::new().file("d/mine", "x").file("d/.wh..wh..opq", ""),
    ] {
        let Some(place) = imported(tar) else { return };
        assert!(is_opaque(&place.layer().join("d")));
        assert_eq!(names(&place.layer().join("d")), ["mine"]);
    }
}

#[test]
fn whiteout_is_no_way_out() {
    for name in [".wh...", ".wh..", ".wh.", "d/.wh...", "d/.wh..", ".wh.d/x", "d/.wh..wh..opq/x"] {
        let place = Place::new();
        Way::Import.run(&place, &Tar::new().file(name, "").end(), &[]).failed(&["layer entry", "whiteout"]);
        place.untouched();
        assert_eq!(place.kept(), [""; 0], "{name}: left behind");
    }
    let place = Place::new();
    let tar = Tar::new().symlink("way", place.outside().to_str().unwrap()).file("way/.wh.canary", "").end();
    Way::Import.run(&place, &tar, &[]).failed(&["layer"]);
    place.untouched();
    let tar = Tar::new().symlink("way", place.outside().to_str().unwrap()).file("way/.wh..wh..opq", "").end();
    Way::Import.run(&place, &tar, &[]).failed(&["layer"]);
    place.untouched();
    let tar = Tar::new().file("../.wh.canary", "").end();
    Way::Import.run(&place, &tar, &[]).failed(&["`..`"]);
    place.untouched();
}

#[test]
fn whiteout_hides_from_containers() {
    let busybox = Path::new("/bin/busybox");
    if !is_root() || !busybox.exists() {
        println!("SKIP whiteout_hides_from_containers: needs root and Debian's busybox-static");
        return;
    }
    let program = crate::tar::FILE;
    let base = Tar::new().member(program, "bin/busybox", "", 0o755, &fs::read(busybox).unwrap());
    let base = base.symlink("bin/sh", "busybox").symlink("bin/find", "busybox").dir("proc", 0o755).dir("sys", 0o755);
    let base = base.dir("dev", 0o755).file("x/gone", "lower").file("x/stays", "lower").file("x/again", "lower");
    let base = base.file("opaque/gone", "lower").file("tree/a/b", "lower").file("replaced/gone", "lower");
    let upper = Tar::new().file("x/.wh.gone", "").file("x/again", "upper").file("x/.wh.again", "");
    let upper = upper.file("opaque/new", "upper").file("opaque/.wh..wh..opq", "").file(".wh.tree", "");
    let upper = upper.file(".wh.replaced", "").file("replaced/new", "upper");
    let image = Image::new(&[base.end(), upper.end()]);
    let place = Place::new();
    let archive = place.input("saved.tar", &image.saved().end());
    place.accepts(&["load", "-q", "-i", archive.to_str().unwrap()]);
    let script = "find /x /opaque /tree /replaced -type f | while read f; do read l < $f; echo $f $l; done";
    let out = place.accepts(&["run", "--rm", "--network", "none", "test", "/bin/sh", "-c", script]);
    let mut lines: Vec<&str> = out.lines().collect();
    lines.sort_unstable();
    // `read` needs no newline at the end to give the line.
    assert_eq!(lines, ["/opaque/new upper", "/replaced/new upper", "/x/again upper", "/x/stays lower"]);
}
