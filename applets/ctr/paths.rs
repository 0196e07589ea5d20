//! Where `ctr` keeps its files.

use std::path::PathBuf;

/// What survives a reboot: images, containers, volumes. `CORACLE_STATE` overrides it.
pub fn state_dir() -> PathBuf {
    overridable("CORACLE_STATE", "/var/lib/coracle")
}

fn overridable(variable: &str, default: &str) -> PathBuf {
    std::env::var_os(variable).filter(|value| !value.is_empty()).map_or_else(|| default.into(), PathBuf::from)
}
