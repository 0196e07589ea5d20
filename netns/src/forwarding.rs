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

/// The same for IPv6. A host that forwards no longer takes routes from router advertisements unless told to
/// (`accept_ra` 2): it is told to wherever it did.
///
/// # Errors
/// What the kernel said.
pub fn enable_ipv6() -> Result<()> {
    const ALL: &str = "/proc/sys/net/ipv6/conf/all/forwarding";
    if fs::read_to_string(ALL).is_ok_and(|current| current.trim() == "1") {
        return Ok(());
    }
    for interface in fs::read_dir("/proc/sys/net/ipv6/conf").into_iter().flatten().filter_map(std::result::Result::ok) {
        let accept = interface.path().join("accept_ra");
        if fs::read_to_string(&accept).is_ok_and(|current| current.trim() == "1") {
            // Of an interface that goes away meanwhile.
            let _ = fs::write(&accept, "2");
        }
    }
    set(ALL, "1")
}

/// Let an interface have IPv6 addresses, only those that it is given and its link-local one, and that one at once: as long
/// as it is being checked for duplicates, which takes up to two seconds, the kernel looks for no neighbour.
///
/// # Errors
/// What the kernel said.
pub fn enable_static_ipv6(interface: &str) -> Result<()> {
    set(&format!("/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"), "0")?;
    set(&format!("/proc/sys/net/ipv6/conf/{interface}/accept_dad"), "0")?;
    set(&format!("/proc/sys/net/ipv6/conf/{interface}/accept_ra"), "0")
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
