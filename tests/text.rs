//! The text tools and file finders against tables of what the GNU tools print; see `table`.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

mod cases {
    pub mod diff;
    pub mod find;
    pub mod grep;
    pub mod sed;
    pub mod xargs;
}
mod fixture;
mod table;

use table::check;

#[test]
fn diff() {
    check("diff", cases::diff::CASES);
}

#[test]
fn find() {
    check("find", cases::find::CASES);
}

#[test]
fn grep() {
    check("grep", cases::grep::CASES);
}

#[test]
fn sed() {
    check("sed", cases::sed::CASES);
}

#[test]
fn xargs() {
    check("xargs", cases::xargs::CASES);
}
