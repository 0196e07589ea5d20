//! Archives that `ctr cp` and `tar` unpack: whatever they hold, nothing beside the folder is touched.
#![no_main]
#![allow(dead_code, reason = "the applets are parts of a program, and here is only what reads")]

use std::fs::{self, File};

use coracle_image_oci::decompress::Compression;
use coracle_image_oci::tarball::Kind;

#[path = "../../applets/archive/mod.rs"]
mod archive;
#[path = "../../applets/common.rs"]
mod common;
#[path = "../shared/registry.rs"]
mod registry;
#[path = "../shared/tar.rs"]
mod sealing;
#[path = "../shared/system.rs"]
mod system;
#[path = "../shared/text.rs"]
mod text;

/// More than this is not unpacked: the machine's memory is the disk.
const BYTES_MAX: u64 = 16 << 20;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let archive = sealing::sealed(data);
    // What comes out of a packed one is the target `compression`'s matter.
    if Compression::detect(&archive) != Compression::Plain {
        return;
    }
    let mut reader = coracle_image_oci::tarball::Archive::new(&archive[..]);
    let mut bytes = 0u64;
    while let Ok(Some(entry)) = reader.next_entry() {
        bytes = bytes.saturating_add(entry.size);
        // A device of the host is not the archive's business, but could be the machine's.
        if matches!(entry.kind, Kind::CharDevice | Kind::BlockDevice) || bytes > BYTES_MAX {
            return;
        }
    }
    let place = tempfile::tempdir().expect("a folder");
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    fs::create_dir(&root).expect("a folder");
    fs::write(&outside, "untouched").expect("a file");
    let folder = File::open(&root).expect("the folder").into();
    let _ = archive::tar::unpack_into(folder, &mut &archive[..], "untar", true);
    assert_eq!(fs::read(&outside).expect("the file"), b"untouched");
    assert_eq!(fs::read_dir(place.path()).expect("the folder").count(), 2);
});
