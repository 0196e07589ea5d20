//! Compressed streams: whatever comes, decompression ends and asks for no more memory than a window.
#![no_main]

use std::io::Read;

use coracle_image_oci::decompress;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok((_, reader)) = decompress::reader(data) {
        let _ = std::io::copy(&mut reader.take(16 << 20), &mut std::io::sink());
    }
});
