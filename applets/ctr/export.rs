//! `ctr export`: a container's root file system as a tar archive, without what is mounted in it.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context, ensure};
use coracle_image_oci::{Marks, write_tree};

use super::record::{self, Record};
use super::rootfs::Rootfs;
use super::{events, files};

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
    let mut part = path.clone().into_os_string();
    part.push(format!(".{}.part", std::process::id()));
    let part = PathBuf::from(part);
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&part);
    let file = file.with_context(|| format!("cannot create {}", part.display()))?;
    // A container that does not run is mounted in another mount namespace, where the output's path may mean another mount.
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| ".".as_ref());
    let folder = std::fs::File::open(folder).with_context(|| format!("cannot open {}", folder.display()))?;
    let (from, to) = (part.file_name().unwrap_or_default(), path.file_name().context("the output has no name")?);
    let written = write(&record, &file).and_then(|()| file.sync_all().context("cannot write the archive"));
    if let Err(error) = written {
        let _ = rustix::fs::unlinkat(&folder, from, rustix::fs::AtFlags::empty());
        let _ = files::remove(&part);
        return Err(error);
    }
    rustix::fs::renameat(&folder, from, &folder, to).with_context(|| format!("cannot create {}", path.display()))?;
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
