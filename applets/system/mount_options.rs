//! The words of `mount -o` (mount(8)), sorted into flags of the mount, propagation, and what the file system gets.

use nix::mount::MsFlags;

/// A parsed list of options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountOptions {
    /// Flags for mount(2), the operation (bind, move, remount) included.
    pub flags: MsFlags,
    /// Changes of propagation, each a call of its own.
    pub propagation: Vec<MsFlags>,
    /// Options for the file system.
    pub data: Vec<String>,
    /// `nofail`: a missing device is no error.
    pub nofail: bool,
    /// `noauto`: not for `mount -a`.
    pub noauto: bool,
}

impl Default for MountOptions {
    fn default() -> Self {
        Self { flags: MsFlags::empty(), propagation: Vec::new(), data: Vec::new(), nofail: false, noauto: false }
    }
}

/// A word, the flags that it sets and those that it clears.
const FLAGS: &[(&str, MsFlags, MsFlags)] = &{
    const NONE: MsFlags = MsFlags::empty();
    const ATIME: MsFlags = MsFlags::MS_NOATIME.union(MsFlags::MS_RELATIME).union(MsFlags::MS_STRICTATIME);
    [
        ("ro", MsFlags::MS_RDONLY, NONE),
        ("rw", NONE, MsFlags::MS_RDONLY),
        ("nosuid", MsFlags::MS_NOSUID, NONE),
        ("suid", NONE, MsFlags::MS_NOSUID),
        ("nodev", MsFlags::MS_NODEV, NONE),
        ("dev", NONE, MsFlags::MS_NODEV),
        ("noexec", MsFlags::MS_NOEXEC, NONE),
        ("exec", NONE, MsFlags::MS_NOEXEC),
        ("sync", MsFlags::MS_SYNCHRONOUS, NONE),
        ("async", NONE, MsFlags::MS_SYNCHRONOUS),
        ("dirsync", MsFlags::MS_DIRSYNC, NONE),
        ("noatime", MsFlags::MS_NOATIME, ATIME),
        ("atime", NONE, MsFlags::MS_NOATIME),
        ("relatime", MsFlags::MS_RELATIME, ATIME),
        ("norelatime", NONE, MsFlags::MS_RELATIME),
        ("strictatime", MsFlags::MS_STRICTATIME, ATIME),
        ("nostrictatime", NONE, MsFlags::MS_STRICTATIME),
        ("nodiratime", MsFlags::MS_NODIRATIME, NONE),
        ("diratime", NONE, MsFlags::MS_NODIRATIME),
        ("lazytime", MsFlags::MS_LAZYTIME, NONE),
        ("nolazytime", NONE, MsFlags::MS_LAZYTIME),
        ("silent", MsFlags::MS_SILENT, NONE),
        ("loud", NONE, MsFlags::MS_SILENT),
        ("iversion", MsFlags::MS_I_VERSION, NONE),
        ("noiversion", NONE, MsFlags::MS_I_VERSION),
        ("bind", MsFlags::MS_BIND, NONE),
        ("rbind", MsFlags::MS_BIND.union(MsFlags::MS_REC), NONE),
        ("move", MsFlags::MS_MOVE, NONE),
        ("remount", MsFlags::MS_REMOUNT, NONE),
        ("defaults", NONE, NONE),
    ]
};

/// A word and the propagation that it asks for.
const PROPAGATION: &[(&str, MsFlags)] = &[
    ("shared", MsFlags::MS_SHARED),
    ("slave", MsFlags::MS_SLAVE),
    ("private", MsFlags::MS_PRIVATE),
    ("unbindable", MsFlags::MS_UNBINDABLE),
    ("rshared", MsFlags::MS_SHARED.union(MsFlags::MS_REC)),
    ("rslave", MsFlags::MS_SLAVE.union(MsFlags::MS_REC)),
    ("rprivate", MsFlags::MS_PRIVATE.union(MsFlags::MS_REC)),
    ("runbindable", MsFlags::MS_UNBINDABLE.union(MsFlags::MS_REC)),
];

/// Words of fstab that are for programs, not for the kernel.
const FOR_PROGRAMS: &[&str] = &["auto", "user", "nouser", "users", "owner", "group", "_netdev"];

impl MountOptions {
    /// Add the words of a comma-separated list; a later word overrides an earlier one.
    ///
    /// # Errors
    /// For an option that is not served here.
    pub fn add(&mut self, list: &str) -> anyhow::Result<()> {
        for word in split(list) {
            if let Some((_, set, clear)) = FLAGS.iter().find(|(name, ..)| *name == word) {
                self.flags = self.flags.difference(*clear) | *set;
            } else if let Some((_, flags)) = PROPAGATION.iter().find(|(name, _)| *name == word) {
                self.propagation.push(*flags);
            } else if word == "nofail" {
                self.nofail = true;
            } else if word == "noauto" {
                self.noauto = true;
            } else if word == "loop" || word.starts_with("loop=") {
                anyhow::bail!(
                    "loop: no loop devices here; an erofs image in a file is mounted directly, without `loop`"
                );
            } else if !FOR_PROGRAMS.contains(&word) && !word.starts_with("x-") && !word.starts_with("comment=") {
                self.data.push(word.to_owned());
            }
        }
        Ok(())
    }

    /// The file system's options as mount(2) takes them.
    pub fn data(&self) -> Option<String> {
        (!self.data.is_empty()).then(|| self.data.join(","))
    }

    /// Whether anything but propagation was asked for.
    pub fn only_propagation(&self) -> bool {
        !self.propagation.is_empty() && self.flags.is_empty() && self.data.is_empty()
    }
}

/// Split at commas outside double quotes, which keep their place: a file system may want them.
fn split(list: &str) -> Vec<&str> {
    let mut quoted = false;
    let words = list.split(move |c: char| {
        quoted ^= c == '"';
        c == ',' && !quoted
    });
    words.filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(list: &str) -> MountOptions {
        let mut options = MountOptions::default();
        options.add(list).unwrap();
        options
    }

    #[test]
    fn flags_and_data() {
        let options = parsed("ro,nosuid,size=1m,mode=755,x-systemd.automount,noauto,nofail");
        assert_eq!(options.flags, MsFlags::MS_RDONLY | MsFlags::MS_NOSUID);
        assert_eq!(options.data().as_deref(), Some("size=1m,mode=755"));
        assert!(options.noauto && options.nofail);
        assert_eq!(parsed("defaults"), MountOptions::default());
    }

    #[test]
    fn the_last_word_wins() {
        assert_eq!(parsed("ro,rw").flags, MsFlags::empty());
        assert_eq!(parsed("noatime,relatime").flags, MsFlags::MS_RELATIME);
        assert_eq!(parsed("nodev,dev,nodev").flags, MsFlags::MS_NODEV);
    }

    #[test]
    fn operations() {
        assert_eq!(parsed("rbind,ro").flags, MsFlags::MS_BIND | MsFlags::MS_REC | MsFlags::MS_RDONLY);
        assert!(parsed("rprivate").only_propagation());
        assert!(!parsed("rprivate,bind").only_propagation());
        assert!(MountOptions::default().add("loop").is_err());
    }

    #[test]
    fn quotes_protect_commas() {
        assert_eq!(split("a=\"x,y\",b"), ["a=\"x,y\"", "b"]);
    }
}
