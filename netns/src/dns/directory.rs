//! Who is called what: what the files of networks in use ([`crate::ipam`]) say of names, kept in memory and brought up to
//! date by inotify(7). A change is in the queue when the call that made it returns, so whoever catches up before each
//! answer answers what is true at that moment.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::message::{A, AAAA, ANY};
use crate::ipam::{DEFINITION, View, parse_lease};
use crate::{Attachment, Error, Result};

/// A container's place on a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The container.
    pub container: String,
    /// Its addresses there.
    pub addresses: Vec<IpAddr>,
    /// What others on the network call it, the first being what it is called back by.
    pub names: Vec<String>,
    /// The servers that it asks for the names of others.
    pub servers: Vec<IpAddr>,
    /// A process in its namespace.
    pub pid: i32,
    /// Its namespace's inode number.
    pub namespace: u64,
}

impl From<Attachment> for Member {
    fn from(held: Attachment) -> Self {
        Member {
            container: held.container,
            addresses: [Some(IpAddr::from(held.ip)), held.ipv6.map(IpAddr::from)].into_iter().flatten().collect(),
            names: held.names,
            servers: held.servers,
            pid: held.pid,
            namespace: held.namespace,
        }
    }
}

/// A network with names.
#[derive(Debug, Default)]
struct Zone {
    name: String,
    is_internal: bool,
    /// By the names of their files.
    members: BTreeMap<String, Member>,
}

impl Zone {
    fn has(&self, container: &str) -> bool {
        self.members.values().any(|member| member.container == container)
    }

    /// The addresses of all that go by a name.
    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let called = |member: &&Member| member.names.iter().any(|own| own.eq_ignore_ascii_case(name));
        self.members.values().filter(called).flat_map(|member| member.addresses.iter().copied()).collect()
    }
}

/// What is to be done with a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is of a name of ours, which has these addresses.
    Addresses(Vec<IpAddr>),
    /// It is of an address of ours, which has this name.
    Name(String),
    /// It is someone else's: to be passed on.
    Foreign,
    /// It is someone else's, and who asks has no way out.
    Unreachable,
}

/// All networks with names.
#[derive(Debug)]
pub struct Directory {
    view: View,
    inotify: OwnedFd,
    zones: BTreeMap<String, Zone>,
    /// Watched networks, by their watch.
    watches: BTreeMap<i32, String>,
    root: i32,
    is_stale: bool,
}

const WATCHED: WatchFlags = WatchFlags::CREATE
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::ONLYDIR);

impl Directory {
    /// Read all that is below the folder of networks in use.
    ///
    /// # Errors
    /// The folder is not there, or cannot be watched.
    pub fn open(view: View) -> Result<Self> {
        let failed = |errno: Errno| Error::kernel("watch for changes of networks", errno);
        let inotify = inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(failed)?;
        let root = inotify::add_watch(&inotify, view.dir(), WATCHED)
            .map_err(|errno| Error::file("watch", view.dir(), errno))?;
        let (zones, watches) = Default::default();
        let mut directory = Directory { view, inotify, zones, watches, root, is_stale: true };
        directory.catch_up()?;
        Ok(directory)
    }

