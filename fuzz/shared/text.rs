//! The patterns that `tar` takes names by.

#[path = "../../applets/text/glob.rs"]
pub mod glob;
#[path = "regex.rs"]
pub mod regex;
