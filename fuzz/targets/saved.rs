//! Archives of images: whatever is let in is written again, and loaded again as it was.
#![no_main]

use std::io::{Seek, Write};

use coracle_image_oci::{PullOptions, Selected, Silent, Store};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(dir) = tempfile::tempdir() else { return };
    let (Ok(store), Ok(mut file)) = (Store::open(&dir.path().join("one")), tempfile::tempfile()) else { return };
    if file.write_all(data).and_then(|()| file.rewind()).is_err() {
        return;
    }
    let Ok(images) = store.load_archive(file, &PullOptions::default(), &Silent) else { return };
    for image in images {
        let id = image.id().clone();
        let mut saved = Vec::new();
        // A layer may hold what cannot be told apart any more; that is an error, never another archive.
        let names = image.names().to_vec();
        if store.save(&[Selected { image, names }], &mut saved).is_err() {
            continue;
        }
        let (Ok(other), Ok(mut file)) = (Store::open(&dir.path().join("two")), tempfile::tempfile()) else { return };
        if file.write_all(&saved).and_then(|()| file.rewind()).is_err() {
            return;
        }
        let again = other.load_archive(file, &PullOptions::default(), &Silent).expect("what was saved");
        assert!(again.iter().all(|image| *image.id() == id));
    }
});