    /// Read what has changed. Tells whether anything has.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn catch_up(&mut self) -> Result<bool> {
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut changed: Vec<(i32, String, ReadFlags)> = Vec::new();
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        loop {
            match reader.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
                    changed.push((event.wd(), name, event.events()));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::kernel("read changes of networks", errno)),
            }
        }
        for (watch, name, flags) in changed {
            self.note(watch, &name, flags);
        }
        let had_changed = std::mem::take(&mut self.is_stale);
        if had_changed {
            self.reload()?;
        }
        Ok(had_changed)
    }

    fn note(&mut self, watch: i32, name: &str, flags: ReadFlags) {
        if flags.contains(ReadFlags::IGNORED) {
            self.watches.remove(&watch);
        }
        let network = self.watches.get(&watch);
        if watch == self.root || flags.intersects(ReadFlags::QUEUE_OVERFLOW) || name == DEFINITION {
            self.is_stale = true;
            // What is kept of a network is kept by file name; a network that was made anew has all of it anew.
            match network {
                Some(network) => drop(self.zones.remove(network)),
                None if watch == self.root => drop(self.zones.remove(name)),
                None => self.zones.clear(),
            }
        } else if parse_lease(name).is_some() {
            self.is_stale = true;
            if let Some(zone) = network.and_then(|network| self.zones.get_mut(network)) {
                zone.members.remove(name);
            }
        }
    }

    /// Bring the zones in line with the files; what is there under its name already was not changed.
    fn reload(&mut self) -> Result<()> {
        let found = self.view.names()?;
        self.zones.retain(|name, _| found.contains(name));
        for name in found {
            // Watched first, read then: what comes in between is read again.
            let watch = match inotify::add_watch(&self.inotify, self.view.dir().join(&name), WATCHED) {
                Ok(watch) => watch,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(errno) => return Err(Error::file("watch", &self.view.dir().join(&name), errno)),
            };
            self.watches.insert(watch, name.clone());
            // A file that cannot be read costs its own names, and not those of all others.
            let network = self.view.network(&name).ok().flatten();
            let Some(network) = network.filter(|network| network.names) else {
                self.zones.remove(&name);
                continue;
            };
            let mut known = self.zones.remove(&name).unwrap_or_default().members;
            let mut zone = Zone { name: network.name.clone(), is_internal: network.internal, ..Zone::default() };
            for file in self.view.lease_files(&name)? {
                let member = match known.remove(&file) {
                    Some(member) => Some(member),
                    None => self.view.lease(&name, &file).ok().flatten().map(Member::from),
                };
                zone.members.extend(member.map(|member| (file, member)));
            }
            self.zones.insert(name, zone);
        }
        Ok(())
    }

    /// One place of each container that there is.
    pub fn members(&self) -> BTreeMap<&str, &Member> {
        let all = self.zones.values().flat_map(|zone| zone.members.values());
        all.map(|member| (member.container.as_str(), member)).collect()
    }

    /// What a container is to be told about a name.
    pub fn find(&self, container: &str, name: &str, kind: u16) -> Finding {
        let own: Vec<&Zone> = self.zones.values().filter(|zone| zone.has(container)).collect();
        let addresses = lookup(&own, name);
        if !addresses.is_empty() {
            // Other types it does not have: better said here than by a server that does not know it.
            return Finding::Addresses(if matches!(kind, A | AAAA | ANY) { addresses } else { Vec::new() });
        }
        if let Some(called) = super::message::address_of(name).and_then(|ip| reverse(&own, ip)) {
            return Finding::Name(called);
        }
        if own.iter().all(|zone| zone.is_internal) { Finding::Unreachable } else { Finding::Foreign }
    }

    /// The servers that a container wants to be asked, if it wants any in particular.
    pub fn servers(&self, container: &str) -> &[IpAddr] {
        let members = self.zones.values().flat_map(|zone| zone.members.values());
        members
            .filter(|member| member.container == container)
            .map(|member| member.servers.as_slice())
            .next()
            .unwrap_or(&[])
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}

/// Addresses on the first network that has the name; it may end in the network's name, as in Docker.
fn lookup(zones: &[&Zone], name: &str) -> Vec<IpAddr> {
    let whole = zones.iter().map(|zone| zone.addresses(name));
    let qualified = zones.iter().map(|zone| {
        let at = name.len().checked_sub(zone.name.len() + 1).filter(|at| name.is_char_boundary(*at));
        let (first, rest) = at.map_or(("", ""), |at| name.split_at(at));
        let fits = rest.strip_prefix('.').is_some_and(|rest| rest.eq_ignore_ascii_case(&zone.name));
        if fits { zone.addresses(first) } else { Vec::new() }
    });
    whole.chain(qualified).find(|found| !found.is_empty()).unwrap_or_default()
}

