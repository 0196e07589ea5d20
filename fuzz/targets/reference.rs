//! Names of images and platforms: what is read is written so that it is read as the same.
#![no_main]

use coracle_image_oci::{Platform, Reference};

libfuzzer_sys::fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        assert_eq!(reference.to_string().parse::<Reference>().expect("its full form"), reference);
        assert_eq!(reference.familiar().parse::<Reference>().expect("its short form"), reference);
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().expect("its own form"), platform);
    }
});
