//! User namespaces (user_namespaces(7)): their id mappings, and user namespaces that exist only to carry a mapping for mounts.
//!
//! Who has CAP_SETUID and CAP_SETGID writes any mapping; anybody else one line for the own id, or has newuidmap(1) and newgidmap(1)
//! write what /etc/subuid and /etc/subgid grant.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use coracle_abi::child::ChildExt;
use coracle_abi::clone::{Child, spawn};
use nix::sched::CloneFlags;
use oci_spec::runtime::{LinuxIdMapping, PosixRlimit};
use rustix::io::Errno;
use rustix::process::{Signal, WaitId, WaitIdOptions, getegid, geteuid, pidfd_send_signal, waitid};
use rustix::thread::{CapabilitySet, capabilities};

use super::channel::{Doing, Failure, Step};
use super::{Error, rlimits};

/// Lines of a mapping that the kernel takes (user_namespaces(7)).
const LINES_MAX: usize = 340;

/// The mappings of a user namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct IdMaps {
    uid: Vec<Line>,
    gid: Vec<Line>,
}

/// One line of a mapping.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    inside: u32,
    outside: u32,
    size: u32,
}

impl IdMaps {
    /// Understand two mappings; `what` has them in config.json.
    pub(super) fn plan(what: &str, uid: &[LinuxIdMapping], gid: &[LinuxIdMapping]) -> Result<Self, Error> {
        Ok(Self { uid: lines(&format!("{what}.uidMappings"), uid)?, gid: lines(&format!("{what}.gidMappings"), gid)? })
    }

    /// Give them to the user namespace of a process that was born in it.
    pub(super) fn install(&self, pid: u32) -> Result<(), Error> {
        self.install_one(pid, "uid_map", &self.uid, CapabilitySet::SETUID, geteuid().as_raw(), "newuidmap")?;
        self.install_one(pid, "gid_map", &self.gid, CapabilitySet::SETGID, getegid().as_raw(), "newgidmap")
    }

    fn install_one(
        &self,
        pid: u32,
        file: &str,
        lines: &[Line],
        needed: CapabilitySet,
        own: u32,
        helper: &str,
    ) -> Result<(), Error> {
        let doing = |source: io::Error| {
            Error::setup(
                format!(
                    "map the ids of the container's user namespace ({file}: {})",
                    text(lines).trim_end().replace('\n', ", ")
                ),
                source,
            )
        };
        let has = capabilities(None).is_ok_and(|sets| sets.effective.contains(needed));
        let is_own = matches!(lines, [line] if line.outside == own && line.size == 1);
        if !has && !is_own {
            return by_helper(helper, pid, lines).map_err(doing);
        }
        if !has && file == "gid_map" {
            // Or a process could drop a group that denies it something (CVE-2014-8989).
            std::fs::write(format!("/proc/{pid}/setgroups"), "deny").map_err(doing)?;
        }
        std::fs::write(format!("/proc/{pid}/{file}"), text(lines)).map_err(doing)
    }

    /// In the child: become the user that owns the namespace from within, or the first that there is.
    pub(super) fn become_first(&self) -> Step {
        become_user(first(&self.uid), first(&self.gid))
    }

    /// A user namespace with these mappings and nobody in it, for mounts that carry them.
    pub(super) fn carrier(&self) -> Result<OwnedFd, Error> {
        let doing = |source: io::Error| Error::setup("make a user namespace for a mount's mapping", source);
        let newuser = u64::from(CloneFlags::CLONE_NEWUSER.bits().cast_unsigned());
        let child = spawn(newuser, None, || {
            loop {
                // Until it is killed.
                rustix::event::pause();
            }
        });
        let child = child.map_err(doing)?;
        let opened =
            self.install(child.pid).and_then(|()| File::open(format!("/proc/{}/ns/user", child.pid)).map_err(doing));
        end(&child);
        opened.map(OwnedFd::from)
    }
}

fn end(child: &Child) {
    let _ = pidfd_send_signal(&child.pidfd, Signal::KILL);
    while let Err(Errno::INTR) = waitid(WaitId::PidFd(child.pidfd.as_fd()), WaitIdOptions::EXITED) {}
}

/// In a process that has joined or made a user namespace: become one of its users, with all capabilities.
fn become_user(uid: u32, gid: u32) -> Step {
    let (uid, gid) = (nix::unistd::Uid::from_raw(uid), nix::unistd::Gid::from_raw(gid));
    nix::unistd::setresgid(gid, gid, gid).doing(|| format!("become group {gid} of the user namespace"))?;
    nix::unistd::setresuid(uid, uid, uid).doing(|| format!("become user {uid} of the user namespace"))
}

/// Of the namespace that this process is in: what [`IdMaps::become_first`] does, for one that was joined.
pub(super) fn become_first_of_current() -> Step {
    let ids = ["uid_map", "gid_map"].map(|file| {
        let words = || format!("read /proc/self/{file}");
        let map = std::fs::read_to_string(format!("/proc/self/{file}")).doing(words)?;
        let numbers = map.lines().filter_map(|line| line.split_ascii_whitespace().next()?.parse::<u32>().ok());
        numbers.min().ok_or(Errno::INVAL).doing(|| format!("join a user namespace without a mapping ({file})"))
    });
    let [uid, gid] = ids;
    become_user(uid?, gid?)
}

/// In a process that has joined the user namespace of a container: become its root, unless it has none.
pub(super) fn become_root_if_there_is_one() -> Step {
    match become_user(0, 0) {
        Err(Failure { errno: Errno::INVAL, .. }) => Ok(()),
        done => done,
    }
}

