//! The sysctls that networks rely on (`Documentation/networking/ip-sysctl.rst`).

use std::fs;
use std::path::Path;

use crate::{Error, Result};

/// Let the kernel pass packets on between interfaces. It stays on after the last network: others may have come to rely
/// on it.
///
/// # Errors
/// What the kernel said.
pub fn enable() -> Result<()> {
    set("/proc/sys/net/ipv4/ip_forward", "1")
}

/// Let packets from 127.0.0.0/8 out by this interface: what makes a published port answer on localhost. The table in
/// [`crate::nat`] keeps containers from using it the other way.
///
/// # Errors
/// What the kernel said.
pub fn enable_route_localnet(interface: &str) -> Result<()> {
    set(&format!("/proc/sys/net/ipv4/conf/{interface}/route_localnet"), "1")
}

/// Writing costs the kernel more than reading (forwarding rebuilds every interface's state).
fn set(path: &str, value: &str) -> Result<()> {
    let path = Path::new(path);
    if fs::read_to_string(path).is_ok_and(|current| current.trim() == value) {
        return Ok(());
    }
    fs::write(path, value).map_err(|source| Error::file("write", path, source))
}
