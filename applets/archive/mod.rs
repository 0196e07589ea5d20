//! Archives and compressed files: tar, gzip, zstd.
//!
//! `compressor` is what gzip and zstd have in common: which file becomes which, and that none is ever lost or half-written.

pub mod compressor;
pub mod gzip;
mod gzip_format;
mod level;
pub mod tar;
mod zstd_format;
