//! What is to be mounted in a new container: `-v`, `--mount`, `--volumes-from`, and the image's volumes.

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};

use super::create::Source;
use super::options::Options;
use super::options_mounts::{MountOption, Volume, is_path};
use super::record::{self, HostConfig, MountPoint, Record};
use super::{names, volumes};

/// All mounts, nothing of them made yet; and an anonymous volume for each path of the image that has none.
pub fn mounts(options: &Options, source: &Source, host: &HostConfig) -> anyhow::Result<Vec<MountPoint>> {
    let mut all: Vec<MountPoint> = Vec::new();
    let given = options.volume.iter().map(of_volume).chain(options.mount.iter().map(of_mount));
    for mount in given {
        let taken = |other: &MountPoint| other.destination == mount.destination;
        ensure!(
            !all.iter().any(taken) && !host.tmpfs.contains_key(&mount.destination),
            "Duplicate mount point: {}",
            mount.destination
        );
        all.push(mount);
    }
    for mount in &options.mount {
        let creates = mount.bind_options.as_ref().is_some_and(|options| options.create_mountpoint);
        ensure!(
            mount.kind != "bind" || creates || PathBuf::from(&mount.source).exists(),
            "invalid mount config for type \"bind\": bind source path does not exist: {}",
            mount.source
        );
    }
    for text in &options.volumes_from {
        add_missing(&mut all, host, volumes_from(text)?);
    }
    let of_image = source.volumes.iter().map(|path| MountPoint {
        kind: "volume".into(),
        destination: path.clone(),
        driver: "local".into(),
        rw: true,
        ..MountPoint::default()
    });
    add_missing(&mut all, host, of_image.collect());
    // What lies below another comes after it.
    all.sort_by_key(|mount| mount.destination.split('/').count());
    Ok(all)
}

fn add_missing(all: &mut Vec<MountPoint>, host: &HostConfig, more: Vec<MountPoint>) {
    for mount in more {
        let taken = all.iter().any(|other| other.destination == mount.destination);
        if !taken && !host.tmpfs.contains_key(&mount.destination) {
            all.push(mount);
        }
    }
}

fn of_volume(volume: &Volume) -> MountPoint {
    let is_bind = volume.source.as_deref().is_some_and(is_path);
    let source = volume.source.clone().unwrap_or_default();
    let or_default = |text: &str| if text.is_empty() { "rprivate".to_owned() } else { text.to_owned() };
    MountPoint {
        kind: if is_bind { "bind" } else { "volume" }.into(),
        name: if is_bind { String::new() } else { source.clone() },
        source: if is_bind { source.into() } else { PathBuf::new() },
        destination: volume.destination.clone(),
        mode: volume.mode.clone(),
        rw: !volume.read_only,
        driver: if is_bind { "" } else { "local" }.into(),
        propagation: if is_bind { or_default(&volume.propagation) } else { String::new() },
        options: Vec::new(),
    }
}

fn of_mount(mount: &MountOption) -> MountPoint {
    let mut point = MountPoint {
        kind: mount.kind.clone(),
        destination: mount.target.clone(),
        rw: !mount.read_only,
        ..MountPoint::default()
    };
    match mount.kind.as_str() {
        "bind" => {
            let options = mount.bind_options.clone().unwrap_or_default();
            point.source = mount.source.clone().into();
            point.propagation = if options.propagation.is_empty() { "rprivate".into() } else { options.propagation };
            if options.non_recursive {
                point.options.push("bind".into());
            } else if mount.read_only && options.read_only_non_recursive {
                point.options.push("ro".into());
            }
        }
        "volume" => {
            point.name = mount.source.clone();
            point.driver = "local".into();
            if mount.volume_options.as_ref().is_some_and(|options| options.no_copy) {
                point.options.push("nocopy".into());
            }
        }
        _ => {
            let options = mount.tmpfs_options.clone().unwrap_or_default();
            if options.size_bytes > 0 {
                point.options.push(format!("size={}", options.size_bytes));
            }
            if options.mode > 0 {
                point.options.push(format!("mode={:o}", options.mode));
            }
        }
    }
    point
}

/// The volumes and bind mounts of `CONTAINER[:MODE]`.
fn volumes_from(text: &str) -> anyhow::Result<Vec<MountPoint>> {
    let (name, mode) = text.split_once(':').unwrap_or((text, ""));
    let mut read_only = false;
    for option in mode.split(',').filter(|option| !option.is_empty()) {
        match option {
            "ro" => read_only = true,
            "rw" | "z" | "Z" => {}
            _ => bail!("invalid mode for volumes-from: {mode}"),
        }
    }
    let other = Record::read(&record::resolve(name)?)?;
    let kept = other.mounts.into_iter().filter(|mount| mount.kind != "tmpfs");
    Ok(kept.map(|mount| MountPoint { rw: mount.rw && !read_only, ..mount }).collect())
}

/// Give names to the volumes that have none; they are the anonymous ones.
pub fn name_volumes(mounts: &mut [MountPoint]) -> anyhow::Result<Vec<String>> {
    let nameless = mounts.iter_mut().filter(|mount| volumes::is_volume(mount) && mount.name.is_empty());
    nameless
        .map(|mount| {
            mount.name = names::new_id()?;
            Ok(mount.name.clone())
        })
        .collect()
}

/// Make the sources of mounts that are not there, as Docker does with -v. The lock is held until the record names the volumes.
pub fn make_sources(record: &mut Record, anonymous: &[String]) -> anyhow::Result<Option<volumes::Lock>> {
    let lock = if record.mounts.iter().any(volumes::is_volume) { Some(volumes::lock()?) } else { None };
    let options = &record.host_config.mounts;
    for mount in &mut record.mounts {
        let given = options.iter().find(|option| option.target == mount.destination);
        let labels = given.and_then(|option| option.volume_options.clone()).unwrap_or_default().labels;
        match &lock {
            Some(lock) if volumes::is_volume(mount) => {
                mount.source = if anonymous.contains(&mount.name) {
                    volumes::create_anonymous(lock, &mount.name, labels)?
                } else {
                    volumes::create(lock, &mount.name, labels)?
                };
            }
            _ if mount.kind == "tmpfs" || mount.source.exists() => {}
            _ => std::fs::create_dir_all(&mount.source)
                .with_context(|| format!("cannot create {}", mount.source.display()))?,
        }
    }
    Ok(lock)
}