/// Docker's form: the container's name and the network's.
fn reverse(zones: &[&Zone], ip: IpAddr) -> Option<String> {
    zones.iter().find_map(|zone| {
        let member = zone.members.values().find(|member| member.addresses.contains(&ip))?;
        Some(format!("{}.{}", member.names.first()?, zone.name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Network;
    use crate::ipam::Registry;
    use std::net::Ipv4Addr;

    struct Fixture {
        _dir: tempfile::TempDir,
        registry: Registry,
        directory: Directory,
    }

    fn network(name: &str, third: u8) -> Network {
        let mut network = Network::new(name, &format!("br{third}"), Ipv4Addr::new(10, 1, third, 0), 24).unwrap();
        network.names = true;
        network
    }

    fn fixture() -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("networks");
        let registry = Registry::lock_in(path.clone()).unwrap();
        let directory = Directory::open(View::of(path)).unwrap();
        Fixture { _dir: dir, registry, directory }
    }

    impl Fixture {
        fn put(&mut self, network: &Network, container: &str, last: u8, names: &[&str]) -> Attachment {
            let [a, b, c, _] = network.subnet.octets();
            let held = Attachment {
                ip: Ipv4Addr::new(a, b, c, last),
                ipv6: Some(format!("fd00::{c}:{last}").parse().unwrap()),
                container: container.into(),
                network: network.name.clone(),
                names: names.iter().map(|name| (*name).to_owned()).collect(),
                ..Attachment::default()
            };
            self.registry.activate(network).unwrap();
            self.registry.record(network, &held).unwrap();
            held
        }

        fn ask(&mut self, container: &str, name: &str) -> Finding {
            self.directory.catch_up().unwrap();
            match self.directory.find(container, name, A) {
                Finding::Addresses(mut all) => {
                    all.retain(IpAddr::is_ipv4);
                    Finding::Addresses(all)
                }
                other => other,
            }
        }
    }

    fn at(text: &str) -> Finding {
        Finding::Addresses(text.split(' ').map(|ip| ip.parse().unwrap()).collect())
    }

    #[test]
    fn names_follow_the_files() {
        let mut host = fixture();
        let one = network("one", 1);
        assert!(!host.directory.catch_up().unwrap());
        let web = host.put(&one, "c1", 2, &["Web", "www"]);
        host.put(&one, "c2", 3, &["db", "www"]);
        assert_eq!(host.ask("c2", "web"), at("10.1.1.2"));
        assert_eq!(host.ask("c2", "www"), at("10.1.1.2 10.1.1.3"), "an alias of two");
        assert_eq!(host.ask("c2", "web.ONE"), at("10.1.1.2"));
        assert_eq!(host.ask("c2", "web.two"), Finding::Foreign);
        assert_eq!(host.ask("c2", "2.1.1.10.in-addr.arpa"), Finding::Name("Web.one".into()));
        assert_eq!(host.directory.find("c2", "web", 15), Finding::Addresses(vec![]), "it has no mail server");
        host.registry.record(&one, &Attachment { names: vec!["new".into()], ..web.clone() }).unwrap();
        assert_eq!(host.ask("c2", "web"), Finding::Foreign);
        assert_eq!(host.ask("c2", "new"), at("10.1.1.2"));
        host.registry.forget(&one, &web).unwrap();
        assert_eq!(host.ask("c2", "new"), Finding::Foreign);
        host.registry.deactivate(&one).unwrap();
        host.directory.catch_up().unwrap();
        assert!(host.directory.members().is_empty());
        // The same name, made anew.
        host.put(&network("one", 9), "c2", 3, &["db"]);
        assert_eq!(host.ask("c2", "db"), at("10.1.9.3"));
    }

    #[test]
    fn a_container_knows_its_own_networks_only() {
        let mut host = fixture();
        let (one, mut two) = (network("one", 1), network("two", 2));
        two.internal = true;
        host.put(&one, "c1", 2, &["a"]);
        host.put(&one, "c2", 3, &["b"]);
        host.put(&two, "c2", 3, &["b", "bb"]);
        host.put(&two, "c3", 4, &["c"]);
        assert_eq!(host.ask("c1", "c"), Finding::Foreign);
        assert_eq!(host.ask("c1", "bb"), Finding::Foreign, "an alias is of one network");
        assert_eq!(host.ask("c1", "b"), at("10.1.1.3"));
        assert_eq!((host.ask("c2", "a"), host.ask("c2", "c")), (at("10.1.1.2"), at("10.1.2.4")));
        assert_eq!(host.ask("c2", "b.two"), at("10.1.2.3"));
        assert_eq!(host.ask("c3", "example.org"), Finding::Unreachable, "on internal networks only");
        assert_eq!(host.ask("c2", "example.org"), Finding::Foreign);
        let nameless = Network { names: false, ..network("plain", 3) };
        host.put(&nameless, "c4", 2, &[]);
        assert!(!host.directory.members().contains_key("c4"));
    }
}
