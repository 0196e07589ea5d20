//! Layers: whatever the archive holds, nothing beside its directory is touched.
#![no_main]

use std::fs::{self, File};

use coracle_image_oci::unpack::{Budget, DevicePolicy, Limits, unpack};

#[path = "../shared/tar.rs"]
mod tar;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let archive = tar::sealed(data);
    let place = tempfile::tempdir().expect("a folder");
    let (root, outside) = (place.path().join("root"), place.path().join("outside"));
    fs::create_dir(&root).expect("a folder");
    fs::write(&outside, "untouched").expect("a file");
    let limits = Limits { bytes: 16 << 20, entries: 1000, reserve: 0 };
    let budget = Budget::new(limits, &root).expect("free space");
    let dir = File::open(&root).expect("the folder").into();
    let _ = unpack(&archive[..], dir, DevicePolicy::Refuse, &budget);
    assert_eq!(fs::read(&outside).expect("the file"), b"untouched");
    assert_eq!(fs::read_dir(place.path()).expect("the folder").count(), 2);
});
