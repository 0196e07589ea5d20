//! Archives of images: whatever is let in is written again, and loaded again as it was.
//!
//! An input is an archive, or the files of one, each after a line `@@@ NAME`: then `@N` in a file stands for the digest of the N-th
//! file after it, and `@0` in its name for its own, which no fuzzer would find.
#![no_main]

use std::fs::File;
use std::io::{Seek, Write};

use coracle_image_oci::{Digest, PullOptions, Selected, Silent, Store};

#[path = "../shared/tar.rs"]
mod tar;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(dir) = tempfile::tempdir() else { return };
    let Ok(store) = Store::open(&dir.path().join("one")) else { return };
    let archive = if data.starts_with(b"@@@ ") { pack(data) } else { tar::sealed(data) };
    let options = PullOptions { platform: "linux/amd64".parse().expect("a platform"), ..PullOptions::default() };
    let Ok(images) = store.load_archive(file(&archive), &options, &Silent) else { return };
    for image in images {
        let id = image.id().clone();
        let mut saved = Vec::new();
        // A layer may hold what cannot be told apart any more; that is an error, never another archive.
        let names = image.names().to_vec();
        if store.save(&[Selected { image, names }], &mut saved).is_err() {
            continue;
        }
        let Ok(other) = Store::open(&dir.path().join("two")) else { return };
        let again = other.load_archive(file(&saved), &options, &Silent).expect("what was saved");
        assert!(again.iter().all(|image| *image.id() == id));
    }
});

fn file(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().expect("a file");
    file.write_all(bytes).and_then(|()| file.rewind()).expect("room for a file");
    file
}

/// The archive of files that are given one after the other.
fn pack(data: &[u8]) -> Vec<u8> {
    let mut files: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    for line in data.split_inclusive(|&byte| byte == b'\n') {
        match (line.strip_prefix(b"@@@ "), files.last_mut()) {
            (Some(name), _) => files.push((name.strip_suffix(b"\n").unwrap_or(name).to_vec(), Vec::new())),
            (None, Some((_, content))) => content.extend_from_slice(line),
            (None, None) => {}
        }
    }
    let mut digests: Vec<String> = Vec::new();
    for (name, content) in files.iter_mut().rev() {
        *content = with_digests(content, '1', &digests);
        if content.len() > 262 && content[257..262] == *b"ustar" {
            *content = tar::sealed(content);
        }
        digests.insert(0, Digest::of(content).hex().to_owned());
        *name = with_digests(name, '0', &digests);
    }
    let mut archive = Vec::new();
    for (name, content) in files {
        tar::append(&mut archive, &name, &content);
    }
    archive.extend([0; 1024]);
    archive
}

/// Put digests in the place of `@` and a digit; `first` is the first one's.
fn with_digests(text: &[u8], first: char, digests: &[String]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        let number = rest.peek().filter(|_| byte == b'@').map(|digit| usize::from(digit.wrapping_sub(first as u8)));
        match number.and_then(|number| digests.get(number)) {
            Some(digest) => {
                out.extend_from_slice(digest.as_bytes());
                rest.next();
            }
            None => out.push(byte),
        }
    }
    out
}
