//! Archives that are damaged, that mean different things to different readers, or that are larger than they look.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use crate::content::{gzip, noise, zstd};
use crate::image::{WAYS, Way};
use crate::place::{Place, names};
use crate::tar::{FILE, Header, Tar, octal, seal};

const MIB: usize = 1 << 20;

fn imports(layer: &[u8], options: &[&str]) -> Place {
    let place = Place::new();
    let outcome = Way::Import.run(&place, layer, options);
    assert_eq!(outcome.code, Some(0), "{}", outcome.err);
    place.untouched();
    place
}

fn refused(layer: &[u8], options: &[&str], words: &[&str]) {
    let place = Place::new();
    Way::Import.run(&place, layer, options).failed(words);
    place.untouched();
    assert_eq!(place.kept(), [""; 0], "left behind");
}

/// What GNU tar finds in the archive: the yardstick where readers differ.
fn gnu_listing(layer: &[u8]) -> Vec<String> {
    let place = Place::new();
    let file = place.input("layer.tar", layer);
    let output = Command::new("tar").arg("-tf").arg(file).env("LC_ALL", "C").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| line.trim_end_matches('/').to_owned()).collect()
}

#[test]
fn cve_2025_62518_pax_size_unlike_ustar_size() {
    // The data of `outer` is an archive of its own. Who believes ustar's size 0 reads `smuggled` as a member.
    let inner = Tar::new().file("smuggled", "x").bytes;
    let size = inner.len().to_string();
    let header = |size| Header { name: b"outer", kind: FILE, link: b"", mode: 0o644, size, device: (0, 0) };
    for ustar in [0, 512, 8 * MIB as u64] {
        let tar = Tar::new().pax(&[(b"size", size.as_bytes())]).raw(&header(ustar), &inner).file("after", "x").end();
        let place = imports(&tar, &[]);
        let mut listed = gnu_listing(&tar);
        listed.sort();
        assert_eq!(listed, ["after", "outer"]);
        assert_eq!(names(&place.layer()), listed, "ustar size {ustar}");
        assert_eq!(fs::read(place.layer().join("outer")).unwrap(), inner);
    }
}

#[test]
fn rustsec_2026_0068_size_zero_in_pax() {
    let inner = Tar::new().file("hidden", "x").bytes;
    let header =
        Header { name: b"outer", kind: FILE, link: b"", mode: 0o644, size: inner.len() as u64, device: (0, 0) };
    let tar = Tar::new().pax(&[(b"size", b"0")]).raw(&header, &inner).end();
    let mut listed = gnu_listing(&tar);
    listed.sort();
    assert_eq!(names(&imports(&tar, &[]).layer()), listed);
}

#[test]
fn what_readers_understand_differently() {
    let one_zero_block = [Tar::new().file("a", "x").bytes, vec![0; 512], Tar::new().file("b", "x").end()].concat();
    refused(&one_zero_block, &[], &["readers differ"]);
    refused(&Tar::new().pax(&[(b"path", b"b")]).pax(&[(b"path", b"c")]).file("a", "x").end(), &[], &["readers differ"]);
    let global = Header { name: b"g", kind: b'g', link: b"", mode: 0, size: 11, device: (0, 0) };
    refused(&Tar::new().raw(&global, b"11 path=bb\n").file("a", "x").end(), &[], &["readers differ"]);
    let comment = Header { name: b"g", kind: b'g', link: b"", mode: 0, size: 13, device: (0, 0) };
    imports(&Tar::new().raw(&comment, b"13 comment=x\n").file("a", "x").end(), &[]);
    for bad in [&b"99999 path=x\n"[..], b"x path=x\n", b"-9 path=x\n", b"11 path=bb ", b"5 =x\n"] {
        let header = Header { name: b"x", kind: b'x', link: b"", mode: 0, size: bad.len() as u64, device: (0, 0) };
        refused(&Tar::new().raw(&header, bad).file("a", "x").end(), &[], &["extended header"]);
    }
}

