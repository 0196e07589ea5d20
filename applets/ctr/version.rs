//! `ctr version`: works on any Linux host, with nothing set up.

use std::io::{self, Write};

use serde::Serialize;

use super::{Exit, format};

/// Show the version.
#[derive(clap::Args)]
pub struct Args {
    /// Print as `json`, or by a Go template
    #[arg(short, long, value_name = "FORMAT")]
    format: Option<String>,
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
    if let Some(format) = args.format.as_deref().filter(|format| !format.is_empty()) {
        let document = serde_json::to_value(Document { client: &version, server: &version })?;
        format::print_document(format, &document).map_err(|error| Exit { status: 64, error })?;
        return Ok(0);
    }
    let mut out = io::stdout().lock();
    writeln!(out, "Version:        {}", version.version)?;
    writeln!(out, "OS/Arch:        {}/{}", version.os, version.arch)?;
    writeln!(out, "Kernel version: {}", version.kernel_version)?;
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
