//! The container's cgroup: where it is, made, and what is in it.

use std::io;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, bail};
use coracle_cgroups::{Cgroup, Error, Hierarchy};
use oci_spec::runtime::Spec;

use super::options::Global;
use crate::runtime::Resources;

/// A cgroup that is to be made.
pub struct Plan {
    tree: Hierarchy,
    path: PathBuf,
    resources: Resources,
    /// The caller may not be permitted any: without limits, one that cannot be made is done without.
    optional: bool,
}

/// Where a specification wants the cgroup and what limits it asks for. `None` on a host without cgroup v2, if no limit was asked for.
pub fn plan(global: &Global, spec: &Spec, id: &str) -> anyhow::Result<Option<Plan>> {
    let linux = spec.linux().as_ref();
    let resources = linux.and_then(|linux| linux.resources().as_ref()).map(Resources::plan).transpose()?;
    let resources = resources.unwrap_or_default();
    let tree = match Hierarchy::find() {
        Ok(tree) => tree,
        Err(Error::NoHierarchy) if resources.for_new_cgroup(&[]).is_empty() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let resources = resources.for_new_cgroup(&tree.controllers()?);
    for controller in resources.controllers()? {
        require(&tree, &controller)?;
    }
    let wanted = linux.and_then(|linux| linux.cgroups_path().as_deref()).unwrap_or(Path::new(""));
    let own = std::fs::read_to_string("/proc/self/cgroup").context("cannot read /proc/self/cgroup")?;
    let own = own_group(&own);
    let mut name = location(wanted, id, global.systemd_cgroup, own)?;
    if let (true, true, Some(manager)) = (global.systemd_cgroup, global.rootless, users_manager(own)) {
        name = manager.join(name.strip_prefix("/").unwrap_or(&name));
    }
    let path = tree.path(&name);
    if path == tree.root() {
        bail!("linux.cgroupsPath: the root of all cgroups cannot be a container's");
    }
    let optional = global.rootless && (wanted.as_os_str().is_empty() || global.systemd_cgroup);
    Ok(Some(Plan { tree, path, resources, optional }))
}

impl Plan {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Make the cgroup, with the limits in force. `None` for a rootless caller who may not, and needs no limit.
    pub fn make(&self) -> anyhow::Result<Option<Cgroup>> {
        let made = self.make_down_the_path().and_then(|(group, refused)| {
            let applied = self.resources.apply(&group);
            applied.map_err(|error| refused.map_or_else(|| error.into(), anyhow::Error::from))?;
            Ok(group)
        });
        match made {
            Ok(group) => Ok(Some(group)),
            Err(_) if self.optional && self.resources.is_empty() => Ok(None),
            Err(error) if self.optional => {
                Err(error.context("rootless needs no limits + no cgrouppath when no permission is granted for cgroups"))
            }
            Err(error) => Err(error),
        }
    }

    /// A group on the way that refuses to pass its controllers on (it holds processes) matters only if a limit needs them: then the
    /// limit's own file is missing, and that is said with this reason.
    fn make_down_the_path(&self) -> anyhow::Result<(Cgroup, Option<Error>)> {
        let relative = self.path.strip_prefix(self.tree.root()).unwrap_or(Path::new(""));
        let (mut current, mut refused) = (Cgroup::open(self.tree.root())?, None);
        for part in relative.components() {
            if let Err(error) = current.enable_all() {
                refused.get_or_insert(error);
                // Not all can be had, but perhaps those that count.
                for controller in self.resources.controllers()? {
                    let _ = current.write("cgroup.subtree_control", &format!("+{controller}"));
                }
            }
            let path = current.path().join(part);
            match std::fs::create_dir(&path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(error).with_context(|| format!("cannot create the cgroup {}", path.display()));
                }
                _ => {}
            }
            current = Cgroup::open(&path)?;
        }
        Ok((current, refused))
    }

    /// A container's cgroup is its own: it is killed, frozen and removed with it.
    pub fn refuse_foreign(&self) -> anyhow::Result<()> {
        let Ok(group) = Cgroup::open(&self.path) else { return Ok(()) };
        // A threaded group cannot be asked.
        let count = group.procs().map_or(0, |pids| pids.len());
        if count > 0 {
            bail!("container's cgroup is not empty: {count} process(es) found");
        }
        if group.events().is_ok_and(|events| events.frozen) {
            bail!("container's cgroup unexpectedly frozen");
        }
        Ok(())
    }
}

fn require(tree: &Hierarchy, controller: &str) -> anyhow::Result<()> {
    const KNOWN: [&str; 8] = ["cpu", "cpuset", "memory", "io", "pids", "hugetlb", "misc", "rdma"];
    match KNOWN.into_iter().find(|known| *known == controller) {
        Some(known) => Ok(tree.require(known)?),
        None => Ok(()),
    }
}

