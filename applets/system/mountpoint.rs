//! `mountpoint`: is a folder a mount point (util-linux mountpoint(1))?

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Parser;
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags, major, minor};

use crate::common;
use crate::registry::{Applet, Dir};

/// `mountpoint`.
pub const APPLET: Applet =
    Applet { name: "mountpoint", aliases: &[], dir: Dir::Bin, summary: "tell whether a folder is a mount point", run };

/// Exit status if it is none.
const NOT_A_MOUNTPOINT: i32 = 32;

#[derive(Parser)]
#[command(name = "mountpoint", about = "Tell whether a folder is a mount point")]
struct Options {
    /// Say nothing, the exit status tells it
    #[arg(short, long)]
    quiet: bool,
    /// Say the file system's MAJOR:MINOR
    #[arg(short = 'd', long)]
    fs_devno: bool,
    /// Say the block device's MAJOR:MINOR
    #[arg(short = 'x', long, conflicts_with = "fs_devno")]
    devno: bool,
    /// A link is not what it leads to
    #[arg(long)]
    nofollow: bool,
    /// Folder, file or device
    path: PathBuf,
}

fn run(args: &[OsString]) -> i32 {
    common::run(args, 1, |_, options: Options| tell(&options))
}

fn tell(options: &Options) -> anyhow::Result<i32> {
    let shown = options.path.display();
    let mut out = io::stdout().lock();
    if options.devno {
        let meta = fs::metadata(&options.path).with_context(|| shown.to_string())?;
        if !meta.file_type().is_block_device() {
            writeln!(io::stderr(), "mountpoint: {shown}: not a block device")?;
            return Ok(NOT_A_MOUNTPOINT);
        }
        writeln!(out, "{}:{}", major(meta.rdev()), minor(meta.rdev()))?;
        return Ok(0);
    }
    let follow = if options.nofollow { AtFlags::SYMLINK_NOFOLLOW } else { AtFlags::empty() };
    let stat = match rustix::fs::statx(CWD, &options.path, follow, StatxFlags::BASIC_STATS) {
        Ok(stat) => stat,
        Err(error) if options.quiet => {
            // Quiet about what is not there, too, as scripts ask.
            let _ = error;
            return Ok(1);
        }
        Err(error) => return Err(error).with_context(|| shown.to_string()),
    };
    // Linux 5.8 tells.
    let is_mount = stat.stx_attributes_mask.contains(StatxAttributes::MOUNT_ROOT)
        && stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT);
    if options.fs_devno && is_mount {
        writeln!(out, "{}:{}", stat.stx_dev_major, stat.stx_dev_minor)?;
    } else if !options.quiet {
        writeln!(out, "{shown} is {}a mountpoint", if is_mount { "" } else { "not " })?;
    }
    Ok(if is_mount { 0 } else { NOT_A_MOUNTPOINT })
}
