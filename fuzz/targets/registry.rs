//! What registries and their token services answer, but for manifests and challenges; and auth files. The first line says which.
#![no_main]

use std::path::Path;

use coracle_image_oci::registry::{credentials_in_file, next_page, read_refusal, read_tags, read_token};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let end = data.iter().position(|&byte| byte == b'\n').unwrap_or(data.len());
    let (kind, body) = (&data[..end], data.get(end + 1..).unwrap_or_default());
    match kind {
        b"token" => {
            if let Ok(token) = read_token(body) {
                assert!(!token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
        b"tags" => drop(read_tags(body)),
        b"link" => {
            let page = std::str::from_utf8(body).ok().and_then(next_page);
            assert!(page.is_none_or(|query| query.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')));
        }
        b"refusal" => assert!(!read_refusal(body).contains(char::is_control)),
        b"auth" => {
            for name in ["redis", "quay.io/team/x", "127.0.0.1:5000/x"] {
                let reference = name.parse().expect("a reference");
                let _ = credentials_in_file(body, Path::new("auth.json"), &reference);
            }
        }
        _ => {}
    }
});
