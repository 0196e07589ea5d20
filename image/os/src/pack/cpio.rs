//! A writer of the "newc" cpio archives that the kernel unpacks as an initramfs.
//!
//! Format: Documentation/driver-api/early-userspace/buffer-format.rst of the kernel. All owners are root, all times are one
//! given time, inode numbers count up: the same entries give the same bytes.

use std::io::{self, Read, Write};

const S_IFCHR: u32 = 0o020_000;
const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFLNK: u32 = 0o120_000;

/// Writes an archive entry by entry. Folders must come before what is in them; names have no leading slash.
pub struct Writer<W> {
    out: W,
    written: u64,
    inode: u32,
    mtime: u32,
}

#[derive(Clone, Copy, Default)]
struct Entry {
    mode: u32,
    size: u32,
    device: (u32, u32),
}

impl<W: Write> Writer<W> {
    /// Start an archive whose entries all have the modification time `mtime` (seconds of the Unix epoch).
    pub fn new(out: W, mtime: u32) -> Self {
        Writer { out, written: 0, inode: 0, mtime }
    }

    /// Add a folder.
    ///
    /// # Errors
    /// When `out` cannot be written, here and below.
    pub fn directory(&mut self, name: &str, mode: u32) -> io::Result<()> {
        self.header(name, Entry { mode: S_IFDIR | mode, ..Entry::default() })
    }

    /// Add a file of exactly `size` bytes from `content`.
    ///
    /// # Errors
    /// When `content` is shorter than `size`, or `size` exceeds what the format holds (4 GiB).
    pub fn file(&mut self, name: &str, mode: u32, size: u64, content: impl Read) -> io::Result<()> {
        let size32 = u32::try_from(size).map_err(|_| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("{name}: a cpio entry holds less than 4 GiB"))
        })?;
        self.header(name, Entry { mode: S_IFREG | mode, size: size32, ..Entry::default() })?;
        let copied = io::copy(&mut content.take(size), &mut self.out)?;
        if copied != size {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{name}: {copied} bytes, {size} expected"),
            ));
        }
        self.written += size;
        self.pad()
    }

    /// Add a symbolic link.
    ///
    /// # Errors
    /// See [`Writer::file`].
    pub fn symlink(&mut self, name: &str, target: &str) -> io::Result<()> {
        let size = u32::try_from(target.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        self.header(name, Entry { mode: S_IFLNK | 0o777, size, ..Entry::default() })?;
        self.put(target.as_bytes())?;
        self.pad()
    }

    /// Add a character device node.
    ///
    /// # Errors
    /// See [`Writer::directory`].
    pub fn character_device(&mut self, name: &str, mode: u32, major: u32, minor: u32) -> io::Result<()> {
        self.header(name, Entry { mode: S_IFCHR | mode, size: 0, device: (major, minor) })
    }

    /// Write the trailer and give the writer back.
    ///
    /// # Errors
    /// See [`Writer::directory`].
    pub fn finish(mut self) -> io::Result<W> {
        self.inode = 0;
        self.mtime = 0;
        self.record("TRAILER!!!", 0, Entry::default())?;
        self.out.flush()?;
        Ok(self.out)
    }

    fn header(&mut self, name: &str, entry: Entry) -> io::Result<()> {
        self.inode += 1;
        let links = if entry.mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
        self.record(name, links, entry)
    }

    fn record(&mut self, name: &str, links: u32, entry: Entry) -> io::Result<()> {
        let name_size = u32::try_from(name.len() + 1).map_err(|_| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let (major, minor) = entry.device;
        let fields = [self.inode, entry.mode, 0, 0, links, self.mtime, entry.size, 0, 0, major, minor, name_size, 0];
        let mut header = String::from("070701");
        for field in fields {
            header.push_str(&format!("{field:08X}"));
        }
        self.put(header.as_bytes())?;
        self.put(name.as_bytes())?;
        self.put(&[0])?;
        self.pad()
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// Fill up to a multiple of four bytes.
    fn pad(&mut self) -> io::Result<()> {
        let fill = self.written.wrapping_neg() % 4;
        self.put(&[0; 3][..fill as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    fn sample() -> Vec<u8> {
        let mut cpio = Writer::new(Vec::new(), 1_700_000_000);
        cpio.directory("dev", 0o755).unwrap();
        cpio.character_device("dev/console", 0o600, 5, 1).unwrap();
        cpio.file("init", 0o755, 5, &b"hello"[..]).unwrap();
        cpio.symlink("linuxrc", "init").unwrap();
        cpio.finish().unwrap()
    }

    #[test]
    fn is_deterministic_and_aligned() {
        assert_eq!(sample(), sample());
        assert_eq!(sample().len() % 4, 0);
    }

    #[test]
    fn short_content_is_refused() {
        let mut cpio = Writer::new(Vec::new(), 0);
        assert!(cpio.file("x", 0o644, 6, &b"hello"[..]).is_err());
    }

    #[test]
    fn gnu_cpio_lists_it() {
        let Ok(mut child) = Command::new("cpio")
            .args(["-tv", "--numeric-uid-gid"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
        else {
            return; // GNU cpio is not on this host.
        };
        child.stdin.take().unwrap().write_all(&sample()).unwrap();
        let out = child.wait_with_output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        assert!(out.status.success());
        assert!(text.contains("crw-------   1 0        0          5,   1"), "{text}");
        assert!(text.contains("linuxrc -> init"), "{text}");
    }
}