/// The caller's own group, from the text of /proc/self/cgroup (cgroups(7)).
fn own_group(text: &str) -> &Path {
    Path::new(text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/"))
}

/// The group of the user's own systemd, below which it makes all groups that it is asked for (user@.service(5)).
fn users_manager(own: &Path) -> Option<&Path> {
    let is_manager = |group: &&Path| {
        let name = group.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("user@") && name.ends_with(".service")
    };
    own.ancestors().find(is_manager)
}

/// The group's name below the root of the tree. As runc has it: an absolute path is below the root; a relative one, and the default
/// (the container's name), beside the caller's own group, whose processes keep it from having children with controllers.
fn location(wanted: &Path, id: &str, systemd: bool, own: &Path) -> anyhow::Result<PathBuf> {
    if systemd {
        let text = wanted.to_str().context("linux.cgroupsPath: it is not UTF-8")?;
        return systemd_location(text, id);
    }
    if wanted.components().any(|part| part == Component::ParentDir) {
        bail!("linux.cgroupsPath: {:?} has \"..\" in it", wanted.display());
    }
    if wanted.is_absolute() {
        return Ok(wanted.to_owned());
    }
    let name = if wanted.as_os_str().is_empty() { Path::new(id) } else { wanted };
    Ok(own.parent().unwrap_or(Path::new("/")).join(name))
}

/// `slice:prefix:name` as the path of the scope `prefix-name.scope` in that slice; a name that is a slice is that slice.
fn systemd_location(text: &str, id: &str) -> anyhow::Result<PathBuf> {
    if text.is_empty() {
        return systemd_location(&format!("system.slice:runc:{id}"), id);
    }
    let parts: Vec<&str> = text.split(':').collect();
    let [slice, prefix, name] = parts[..] else {
        bail!("expected cgroupsPath to be of format \"slice:prefix:name\" for systemd cgroups, got {text:?} instead");
    };
    if name.is_empty() || [slice, prefix, name].iter().any(|part| part.contains('/') || part.contains("..")) {
        bail!("linux.cgroupsPath: {text:?} is no slice:prefix:name");
    }
    let slice = expand_slice(if slice.is_empty() { "system.slice" } else { slice })?;
    let unit = match (prefix, name.ends_with(".slice")) {
        (_, true) => return Ok(slice.join(name)),
        ("", false) => format!("{name}.scope"),
        (prefix, false) => format!("{prefix}-{name}.scope"),
    };
    Ok(slice.join(unit))
}

/// The path of a slice: `a-b.slice` lies in `a.slice` (systemd.slice(5)).
fn expand_slice(slice: &str) -> anyhow::Result<PathBuf> {
    let wrong = || anyhow::anyhow!("invalid slice name: {slice}");
    let name = slice.strip_suffix(".slice").ok_or_else(wrong)?;
    if name == "-" {
        return Ok("/".into());
    }
    let mut path = PathBuf::from("/");
    let mut prefix = String::new();
    for part in name.split('-') {
        if part.is_empty() {
            return Err(wrong());
        }
        prefix = if prefix.is_empty() { part.to_owned() } else { format!("{prefix}-{part}") };
        path.push(format!("{prefix}.slice"));
    }
    Ok(path)
}

/// The processes of a group and of those below it.
pub fn all_pids(path: &Path) -> anyhow::Result<Vec<i32>> {
    let mut pids = match Cgroup::open(path).and_then(|group| group.procs()) {
        Ok(pids) => pids,
        // Gone, or threaded.
        Err(_) => return Ok(Vec::new()),
    };
    for entry in std::fs::read_dir(path)?.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            pids.extend(all_pids(&entry.path())?);
        }
    }
    Ok(pids)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroupfs_paths() {
        let at = |wanted: &str| location(Path::new(wanted), "id", false, Path::new("/user/shell")).unwrap();
        assert_eq!(at(""), Path::new("/user/id"));
        assert_eq!(at("/a/b"), Path::new("/a/b"));
        assert_eq!(at("a/b"), Path::new("/user/a/b"));
        assert_eq!(location(Path::new(""), "id", false, Path::new("/")).unwrap(), Path::new("/id"));
        assert!(location(Path::new("/a/../../b"), "id", false, Path::new("/")).is_err());
    }

    #[test]
    fn systemd_paths() {
        let at = |wanted: &str| {
            location(Path::new(wanted), "id", true, Path::new("/x")).map(|path| path.display().to_string())
        };
        assert_eq!(at("").unwrap(), "/system.slice/runc-id.scope");
        assert_eq!(at("machine.slice:libpod:abc").unwrap(), "/machine.slice/libpod-abc.scope");
        assert_eq!(at("a-b-c.slice:cri:x").unwrap(), "/a.slice/a-b.slice/a-b-c.slice/cri-x.scope");
        assert_eq!(at("-.slice:cri:x").unwrap(), "/cri-x.scope");
        assert_eq!(at("a.slice::x").unwrap(), "/a.slice/x.scope");
        assert_eq!(at("a.slice:p:b.slice").unwrap(), "/a.slice/b.slice");
        for wrong in ["/a/b", "a:b", "a.slice:b:", "a:b:c", "a--b.slice:c:d", "../x.slice:a:b", "a.slice:b:c/d"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_path_leads_out_of_the_tree(wanted in "[a-c./:-]{0,20}", systemd: bool) {
            if let Ok(path) = location(Path::new(&wanted), "id", systemd, Path::new("/own")) {
                proptest::prop_assert!(path.is_absolute());
                proptest::prop_assert!(path.components().all(|part| part != Component::ParentDir), "{}", path.display());
            }
        }
    }

    #[test]
    fn users_have_a_systemd_of_their_own() {
        let manager = Path::new("/user.slice/user-1000.slice/user@1000.service");
        assert_eq!(users_manager(&manager.join("app.slice/x.scope")), Some(manager));
        assert_eq!(users_manager(Path::new("/user.slice/user-1000.slice/session-1.scope")), None);
    }

    #[test]
    fn own_group_of_cgroups_text() {
        assert_eq!(own_group("4:memory:/x\n0::/user.slice\n"), Path::new("/user.slice"));
        assert_eq!(own_group(""), Path::new("/"));
    }
}
