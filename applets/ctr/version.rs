//! `ctr version`: works on any Linux host, with nothing set up.

use std::io::{self, Write};

use clap::ValueEnum;
use serde::Serialize;

/// Show the version.
#[derive(clap::Args)]
pub struct Args {
    /// Output format
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<Format>,
}

/// Machine-readable output formats.
#[derive(Clone, Copy, ValueEnum)]
pub enum Format {
    /// One JSON document.
    Json,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Version {
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    kernel_version: String,
}

/// Docker's document; client and engine are the same program here.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Document<'a> {
    client: &'a Version,
    server: &'a Version,
}

/// Print the version.
pub fn run(args: &Args) -> anyhow::Result<i32> {
    let version = Version {
        version: env!("CARGO_PKG_VERSION"),
        os: "linux",
        arch: goarch(),
        kernel_version: rustix::system::uname().release().to_string_lossy().into_owned(),
    };
    let mut out = io::stdout().lock();
    match args.format {
        Some(Format::Json) => {
            serde_json::to_writer(&mut out, &Document { client: &version, server: &version })?;
            writeln!(out)?;
        }
        None => {
            writeln!(out, "Version:        {}", version.version)?;
            writeln!(out, "OS/Arch:        {}/{}", version.os, version.arch)?;
            writeln!(out, "Kernel version: {}", version.kernel_version)?;
        }
    }
    Ok(0)
}

/// The architecture by the name that OCI documents use.
pub fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
