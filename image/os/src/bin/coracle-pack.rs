//! Makes the OS image on the build host. `image/build.sh` calls it; see `--help`.
#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use coracle_image_os::layout::Arch;
use coracle_image_os::pack::{disk, esp, initramfs, qcow2, root, sbom, uki};
use coracle_image_os::slots::Version;

/// Make the OS image of one version: initramfs, UKI, disk images, SBOM.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Architecture: x86_64 or arm64.
    #[arg(long, value_parser = |name: &str| Arch::from_name(name).ok_or("x86_64 or arm64"))]
    arch: Arch,
    /// The static multicall binary.
    #[arg(long)]
    binary: PathBuf,
    /// The static program that is /init in the initramfs.
    #[arg(long)]
    init: PathBuf,
    /// File with the applets' names, one a line: what `coracle --list` printed.
    #[arg(long)]
    applets: PathBuf,
    /// Files to copy into the root as they are.
    #[arg(long)]
    skeleton: PathBuf,
    /// Folder with vmlinuz.efi and the file `version`: what kernel/build.sh makes.
    #[arg(long)]
    kernel: PathBuf,
    /// Folder with systemd's stub and systemd-boot for the architecture.
    #[arg(long)]
    systemd_boot: PathBuf,
    /// What `cargo metadata --locked --format-version 1 --filter-platform TARGET` printed.
    #[arg(long)]
    metadata: PathBuf,
    /// The workspace's Cargo.lock.
    #[arg(long)]
    lock: PathBuf,
    /// Bundle of CA certificates (PEM).
    #[arg(long, default_value = "/etc/ssl/certs/ca-certificates.crt")]
    certificates: PathBuf,
    /// Version of the OS.
    #[arg(long)]
    version_id: Version,
    /// Time that all files get, in seconds of the Unix epoch.
    #[arg(long)]
    epoch: u32,
    /// Folder for what is made.
    #[arg(long)]
    out: PathBuf,
}

fn main() -> ExitCode {
    match pack(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("coracle-pack: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn pack(args: &Arguments) -> Result<()> {
    let applets = std::fs::read_to_string(&args.applets).with_context(|| format!("read {}", args.applets.display()))?;
    let applets: Vec<String> = applets.lines().map(str::to_owned).collect();
    let root = root::Root {
        binary: &args.binary,
        applets: &applets,
        skeleton: &args.skeleton,
        certificates: &args.certificates,
        version: args.version_id.as_str(),
        arch: args.arch,
        epoch: args.epoch,
    };
    std::fs::create_dir_all(&args.out).with_context(|| format!("create {}", args.out.display()))?;
    let scratch = tempfile::Builder::new().prefix(".pack-").tempdir_in(&args.out).context("make a scratch folder")?;
    let (tree, root_image) = (scratch.path().join("root"), scratch.path().join("root.erofs"));
    std::fs::create_dir(&tree)?;
    root::lay_out(&root, &tree)?;
    root::erofs(&tree, &root_image, &root)?;
    say(&root_image, "root")?;
    let initramfs = args.out.join("initramfs.cpio.zst");
    initramfs::write(&args.init, &root_image, args.epoch, &initramfs)?;
    say(&initramfs, "initramfs")?;
    let kernel_version = first_line(&args.kernel.join("version"))?;
    let uki = args.out.join("coracle.efi");
    let parts = uki::Parts {
        stub: &args.systemd_boot.join(format!("linux{}.efi.stub", args.arch.efi_suffix())),
        kernel: &args.kernel.join("vmlinuz.efi"),
        initramfs: &initramfs,
        os_release: &root::os_release(&root),
        kernel_release: &kernel_version,
        arch: args.arch,
    };
    uki::write(&parts, &uki)?;
    say(&uki, "UKI")?;
    let esp = esp::Esp {
        loader: &args.systemd_boot.join(format!("systemd-boot{}.efi", args.arch.efi_suffix())),
        uki: &uki,
        version: &args.version_id,
        arch: args.arch,
    };
    let (raw, qcow2) = (args.out.join("coracle.raw"), args.out.join("coracle.qcow2"));
    disk::write(&esp, args.epoch, &raw)?;
    qcow2::write(&raw, &qcow2)?;
    say(&qcow2, "disk (qcow2; coracle.raw is the same, sparse)")?;
    let sources = sbom::Sources {
        metadata: &args.metadata,
        lock: &args.lock,
        kernel: &kernel_version,
        systemd_boot: &first_line(&args.systemd_boot.join("version"))?,
        version: args.version_id.as_str(),
        arch: args.arch,
    };
    sbom::write(&sources, &args.out.join("sbom.cdx.json"))?;
    Ok(())
}

fn first_line(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// One line per artefact.
fn say(path: &Path, what: &str) -> Result<()> {
    let size = std::fs::metadata(path).with_context(|| format!("examine {}", path.display()))?.len();
    eprintln!("image: {what}, {size} bytes");
    Ok(())
}
