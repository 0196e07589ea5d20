//! `mount`: attach a file system to the tree (util-linux mount(8)).

use std::ffi::OsString;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use clap::Parser;
use nix::errno::Errno;
use nix::mount::MsFlags;

use super::mount_options::MountOptions;
use super::mount_table::{self, TabEntry, type_fits};
use super::superblock;
use crate::common;
use crate::registry::{Applet, Dir};

/// `mount`.
pub const APPLET: Applet =
    Applet { name: "mount", aliases: &[], dir: Dir::Bin, summary: "attach a file system to the tree", run };

/// Exit statuses of mount(8).
const USAGE_ERROR: i32 = 1;
const FAILURE: i32 = 32;
const SOME_FAILED: i32 = 64;

const FSTAB: &str = "/etc/fstab";

/// Flags that belong to the mount and are kept by a remount that does not name them.
const KEPT: &[(&str, MsFlags)] = &[
    ("ro", MsFlags::MS_RDONLY),
    ("nosuid", MsFlags::MS_NOSUID),
    ("nodev", MsFlags::MS_NODEV),
    ("noexec", MsFlags::MS_NOEXEC),
    ("noatime", MsFlags::MS_NOATIME),
    ("relatime", MsFlags::MS_RELATIME),
    ("nodiratime", MsFlags::MS_NODIRATIME),
];

#[derive(Parser)]
#[command(name = "mount", about = "Attach a file system to the tree; without operands, list what is mounted")]
struct Options {
    /// Everything in fstab that is not `noauto` and not mounted yet
    #[arg(short, long, conflicts_with_all = ["source", "target"])]
    all: bool,
    /// Type of the file system; for -a and for listing a list, `no` in front for all others
    #[arg(short = 't', long = "types", value_name = "TYPE")]
    fs_type: Option<String>,
    /// Options, comma-separated
    #[arg(short, long, value_name = "LIST", action = clap::ArgAction::Append)]
    options: Vec<String>,
    /// Read-only
    #[arg(short, long)]
    read_only: bool,
    /// Read and write (the default)
    #[arg(short = 'w', long, visible_alias = "rw", conflicts_with = "read_only")]
    read_write: bool,
    /// Show a folder or file at a second place
    #[arg(short = 'B', long)]
    bind: bool,
    /// The same with all mounts below it
    #[arg(short = 'R', long)]
    rbind: bool,
    /// Move a mount to another place
    #[arg(short = 'M', long = "move")]
    move_mount: bool,
    #[arg(long, help = "Share mount events with the copies")]
    make_shared: bool,
    #[arg(long, help = "Only receive them")]
    make_slave: bool,
    #[arg(long, help = "Neither share nor receive them")]
    make_private: bool,
    #[arg(long, help = "The same, and refuse to be bound")]
    make_unbindable: bool,
    #[arg(long, help = "With all mounts below")]
    make_rshared: bool,
    #[arg(long, help = "With all mounts below")]
    make_rslave: bool,
    #[arg(long, help = "With all mounts below")]
    make_rprivate: bool,
    #[arg(long, help = "With all mounts below")]
    make_runbindable: bool,
    /// Make the mount point if it is missing
    #[arg(short = 'm', long)]
    mkdir: bool,
    /// Read this instead of /etc/fstab
    #[arg(short = 'T', long, value_name = "FILE", default_value = FSTAB)]
    fstab: PathBuf,
    /// Say what was mounted
    #[arg(short, long)]
    verbose: bool,
    /// Device, LABEL=, UUID=, PARTLABEL=, 9p or virtiofs tag, folder to bind
    source: Option<String>,
    /// Mount point
    target: Option<PathBuf>,
}

fn run(args: &[OsString]) -> i32 {
    let name = common::called_as(args);
    let options: Options = match common::parse(args, USAGE_ERROR) {
        Ok(options) => options,
        Err(status) => return status,
    };
    let result = options.act(&name);
    // A failed mount has a status of its own; a closed pipe while listing has not.
    let failed = result.as_ref().is_err_and(|error| error.downcast_ref::<io::Error>().is_none());
    let status = common::finish(&name, result);
    if failed && status == 1 { FAILURE } else { status }
}

