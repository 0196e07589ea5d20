//! What makes this machine this one: its name, its ID, its randomness, its shares.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::SystemTime;

use coracle_abi::atomic_write::{self, Durability};
use rustix::mount::MountFlags;
use rustix::time::Timespec;

use crate::cmdline::Share;
use crate::console::say;
use crate::mounts::mount_at;

const SEED: &str = "/var/lib/coracle/random-seed";
const SEED_LENGTH: usize = 512;

/// Set the machine's name: from `/etc/hostname`, else the one of the kernel parameter `ip=`, else `coracle`.
pub fn set_hostname(from_cmdline: Option<&str>) {
    let configured = fs::read_to_string("/etc/hostname").ok();
    let name = configured.as_deref().and_then(hostname_in).or(from_cmdline).unwrap_or("coracle");
    if let Err(error) = rustix::system::sethostname(name.as_bytes()) {
        say(&format!("coracle: cannot set the host name {name:?}: {error}"));
    }
}

/// The first line that is no comment, if it is a host name, see hostname(5).
fn hostname_in(text: &str) -> Option<&str> {
    let name = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'))?;
    let sound = name.len() <= 64 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte));
    (sound && !name.starts_with(['-', '.'])).then_some(name)
}

/// Make `/etc/machine-id`, see machine-id(5), unless there is one.
pub fn ensure_machine_id() {
    let path = Path::new("/etc/machine-id");
    if fs::read_to_string(path).is_ok_and(|text| is_machine_id(text.trim_end())) {
        return;
    }
    // The kernel's random UUID without its dashes is what machine-id(5) asks for.
    let id = fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap_or_default().trim().replace('-', "");
    if !is_machine_id(&id) {
        return say("coracle: no machine-id: the kernel gave no random UUID");
    }
    if let Err(error) = replace(path, format!("{id}\n").as_bytes(), 0o444) {
        say(&format!("coracle: cannot write {}: {error}", path.display()));
    }
}

fn is_machine_id(text: &str) -> bool {
    text.len() == 32
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        && text.bytes().any(|b| b != b'0')
}

/// Without a clock that runs while the power is off, it is never earlier than when this system was made, and when it was last shut
/// down: certificates that were valid then are so now. What sets it right is the time of the network.
pub fn set_clock_forward() {
    let made = modified("/usr/bin/coracle");
    let Some(earliest) = modified(SEED).max(made) else { return };
    if SystemTime::now() >= earliest {
        return;
    }
    let time = earliest.duration_since(SystemTime::UNIX_EPOCH).ok().and_then(|time| Timespec::try_from(time).ok());
    let set = time.map(|time| rustix::time::clock_settime(rustix::time::ClockId::Realtime, time));
    match set {
        Some(Ok(())) => say("coracle: no clock, or a wrong one: set to the latest time known"),
        Some(Err(error)) => say(&format!("coracle: cannot set the clock: {error}")),
        None => {}
    }
}

fn modified(path: &str) -> Option<SystemTime> {
    fs::metadata(path).and_then(|meta| meta.modified()).ok()
}

/// Stir the seed that the last run left into the kernel's pool. It is not credited as entropy: two clones of one disk
/// have the same. What unblocks the pool is the processor's or the hypervisor's generator.
pub fn load_random_seed() {
    if let Ok(seed) = fs::read(SEED) {
        let _ = File::options().write(true).open("/dev/urandom").and_then(|mut pool| pool.write_all(&seed));
    }
    // Replaced at once: a seed is never used twice, even if this run ends by a power cut.
    save_random_seed();
}

/// Leave a seed for the next run.
pub fn save_random_seed() {
    let mut seed = [0; SEED_LENGTH];
    let saved = File::open("/dev/urandom")
        .and_then(|mut pool| pool.read_exact(&mut seed))
        .and_then(|()| replace(Path::new(SEED), &seed, 0o600));
    if let Err(error) = saved {
        say(&format!("coracle: cannot save the random seed: {error}"));
    }
}

/// Mount the hypervisor's shares.
pub fn mount_shares(shares: &[Share]) {
    for Share { tag, target } in shares {
        let mounted = fs::create_dir_all(target).and_then(|()| mount_share(tag, &target.to_string_lossy()));
        if let Err(error) = mounted {
            let hint = match error.kind() {
                io::ErrorKind::ReadOnlyFilesystem => "; the root is read-only, use a folder below /mnt, /run or /var",
                _ => "",
            };
            say(&format!("coracle: cannot mount share {tag} on {}: {error}{hint}", target.display()));
        }
    }
}

fn mount_share(tag: &str, target: &str) -> io::Result<()> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    // Only the device knows which kind a tag is. 9p: one round trip carries up to 512 KiB (default 128).
    mount_at(tag, target, "virtiofs", flags, "")
        .or_else(|_| mount_at(tag, target, "9p", flags, "trans=virtio,version=9p2000.L,msize=524288"))
}

/// Write a file so that a reader, or the next boot, finds the old or the new content and nothing between.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    atomic_write::write(path, content, mode, Durability::Durable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostnames() {
        assert_eq!(hostname_in("# mine\n\n box.lan \n"), Some("box.lan"));
        for bad in ["", "#x", "-x", "a b", "a/b", &"x".repeat(65)] {
            assert_eq!(hostname_in(bad), None, "{bad}");
        }
    }

    #[test]
    fn machine_ids() {
        assert!(is_machine_id("0123456789abcdef0123456789abcdef"));
        for bad in ["", "uninitialized", "0123456789ABCDEF0123456789abcdef", &"0".repeat(32), &"1".repeat(33)] {
            assert!(!is_machine_id(bad), "{bad}");
        }
    }

    #[test]
    fn replacing_leaves_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for content in ["one", "two"] {
            replace(&path, content.as_bytes(), 0o600).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
