//! Text tools and archives: what works on files and streams and needs nothing of the system but files.

mod glob;
pub mod grep;
pub mod regex;
