//! `WWW-Authenticate` headers of a registry.
#![no_main]

use coracle_image_oci::registry::parse_challenges;

libfuzzer_sys::fuzz_target!(|text: &str| {
    for challenge in parse_challenges(text) {
        assert!(!challenge.scheme.is_empty());
        let _ = challenge.value("realm");
    }
});