#[test]
fn entries_after_the_end() {
    let tar = [Tar::new().file("a", "x").end(), Tar::new().file("late", "x").end()].concat();
    assert_eq!(gnu_listing(&tar), ["a"]);
    assert_eq!(names(&imports(&tar, &[]).layer()), ["a"]);
    // Garbage after the end is within the digest, and no member.
    let tar = [Tar::new().file("a", "x").end(), noise(100_000)].concat();
    assert_eq!(names(&imports(&tar, &[]).layer()), ["a"]);
}

#[test]
fn damaged_headers() {
    let good = Tar::new().file("a", "x").end();
    for at in [0, 100, 124, 150, 156, 257] {
        let mut bad = good.clone();
        bad[at] ^= 0x55;
        refused(&bad, &[], &["archive", "checksum"]);
    }
    refused(&noise(4096), &[], &["archive"]);
    refused(b"<html>no archive</html>", &[], &["archive"]);
    // A size of 2^63 by GNU's base 256.
    let mut block = Header { name: b"a", kind: FILE, link: b"", mode: 0o644, size: 0, device: (0, 0) }.bytes();
    block[124..136].copy_from_slice(b"\x80\x00\x00\x00\x80\x00\x00\x00\x00\x00\x00\x00");
    seal(&mut block);
    refused(&[&block[..], &[0; 1024]].concat(), &[], &["size"]);
    octal(&mut block[124..136], 0o77_777_777_777);
    seal(&mut block);
    refused(&[&block[..], &[0; 1024]].concat(), &["--max-size", "1g"], &["limit"]);
}

#[test]
fn truncated_archives() {
    let tar = Tar::new().file("a", noise(100_000)).file("b", "x").bytes;
    for cut in [1, 511, 513, 50_000, tar.len() - 513, tar.len() - 1] {
        refused(&tar[..cut], &[], &["archive"]);
    }
    for way in WAYS {
        let place = Place::new();
        way.run(&place, &tar[..50_000], &[]).failed(&["archive"]);
        place.untouched();
        assert_eq!(place.kept(), [""; 0], "{way:?}: left behind");
    }
}

#[test]
fn truncated_gzip() {
    let packed = gzip(&Tar::new().file("a", noise(300_000)).end());
    for cut in [5, 1000, packed.len() / 2, packed.len() - 9, packed.len() - 4, packed.len() - 1] {
        refused(&packed[..cut], &[], &["gzip", "truncated"]);
    }
}

#[test]
fn truncated_zstd() {
    let packed = zstd(&Tar::new().file("a", noise(300_000)).end());
    for cut in [5, 1000, packed.len() / 2, packed.len() - 1] {
        refused(&packed[..cut], &[], &["zstd", "truncated"]);
    }
}

#[test]
fn damaged_compression() {
    let tar = Tar::new().file("a", noise(300_000)).end();
    for (name, packed) in [("gzip", gzip(&tar)), ("zstd", zstd(&tar))] {
        let mut flipped = packed.clone();
        let last = flipped.len() - 6;
        flipped[last] ^= 1;
        refused(&flipped, &[], &["the layer"]);
        refused(&[&packed[..], b"garbage"].concat(), &[], &[name]);
        refused(&[&packed[..], b"garbage of some length"].concat(), &[], &[name, "garbage"]);
        assert_eq!(names(&imports(&packed, &[]).layer()), ["a"]);
    }
}

/// A file of 10 GiB that is but a byte, in GNU tar's old sparse form.
fn sparse_bomb(length: u64) -> Vec<u8> {
    let mut block = Header { name: b"bomb", kind: b'S', link: b"", mode: 0o644, size: 512, device: (0, 0) }.bytes();
    block[257..265].copy_from_slice(b"ustar  \0");
    block[345..500].fill(0);
    octal(&mut block[386..398], length - 512);
    octal(&mut block[398..410], 512);
    octal(&mut block[483..495], length);
    seal(&mut block);
    Tar { bytes: block.to_vec() }.data(&[b'x'; 512]).end()
}

