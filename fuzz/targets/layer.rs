//! Layers: whatever the archive holds, nothing beside its directory is touched.
#![no_main]

use std::fs::{self, File};

use coracle_image_oci::unpack::{Budget, DevicePolicy, Limits, unpack};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let mut archive = data.to_vec();
    archive.chunks_exact_mut(512).for_each(seal);
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

/// Give what looks like a header the right checksum, which no fuzzer would find.
fn seal(block: &mut [u8]) {
    if block[257..262] == *b"ustar" {
        block[148..156].fill(b' ');
        let sum: u32 = block.iter().map(|&byte| u32::from(byte)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    }
}
