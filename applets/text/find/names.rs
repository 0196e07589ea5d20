//! Names of users, groups and file systems, looked up once.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

/// What has been looked up.
#[derive(Default)]
pub struct Names {
    users: HashMap<u32, Option<String>>,
    groups: HashMap<u32, Option<String>>,
    file_systems: Option<HashMap<u64, String>>,
}

impl Names {
    /// Whether the user id has a name.
    pub fn has_user(&mut self, id: u32) -> bool {
        self.find_user(id).is_some()
    }

    /// Whether the group id has a name.
    pub fn has_group(&mut self, id: u32) -> bool {
        self.find_group(id).is_some()
    }

    /// The user's name, else the number.
    pub fn user(&mut self, id: u32) -> String {
        self.find_user(id).cloned().unwrap_or_else(|| id.to_string())
    }

    /// The group's name, else the number.
    pub fn group(&mut self, id: u32) -> String {
        self.find_group(id).cloned().unwrap_or_else(|| id.to_string())
    }

    fn find_user(&mut self, id: u32) -> Option<&String> {
        let find = || User::from_uid(Uid::from_raw(id)).ok().flatten().map(|user| user.name);
        self.users.entry(id).or_insert_with(find).as_ref()
    }

    fn find_group(&mut self, id: u32) -> Option<&String> {
        let find = || Group::from_gid(Gid::from_raw(id)).ok().flatten().map(|group| group.name);
        self.groups.entry(id).or_insert_with(find).as_ref()
    }

    /// The type of the file system on a device, as proc_pid_mountinfo(5) has it.
    pub fn file_system(&mut self, device: u64) -> String {
        let table = self.file_systems.get_or_insert_with(|| {
            let text = std::fs::read("/proc/self/mountinfo").unwrap_or_default();
            String::from_utf8_lossy(&text).lines().filter_map(parse_mount).collect()
        });
        table.get(&device).cloned().unwrap_or_else(|| "unknown".into())
    }
}

/// Device and type of one line of mountinfo.
fn parse_mount(line: &str) -> Option<(u64, String)> {
    let (fixed, rest) = line.split_once(" - ")?;
    let (major, minor) = fixed.split_whitespace().nth(2)?.split_once(':')?;
    let device = rustix::fs::makedev(major.parse().ok()?, minor.parse().ok()?);
    Some((device, rest.split_whitespace().next()?.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts() {
        let line = "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue";
        assert_eq!(parse_mount(line), Some((rustix::fs::makedev(98, 0), "ext3".into())));
        assert_eq!(parse_mount("36 35"), None);
    }
}
