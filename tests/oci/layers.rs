//! Members that try to leave the layer, by every way a layer comes in.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::image::{WAYS, Way};
use crate::place::{Place, is_root, names};
use crate::tar::{BLOCK, CHAR, DIRECTORY, FIFO, FILE, Header, SYMLINK, Tar};

/// No way may let in the layer that `make` makes, given the path of the folder outside.
fn refused(words: &[&str], make: impl Fn(&str) -> Tar) {
    for way in WAYS {
        let place = Place::new();
        let layer = make(place.outside().to_str().unwrap()).end();
        println!("{way:?}");
        way.run(&place, &layer, &[]).failed(words);
        place.untouched();
        assert_eq!(place.kept(), [""; 0], "{way:?}: left behind");
    }
}

/// Each way must let it in without touching what is outside; `check` looks at the layer's folder.
fn contained(make: impl Fn(&str) -> Tar, check: impl Fn(&Path)) {
    for way in WAYS {
        let place = Place::new();
        let layer = make(place.outside().to_str().unwrap()).end();
        let outcome = way.run(&place, &layer, &[]);
        assert_eq!(outcome.code, Some(0), "{way:?}: {}", outcome.err);
        place.untouched();
        check(&place.layer());
    }
}

#[test]
fn layer_traversal_by_parent_directories() {
    refused(&["layer entry", "`..`"], |_| Tar::new().file("../../etc/passwd", "x"));
    refused(&["`..`"], |_| Tar::new().file("a/../../../../../../outside/canary", "x"));
    refused(&["`..`"], |_| Tar::new().dir("..", 0o777));
    for depth in 1..8 {
        let name = "../".repeat(depth) + "outside/canary";
        let place = Place::new();
        Way::Import.run(&place, &Tar::new().file(&name, "x").end(), &[]).failed(&["`..`"]);
        place.untouched();
    }
}

#[test]
fn layer_traversal_by_a_pax_or_gnu_long_name() {
    refused(&["`..`"], |_| Tar::new().pax(&[(b"path", b"../../etc/passwd")]).file("innocent", "x"));
    refused(&["`..`"], |_| {
        let header = Header { name: b"././@LongLink", kind: b'L', link: b"", mode: 0o644, size: 17, device: (0, 0) };
        Tar::new().raw(&header, b"../../etc/passwd\0").file("innocent", "x")
    });
}

#[test]
fn layer_traversal_by_absolute_names() {
    contained(
        |outside| Tar::new().file(format!("{outside}/canary"), "inside").file("///etc//passwd", "inside"),
        |layer| assert_eq!(fs::read(layer.join("etc/passwd")).unwrap(), b"inside"),
    );
}

#[test]
fn layer_traversal_by_symbolic_links() {
    // The link leads to nothing in the layer, so there is no directory to write to.
    for target in ["/etc", "../../../../../../outside"] {
        refused(&["link to nothing in this layer"], |_| Tar::new().symlink("way", target).file("way/canary", "x"));
    }
    refused(&["link to nothing in this layer"], |outside| Tar::new().symlink("way", outside).file("way/canary", "x"));
    refused(&["link to nothing in this layer"], |outside| {
        Tar::new().symlink("a", "b").symlink("b", outside).dir("a/sub", 0o777)
    });
    // A target that is there, seen from the layer's root, is the layer's own.
    contained(
        |outside| {
            Tar::new().dir(format!("{outside}/sub"), 0o755).symlink("way", outside).file("way/sub/file", "inside")
        },
        |layer| {
            let target = fs::read_link(layer.join("way")).unwrap();
            let inside = layer.join(target.strip_prefix("/").unwrap()).join("sub/file");
            assert_eq!(fs::read(inside).unwrap(), b"inside");
        },
    );
}

#[test]
fn a_file_replaces_the_link_of_its_name() {
    contained(
        |outside| Tar::new().symlink("way", format!("{outside}/canary")).file("way", "inside"),
        |layer| {
            assert!(fs::symlink_metadata(layer.join("way")).unwrap().is_file());
            assert_eq!(fs::read(layer.join("way")).unwrap(), b"inside");
        },
    );
}

#[test]
fn links_that_go_round() {
    refused(&["layer"], |_| Tar::new().symlink("a", "b").symlink("b", "a").file("a/file", "x"));
    refused(&["layer"], |_| Tar::new().symlink("a", "a/a").file("a/file", "x"));
}

#[test]
fn layer_traversal_by_hard_links() {
    refused(&["hard link to outside the layer"], |_| Tar::new().hard_link("link", "../../../../outside/canary"));
    refused(&["hard link", "not in the layer"], |outside| Tar::new().hard_link("link", format!("{outside}/canary")));
    refused(&["hard link", "not in the layer"], |outside| {
        Tar::new().symlink("way", outside).hard_link("link", "way/canary")
    });
    refused(&["hard link to itself"], |_| Tar::new().hard_link("link", "./link"));
    refused(&["hard link to a directory"], |_| Tar::new().dir("dir", 0o755).hard_link("link", "dir"));
    refused(&["hard link to the root"], |_| Tar::new().hard_link("link", "/"));
}

