//! Who the payload runs as: `USER[:GROUP]` looked up in the container's own /etc/passwd and /etc/group (passwd(5), group(5)).
//!
//! What is not understood is an error, never another user: no overflow, no sign, no white space (CVE-2026-30892,
//! GO-2025-3528).

use std::io::Read;
use std::path::Path;

use rustix::fs::{FileType, OFlags, fstat};
use rustix::io::Errno;

use super::channel::{Doing, Failure, FailureKind, Step};
use super::rootfs::{Links, Rootfs};

/// Longest passwd or group file that is read.
const FILE_MAX: u64 = 1 << 20;
/// (uid_t)-1 means "leave it" to system calls and is nobody.
const NOBODY: u32 = u32::MAX;

/// Ids of a process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Ids {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
    pub home: Option<String>,
}

/// Look `text` up in the container.
pub(super) fn find(rootfs: &Rootfs, text: &str) -> Step<Ids> {
    let passwd = read(rootfs, "/etc/passwd")?;
    let group = read(rootfs, "/etc/group")?;
    resolve(text, &passwd, &group).map_err(|why| Failure {
        kind: FailureKind::Setup,
        doing: format!("use the user {text:?}: {why}"),
        errno: Errno::INVAL,
    })
}

/// The home directory of a user id, if the container's passwd file names it.
pub(super) fn home(rootfs: &Rootfs, uid: u32) -> Step<Option<String>> {
    Ok(read(rootfs, "/etc/passwd")?
        .lines()
        .filter_map(Entry::parse)
        .find(|entry| entry.uid == uid)
        .map(|entry| entry.home.into()))
}

/// Add groups of the container's /etc/group, by name or number, to those of the process.
pub(super) fn add_groups(rootfs: &Rootfs, wanted: &[String], ids: &mut Ids) -> Step {
    if wanted.is_empty() {
        return Ok(());
    }
    let file = read(rootfs, "/etc/group")?;
    for name in wanted {
        let gid = find_group(name, &file).map_err(|why| Failure {
            kind: FailureKind::Setup,
            doing: format!("use the group {name:?}: {why}"),
            errno: Errno::INVAL,
        })?;
        if !ids.groups.contains(&gid) {
            ids.groups.push(gid);
        }
    }
    Ok(())
}

fn find_group(name: &str, file: &str) -> Result<u32, &'static str> {
    let gid = match id(name)? {
        Some(gid) if !name.is_empty() => gid,
        _ => file
            .lines()
            .find_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
                [group, _, gid, ..] if group == name => gid.parse().ok(),
                _ => None,
            })
            .ok_or("no such group in the container's /etc/group")?,
    };
    if gid == NOBODY { Err("4294967295 is no id") } else { Ok(gid) }
}

