//! Resource limits of the payload (`process.rlimits`, getrlimit(2)).

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::io::Errno;
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};

use super::Error;
use super::channel::{Doing, Step};

/// Check that each is well-formed and given once.
pub(super) fn check(limits: &[PosixRlimit]) -> Result<(), Error> {
    for (index, limit) in limits.iter().enumerate() {
        let what = || format!("process.rlimits: {}", limit.typ());
        if limit.soft() > limit.hard() {
            return Err(Error::spec(what(), "the soft limit is above the hard limit"));
        }
        if resource(limit.typ()).is_none() {
            return Err(Error::spec(what(), "this limit is not supported"));
        }
        if limits[..index].iter().any(|other| other.typ() == limit.typ()) {
            return Err(Error::spec(what(), "it is there twice"));
        }
    }
    Ok(())
}

/// Set them for the calling process.
pub(super) fn apply(limits: &[PosixRlimit]) -> Step {
    for limit in limits {
        let Some(resource) = resource(limit.typ()) else { continue };
        set(None, resource, limit).doing(|| words(resource, limit))?;
    }
    Ok(())
}

/// Set them for another process.
pub(super) fn apply_to(pid: u32, limits: &[PosixRlimit]) -> Result<(), Error> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    for limit in limits {
        let Some(resource) = resource(limit.typ()) else { continue };
        set(pid, resource, limit).map_err(|errno| Error::setup(words(resource, limit), errno))?;
    }
    Ok(())
}

fn set(pid: Option<Pid>, resource: Resource, limit: &PosixRlimit) -> Result<(), Errno> {
    prlimit(pid, resource, Rlimit { current: finite(limit.soft()), maximum: finite(limit.hard()) }).map(drop)
}

fn words(resource: Resource, limit: &PosixRlimit) -> String {
    let own = getrlimit(resource).maximum.map_or("unlimited".into(), |own| own.to_string());
    format!(
        "set {} to {} (the caller's own hard limit is {own}, and going beyond needs CAP_SYS_RESOURCE)",
        limit.typ(),
        limit.hard()
    )
}

/// `RLIM_INFINITY` is no number.
fn finite(value: u64) -> Option<u64> {
    (value != u64::MAX).then_some(value)
}

fn resource(kind: PosixRlimitType) -> Option<Resource> {
    Some(match kind {
        PosixRlimitType::RlimitCpu => Resource::Cpu,
        PosixRlimitType::RlimitFsize => Resource::Fsize,
        PosixRlimitType::RlimitData => Resource::Data,
        PosixRlimitType::RlimitStack => Resource::Stack,
        PosixRlimitType::RlimitCore => Resource::Core,
        PosixRlimitType::RlimitRss => Resource::Rss,
        PosixRlimitType::RlimitNproc => Resource::Nproc,
        PosixRlimitType::RlimitNofile => Resource::Nofile,
        PosixRlimitType::RlimitMemlock => Resource::Memlock,
        PosixRlimitType::RlimitAs => Resource::As,
        PosixRlimitType::RlimitLocks => Resource::Locks,
        PosixRlimitType::RlimitSigpending => Resource::Sigpending,
        PosixRlimitType::RlimitMsgqueue => Resource::Msgqueue,
        PosixRlimitType::RlimitNice => Resource::Nice,
        PosixRlimitType::RlimitRtprio => Resource::Rtprio,
        PosixRlimitType::RlimitRttime => Resource::Rttime,
    })
}