#[test]
fn a_sparse_bomb_of_10_gib() {
    let length = 10 << 30;
    let place = imports(&sparse_bomb(length), &[]);
    let meta = fs::metadata(place.layer().join("bomb")).unwrap();
    assert_eq!(meta.size(), length);
    assert!(meta.blocks() * 512 < MIB as u64, "{} blocks: it must stay sparse", meta.blocks());
    for way in WAYS {
        let place = Place::new();
        way.run(&place, &sparse_bomb(length), &["--max-size", "1g"]).failed(&["unpacked size", "limit"]);
        place.untouched();
        assert_eq!(place.kept(), [""; 0], "{way:?}: left behind");
    }
    refused(&sparse_bomb(1 << 45), &[], &["limit of 68719476736 bytes"]);
    refused(&sparse_bomb((1 << 62) + 5), &[], &["size"]);
}

#[test]
fn a_pax_sparse_bomb() {
    let map = [&b"1\n1099511627264\n512\n"[..], &[0; 492]].concat();
    let records: [(&[u8], &[u8]); 4] = [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", b"bomb"),
        (b"GNU.sparse.realsize", b"1099511627776"),
    ];
    let tar = Tar::new().pax(&records).file("x", [map, vec![b'x'; 512]].concat()).end();
    refused(&tar, &[], &["unpacked size", "limit"]);
}

#[test]
fn a_gzip_bomb() {
    // 64 MiB of zeros are 64 KB of gzip; they are written as a hole.
    let tar = Tar::new().file("zeros", vec![0; 64 * MIB]).end();
    let bomb = gzip(&tar);
    assert!(bomb.len() < MIB);
    for way in WAYS {
        let place = Place::new();
        // By the other ways it is packed as it goes in.
        let layer = if let Way::Import = way { &bomb } else { &tar };
        way.run(&place, layer, &["--max-size", "16m"]).failed(&["unpacked size", "limit of 16777216 bytes"]);
        place.untouched();
        assert_eq!(place.kept(), [""; 0], "{way:?}: left behind");
    }
    let meta = fs::metadata(imports(&bomb, &[]).layer().join("zeros")).unwrap();
    assert_eq!(meta.size(), 64 * MIB as u64);
    assert!(meta.blocks() * 512 < MIB as u64);
}

#[test]
fn many_small_files_count_together() {
    let mut tar = Tar::new();
    for number in 0..100 {
        tar = tar.file(number.to_string(), vec![b'x'; 100_000]);
    }
    refused(&tar.end(), &["--max-size", "5m"], &["limit of 5242880 bytes"]);
}

#[test]
fn a_bomb_behind_the_end() {
    // Nothing of it is written, but all of it would be read and hashed.
    let tar = [Tar::new().file("a", "x").end(), vec![0; 65 * MIB]].concat();
    refused(&gzip(&tar), &[], &["after the archive's end", "limit"]);
    let tar = [Tar::new().file("a", "x").end(), vec![0; MIB]].concat();
    imports(&gzip(&tar), &[]);
}

#[test]
fn a_zstd_frame_that_wants_much_memory() {
    // A window of 2^41 bytes (RFC 8878, 3.1.1.1.2), and one of 512 MiB.
    for window in [0xf8, 0x98] {
        refused(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, window, 0x01, 0x00, 0x00], &[], &["zstd", "window"]);
    }
}

#[test]
fn what_must_be_remembered_is_bounded() {
    // The attributes of directories are set at the end; a bomb of them is small when it is packed.
    let value = vec![b'x'; 1_000_000];
    let mut tar = Tar::new();
    for number in 0..80 {
        tar = tar.pax(&[(b"SCHILY.xattr.user.x", &value)]).dir(number.to_string(), 0o755);
    }
    refused(&gzip(&tar.end()), &[], &["directories", "limit"]);
    // The names of an archive's members are remembered, too.
    let mut tar = Tar::new();
    for number in 0..40 {
        tar = tar.file(format!("{number}{}", "n".repeat(1_000_000)), "");
    }
    let place = Place::new();
    let file = place.input("saved.tar", &gzip(&tar.end()));
    place.refuses(&["load", "-i", file.to_str().unwrap()], &["names of the members", "limit"]);
}
