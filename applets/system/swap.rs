//! `swapon`, `swapoff`, `mkswap` (util-linux swapon(8), mkswap(8)).

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Seek, SeekFrom, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use clap::Parser;

use super::{mount_table, superblock};
use crate::common;
use crate::registry::{Applet, Dir};

/// `swapon`.
pub const SWAPON: Applet =
    Applet { name: "swapon", aliases: &[], dir: Dir::Sbin, summary: "use swap areas", run: run_swapon };

/// `swapoff`.
pub const SWAPOFF: Applet =
    Applet { name: "swapoff", aliases: &[], dir: Dir::Sbin, summary: "use swap areas no more", run: run_swapoff };

/// `mkswap`.
pub const MKSWAP: Applet =
    Applet { name: "mkswap", aliases: &[], dir: Dir::Sbin, summary: "make a swap area", run: run_mkswap };

#[derive(Parser)]
#[command(name = "swapon", about = "Use swap areas; without a device, list those in use")]
struct OnOptions {
    /// All of /etc/fstab but those with noauto
    #[arg(short, long)]
    all: bool,
    /// Priority, 0 to 32767: the highest is used first
    #[arg(short, long, value_parser = clap::value_parser!(u16).range(0..=32767))]
    priority: Option<u16>,
    /// List those in use
    #[arg(short, long, conflicts_with_all = ["all", "priority", "devices"])]
    show: bool,
    /// Devices or files, LABEL= or UUID=
    devices: Vec<String>,
}

#[derive(Parser)]
#[command(name = "swapoff", about = "Use swap areas no more")]
struct OffOptions {
    /// All in use
    #[arg(short, long, required_unless_present = "devices")]
    all: bool,
    /// Devices or files, LABEL= or UUID=
    devices: Vec<String>,
}

#[derive(Parser)]
#[command(name = "mkswap", about = "Make a swap area of a device or file; what is in it is lost")]
struct MakeOptions {
    /// Label, 15 bytes at most
    #[arg(short = 'L', long)]
    label: Option<String>,
    /// UUID; random if it is not said
    #[arg(short = 'U', long)]
    uuid: Option<String>,
    /// Even where there is a file system
    #[arg(short, long)]
    force: bool,
    /// Device or file
    device: PathBuf,
}

fn run_swapon(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    match common::parse(args, 1) {
        Ok(options) => common::finish(&name, swapon(&name, &options)),
        Err(status) => status,
    }
}

fn run_swapoff(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    match common::parse(args, 1) {
        Ok(options) => common::finish(&name, swapoff(&name, &options)),
        Err(status) => status,
    }
}

fn run_mkswap(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    match common::parse(args, 1) {
        Ok(options) => common::finish(&name, mkswap(&options).map(|()| 0)),
        Err(status) => status,
    }
}

/// Swap areas in use, by the kernel's names.
///
/// # Errors
/// When /proc/swaps cannot be read.
pub fn active() -> io::Result<Vec<String>> {
    let text = fs::read_to_string("/proc/swaps")?;
    let names = text.lines().skip(1).filter_map(|line| line.split_whitespace().next());
    Ok(names.map(mount_table::unescape).collect())
}

fn swapon(name: &str, options: &OnOptions) -> anyhow::Result<i32> {
    let mut wanted: Vec<(String, Option<u16>)> =
        options.devices.iter().map(|device| (device.clone(), options.priority)).collect();
    if options.all {
        for entry in mount_table::fstab(Path::new("/etc/fstab"))? {
            let mut words = entry.options.split(',');
            if entry.fs_type == "swap" && !words.clone().any(|word| word == "noauto") {
                let priority = words.find_map(|word| word.strip_prefix("pri=")?.parse().ok());
                wanted.push((entry.source, priority.or(options.priority)));
            }
        }
    } else if wanted.is_empty() {
        let text = fs::read_to_string("/proc/swaps").context("cannot read /proc/swaps; is /proc mounted?")?;
        io::stdout().write_all(text.as_bytes())?;
        return Ok(0);
    }
    let active = active().unwrap_or_default();
    let one = |(source, priority): &(String, Option<u16>)| -> anyhow::Result<()> {
        let path = PathBuf::from(superblock::resolve(source)?);
        if options.all && active.iter().any(|used| Path::new(used) == path) {
            return Ok(());
        }
        coracle_abi::swap::swapon(&path, *priority)
            .with_context(|| format!("{}: cannot be used for swap", path.display()))
    };
    each(name, &wanted, one)
}

fn swapoff(name: &str, options: &OffOptions) -> anyhow::Result<i32> {
    let mut wanted = options.devices.clone();
    if options.all {
        wanted.extend(active().context("cannot read /proc/swaps; is /proc mounted?")?);
    }
    each(name, &wanted, |source| {
        let path = PathBuf::from(superblock::resolve(source)?);
        coracle_abi::swap::swapoff(&path).with_context(|| format!("{}: cannot be freed", path.display()))
    })
}

