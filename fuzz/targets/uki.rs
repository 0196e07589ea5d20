//! Unified kernel images, as an update brings them.
#![no_main]

use std::io::Cursor;

use coracle_image_os::slots::Slot;
use coracle_image_os::uki::Uki;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(mut uki) = Uki::parse(Cursor::new(data)) {
        let _ = (uki.arch(), uki.version(), uki.command_line());
    }
    if let Ok(text) = std::str::from_utf8(data) {
        let _ = text.parse::<Slot>();
    }
});
