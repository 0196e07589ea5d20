//! Manifests, indexes and image configurations.
#![no_main]

use coracle_image_oci::Platform;
use coracle_image_oci::manifest::{Document, parse, parse_config};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match parse(data, None) {
        Ok(Document::Manifest(manifest)) => drop(manifest.check_is_image()),
        Ok(Document::Index(index)) => drop(index.select(&Platform::host()).map(Clone::clone)),
        Err(error) => drop(error.to_string()),
    }
    let _ = parse_config(data, 1);
});
