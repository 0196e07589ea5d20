//! Listing an archive, as `tar -t` and `-v` show it.

use coracle_image_oci::tarball::{Entry, Kind};

use super::names::quoted;
use crate::system::clock::Date;

/// Writes lines whose columns grow with what they hold.
pub struct Lister {
    numeric: bool,
    /// Width of owner and size together.
    width: usize,
}

impl Lister {
    /// Owners are shown by number if `numeric`.
    pub fn new(numeric: bool) -> Self {
        Self { numeric, width: 19 }
    }

    /// The line for a member; a long one if `long`.
    pub fn line(&mut self, entry: &Entry, long: bool) -> String {
        let name = quoted(&entry.path);
        if !long {
            return name;
        }
        let owner = format!("{}/{}", self.owner(&entry.user, entry.uid), self.owner(&entry.group, entry.gid));
        let size = match entry.kind {
            Kind::CharDevice | Kind::BlockDevice => format!("{},{}", entry.device.0, entry.device.1),
            _ => entry.size.to_string(),
        };
        self.width = self.width.max(owner.chars().count() + 1 + size.len());
        let size_width = self.width - owner.chars().count() - 1;
        let Date { year, month, day, hour, minute, .. } = Date::from_unix(entry.mtime.0);
        let time = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}");
        let link = match entry.kind {
            Kind::Symlink => format!(" -> {}", quoted(&entry.link)),
            Kind::HardLink => format!(" link to {}", quoted(&entry.link)),
            _ => String::new(),
        };
        format!("{} {owner} {size:>size_width$} {time} {name}{link}", mode(entry.kind, entry.mode))
    }

    fn owner(&self, name: &[u8], id: u32) -> String {
        if self.numeric || name.is_empty() { id.to_string() } else { quoted(name) }
    }
}

/// Kind and permission bits as ls(1) shows them.
fn mode(kind: Kind, mode: u32) -> String {
    let kind = match kind {
        Kind::File => '-',
        Kind::Directory => 'd',
        Kind::Symlink => 'l',
        Kind::HardLink => 'h',
        Kind::CharDevice => 'c',
        Kind::BlockDevice => 'b',
        Kind::Fifo => 'p',
    };
    let mut text = String::from(kind);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (bits & 1 != 0, mode & special != 0) {
            (true, true) => letter,
            (false, true) => letter.to_ascii_uppercase(),
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(mode(Kind::File, 0o644), "-rw-r--r--");
        assert_eq!(mode(Kind::Directory, 0o1777), "drwxrwxrwt");
        assert_eq!(mode(Kind::HardLink, 0o6710), "hrws--s---");
        assert_eq!(mode(Kind::Fifo, 0o4600), "prwS------");
    }
}
