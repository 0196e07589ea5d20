//! The archivers and compressors against the GNU tools and zstd of the host; see `compare`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cases {
    pub mod gzip;
}
mod compare;
mod fixture;

use compare::compare;

#[test]
fn gzip() {
    compare("gzip", cases::gzip::CASES);
}
