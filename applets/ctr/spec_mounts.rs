//! The mounts of a container's specification.

use std::path::Path;

use anyhow::{Context, ensure};
use oci_spec::runtime::{Mount, Spec};

use super::options_mounts::tmpfs_options;
use super::options_security::Security;
use super::options_spaces::other;
use super::paths;
use super::record::{MountPoint, Record};

/// Add the container's mounts to the default ones, and change those as its options say.
pub fn set(spec: &mut Spec, record: &Record, security: &Security) -> anyhow::Result<()> {
    let mut mounts = spec.mounts().clone().unwrap_or_default();
    set_kernels(&mut mounts, record, security)?;
    let tmpfs = record.host_config.tmpfs.iter().map(|(path, options)| tmpfs(path, tmpfs_options(options)));
    let volumes = record.mounts.iter().map(volume);
    let mut own: Vec<Mount> = generated(record).into_iter().chain(tmpfs).chain(volumes).collect();
    // What is mounted in the place of a default one stands for it.
    mounts.retain(|mount| !own.iter().any(|other| other.destination() == mount.destination()));
    // What lies below another comes after it.
    own.sort_by_key(|mount| mount.destination().components().count());
    mounts.extend(own);
    spec.set_mounts(Some(mounts));
    Ok(())
}

/// The kernel's own file systems: how large, how writable, and whose.
fn set_kernels(mounts: &mut Vec<Mount>, record: &Record, security: &Security) -> anyhow::Result<()> {
    let host = &record.host_config;
    let writable = |path: &str| match path {
        "/sys" => host.privileged,
        "/sys/fs/cgroup" => host.privileged || security.writable_cgroups,
        _ => false,
    };
    for mount in mounts.iter_mut() {
        if mount.destination().to_str().is_some_and(writable) {
            let kept = mount.options().iter().flatten().filter(|option| *option != "ro").cloned().collect();
            mount.set_options(Some(kept));
        }
    }
    let at = |mounts: &[Mount], path: &str| mounts.iter().position(|mount| mount.destination() == Path::new(path));
    let Some(index) = at(mounts, "/dev/shm") else { return Ok(()) };
    match host.ipc_mode.as_str() {
        "none" => drop(mounts.remove(index)),
        "host" => {
            mounts[index] =
                bind(Path::new("/dev/shm"), "/dev/shm", &["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"]);
            if let (Some(index), true) = (at(mounts, "/dev/mqueue"), Path::new("/dev/mqueue").is_dir()) {
                mounts[index] = bind(
                    Path::new("/dev/mqueue"),
                    "/dev/mqueue",
                    &["rbind", "rprivate", "rw", "nosuid", "noexec", "nodev"],
                );
            }
        }
        "shareable" => mounts[index] = shm_of(&record.id),
        mode => match other(mode)? {
            Some((other, _)) => {
                ensure!(shared_shm(&other.id).is_dir(), "container {} has no /dev/shm to share", other.short_name());
                mounts[index] = shm_of(&other.id);
            }
            None if host.shm_size > 0 => {
                let options = mounts[index].options().iter().flatten().filter(|option| !option.starts_with("size="));
                let options = options.cloned().chain([format!("size={}", host.shm_size)]).collect();
                mounts[index].set_options(Some(options));
            }
            None => {}
        },
    }
    Ok(())
}

/// Where the /dev/shm that others may share is on the host.
pub fn shared_shm(id: &str) -> std::path::PathBuf {
    paths::live_container(id).join("shm")
}

fn shm_of(id: &str) -> Mount {
    bind(&shared_shm(id), "/dev/shm", &["bind", "rprivate", "rw", "nosuid", "noexec", "nodev"])
}

/// Make the /dev/shm that others may share, if the container has one.
pub fn make_shared_shm(record: &Record) -> anyhow::Result<()> {
    if record.host_config.ipc_mode != "shareable" {
        return Ok(());
    }
    let path = shared_shm(&record.id);
    let make = || -> std::io::Result<()> {
        release_shared_shm(&record.id)?;
        std::fs::create_dir_all(&path)?;
        let flags = nix::mount::MsFlags::MS_NOSUID | nix::mount::MsFlags::MS_NODEV | nix::mount::MsFlags::MS_NOEXEC;
        let data = format!("mode=1777,size={}", record.host_config.shm_size);
        Ok(nix::mount::mount(Some("shm"), &path, Some("tmpfs"), flags, Some(data.as_str()))?)
    };
    make().with_context(|| format!("cannot mount {}", path.display()))
}

/// Undo [`make_shared_shm`]; repeatable.
pub fn release_shared_shm(id: &str) -> std::io::Result<()> {
    let path = shared_shm(id);
    match nix::mount::umount2(&path, nix::mount::MntFlags::MNT_DETACH | nix::mount::MntFlags::UMOUNT_NOFOLLOW) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    match std::fs::remove_dir(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// The root must let mounts spread as the volumes do that want it.
pub fn root_propagation(record: &Record) -> Option<String> {
    let any = |wanted: &[&str]| record.mounts.iter().any(|mount| wanted.contains(&mount.propagation.as_str()));
    if any(&["shared", "rshared"]) {
        Some("shared".into())
    } else if any(&["slave", "rslave"]) {
        Some("rslave".into())
    } else {
        None
    }
}

/// /etc/hosts, /etc/hostname and /etc/resolv.conf, which the engine writes.
fn generated(record: &Record) -> Vec<Mount> {
    let files = [
        ("/etc/resolv.conf", &record.resolv_conf_path),
        ("/etc/hostname", &record.hostname_path),
        ("/etc/hosts", &record.hosts_path),
    ];
    let hidden = |destination: &str| record.mounts.iter().any(|mount| mount.destination == destination);
    let wanted = files.into_iter().filter(|(destination, _)| !hidden(destination));
    let access = if record.host_config.readonly_rootfs { "ro" } else { "rw" };
    wanted.map(|(destination, source)| bind(source, destination, &["rbind", "rprivate", access])).collect()
}

fn volume(mount: &MountPoint) -> Mount {
    let given = |name: &str| mount.options.iter().any(|option| option == name);
    if mount.kind == "tmpfs" {
        let access = if mount.rw { "rw" } else { "ro" };
        let given = mount.options.iter().map(String::as_str).chain([access]).collect::<Vec<_>>().join(",");
        return tmpfs(&mount.destination, tmpfs_options(&given));
    }
    let kind = if given("bind") { "bind" } else { "rbind" };
    let propagation = if mount.propagation.is_empty() { "rprivate" } else { &mount.propagation };
    let access = match mount.rw {
        true => "rw",
        false if given("ro") || given("bind") => "ro",
        // As Docker since 25: mounts below are read-only too.
        false => "rro",
    };
    bind(&mount.source, &mount.destination, &[kind, propagation, access])
}

fn bind(source: &Path, destination: &str, options: &[&str]) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some("bind".into()))
        .set_source(Some(source.into()))
        .set_options(Some(options.iter().map(|&option| option.into()).collect()));
    mount
}

fn tmpfs(destination: &str, options: Vec<String>) -> Mount {
    let mut mount = Mount::default();
    mount
        .set_destination(destination.into())
        .set_typ(Some("tmpfs".into()))
        .set_source(Some("tmpfs".into()))
        .set_options(Some(options));
    mount
}
