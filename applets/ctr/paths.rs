//! Where `ctr` keeps its files.

use std::path::PathBuf;

/// What survives a reboot: images, containers, volumes. `CORACLE_STATE` overrides it.
pub fn state_dir() -> PathBuf {
    overridable("CORACLE_STATE", "/var/lib/coracle")
}

/// What does not: locks, sockets, process ids. `CORACLE_RUN` overrides it.
pub fn run_dir() -> PathBuf {
    overridable("CORACLE_RUN", "/run/coracle")
}

/// All containers' directories.
pub fn containers() -> PathBuf {
    state_dir().join("containers")
}

/// One container's record, log and writable layer.
pub fn container(id: &str) -> PathBuf {
    containers().join(id)
}

/// All containers' volatile directories.
pub fn live_containers() -> PathBuf {
    run_dir().join("containers")
}

/// One container's lock, socket and process id.
pub fn live_container(id: &str) -> PathBuf {
    live_containers().join(id)
}

/// Symbolic links from names to ids: making one is what claims a name.
pub fn names() -> PathBuf {
    state_dir().join("names")
}

/// Named volumes.
pub fn volumes() -> PathBuf {
    state_dir().join("volumes")
}

/// A container's cgroup, relative to the cgroup v2 root.
pub fn cgroup(id: &str) -> PathBuf {
    let parent = std::fs::read_to_string(cgroup_parent(id)).unwrap_or_else(|_| "coracle/containers".into());
    PathBuf::from(parent).join(id)
}

/// The file that says which cgroup a container's is in, if it is not the usual one.
pub fn cgroup_parent(id: &str) -> PathBuf {
    live_container(id).join("cgroup-parent")
}

fn overridable(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(|| default.into(), PathBuf::from)
}