#[test]
fn layer_traversal_by_a_hard_link_to_a_symbolic_link() {
    contained(
        |outside| {
            let link = Tar::new().symlink("way", format!("{outside}/canary")).hard_link("second", "way");
            link.member(FILE, "second", "", 0o4777, b"inside")
        },
        |layer| {
            assert!(fs::symlink_metadata(layer.join("way")).unwrap().is_symlink());
            assert_eq!(fs::read(layer.join("second")).unwrap(), b"inside");
        },
    );
}

#[test]
fn rustsec_2026_0067_a_directory_over_a_link_changes_no_mode_outside() {
    contained(
        |outside| Tar::new().symlink("way", format!("{outside}/sub")).dir("way", 0o777),
        |layer| {
            let meta = fs::symlink_metadata(layer.join("way")).unwrap();
            assert!(meta.is_dir() && meta.mode() & 0o7777 == 0o777);
        },
    );
    // The link comes after the directory whose mode is set at the end.
    contained(
        |outside| Tar::new().dir("way", 0o777).symlink("way", format!("{outside}/sub")),
        |layer| assert!(fs::symlink_metadata(layer.join("way")).unwrap().is_symlink()),
    );
    contained(
        |outside| Tar::new().dir("a/way", 0o777).symlink("a", outside),
        |layer| assert!(fs::symlink_metadata(layer.join("a")).unwrap().is_symlink()),
    );
}

#[test]
fn layer_device_nodes() {
    for (kind, device) in [(CHAR, (1, 1)), (BLOCK, (8, 0))] {
        refused(&["device node", "--allow-devices"], |_| Tar::new().device(kind, "dev/x", device));
    }
    // Overlayfs reads a device 0:0 as the mark of a deleted file.
    refused(&["whiteout"], |_| Tar::new().device(CHAR, "etc/passwd", (0, 0)));
    let place = Place::new();
    let forged = Tar::new().device(CHAR, "etc/passwd", (0, 0)).end();
    Way::Import.run(&place, &forged, &["--allow-devices"]).failed(&["whiteout"]);
    if !is_root() {
        println!("SKIP layer_device_nodes: needs root");
        return;
    }
    let place = Place::new();
    let null = Tar::new().device(CHAR, "dev/null", (1, 3)).end();
    assert_eq!(Way::Import.run(&place, &null, &["--allow-devices"]).code, Some(0));
    let meta = fs::symlink_metadata(place.layer().join("dev/null")).unwrap();
    assert!(meta.file_type().is_char_device());
    assert_eq!(meta.rdev(), rustix::fs::makedev(1, 3));
}

#[test]
fn cve_2021_41103_set_id_bits_are_kept_where_no_user_of_the_host_gets_at_them() {
    // Programs of an image that are set-uid root must be out of reach for the host's users.
    contained(
        |_| Tar::new().member(FILE, "su", "", 0o4755, b"#!").dir("spool", 0o2775).member(FIFO, "pipe", "", 0o620, b""),
        |layer| {
            let mode = |name: &str| fs::symlink_metadata(layer.join(name)).unwrap().mode() & 0o7777;
            assert_eq!((mode("su"), mode("spool"), mode("pipe")), (0o4755, 0o2775, 0o620));
            let store = layer.ancestors().nth(3).unwrap();
            assert_eq!(fs::metadata(store).unwrap().permissions().mode() & 0o077, 0, "{}", store.display());
        },
    );
}

#[test]
fn layer_extended_attributes_by_policy() {
    refused(&["forge the overlay's own"], |_| {
        Tar::new().pax(&[(b"SCHILY.xattr.trusted.overlay.opaque", b"y")]).dir("etc", 0o755)
    });
    refused(&["forge the overlay's own"], |_| {
        Tar::new().pax(&[(b"SCHILY.xattr.user.overlay.redirect", b"/")]).dir("etc", 0o755)
    });
    if !is_root() {
        println!("SKIP layer_extended_attributes_by_policy: needs root");
        return;
    }
    let capability = b"\x01\x00\x00\x02\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";
    contained(
        |_| {
            let records: [(&[u8], &[u8]); 4] = [
                (b"SCHILY.xattr.user.note", b"kept"),
                (b"SCHILY.xattr.security.capability", capability),
                (b"SCHILY.xattr.security.selinux", b"dropped"),
                (b"SCHILY.xattr.trusted.other", b"dropped"),
            ];
            Tar::new().pax(&records).file("ping", "x")
        },
        |layer| {
            let mut buffer = [0; 256];
            let length = rustix::fs::listxattr(layer.join("ping"), &mut buffer).unwrap();
            let mut found: Vec<_> = buffer[..length].split(|&byte| byte == 0).filter(|name| !name.is_empty()).collect();
            found.sort();
            assert_eq!(found, [&b"security.capability"[..], b"user.note"]);
        },
    );
}

