//! `ctr build`: images from Containerfiles.

pub mod containerfile;
mod ignore;
mod pattern;
