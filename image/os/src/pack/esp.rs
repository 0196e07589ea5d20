//! The EFI system partition: FAT32 with systemd-boot and one UKI.

use std::fs;
use std::path::Path;

use super::tool::{Tool, tool};
use super::{At, Error, input};
use crate::guid::Guid;
use crate::layout::{self, Arch};
use crate::slots::{Slot, Trial, Version};

/// systemd-boot's menu does not show unless a key is held; its editor would let anyone at the console change the kernel's
/// arguments (loader.conf(5)).
const LOADER_CONF: &str = "timeout 0\neditor no\n";

/// What goes onto the partition.
#[derive(Debug)]
pub struct Esp<'a> {
    /// `systemd-bootx64.efi` or `systemd-bootaa64.efi`.
    pub loader: &'a Path,
    /// The UKI.
    pub uki: &'a Path,
    /// Version of the OS: one that [`slots`](crate::slots) reads back from the UKI's name.
    pub version: &'a Version,
    /// For what it is built.
    pub arch: Arch,
}

/// Make the file system in the image `disk`, `size` bytes from `start`, which are zero. mtools take the time from `epoch`.
///
/// By mkfs.fat and mtools: folders made by the crate fatfs 0.3 do not pass fsck.fat.
///
/// # Errors
/// When a part or a tool is missing, or the files do not fit.
pub fn write(esp: &Esp, epoch: u32, disk: &Path, start: u64, size: u64) -> Result<(), Error> {
    let serial = Guid::derive(esp.version.as_str(), "esp").bytes();
    let serial = u32::from_le_bytes([serial[0], serial[1], serial[2], serial[3]]);
    tool("mkfs.fat", "dosfstools")
        .args(["--invariant", "-F", "32", "-s", "8", "-n", layout::ESP_LABEL, "-i", &format!("{serial:08x}")])
        .arg(format!("--offset={}", start / 512))
        .arg(disk)
        .arg((size / 1024).to_string())
        .run()?;
    let name = disk.to_str().ok_or_else(|| input(disk, "mtools want a name in UTF-8"))?;
    let image = format!("{name}@@{start}");
    let mtool =
        |name| -> Tool { tool(name, "mtools").env("SOURCE_DATE_EPOCH", epoch.to_string()).args(["-i", &image]) };
    mtool("mmd").args(["::EFI", "::EFI/BOOT", "::EFI/systemd", "::EFI/Linux", "::loader"]).run()?;
    let config = disk.with_extension("loader.conf");
    fs::write(&config, LOADER_CONF).at("write", &config)?;
    let suffix = esp.arch.efi_suffix();
    // What is installed is good by definition: there is nothing to fall back on.
    let slot = Slot { version: esp.version.clone(), trial: Trial::Blessed };
    let files = [
        (esp.loader, format!("EFI/BOOT/BOOT{}.EFI", suffix.to_uppercase())),
        (esp.loader, format!("EFI/systemd/systemd-boot{suffix}.efi")),
        (&config, "loader/loader.conf".to_owned()),
        (esp.uki, format!("{}/{slot}", layout::UKI_DIR)),
    ];
    let copied =
        files.iter().try_for_each(|(from, to)| mtool("mcopy").arg(from).arg(format!("::{to}")).run().map(drop));
    copied.and(fs::remove_file(&config).at("remove", &config))
}
