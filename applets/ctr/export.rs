//! `ctr export`: a container's root file system as a tar archive, without what is mounted in it.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;

use anyhow::{Context, ensure};
use coracle_image_oci::{Marks, write_tree};

use super::events;
use super::record::{self, Record};
use super::rootfs::Rootfs;
use super::save::write_whole;

/// `export`.
#[derive(clap::Args)]
pub struct Args {
    /// Write to a file, which appears when it is complete
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Container, by name or id
    container: String,
}

/// Write the archive.
pub fn export(args: &Args) -> anyhow::Result<i32> {
    let record = Record::read(&record::resolve(&args.container)?)?;
    let Some(path) = &args.output else {
        ensure!(!io::stdout().is_terminal(), "cowardly refusing to save to a terminal. Use the -o flag or redirect");
        write(&record, io::stdout().lock())?;
        return Ok(0);
    };
    // The owners and secrets of all users are in it.
    write_whole(path, 0o600, |out| write(&record, out))?;
    Ok(0)
}

fn write(record: &Record, out: impl Write) -> anyhow::Result<()> {
    let rootfs = Rootfs::open_alone(record)?;
    let mut out = BufWriter::with_capacity(64 << 10, out);
    write_tree(rootfs.as_fd(), Marks::Plain, &mut out)?;
    out.flush().context("cannot write the archive")?;
    rootfs.close()?;
    events::of_container(record, "export", &[]);
    Ok(())
}
