//! Names, sizes and identifiers of the image: what the packer writes and the machine looks for.

use crate::guid::Guid;

/// Partition type of the EFI system partition (UEFI 2.10, table 5.7).
pub const ESP_TYPE: Guid =
    Guid::from_fields(0xc12a_7328, 0xf81f, 0x11d2, [0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b]);

/// Partition type of STATE: "variable data", `/var`, of the Discoverable Partitions Specification (UAPI.2).
///
/// The type fits what the partition is, and tools that know the specification show it as such. (systemd would mount it on its
/// own only if its GUID were bound to the machine id; ours is found by type and name.)
pub const STATE_TYPE: Guid =
    Guid::from_fields(0x4d21_b016, 0xb534, 0x45c2, [0xa9, 0xfb, 0x5c, 0x16, 0xe0, 0x91, 0xfd, 0x2d]);

/// GPT partition name and FAT label of the EFI system partition.
pub const ESP_LABEL: &str = "ESP";

/// GPT partition name and ext4 label of the partition that holds everything that is not the OS.
pub const STATE_LABEL: &str = "STATE";

/// Size of the EFI system partition in bytes: room for two versions, one being downloaded, and what a vendor may add.
pub const ESP_SIZE: u64 = 512 << 20;

/// Size of STATE in the image as it is downloaded; the machine grows it to its disk's end at first boot.
pub const STATE_SIZE: u64 = 128 << 20;

/// Where partitions start and end: multiples of 1 MiB, good for every flash erase block and RAID stripe.
pub const ALIGNMENT: u64 = 1 << 20;

/// The whole disk image: alignment, ESP, STATE, and room for the backup table.
pub const DISK_SIZE: u64 = ALIGNMENT + ESP_SIZE + STATE_SIZE + ALIGNMENT;

/// The EROFS image inside the initramfs.
pub const ROOT_IMAGE: &str = "root.erofs";

/// The binary inside the EROFS root.
pub const BINARY: &str = "usr/bin/coracle";

/// Folder of the UKIs on the ESP (Boot Loader Specification, type 2 entries).
pub const UKI_DIR: &str = "EFI/Linux";

/// A processor architecture that images are made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// x86_64, PC firmware.
    X86_64,
    /// AArch64, SBSA and QEMU `virt`.
    Arm64,
}

impl Arch {
    /// The architecture by the name that `out/ARCH` and `make image ARCH=` use.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "x86_64" => Some(Arch::X86_64),
            "arm64" => Some(Arch::Arm64),
            _ => None,
        }
    }

    /// The name in `out/ARCH`.
    pub fn name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86_64",
            Arch::Arm64 => "arm64",
        }
    }

    /// What `uname -m` says and `ARCHITECTURE=` in os-release wants in systemd's spelling.
    pub fn systemd_name(self) -> &'static str {
        match self {
            Arch::X86_64 => "x86-64",
            Arch::Arm64 => "arm64",
        }
    }

    /// The suffix of EFI file names: `BOOTX64.EFI`, `systemd-bootx64.efi`, `linuxx64.efi.stub`.
    pub fn efi_suffix(self) -> &'static str {
        match self {
            Arch::X86_64 => "x64",
            Arch::Arm64 => "aa64",
        }
    }

    /// `Machine` of the PE/COFF header (Microsoft PE format, "Machine Types").
    pub fn pe_machine(self) -> u16 {
        match self {
            Arch::X86_64 => 0x8664,
            Arch::Arm64 => 0xaa64,
        }
    }

    /// The kernel command line of the UKI. The initramfs must be a ramfs (EROFS mounts a file of one, not of a tmpfs). `gpt` lets the
    /// kernel take the backup of a damaged partition table, which a crash while growing the disk can leave. The last `console=` is `/dev/console`: the serial line, where a machine without a screen is driven from.
    pub fn command_line(self) -> &'static str {
        match self {
            Arch::X86_64 => "rootfstype=ramfs gpt console=tty0 console=ttyS0,115200 panic=10",
            Arch::Arm64 => "rootfstype=ramfs gpt console=tty0 console=ttyAMA0,115200 panic=10",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_aligned() {
        for size in [ESP_SIZE, STATE_SIZE, DISK_SIZE] {
            assert_eq!(size % ALIGNMENT, 0);
        }
    }

    #[test]
    fn names_of_architectures_are_read_back() {
        for arch in [Arch::X86_64, Arch::Arm64] {
            assert_eq!(Arch::from_name(arch.name()), Some(arch));
        }
        assert_eq!(Arch::from_name("riscv64"), None);
    }

    #[test]
    fn partition_types_are_those_of_the_specifications() {
        assert_eq!(ESP_TYPE.to_string(), "c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
        assert_eq!(STATE_TYPE.to_string(), "4d21b016-b534-45c2-a9fb-5c16e091fd2d");
    }
}
