//! Signature policies, and the documents that signatures sign.
#![no_main]

use std::path::Path;

use coracle_image_oci::Policy;
use coracle_image_oci::policy::parse_payload;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    match Policy::parse(data, Path::new("policy.json")) {
        Ok(policy) => drop(policy.judge_file("oci", "image")),
        Err(error) => drop(error.to_string()),
    }
    let _ = parse_payload(data);
});
