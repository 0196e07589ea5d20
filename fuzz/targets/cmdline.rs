//! The kernel command line.
#![no_main]

use coracle_init::cmdline::Cmdline;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = Cmdline::parse(text);
});