impl Options {
    fn act(&self, called: &str) -> anyhow::Result<i32> {
        let mut options = self.parsed_options()?;
        match (&self.source, &self.target) {
            (None, _) if self.all => return self.mount_all(called),
            (None, _) => self.list()?,
            (Some(source), Some(target)) => {
                self.mount(source, target, self.fs_type.as_deref(), &options)?;
            }
            (Some(place), None) if options.flags.contains(MsFlags::MS_REMOUNT) || options.only_propagation() => {
                self.mount("none", Path::new(place), None, &options)?;
            }
            (Some(place), None) => {
                let table = mount_table::fstab(&self.fstab)?;
                let entry = table.iter().find(|entry| entry.target == Path::new(place) || entry.source == *place);
                let entry = entry
                    .with_context(|| format!("{place}: not in {}; name a mount point too", self.fstab.display()))?;
                let given = options;
                options = MountOptions::default();
                options.add(&entry.options)?;
                options.flags |= given.flags;
                options.data.extend(given.data);
                options.propagation.extend(given.propagation);
                self.mount(&entry.source, &entry.target, Some(&entry.fs_type), &options)?;
            }
        }
        Ok(0)
    }

    /// What the command line asks for, words and switches alike.
    fn parsed_options(&self) -> anyhow::Result<MountOptions> {
        let mut options = MountOptions::default();
        for list in &self.options {
            options.add(list)?;
        }
        let switches = [
            (self.read_only, "ro"),
            (self.read_write, "rw"),
            (self.bind, "bind"),
            (self.rbind, "rbind"),
            (self.move_mount, "move"),
            (self.make_shared, "shared"),
            (self.make_slave, "slave"),
            (self.make_private, "private"),
            (self.make_unbindable, "unbindable"),
            (self.make_rshared, "rshared"),
            (self.make_rslave, "rslave"),
            (self.make_rprivate, "rprivate"),
            (self.make_runbindable, "runbindable"),
        ];
        for (_, word) in switches.iter().filter(|(on, _)| *on) {
            options.add(word)?;
        }
        Ok(options)
    }

    fn list(&self) -> anyhow::Result<()> {
        let mut out = io::stdout().lock();
        for mount in mount_table::mounts()?.iter().filter(|mount| type_fits(self.fs_type.as_deref(), &mount.fs_type)) {
            let (target, options) = (mount.target.display(), mount.all_options());
            writeln!(out, "{} on {target} type {} ({options})", mount.source, mount.fs_type)?;
        }
        Ok(())
    }

    fn mount_all(&self, called: &str) -> anyhow::Result<i32> {
        let given = self.parsed_options()?;
        let mounted = mount_table::mounts()?;
        let (mut tried, mut failed) = (0, 0);
        for entry in mount_table::fstab(&self.fstab)? {
            let mut options = given.clone();
            options.add(&entry.options)?;
            let is_there = mounted.iter().any(|mount| mount.target == entry.target);
            let passed = type_fits(self.fs_type.as_deref(), &entry.fs_type) && entry.fs_type != "swap";
            if options.noauto || is_there || !passed || entry.target == Path::new("none") {
                continue;
            }
            tried += 1;
            if let Err(error) = self.mount_entry(&entry, &options)
                && !options.nofail
            {
                writeln!(io::stderr(), "{called}: {error:#}")?;
                failed += 1;
            }
        }
        Ok(match failed {
            0 => 0,
            failed if failed == tried => FAILURE,
            _ => SOME_FAILED,
        })
    }

    fn mount_entry(&self, entry: &TabEntry, options: &MountOptions) -> anyhow::Result<()> {
        self.mount(&entry.source, &entry.target, Some(&entry.fs_type), options)
    }

    fn mount(&self, source: &str, target: &Path, fs_type: Option<&str>, options: &MountOptions) -> anyhow::Result<()> {
        if self.mkdir {
            fs::create_dir_all(target).with_context(|| format!("cannot make {}", target.display()))?;
        }
        let operation = options.flags & (MsFlags::MS_BIND | MsFlags::MS_MOVE | MsFlags::MS_REMOUNT);
        if options.only_propagation() {
            // Nothing is mounted: only how events spread is changed.
        } else if operation.contains(MsFlags::MS_REMOUNT) {
            self.remount(target, options)?;
        } else if operation.contains(MsFlags::MS_BIND) {
            bind(source, target, options)?;
        } else if operation.contains(MsFlags::MS_MOVE) {
            call(Some(source), target, None, MsFlags::MS_MOVE, None)?;
        } else {
            attach(source, target, fs_type, options)?;
        }
        for flags in &options.propagation {
            call(None, target, None, *flags, None)?;
        }
        if self.verbose {
            writeln!(io::stdout(), "mount: {source} mounted on {}", target.display())?;
        }
        Ok(())
    }