/// Do it for each; complain of those that fail.
fn each<T>(name: &str, all: &[T], one: impl Fn(&T) -> anyhow::Result<()>) -> anyhow::Result<i32> {
    let mut status = 0;
    for item in all {
        if let Err(error) = one(item) {
            writeln!(io::stderr(), "{name}: {error:#}")?;
            status = 1;
        }
    }
    Ok(status)
}

fn mkswap(options: &MakeOptions) -> anyhow::Result<()> {
    let path = &options.device;
    let shown = path.display();
    let meta = fs::metadata(path).with_context(|| format!("{shown}: cannot be examined"))?;
    let is_device = meta.file_type().is_block_device();
    ensure!(is_device || meta.is_file(), "{shown}: neither a block device nor a file");
    if !options.force
        && let Some(found) = superblock::probe_path(path).with_context(|| format!("{shown}: cannot be read"))?
        && found.fs_type != "swap"
    {
        anyhow::bail!("{shown}: there is a file system ({}) on it; -f overwrites it", found.fs_type);
    }
    // The kernel refuses exclusive use of a device that is mounted or swapped to.
    let exclusive = if is_device { libc::O_EXCL } else { 0 };
    let opened = File::options().read(true).write(true).custom_flags(exclusive).open(path);
    let mut file = opened.with_context(|| format!("{shown}: cannot be opened"))?;
    let length = file.seek(SeekFrom::End(0))?;
    let page = rustix::param::page_size();
    let uuid = match &options.uuid {
        Some(text) => parse_uuid(text).with_context(|| format!("{text}: not a UUID"))?,
        None => random_uuid()?,
    };
    let label = options.label.as_deref().unwrap_or_default();
    let header = header(length, page, uuid, label).with_context(|| shown.to_string())?;
    file.write_all_at(&header, 0)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{shown}: cannot be written"))?;
    if !is_device && meta.permissions().mode() & 0o077 != 0 {
        writeln!(io::stderr(), "mkswap: {shown}: others may read it; chmod 600 it")?;
    }
    let kib = (length / page as u64 - 1) * page as u64 / 1024;
    let label = if label.is_empty() { "no label".into() } else { format!("LABEL={label}") };
    writeln!(io::stdout(), "swap area of {kib} KiB, {label}, UUID={}", show_uuid(uuid))?;
    Ok(())
}

/// The first page (`union swap_header` of linux/swap.h, version 1).
fn header(length: u64, page: usize, uuid: [u8; 16], label: &str) -> anyhow::Result<Vec<u8>> {
    const VERSION: usize = 1024;
    const LAST_PAGE: usize = 1028;
    const UUID: usize = 1036;
    const LABEL: usize = 1052;
    const LABEL_LENGTH: usize = 16;
    ensure!(label.len() < LABEL_LENGTH, "the label has more than {} bytes", LABEL_LENGTH - 1);
    let pages = length / page as u64;
    ensure!(pages >= 10, "too small: ten pages of {page} bytes are the least");
    // The kernel's field has 32 bits; what is beyond stays unused.
    let last = u32::try_from(pages - 1).unwrap_or(u32::MAX);
    let mut bytes = vec![0; page];
    bytes[VERSION..VERSION + 4].copy_from_slice(&1u32.to_ne_bytes());
    bytes[LAST_PAGE..LAST_PAGE + 4].copy_from_slice(&last.to_ne_bytes());
    bytes[UUID..UUID + 16].copy_from_slice(&uuid);
    bytes[LABEL..LABEL + label.len()].copy_from_slice(label.as_bytes());
    bytes[page - 10..].copy_from_slice(b"SWAPSPACE2");
    Ok(bytes)
}

fn random_uuid() -> anyhow::Result<[u8; 16]> {
    let text =
        fs::read_to_string("/proc/sys/kernel/random/uuid").context("the kernel gives no UUID; is /proc mounted?")?;
    parse_uuid(text.trim()).context("the kernel's UUID is none")
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let dashes = text.len() == 36 && [8, 13, 18, 23].iter().all(|at| text.as_bytes()[*at] == b'-');
    let digits = text.replace('-', "");
    if !dashes || digits.len() != 32 || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    Some(u128::from_str_radix(&digits, 16).ok()?.to_be_bytes())
}

fn show_uuid(uuid: [u8; 16]) -> String {
    let hex = format!("{:032x}", u128::from_be_bytes(uuid));
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_recognised() {
        let uuid = parse_uuid("01234567-89ab-cdef-0123-456789abcdef").unwrap();
        let found = superblock::probe(&header(1 << 20, 4096, uuid, "SWAP").unwrap()).unwrap();
        assert_eq!(found.fs_type, "swap");
        assert_eq!(found.label.as_deref(), Some("SWAP"));
        assert_eq!(found.uuid.unwrap(), show_uuid(uuid));
    }

    #[test]
    fn what_cannot_be() {
        assert!(header(4096 * 9, 4096, [0; 16], "").is_err());
        assert!(header(1 << 20, 4096, [0; 16], "sixteen bytes!!!").is_err());
        for bad in ["", "01234567", "01234567-89ab-cdef-0123-456789abcdeg", "ä".repeat(18).as_str()] {
            assert!(parse_uuid(bad).is_none(), "{bad}");
        }
    }
}
