//! Which addresses are given out, and to whom: files below `/run/coracle/networks`, gone with a reboot as the
//! interfaces are.
//!
//! `lock` is held (flock) by whoever changes anything; `NETWORK/network.json` describes a network in use;
//! `NETWORK/CONTAINER@ADDRESS` describes an attachment. An address is taken exactly as long as a file of its name is
//! there, so address and attachment can never disagree; a reader needs no lock.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::attachment::Attachment;
use crate::files::{read_json, write_json};
use crate::network::Driver;
use crate::{Error, Network, Result};

pub(crate) const DEFINITION: &str = "network.json";

/// The folder of what is volatile: `/run/coracle`, or `CORACLE_RUN`.
pub(crate) fn volatile_dir() -> PathBuf {
    std::env::var_os("CORACLE_RUN").map_or_else(|| PathBuf::from("/run/coracle"), PathBuf::from)
}

/// The folder of networks in use, in the volatile one.
pub fn runtime_dir() -> PathBuf {
    volatile_dir().join("networks")
}

/// What is on file of networks and attachments. Who only reads needs no lock, and sees what was true at some moment.
#[derive(Clone, Debug)]
pub struct View {
    dir: PathBuf,
}

/// The registry of networks and attachments, locked as long as it lives.
#[derive(Debug)]
pub struct Registry {
    view: View,
    lock: File,
}

impl Deref for Registry {
    type Target = View;

    fn deref(&self) -> &View {
        &self.view
    }
}

impl View {
    /// What is in a folder.
    pub fn of(dir: PathBuf) -> Self {
        View { dir }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Networks in use.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn networks(&self) -> Result<Vec<Network>> {
        let mut networks = Vec::new();
        for name in self.names()? {
            networks.extend(self.network(&name)?);
        }
        Ok(networks)
    }

    /// What may be the name of a network in use.
    pub(crate) fn names(&self) -> Result<Vec<String>> {
        names_in(&self.dir)
    }

    /// A network in use.
    pub(crate) fn network(&self, name: &str) -> Result<Option<Network>> {
        read_json(&self.dir.join(name).join(DEFINITION))
    }

    /// The names of a network's files that are attachments.
    pub(crate) fn lease_files(&self, network: &str) -> Result<Vec<String>> {
        let mut names = names_in(&self.dir.join(network))?;
        names.retain(|name| parse_lease(name).is_some());
        Ok(names)
    }

    /// One of them.
    pub(crate) fn lease(&self, network: &str, file: &str) -> Result<Option<Attachment>> {
        read_json(&self.dir.join(network).join(file))
    }

    /// Addresses given out in a network, with the container of each.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn leases(&self, network: &Network) -> Result<Vec<(String, Ipv4Addr)>> {
        let names = names_in(&self.dir_of(network))?;
        Ok(names.iter().filter_map(|name| parse_lease(name)).collect())
    }

    /// All attachments of a container, to whatever network in use, with that network.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachments_of(&self, container: &str) -> Result<Vec<(Network, Attachment)>> {
        let mut all = Vec::new();
        for network in self.networks()? {
            all.extend(self.attachment(&network, container)?.map(|attachment| (network, attachment)));
        }
        Ok(all)
    }

    /// The attachment of a container to a network.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachment(&self, network: &Network, container: &str) -> Result<Option<Attachment>> {
        match self.leases(network)?.into_iter().find(|(owner, _)| owner == container) {
            Some((owner, ip)) => read_json(&self.lease_path(network, &owner, ip)),
            None => Ok(None),
        }
    }

    /// All attachments to a network.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn attachments(&self, network: &Network) -> Result<Vec<Attachment>> {
        let mut attachments = Vec::new();
        for (container, ip) in self.leases(network)? {
            attachments.extend(read_json(&self.lease_path(network, &container, ip))?);
        }
        Ok(attachments)
    }

    fn dir_of(&self, network: &Network) -> PathBuf {
        self.dir.join(&network.name)
    }

    fn lease_path(&self, network: &Network, container: &str, ip: Ipv4Addr) -> PathBuf {
        self.dir_of(network).join(format!("{container}@{ip}"))
    }
}

impl Registry {
    /// Wait for the lock.
    ///
    /// # Errors
    /// The folder cannot be made or locked.
    pub fn lock() -> Result<Self> {
        Self::lock_in(runtime_dir())
    }