    /// Change the flags of a mount. Those that are not named stay as they are.
    fn remount(&self, target: &Path, options: &MountOptions) -> anyhow::Result<()> {
        let place = fs::canonicalize(target).with_context(|| format!("{}: no such mount point", target.display()))?;
        let mounts = mount_table::mounts()?;
        let now = mounts.iter().rev().find(|mount| mount.target == place);
        let now = now.with_context(|| format!("{}: not a mount point", target.display()))?;
        let mut whole = MountOptions::default();
        for (word, _) in KEPT.iter().filter(|(word, _)| now.options.iter().any(|option| option == word)) {
            whole.add(word)?;
        }
        for list in &self.options {
            whole.add(list)?;
        }
        if self.read_only || self.read_write {
            whole.add(if self.read_only { "ro" } else { "rw" })?;
        }
        let flags = whole.flags | (options.flags & MsFlags::MS_BIND);
        call(Some(&now.source), target, Some(&now.fs_type), flags, options.data().as_deref())
    }
}

/// Bind, and set the flags of the new mount, which the kernel takes only in a second step.
fn bind(source: &str, target: &Path, options: &MountOptions) -> anyhow::Result<()> {
    let recursive = options.flags & MsFlags::MS_REC;
    call(Some(source), target, None, MsFlags::MS_BIND | recursive, None)?;
    let rest = options.flags.difference(MsFlags::MS_BIND | MsFlags::MS_REC);
    if rest.is_empty() {
        return Ok(());
    }
    let result = call(None, target, None, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | rest, None);
    if result.is_err() {
        // A bind mount without the protection that was asked for must not stay.
        let _ = nix::mount::umount2(target, nix::mount::MntFlags::MNT_DETACH);
    }
    result
}

/// Mount a file system, finding its device and type.
fn attach(source: &str, target: &Path, fs_type: Option<&str>, options: &MountOptions) -> anyhow::Result<()> {
    let source = superblock::resolve(source)?;
    let data = options.data();
    let named = fs_type.filter(|name| *name != "auto" && !name.contains(','));
    if let Some(name) = named {
        return call(Some(&source), target, Some(name), options.flags, data.as_deref());
    }
    if let Some(found) = superblock::probe_path(Path::new(&source)).ok().flatten() {
        return call(Some(&source), target, Some(found.fs_type), options.flags, data.as_deref());
    }
    let tried = fs_type.filter(|name| name.contains(','));
    for name in tried.map_or_else(block_types, |list| list.split(',').map(str::to_owned).collect()) {
        match mount_call(Some(&source), target, Some(&name), options.flags, data.as_deref()) {
            Ok(()) => return Ok(()),
            Err(Errno::EINVAL | Errno::ENODEV) => {}
            Err(errno) => return Err(explain(errno, Some(&source), target, Some(&name))),
        }
    }
    anyhow::bail!("{source}: holds no file system that the kernel knows; name its type with -t")
}

/// Types of the kernel that live on a block device.
fn block_types() -> Vec<String> {
    let text = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    text.lines().filter(|line| !line.starts_with("nodev")).map(|line| line.trim().to_owned()).collect()
}

fn mount_call(
    source: Option<&str>,
    target: &Path,
    fs_type: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> nix::Result<()> {
    let result = nix::mount::mount(source, target, fs_type, flags, data);
    if result == Err(Errno::EACCES) && !flags.intersects(MsFlags::MS_RDONLY | MsFlags::MS_REMOUNT | MsFlags::MS_BIND) {
        // A write-protected device is mounted read-only, as mount(8) does it.
        return nix::mount::mount(source, target, fs_type, flags | MsFlags::MS_RDONLY, data);
    }
    result
}

fn call(
    source: Option<&str>,
    target: &Path,
    fs_type: Option<&str>,
    flags: MsFlags,
    data: Option<&str>,
) -> anyhow::Result<()> {
    mount_call(source, target, fs_type, flags, data).map_err(|errno| explain(errno, source, target, fs_type))
}

/// The kernel has few error numbers for many causes: say the likely one.
fn explain(errno: Errno, source: Option<&str>, target: &Path, fs_type: Option<&str>) -> anyhow::Error {
    let what = source.unwrap_or("it");
    let kind = fs_type.map(|name| format!(" as {name}")).unwrap_or_default();
    let hint = match errno {
        _ if !target.exists() => "; the mount point does not exist".to_owned(),
        Errno::ENOENT => format!("; {what} does not exist"),
        Errno::ENODEV => "; the kernel does not know this type".to_owned(),
        Errno::EINVAL => "; wrong type, bad option or bad superblock: `dmesg | tail` may tell more".to_owned(),
        Errno::ENOTBLK => "; a block device is needed".to_owned(),
        Errno::EBUSY => "; it is mounted already, or the mount point is in use".to_owned(),
        Errno::EPERM => "; only root may mount".to_owned(),
        _ => String::new(),
    };
    anyhow::anyhow!("cannot mount {what} on {}{kind}: {}{hint}", target.display(), errno.desc())
}