/// Whether this process has no privileges outside of a user namespace: it is an ordinary user's, or lives in such a namespace itself
/// (rootless podman calls its runtime so).
pub fn is_rootless() -> bool {
    !geteuid().is_root() || std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| !maps_all(&map))
}

/// The map of the first user namespace: every id to itself (user_namespaces(7)).
fn maps_all(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// What only a process outside can give to one in a user namespace: a lower OOM score, higher limits.
pub(super) fn privilege(pid: u32, oom_score_adj: Option<i32>, limits: &[PosixRlimit]) -> Result<(), Error> {
    if let Some(value) = oom_score_adj {
        std::fs::write(format!("/proc/{pid}/oom_score_adj"), value.to_string())
            .map_err(|source| Error::setup(format!("set process.oomScoreAdj to {value}"), source))?;
    }
    rlimits::apply_to(pid, limits)
}

fn first(lines: &[Line]) -> u32 {
    lines.iter().map(|line| line.inside).min().unwrap_or(0)
}

fn lines(what: &str, mappings: &[LinuxIdMapping]) -> Result<Vec<Line>, Error> {
    if mappings.is_empty() || mappings.len() > LINES_MAX {
        return Err(Error::spec(what, format!("a mapping has 1 to {LINES_MAX} entries")));
    }
    let mut lines: Vec<Line> = Vec::new();
    for mapping in mappings {
        let line = Line { inside: mapping.container_id(), outside: mapping.host_id(), size: mapping.size() };
        let ends = [line.inside.checked_add(line.size), line.outside.checked_add(line.size)];
        if line.size == 0 || ends.contains(&None) {
            return Err(Error::spec(what, "a range has at least one id and ends below 4294967296"));
        }
        if lines.iter().any(|other| overlap(*other, line)) {
            return Err(Error::spec(what, "two ranges overlap"));
        }
        lines.push(line);
    }
    Ok(lines)
}

fn overlap(a: Line, b: Line) -> bool {
    let meet = |a: u32, b: u32, sizes: (u32, u32)| {
        let (a, b) = (u64::from(a), u64::from(b));
        a < b + u64::from(sizes.1) && b < a + u64::from(sizes.0)
    };
    meet(a.inside, b.inside, (a.size, b.size)) || meet(a.outside, b.outside, (a.size, b.size))
}

fn text(lines: &[Line]) -> String {
    lines.iter().fold(String::new(), |mut text, line| {
        // A string is written to without failure.
        let _ = writeln!(text, "{} {} {}", line.inside, line.outside, line.size);
        text
    })
}

/// newuidmap(1) or newgidmap(1): PID and three numbers per line.
fn by_helper(helper: &str, pid: u32, lines: &[Line]) -> io::Result<()> {
    let numbers = lines.iter().flat_map(|line| [line.inside, line.outside, line.size]);
    let args = std::iter::once(pid).chain(numbers).map(|number| number.to_string());
    let output = Command::new(helper).args(args).stdin(Stdio::null()).default_signals().close_descriptors().output();
    let output = output.map_err(|error| {
        io::Error::other(format!(
            "{helper}: {error} (more than the own id needs CAP_SETUID and CAP_SETGID, or this program)"
        ))
    })?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{helper}: {}", String::from_utf8_lossy(&output.stderr).trim_end())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn mappings(list: &[(u32, u32, u32)]) -> Vec<LinuxIdMapping> {
        let list =
            list.iter().map(|(inside, outside, size)| json!({"containerID": inside, "hostID": outside, "size": size}));
        serde_json::from_value(list.collect()).unwrap()
    }

    fn plan(list: &[(u32, u32, u32)]) -> Result<Vec<Line>, Error> {
        lines("linux.uidMappings", &mappings(list))
    }

    #[test]
    fn mappings_as_the_kernel_reads_them() {
        let lines = plan(&[(1, 100_001, 999), (0, 1000, 1)]).unwrap();
        assert_eq!(text(&lines), "1 100001 999\n0 1000 1\n");
        assert_eq!(first(&lines), 0);
        assert_eq!(first(&plan(&[(1000, 5, 1)]).unwrap()), 1000);
    }

    #[test]
    fn malformed_mappings_are_refused() {
        let too_many: Vec<_> = (0..341).map(|id| (id, id, 1)).collect();
        for bad in [
            &[][..],
            &[(0, 0, 0)],
            &[(u32::MAX, 0, 1)],
            &[(0, u32::MAX, 2)],
            &[(0, 0, 10), (9, 100, 1)],
            &[(0, 0, 10), (100, 9, 1)],
            &too_many,
        ] {
            assert!(plan(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn only_the_first_namespace_maps_all() {
        assert!(maps_all("         0          0 4294967295\n"));
        for map in ["", "0 1000 1\n", "0 0 65536\n", "0 0 1\n1 1 4294967294\n"] {
            assert!(!maps_all(map), "{map:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_accepted_maps_every_id_once(list in proptest::collection::vec((0u32..40, 0u32..40, 0u32..8), 0..5)) {
            if plan(&list).is_ok() {
                let ids = |which: fn(&(u32, u32, u32)) -> u32| {
                    let mut ids: Vec<u32> = list.iter().flat_map(|line| which(line)..which(line) + line.2).collect();
                    ids.sort_unstable();
                    ids
                };
                for ids in [ids(|line| line.0), ids(|line| line.1)] {
                    prop_assert!(!ids.is_empty() && ids.windows(2).all(|pair| pair[0] < pair[1]));
                }
            }
        }
    }
}
