//! `ctr images`.

use std::io::{self, Write};

use serde_json::json;

use super::create::store;
use super::list::Format;

/// `images`.
#[derive(clap::Args)]
pub struct ImagesArgs {
    /// Print ids only
    #[arg(short, long)]
    quiet: bool,

    /// Print in another form than a table
    #[arg(long, value_enum)]
    format: Option<Format>,
}

/// List images.
pub fn images(args: &ImagesArgs) -> anyhow::Result<i32> {
    let images = store()?.images()?;
    let mut out = io::stdout().lock();
    if !args.quiet && args.format.is_none() {
        writeln!(out, "{:<40} {:<16} {:<14} SIZE", "REPOSITORY", "TAG", "IMAGE ID")?;
    }
    for image in &images {
        if args.quiet {
            writeln!(out, "{}", image.id().short())?;
            continue;
        }
        for name in image.names() {
            let tag = name.tag().unwrap_or("<none>");
            if args.format == Some(Format::Json) {
                let line = json!({
                    "Repository": name.familiar_name(), "Tag": tag, "ID": image.id().to_string(),
                    "Digest": image.manifest().to_string(), "Size": image.size(),
                });
                writeln!(out, "{line}")?;
            } else {
                let size = format!("{:.1} MB", image.size() as f64 / 1e6);
                writeln!(out, "{:<40} {tag:<16} {:<14} {size}", name.familiar_name(), image.id().short())?;
            }
        }
    }
    Ok(0)
}