#[test]
fn layer_duplicate_entries_the_last_counts() {
    contained(
        |_| {
            let tar = Tar::new().file("a", "first").file("b/c", "below").symlink("d", "a").file("a", "last");
            let tar = tar.file("b", "a file now").dir("d", 0o755).file("d/e", "x").member(FILE, "f", "", 0o600, b"");
            tar.member(FILE, "f", "", 0o640, b"again").dir("a/", 0o700).file("a", "in the end")
        },
        |layer| {
            let read = |name: &str| fs::read_to_string(layer.join(name)).unwrap();
            assert_eq!(
                (read("a").as_str(), read("b").as_str(), read("d/e").as_str()),
                ("in the end", "a file now", "x")
            );
            assert_eq!((read("f").as_str(), fs::metadata(layer.join("f")).unwrap().mode() & 0o777), ("again", 0o640));
            assert_eq!(names(layer), ["a", "b", "d", "f"]);
        },
    );
}

#[test]
fn the_root_is_a_directory() {
    refused(&["only a directory can be the root"], |outside| Tar::new().symlink("./", outside));
    refused(&["layer entry"], |_| Tar::new().file(".", "x"));
    contained(
        |_| Tar::new().dir("./", 0o700).file("a", "x"),
        |layer| assert_eq!(fs::metadata(layer).unwrap().mode() & 0o7777, 0o700),
    );
}

#[test]
fn a_directory_closed_by_its_mode() {
    contained(
        |_| Tar::new().dir("closed", 0).file("closed/file", "x").dir("closed/sub", 0o111).file("closed/sub/a", "x"),
        |layer| assert_eq!(fs::metadata(layer.join("closed")).unwrap().mode() & 0o7777, 0),
    );
}

#[test]
fn names_that_are_no_text() {
    // A terminal must not be told anything by a name that an error quotes.
    refused(&["layer entry", "\\u{1b}"], |_| Tar::new().file("../\x1b[2J\x07", "x"));
    contained(
        |_| Tar::new().file(b"\xff\xfe\n", "x").file("-rf", "x").member(SYMLINK, "$(x)", "`x`", 0o777, b""),
        |layer| assert_eq!(fs::read_dir(layer).unwrap().count(), 3),
    );
}

#[test]
fn long_names() {
    // A component of 255 bytes is the longest that Linux has.
    contained(|_| Tar::new().file("n".repeat(255), "x"), |layer| assert!(layer.join("n".repeat(255)).exists()));
    refused(&["layer", "too long"], |_| Tar::new().file("n".repeat(256), "x"));
    refused(&["layer", "too long"], |_| Tar::new().file("n".repeat(5000), "x"));
    refused(&["layer", "too long"], |_| Tar::new().file("d/".repeat(3000) + "x", "x"));
    refused(&["layer", "too long"], |_| Tar::new().symlink("link", "t".repeat(5000)));
    refused(&["extended header", "limit"], |_| Tar::new().file("n".repeat(2 << 20), "x"));
}

#[test]
fn a_deep_tree() {
    let depth = 1500;
    contained(
        |_| Tar::new().file("d/".repeat(depth) + "file", "x"),
        |layer| {
            let mut path = layer.to_owned();
            for _ in 0..1000 {
                path.push("d");
            }
            assert!(path.is_dir());
        },
    );
    let place = Place::new();
    assert_eq!(Way::Import.run(&place, &Tar::new().file("d/".repeat(depth) + "file", "x").end(), &[]).code, Some(0));
    place.accepts(&["rmi", "test"]);
    assert_eq!(place.kept(), [""; 0], "a deep tree must go as it came");
}

#[test]
fn layer_of_a_million_entries() {
    const FOLDERS: usize = 100;
    let count = 1_000_000;
    // Packed piece by piece: the archive itself has 512 MB.
    let mut layer = GzEncoder::new(Vec::new(), Compression::fast());
    for number in 0..count {
        let entry = Tar::new().file(format!("d{}/{number}", number % FOLDERS), "");
        layer.write_all(&entry.bytes).unwrap();
    }
    layer.write_all(&[0; 1024]).unwrap();
    let place = Place::new();
    assert_eq!(Way::Import.run(&place, &layer.finish().unwrap(), &[]).code, Some(0));
    assert_eq!(names(&place.layer()).len(), FOLDERS);
    assert_eq!(names(&place.layer().join("d7")).len(), count / FOLDERS);
}

#[test]
fn members_of_no_known_kind() {
    for kind in [b'8', b'D', b'M', b'V', b'N', b'A', 0xff] {
        refused(&["unsupported kind"], |_| Tar::new().member(kind, "x", "", 0o644, b""));
    }
    refused(&["only a file may have data"], |_| Tar::new().member(DIRECTORY, "d", "", 0o755, &[b'x'; 512]));
    refused(&["only a file may have data"], |_| Tar::new().member(SYMLINK, "s", "t", 0o755, &[b'x'; 512]));
}
