//! Archives and compressed files: tar, gzip, zstd.
//!
//! `compressor` is what gzip and zstd have in common: which file becomes which, and that none is ever lost or half-written.

use std::fs;

pub mod compressor;
pub mod gzip;
mod gzip_format;
mod level;
pub mod tar;
pub mod zstd;
mod zstd_format;

/// The process's file mode creation mask.
pub fn umask() -> u32 {
    let text = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = text.lines().find_map(|line| line.strip_prefix("Umask:")).map(str::trim);
    mask.and_then(|mask| u32::from_str_radix(mask, 8).ok()).unwrap_or(0o022)
}
