//! The initramfs: `/init`, the EROFS root beside it, and the console for its first words.

use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::Path;

use super::cpio::Writer;
use super::tool::tool;
use super::{At, Error};
use crate::layout;

/// Write the initramfs of `init` and the root image to `out` (cpio, then zstd).
///
/// The root image is inside as it is: the kernel mounts the file where it was unpacked.
///
/// # Errors
/// When an input cannot be read, `out` cannot be written, or zstd is missing.
pub fn write(init: &Path, root_image: &Path, epoch: u32, out: &Path) -> Result<(), Error> {
    let archive = out.with_extension("tmp");
    let result = write_cpio(init, root_image, epoch, &archive).and_then(|()| compress(&archive, out));
    let removed = std::fs::remove_file(&archive).at("remove", &archive);
    result.and(removed)
}

fn write_cpio(init: &Path, root_image: &Path, epoch: u32, out: &Path) -> Result<(), Error> {
    let file = File::create(out).at("create", out)?;
    let mut cpio = Writer::new(BufWriter::with_capacity(1 << 20, file), epoch);
    cpio.directory("dev", 0o755).at("write", out)?;
    cpio.character_device("dev/console", 0o600, 5, 1).at("write", out)?;
    for (name, mode, source) in [("init", 0o755, init), (layout::ROOT_IMAGE, 0o444, root_image)] {
        let file = File::open(source).at("open", source)?;
        let size = file.metadata().at("examine", source)?.len();
        cpio.file(name, mode, size, BufReader::new(file)).at("write", out)?;
    }
    cpio.finish().at("write", out).map(drop)
}

/// Level 19 has a window of 8 MiB, which the kernel must hold while it unpacks; the levels above it, and `--long`, would need
/// more than a machine of 96 MiB can spare.
fn compress(archive: &Path, out: &Path) -> Result<(), Error> {
    tool("zstd", "zstd").args(["-q", "-f", "-19", "-T1", "--no-progress", "-o"]).arg(out).arg(archive).run().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_runs_give_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (init, root) = (dir.path().join("init"), dir.path().join("root"));
        std::fs::write(&init, "init").unwrap();
        std::fs::write(&root, "root").unwrap();
        let runs = ["a.zst", "b.zst"].map(|name| {
            let out = dir.path().join(name);
            write(&init, &root, 1, &out).unwrap();
            std::fs::read(out).unwrap()
        });
        assert_eq!(runs[0], runs[1]);
        assert_eq!(runs[0][..4], [0x28, 0xb5, 0x2f, 0xfd]);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 4, "nothing left behind");
    }
}
