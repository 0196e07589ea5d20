//! The disk image: a table, the ESP, STATE.

use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;

use super::esp::{self, Esp};
use super::{At, Error, input, state};
use crate::gpt::{Entry, Geometry, Table, protective_mbr};
use crate::guid::Guid;
use crate::layout;

const SECTOR: u64 = 512;

/// Write the raw image to `out`, a sparse file.
///
/// # Errors
/// When a part is missing, a tool fails, or `out` cannot be written.
pub fn write(esp: &Esp, epoch: u32, out: &Path) -> Result<(), Error> {
    let mut disk = File::options().read(true).write(true).create(true).truncate(true).open(out).at("create", out)?;
    disk.set_len(layout::DISK_SIZE).at("size", out)?;
    let (esp_start, state_start) = (layout::ALIGNMENT, layout::ALIGNMENT + layout::ESP_SIZE);
    state::write(out, state_start, layout::STATE_SIZE, esp.version.as_str(), epoch)?;
    esp::write(esp, epoch, out, esp_start, layout::ESP_SIZE)?;

    let geometry = Geometry { sector_size: SECTOR as u32, sectors: layout::DISK_SIZE / SECTOR };
    let id = |purpose| Guid::derive(esp.version.as_str(), purpose);
    let mut table = Table::new(id("disk"), geometry).map_err(|error| input(out, error.to_string()))?;
    let entry = |kind, purpose, start: u64, size: u64, label| {
        Some(Entry::new(kind, id(purpose), start / SECTOR, (start + size) / SECTOR - 1, label))
    };
    table.entries[0] = entry(layout::ESP_TYPE, "esp", esp_start, layout::ESP_SIZE, layout::ESP_LABEL);
    table.entries[1] = entry(layout::STATE_TYPE, "state", state_start, layout::STATE_SIZE, layout::STATE_LABEL);
    disk.rewind().and_then(|()| disk.write_all(&protective_mbr(geometry))).at("write", out)?;
    table.write(&mut disk, geometry, |_| Ok(())).map_err(|error| input(out, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Arch;
    use std::process::Command;

    fn image(dir: &Path, name: &str) -> std::path::PathBuf {
        let (loader, uki, out) = (dir.join("loader"), dir.join("uki"), dir.join(name));
        std::fs::write(&loader, [1; 70_000]).unwrap();
        std::fs::write(&uki, [2; 300_000]).unwrap();
        let esp = Esp { loader: &loader, uki: &uki, version: &"1.2.3".parse().unwrap(), arch: Arch::X86_64 };
        write(&esp, 1_700_000_000, &out).unwrap();
        out
    }

    /// Run a checker on a part of the image, if the host has it.
    fn check(tool: &str, args: &[&str], image: &Path, start: u64, size: u64) {
        let part = image.with_extension("part");
        let status = Command::new("dd")
            .arg(format!("if={}", image.display()))
            .arg(format!("of={}", part.display()))
            .args(["bs=1M", "conv=sparse", "status=none"])
            .args([format!("skip={}", start >> 20), format!("count={}", size >> 20)])
            .status()
            .unwrap();
        assert!(status.success());
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        if let Ok(out) = Command::new(tool).env("PATH", path).args(args).arg(&part).output() {
            assert!(out.status.success(), "{tool}: {}", String::from_utf8_lossy(&out.stdout));
        }
    }

    #[test]
    fn is_reproducible_and_passes_the_file_systems_own_checkers() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (image(dir.path(), "a.raw"), image(dir.path(), "b.raw"));
        assert!(Command::new("cmp").arg(&a).arg(&b).status().unwrap().success(), "two images differ");
        check("fsck.fat", &["-n"], &a, layout::ALIGNMENT, layout::ESP_SIZE);
        check("e2fsck", &["-f", "-n"], &a, layout::ALIGNMENT + layout::ESP_SIZE, layout::STATE_SIZE);
        let geometry = Geometry { sector_size: 512, sectors: layout::DISK_SIZE / 512 };
        let (table, _) = Table::read(&mut File::open(&a).unwrap(), geometry).unwrap();
        let names: Vec<_> = table.entries.iter().flatten().map(Entry::name).collect();
        assert_eq!(names, ["ESP", "STATE"]);
    }
}
