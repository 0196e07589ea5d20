//! Programs that have the whole screen for text: vi and less.

pub mod less;
pub mod vi;
