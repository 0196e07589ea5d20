//! Text tools and archives: what works on files and streams and needs nothing of the system but files.

mod glob;
pub mod grep;
#[expect(dead_code, reason = "sed, which is to come, uses the rest")]
pub mod regex;
