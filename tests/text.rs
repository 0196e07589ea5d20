//! The text tools against the GNU tools of the host; see `compare`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cases {
    pub mod grep;
}

mod compare;

use compare::{Case, compare};

#[test]
fn grep() {
    compare("grep", cases::grep::CASES);
}