    /// As [`Registry::lock`] in a given folder.
    ///
    /// # Errors
    /// As of [`Registry::lock`].
    pub fn lock_in(dir: PathBuf) -> Result<Self> {
        make_dir(&dir)?;
        let path = dir.join("lock");
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(&path).map_err(|source| Error::file("open", &path, source))?;
        loop {
            match flock(&lock, FlockOperation::LockExclusive) {
                Ok(()) => return Ok(Registry { view: View { dir }, lock }),
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(Error::file("lock", &path, errno)),
            }
        }
    }

    /// Write down that a network is in use.
    ///
    /// # Errors
    /// Its subnet, or its bridge, is another network's; or the file cannot be written.
    pub fn activate(&self, network: &Network) -> Result<()> {
        network.check()?;
        for other in self.networks()? {
            if other == *network {
                return Ok(());
            }
            let reason = if other.name == network.name {
                "is in use with another definition; stop its containers first".to_owned()
            } else if let Some(reason) = conflict(network, &other) {
                reason
            } else {
                continue;
            };
            return Err(Error::BadNetwork { network: network.name.clone(), reason });
        }
        make_dir(&self.dir_of(network))?;
        write_json(&self.dir_of(network).join(DEFINITION), network)
    }

    /// Forget a network without attachments.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn deactivate(&self, network: &Network) -> Result<()> {
        let dir = self.dir_of(network);
        match fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", &dir, error)),
            _ => Ok(()),
        }
    }

    /// Choose a free address: the wanted one, or the next after the one given out last, so that an address rests before
    /// it is used again.
    ///
    /// # Errors
    /// [`Error::PoolExhausted`], [`Error::AddressInUse`], [`Error::ForeignAddress`].
    pub fn choose(&mut self, network: &Network, wanted: Option<Ipv4Addr>) -> Result<Ipv4Addr> {
        let mut taken: HashSet<u32> = self.leases(network)?.iter().map(|(_, ip)| u32::from(*ip)).collect();
        taken.extend(network.reserved.values().filter_map(|ip| Some(u32::from(ipv4(*ip)?))));
        if let Some(ip) = wanted {
            let number = u32::from(ip);
            if !network.hosts().contains(&number) {
                return Err(Error::ForeignAddress(ip.into()));
            }
            if taken.contains(&number) || ip == network.gateway {
                return Err(Error::AddressInUse);
            }
            return Ok(ip);
        }
        let chosen = next_free(network, &taken, self.last_given())
            .ok_or_else(|| Error::PoolExhausted { network: network.name.clone(), subnet: network.cidr() })?;
        self.remember_given(chosen);
        Ok(Ipv4Addr::from(chosen))
    }

    /// Choose a free IPv6 address, if the network has any: the wanted one, or the one as far from the subnet's start as
    /// `ip` is from its own, or the next free one after it.
    ///
    /// # Errors
    /// As of [`Registry::choose`].
    pub fn choose6(&self, network: &Network, ip: Ipv4Addr, wanted: Option<Ipv6Addr>) -> Result<Option<Ipv6Addr>> {
        let Some(six) = network.ipv6 else {
            return wanted.map_or(Ok(None), |wanted| Err(Error::ForeignAddress(wanted.into())));
        };
        let mut taken: HashSet<Ipv6Addr> = self.attachments(network)?.iter().filter_map(|held| held.ipv6).collect();
        taken.extend([six.gateway, six.subnet.nth(0)]);
        taken.extend(network.reserved.values().filter_map(|ip| ipv6(*ip)));
        if let Some(wanted) = wanted {
            if !six.subnet.contains(wanted) {
                return Err(Error::ForeignAddress(wanted.into()));
            }
            return if taken.contains(&wanted) { Err(Error::AddressInUse) } else { Ok(Some(wanted)) };
        }
        let pool = six.range.unwrap_or(six.subnet);
        let offset = u32::from(ip) - u32::from(network.subnet);
        // The wrapped `nth` of a small pool leaves it: then from its start. One more candidate than are taken will do.
        let start = if pool.contains(pool.nth(offset)) { offset } else { 0 };
        let tries = u32::try_from(taken.len()).unwrap_or(u32::MAX).saturating_add(1);
        let mut candidates = (start..=start.saturating_add(tries)).chain(0..=tries).map(|offset| pool.nth(offset));
        let free = candidates.find(|candidate| pool.contains(*candidate) && !taken.contains(candidate));
        free.map(Some)
            .ok_or_else(|| Error::PoolExhausted { network: network.name.clone(), subnet: six.subnet.to_string() })
    }

    /// Write down an attachment; from now on its address is taken.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn record(&self, network: &Network, attachment: &Attachment) -> Result<()> {
        write_json(&self.lease_path(network, &attachment.container, attachment.ip), attachment)
    }

    /// Free an attachment's address.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn forget(&self, network: &Network, attachment: &Attachment) -> Result<()> {
        let path = self.lease_path(network, &attachment.container, attachment.ip);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", &path, error)),
            _ => Ok(()),
        }
    }

    /// The lock file's content is the last address given out: a hint only, so a lost or torn one does no harm.
    fn last_given(&mut self) -> u32 {
        let mut text = String::new();
        let _ = self.lock.rewind().and_then(|()| self.lock.read_to_string(&mut text));
        text.trim().parse::<Ipv4Addr>().map_or(0, u32::from)
    }

    fn remember_given(&mut self, address: u32) {
        let text = format!("{:<15}\n", Ipv4Addr::from(address));
        let _ = self.lock.rewind().and_then(|()| self.lock.write_all(text.as_bytes()));
    }
}

