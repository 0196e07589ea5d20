//! Resource limits of the payload (`process.rlimits`, getrlimit(2)).

use oci_spec::runtime::{PosixRlimit, PosixRlimitType};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

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
        let wanted = Rlimit { current: finite(limit.soft()), maximum: finite(limit.hard()) };
        match setrlimit(resource, wanted) {
            Err(Errno::PERM) => {
                let own = getrlimit(resource).maximum.map_or("unlimited".into(), |own| own.to_string());
                return Err(Errno::PERM).doing(|| {
                    format!(
                        "set {} to {}: the caller's own hard limit is {own}, and going beyond needs CAP_SYS_RESOURCE",
                        limit.typ(),
                        limit.hard()
                    )
                });
            }
            set => set.doing(|| format!("set {}", limit.typ()))?,
        }
    }
    Ok(())
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
