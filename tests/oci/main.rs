//! Hostile images and registries, met by the binary from the outside: `ctr pull`, `load` and `import` refuse or contain them,
//! say why, touch nothing outside the store and leave nothing behind.
//!
//! The registry is a thread of the test. Nothing here waits for a clock: what stalls is given up by `--stall-timeout`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot be set up fails")]

mod archives;
mod content;
mod documents;
mod honest;
mod image;
mod layers;
mod place;
mod progress;
mod push;
mod registry;
mod resume;
mod signatures;
mod tar;
mod tls;
mod transport;
mod whiteouts;