/// The first free address after `last`, round the pool.
fn next_free(network: &Network, taken: &HashSet<u32>, last: u32) -> Option<u32> {
    let pool = network.pool();
    let start = if pool.contains(&last) { last + 1 } else { pool.start };
    (start..pool.end)
        .chain(pool.start..start)
        .find(|address| *address != u32::from(network.gateway) && !taken.contains(address))
}

fn ipv4(ip: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(ip) = ip { Some(ip) } else { None }
}

fn ipv6(ip: IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(ip) = ip { Some(ip) } else { None }
}

/// Why two networks cannot be in use at once.
pub(crate) fn conflict(network: &Network, other: &Network) -> Option<String> {
    if let Some(subnet) = network.overlap(other) {
        return Some(format!("subnet {subnet} overlaps network {} ({})", other.name, other.cidr()));
    }
    let both_bridges = network.driver == Driver::Bridge && other.driver == Driver::Bridge;
    (both_bridges && other.bridge == network.bridge)
        .then(|| format!("bridge {} belongs to network {}", network.bridge, other.name))
}

pub(crate) fn parse_lease(name: &str) -> Option<(String, Ipv4Addr)> {
    let (container, ip) = name.split_once('@')?;
    Some((container.to_owned(), ip.parse().ok()?))
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o755).create(path).map_err(|source| Error::file("make", path, source))
}