/// A file of the container; a missing one is empty. A device or a pipe is not opened.
fn read(rootfs: &Rootfs, path: &str) -> Step<String> {
    let words = || format!("read {path} of the container");
    let found = match rootfs.resolve(Path::new(path), Links::Follow) {
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(String::new()),
        found => found.doing(words)?,
    };
    if FileType::from_raw_mode(fstat(&found).doing(words)?.st_mode) != FileType::RegularFile {
        return Err(Errno::INVAL).doing(|| format!("read {path} of the container: it is no regular file"));
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rootfs.open(Path::new(path), flags, Links::Follow).doing(words)?;
    let mut bytes = Vec::new();
    std::fs::File::from(file).take(FILE_MAX + 1).read_to_end(&mut bytes).doing(words)?;
    if bytes.len() as u64 > FILE_MAX {
        return Err(Errno::FBIG).doing(words);
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

struct Entry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

impl<'a> Entry<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let fields: Vec<&str> = line.split(':').collect();
        match fields[..] {
            [name, _, uid, gid, _, home, ..] => {
                Some(Self { name, uid: uid.parse().ok()?, gid: gid.parse().ok()?, home })
            }
            _ => None,
        }
    }
}

fn resolve(text: &str, passwd: &str, group: &str) -> Result<Ids, &'static str> {
    let (user, wanted_group) = match text.split_once(':') {
        None => (text, None),
        Some((user, group)) => (user, Some(group)),
    };
    for part in [Some(user), wanted_group].into_iter().flatten() {
        if part.is_empty() || part.chars().any(|c| c.is_control() || c.is_whitespace() || c == ':') {
            return Err("write USER or USER:GROUP, each a name or a number");
        }
    }
    let entries = || passwd.lines().filter_map(Entry::parse);
    let number = id(user)?;
    let entry = match number {
        Some(uid) => entries().find(|entry| entry.uid == uid),
        None => Some(entries().find(|entry| entry.name == user).ok_or("no such user in the container's /etc/passwd")?),
    };
    let mut ids = Ids {
        uid: number.or(entry.as_ref().map(|entry| entry.uid)).ok_or("no such user")?,
        gid: entry.as_ref().map_or(0, |entry| entry.gid),
        groups: Vec::new(),
        home: entry.as_ref().map(|entry| entry.home.to_owned()),
    };
    let groups = || {
        group.lines().filter_map(|line| match line.split(':').collect::<Vec<_>>()[..] {
            [name, _, gid, members, ..] => Some((name, gid.parse::<u32>().ok()?, members)),
            _ => None,
        })
    };
    match wanted_group {
        Some(wanted) => {
            ids.gid = match id(wanted)? {
                Some(gid) => gid,
                None => {
                    groups().find(|(name, ..)| *name == wanted).ok_or("no such group in the container's /etc/group")?.1
                }
            };
        }
        // A group that is asked for stands alone, as under Docker.
        None => {
            if let Some(entry) = entry {
                ids.groups = groups()
                    .filter(|(_, _, members)| members.split(',').any(|member| member == entry.name))
                    .map(|(_, gid, _)| gid)
                    .collect();
            }
        }
    }
    if ids.uid == NOBODY || ids.gid == NOBODY || ids.groups.contains(&NOBODY) {
        return Err("4294967295 is no id");
    }
    Ok(ids)
}

/// A number, if the text is one: digits only.
fn id(text: &str) -> Result<Option<u32>, &'static str> {
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "the number is larger than any id")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nredis:x:101:102::/var/lib/redis:/bin/false\nbroken:x:y\n";
    const GROUP: &str = "root:x:0:\nredis:x:102:\nlog:x:4:redis,other\n";

    #[test]
    fn names_and_numbers() {
        let ids = |text| resolve(text, PASSWD, GROUP).unwrap();
        assert_eq!(ids("redis"), Ids { uid: 101, gid: 102, groups: vec![4], home: Some("/var/lib/redis".into()) });
        assert_eq!(ids("101"), ids("redis"));
        assert_eq!(ids("redis:log"), Ids { uid: 101, gid: 4, groups: vec![], home: Some("/var/lib/redis".into()) });
        assert_eq!(ids("7777"), Ids { uid: 7777, gid: 0, groups: vec![], home: None });
        assert_eq!(ids("7777:8888").gid, 8888);
    }

    #[test]
    fn groups_by_name_or_number() {
        assert_eq!((find_group("log", GROUP), find_group("7", GROUP)), (Ok(4), Ok(7)));
        for wrong in ["", "nogroup", "-1", "4294967295", "4294967296", "log:"] {
            assert!(find_group(wrong, GROUP).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn malformed_is_never_another_user() {
        for bad in [
            "",
            ":",
            "redis:",
            ":redis",
            "a:b:c",
            "nobody",
            "redis:nogroup",
            "-1",
            "+0",
            "4294967295",
            "4294967296",
            "18446744073709551616",
            "0x0",
            " 0",
            "0 ",
            "root\n",
            "redis:4294967296",
            "broken",
        ] {
            assert!(resolve(bad, PASSWD, GROUP).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn root_only_by_its_names(text in "[ -~]{0,12}") {
            if let Ok(ids) = resolve(&text, PASSWD, GROUP) {
                let user = text.split(':').next().unwrap_or_default();
                prop_assert_eq!(ids.uid == 0, user == "root" || (!user.is_empty() && user.bytes().all(|byte| byte == b'0')));
            }
        }
    }
}
