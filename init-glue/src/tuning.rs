//! Kernel settings that make the boot itself short; they are in sysfs, and set before the first page of the root is used.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount};

/// Grace periods of RCU are waited for by mounting and by moving processes between cgroups: several ticks each, unless they are
/// expedited. See Documentation/admin-guide/kernel-parameters.txt, `rcupdate.rcu_expedited`.
const RCU_EXPEDITED: &str = "kernel/rcu_expedited";

/// KiB that are read around a page of the root that a program faults in. The kernel's default of 128 decompresses most of the binary for the
/// small parts that an applet uses; in RAM there is no seek to save.
const READ_AROUND: &str = "8";

/// Mount sysfs below the new root, where it stays, and hurry. What fails only makes the boot longer.
pub fn hurry(root: &Path) {
    let sys = root.join("sys");
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let _ = mount("sysfs", &sys, "sysfs", flags, None);
    let _ = fs::write(sys.join(RCU_EXPEDITED), "1");
    read_around_less(&sys);
}

/// The machine is up: grace periods may take their time again, which costs the other processors less.
pub fn settle(cmdline: &str) {
    if !cmdline.contains("rcupdate.rcu_expedited=") {
        let _ = fs::write(Path::new("/sys").join(RCU_EXPEDITED), "0");
    }
}

/// The root is the only EROFS that is mounted by now.
fn read_around_less(sys: &Path) {
    for entry in fs::read_dir(sys.join("class/bdi")).into_iter().flatten().flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(b"erofs") {
            let _ = fs::write(entry.path().join("read_ahead_kb"), READ_AROUND);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_root_is_read_in_smaller_pieces() {
        let sys = tempfile::tempdir().unwrap();
        for name in ["erofs-1", "0:42"] {
            let device = sys.path().join("class/bdi").join(name);
            fs::create_dir_all(&device).unwrap();
            fs::write(device.join("read_ahead_kb"), "128").unwrap();
        }
        read_around_less(sys.path());
        let of =
            |name: &str| fs::read_to_string(sys.path().join("class/bdi").join(name).join("read_ahead_kb")).unwrap();
        assert_eq!((of("erofs-1"), of("0:42")), (READ_AROUND.to_owned(), "128".to_owned()));
    }
}
