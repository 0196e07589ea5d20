//! Networks that users have made: `NAME.json` below `/var/lib/coracle/networks`, which survives a reboot. What is in use
//! of them is in [`crate::ipam`].
//!
//! Whoever makes or removes one holds the lock of the [`Registry`], so that none is removed while a container joins it.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

use coracle_abi::atomic_write::{self, Durability};

use crate::files::read_json;
use crate::ipam::{Registry, conflict};
use crate::network::check_identifier;
use crate::{Error, Network, Result};

/// The networks on disk.
#[derive(Clone, Debug)]
pub struct Store {
    dir: PathBuf,
}

impl Store {
    /// The networks in a folder, which is made with the first of them.
    pub fn at(dir: PathBuf) -> Self {
        Store { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// The default network and all on disk, sorted by name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn list(&self) -> Result<Vec<Network>> {
        let mut networks = vec![Network::default_bridge()];
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(networks),
            Err(error) => return Err(Error::file("read", &self.dir, error)),
        };
        for entry in entries {
            let name = entry.map_err(|error| Error::file("read", &self.dir, error))?.file_name();
            let Some(name) = name.to_str().and_then(|name| name.strip_suffix(".json")) else { continue };
            // One that goes meanwhile was never there.
            networks.extend(self.get(name)?);
        }
        networks.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(networks)
    }

    /// A network by its exact name.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<Network>> {
        let default = Network::default_bridge();
        if name == default.name {
            return Ok(Some(default));
        }
        if check_identifier("network name", name).is_err() {
            return Ok(None);
        }
        read_json(&self.path(name))
    }

    /// A network by its name, its identifier, or an unambiguous beginning of that.
    ///
    /// # Errors
    /// [`Error::NoSuchNetwork`], [`Error::AmbiguousNetwork`], or a file that cannot be read.
    pub fn find(&self, text: &str) -> Result<Network> {
        if let Some(network) = self.get(text)? {
            return Ok(network);
        }
        let all = self.list()?;
        let mut found = all.into_iter().filter(|network| !text.is_empty() && network.id.starts_with(text));
        match (found.next(), found.next()) {
            (Some(network), None) => Ok(network),
            (Some(_), Some(_)) => Err(Error::AmbiguousNetwork(text.into())),
            (None, _) => Err(Error::NoSuchNetwork(text.into())),
        }
    }

    /// Put a new network on disk, which `make` decides on when it is told of those that there are.
    ///
    /// # Errors
    /// It exists, its addresses or bridge are another's, what `make` said, or the file cannot be written.
    pub fn create(&self, name: &str, make: impl FnOnce(&[Network]) -> Result<Network>) -> Result<Network> {
        let _lock = Registry::lock()?;
        if self.get(name)?.is_some() {
            return Err(Error::NetworkExists(name.into()));
        }
        let others = self.list()?;
        let network = make(&others)?;
        network.check()?;
        if let Some(other) = others.iter().find(|other| network.overlap(other).is_some()) {
            return Err(Error::PoolOverlap { subnet: network.cidr(), other: other.name.clone() });
        }
        if let Some(reason) = others.iter().find_map(|other| conflict(&network, other)) {
            return Err(Error::BadNetwork { network: name.into(), reason });
        }
        fs::create_dir_all(&self.dir).map_err(|source| Error::file("make", &self.dir, source))?;
        let path = self.path(name);
        let text =
            serde_json::to_vec_pretty(&network).map_err(|source| Error::BadState { path: path.clone(), source })?;
        atomic_write::write(&path, &text, 0o644, Durability::Durable)
            .map_err(|source| Error::file("write", &path, source))?;
        Ok(network)
    }

    /// Remove a network that no container is on.
    ///
    /// # Errors
    /// [`Error::NetworkInUse`], or what the kernel said.
    pub fn remove(&self, network: &Network) -> Result<()> {
        let registry = Registry::lock()?;
        if let Some((container, _)) = registry.leases(network)?.into_iter().next() {
            return Err(Error::NetworkInUse { network: network.name.clone(), container });
        }
        let path = self.path(&network.name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::file("remove", &path, error)),
            _ => Ok(()),
        }
    }
}