/// Names in a folder that may not be there.
fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file("read", dir, error)),
    };
    entries
        .map(|entry| entry.map(|entry| entry.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<_>>()
        .map_err(|error| Error::file("read", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cidr::Cidr4;
    use crate::network::Subnet6;
    use proptest::prelude::*;

    fn small() -> Network {
        Network::new("small", "br1", Ipv4Addr::new(10, 1, 0, 0), 29).unwrap()
    }

    fn attachment(network: &Network, container: &str, ip: Ipv4Addr) -> Attachment {
        Attachment { ip, container: container.into(), network: network.name.clone(), ..Attachment::default() }
    }

    #[test]
    fn addresses_rest_before_they_are_used_again() {
        let dir = tempfile::tempdir().unwrap();
        let network = small();
        let mut registry = Registry::lock_in(dir.path().join("networks")).unwrap();
        registry.activate(&network).unwrap();
        for last in 2..=6 {
            let ip = registry.choose(&network, None).unwrap();
            assert_eq!(ip, Ipv4Addr::new(10, 1, 0, last));
            registry.record(&network, &attachment(&network, &format!("c{last}"), ip)).unwrap();
        }
        assert!(matches!(registry.choose(&network, None), Err(Error::PoolExhausted { .. })));
        let freed = registry.attachment(&network, "c4").unwrap().unwrap();
        registry.forget(&network, &freed).unwrap();
        registry.forget(&network, &freed).unwrap();
        assert_eq!(registry.choose(&network, None).unwrap(), freed.ip);
        assert_eq!(registry.leases(&network).unwrap().len(), 4);
    }

    #[test]
    fn networks_that_collide_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let registry = Registry::lock_in(dir.path().into()).unwrap();
        registry.activate(&small()).unwrap();
        registry.activate(&small()).unwrap();
        let renamed = Network { name: "other".into(), bridge: "br2".into(), ..small() };
        assert!(registry.activate(&renamed).unwrap_err().to_string().contains("overlaps network small"));
        let moved = Network { bridge: "br2".into(), ..small() };
        assert!(registry.activate(&moved).is_err());
        registry.deactivate(&small()).unwrap();
        registry.activate(&renamed).unwrap();
    }

    #[test]
    fn wanted_addresses_are_given_once() {
        let dir = tempfile::tempdir().unwrap();
        let network = Network { ipv6: Some(Subnet6::new("fd00::/64".parse().unwrap())), ..small() };
        let mut registry = Registry::lock_in(dir.path().join("networks")).unwrap();
        registry.activate(&network).unwrap();
        let ip = Ipv4Addr::new(10, 1, 0, 5);
        assert_eq!(registry.choose(&network, Some(ip)).unwrap(), ip);
        let six = registry.choose6(&network, ip, None).unwrap();
        assert_eq!(six, Some("fd00::5".parse().unwrap()));
        registry.record(&network, &Attachment { ipv6: six, ..attachment(&network, "c", ip) }).unwrap();
        assert!(matches!(registry.choose(&network, Some(ip)), Err(Error::AddressInUse)));
        assert!(matches!(registry.choose(&network, Some(network.gateway)), Err(Error::AddressInUse)));
        assert!(matches!(registry.choose(&network, Some(Ipv4Addr::new(10, 2, 0, 5))), Err(Error::ForeignAddress(_))));
        assert!(matches!(registry.choose6(&network, ip, six), Err(Error::AddressInUse)));
        assert_eq!(registry.choose6(&network, ip, None).unwrap(), Some("fd00::6".parse().unwrap()));
        assert_eq!(registry.attachments_of("c").unwrap().len(), 1);
    }

    proptest! {
        /// Whatever comes and goes: no address twice, none out of the pool, and what is freed can be given out again.
        #[test]
        fn the_pool_is_kept(prefix in 27_u8..=30, range in 0_u8..4, steps in proptest::collection::vec(0_usize..40, 1..60)) {
            let dir = tempfile::tempdir().unwrap();
            let mut network = Network::new("n", "br1", Ipv4Addr::new(10, 1, 0, 0), prefix).unwrap();
            network.range = (range > 0).then(|| Cidr4::of(network.subnet, (prefix + range).min(30)));
            network.ipv6 = Some(Subnet6::new("fd00::/124".parse().unwrap()));
            let mut registry = Registry::lock_in(dir.path().join("networks")).unwrap();
            registry.activate(&network).unwrap();
            let room = network.pool().filter(|ip| *ip != u32::from(network.gateway)).count();
            for (turn, step) in steps.into_iter().enumerate() {
                let held = registry.attachments(&network).unwrap();
                if let Some(freed) = held.get(step) {
                    registry.forget(&network, freed).unwrap();
                    prop_assert!(registry.choose(&network, Some(freed.ip)).is_ok());
                    continue;
                }
                let Ok(ip) = registry.choose(&network, None) else {
                    prop_assert_eq!(held.len(), room);
                    continue;
                };
                prop_assert!(network.pool().contains(&u32::from(ip)) && ip != network.gateway);
                prop_assert!(held.iter().all(|other| other.ip != ip));
                let ipv6 = match registry.choose6(&network, ip, None) {
                    Ok(ipv6) => ipv6,
                    // 16 less the gateway and the subnet's own.
                    Err(_) => { prop_assert!(held.len() >= 14); continue }
                };
                let six = network.ipv6.unwrap();
                prop_assert!(ipv6.is_some_and(|ip| six.subnet.contains(ip) && ip != six.gateway));
                prop_assert!(held.iter().all(|other| other.ipv6 != ipv6));
                registry.record(&network, &Attachment { ipv6, ..attachment(&network, &format!("c{turn}"), ip) }).unwrap();
            }
        }
    }

    #[test]
    fn a_torn_hint_does_no_harm() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("lock"), b"\xff10.1.").unwrap();
        let mut registry = Registry::lock_in(dir.path().into()).unwrap();
        assert_eq!(registry.choose(&small(), None).unwrap(), Ipv4Addr::new(10, 1, 0, 2));
    }
}
