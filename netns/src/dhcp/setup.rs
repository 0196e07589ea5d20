//! What a lease means for the machine: address, routes, resolv.conf, and a file that says so.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use coracle_abi::atomic_write::{self, Durability};
use serde::Serialize;

use super::{INFINITE, Lease};
use crate::address::{self, Address};
use crate::link::{self, Link};
use crate::netlink::Socket;
use crate::route::{self, PROTOCOL_DHCP, Route};
use crate::{Error, Result};

/// Next hop is on the link though no subnet says so (`RTNH_F_ONLINK`): clouds give /32 addresses.
const ONLINK: u32 = 4;
/// Routes by DHCP lose against ones that an administrator adds (metric 0).
const METRIC: u32 = 1024;

/// The file that describes an interface's lease: `/run/coracle/network/IFACE.json`, or below `CORACLE_RUN`.
pub fn lease_path(interface: &str) -> PathBuf {
    run_dir().join("network").join(format!("{interface}.json"))
}

/// Where `/etc/resolv.conf` leads to in the image: `/run/coracle/resolv.conf`, or below `CORACLE_RUN`.
pub fn resolv_conf_path() -> PathBuf {
    run_dir().join("resolv.conf")
}

fn run_dir() -> PathBuf {
    std::env::var_os("CORACLE_RUN").map_or_else(|| PathBuf::from("/run/coracle"), PathBuf::from)
}

#[derive(Serialize)]
struct LeaseFile<'a> {
    interface: &'a str,
    #[serde(flatten)]
    lease: &'a Lease,
}

/// Put a lease in force. Addresses of an earlier lease go; those without end are an administrator's and stay. The
/// lease's file is written last: whoever waits for it finds everything in place.
///
/// # Errors
/// What the kernel said; may be repeated.
pub fn apply(socket: &mut Socket, link: &Link, lease: &Lease, resolv_conf: &Path) -> Result<()> {
    let mut address = Address::new(link.index, lease.address.into(), lease.prefix);
    if lease.lease_seconds != INFINITE {
        // Should the client die, the kernel keeps the lease's terms by itself.
        (address.valid, address.preferred) = (lease.lease_seconds, lease.lease_seconds);
    }
    address::replace(socket, &address)?;
    remove_leased(socket, link, Some(lease.address))?;
    if let Some(mtu) = lease.mtu {
        let change = link::Change { mtu: Some(mtu.into()), ..link::Change::default() };
        link::change(socket, link.index, &link.name, &change)?;
    }
    for (network, prefix, gateway) in &lease.routes {
        let route = Route::new((*network).into(), *prefix, Some(link.index));
        route::replace(socket, &by_gateway(route, *gateway, link, lease))?;
    }
    if let Some(gateway) = lease.gateway {
        let route = Route::default_by(gateway.into(), link.index);
        route::replace(socket, &by_gateway(route, gateway, link, lease))?;
    }
    if !lease.dns.is_empty() {
        write_atomically(resolv_conf, resolv_conf_text(lease).as_bytes())?;
    }
    let path = lease_path(&link.name);
    let text = serde_json::to_vec_pretty(&LeaseFile { interface: &link.name, lease })
        .map_err(|source| Error::BadState { path: path.clone(), source })?;
    write_atomically(&path, &text)
}

/// Take a lease out of force.
///
/// # Errors
/// What the kernel said.
pub fn clear(socket: &mut Socket, link: &Link) -> Result<()> {
    let path = lease_path(&link.name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(Error::file("remove", &path, error)),
        _ => {}
    }
    // Routes by an address go with it.
    remove_leased(socket, link, None)
}

fn remove_leased(socket: &mut Socket, link: &Link, keep: Option<Ipv4Addr>) -> Result<()> {
    let leased = |address: &Address| {
        address.index == link.index
            && address.local.is_ipv4()
            && address.flags & address::IFA_F_PERMANENT == 0
            && keep.map(IpAddr::from) != Some(address.local)
    };
    for address in address::list(socket)?.into_iter().filter(leased) {
        address::remove(socket, &address)?;
    }
    Ok(())
}

fn by_gateway(route: Route, gateway: Ipv4Addr, link: &Link, lease: &Lease) -> Route {
    let on_link = gateway.is_unspecified();
    let mask = u32::MAX.checked_shl(32 - u32::from(lease.prefix)).unwrap_or(0);
    let in_subnet = u32::from(gateway) & mask == u32::from(lease.address) & mask;
    Route {
        gateway: (!on_link).then_some(gateway.into()),
        scope: if on_link { route::SCOPE_LINK } else { route::SCOPE_UNIVERSE },
        source: Some(lease.address.into()),
        metric: Some(METRIC + link.index),
        protocol: PROTOCOL_DHCP,
        flags: if on_link || in_subnet { 0 } else { ONLINK },
        ..route
    }
}

fn resolv_conf_text(lease: &Lease) -> String {
    let search = lease.domain.iter().map(|domain| format!("search {domain}\n"));
    search.chain(lease.dns.iter().map(|server| format!("nameserver {server}\n"))).collect()
}

fn write_atomically(path: &Path, bytes: &[u8]) -> Result<()> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(|source| Error::file("make", parent, source))?;
    let written = atomic_write::write(path, bytes, 0o644, Durability::Durable);
    written.map_err(|source| Error::file("write", path, source))
}
