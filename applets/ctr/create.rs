//! From options and an image to a container on record.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Image, Store};

use super::lock::Lock;
use super::options::{NetworkMode, Options, PullPolicy, environment, is_path, labels, parse_destination};
use super::record::{Config, HostConfig, MountPoint, Record, State, claim_name};
use super::{events, files, limits, names, network, paths, pull, signals, time, volumes};

/// Attempts at finding a free generated name.
const NAME_ATTEMPTS: u32 = 100;

/// Open the images.
pub fn store() -> anyhow::Result<Store> {
    Store::open(&paths::state_dir().join("images")).context("cannot open the image store")
}

/// Put a new container on record. Nothing is left of one that fails. The lock keeps others from taking it for remains until it is
/// started or let go.
pub fn create(options: &Options, state: State) -> anyhow::Result<(Record, Lock)> {
    // Until the record says that the image is in use nobody may remove it.
    let store = store()?;
    let _hold = store.hold().context("cannot hold the image store")?;
    let source = if options.rootfs { Source::directory(options.image())? } else { Source::image(&store, options)? };
    let id = names::new_id()?;
    let dir = paths::container(&id);
    let mut record = Record { state, ..record(options, &source, &id)? };
    limits::check(&record.host_config)?;
    let lock = Lock::take(&id).context("cannot lock the container")?.context("the new id is in use")?;
    match make(&dir, &mut record, options.name.as_deref()) {
        Ok(()) => {
            events::of_container(&record, "create", &[]);
            Ok((record, lock))
        }
        Err(error) => {
            volumes::remove_of(&record)?;
            files::remove_tree(&dir)?;
            lock.remove()?;
            Err(error)
        }
    }
}

fn make(dir: &Path, record: &mut Record, name: Option<&str>) -> anyhow::Result<()> {
    let containers = paths::containers();
    files::private_dir(&containers).with_context(|| format!("cannot create {}", containers.display()))?;
    for part in ["upper", "work", "rootfs"] {
        let path = dir.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot create {}", path.display()))?;
    }
    // The writable layer's top is the container's /: everyone may look into it.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(dir.join("upper"), std::fs::Permissions::from_mode(0o755))?;
    let name = match name {
        Some(name) => {
            ensure!(claim_name(name, &record.id)?, "the name {name:?} is in use; remove or rename that container");
            name.to_owned()
        }
        None => free_name(&record.id)?,
    };
    record.name = format!("/{name}");
    let _volumes = make_sources(&mut record.mounts)?;
    record.write()
}

fn free_name(id: &str) -> anyhow::Result<String> {
    for attempt in 0..NAME_ATTEMPTS {
        let name = names::generate(attempt)?;
        if claim_name(&name, id)? {
            return Ok(name);
        }
    }
    bail!("found no free name; give one with --name")
}

/// What a container is made of.
struct Source {
    id: String,
    layers: Vec<PathBuf>,
    env: Vec<String>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
    workdir: String,
    user: String,
    stop_signal: String,
    labels: std::collections::BTreeMap<String, String>,
    /// Paths of `VOLUME`.
    volumes: Vec<String>,
}

impl Source {
    fn directory(path: &str) -> anyhow::Result<Self> {
        let path = std::fs::canonicalize(path).with_context(|| format!("cannot use the root {path}"))?;
        ensure!(path.is_dir(), "{} is no directory", path.display());
        Ok(Source {
            id: String::new(),
            layers: vec![path],
            env: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
            workdir: String::new(),
            user: String::new(),
            stop_signal: String::new(),
            labels: Default::default(),
            volumes: Vec::new(),
        })
    }

    fn image(store: &Store, options: &Options) -> anyhow::Result<Self> {
        let image = find(store, options)?;
        let config = image.config().config().clone().unwrap_or_default();
        Ok(Source {
            id: image.id().to_string(),
            layers: store.layers(&image)?,
            env: config.env().clone().unwrap_or_default(),
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            workdir: config.working_dir().clone().unwrap_or_default(),
            user: config.user().clone().unwrap_or_default(),
            stop_signal: config.stop_signal().clone().unwrap_or_default(),
            labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
            volumes: volume_paths(config.volumes().as_deref().unwrap_or_default())?,
        })
    }
}

/// The paths of an image's `VOLUME`, each absolute and free of `..`: what an image says is not to be trusted.
fn volume_paths(declared: &[String]) -> anyhow::Result<Vec<String>> {
    let parse =
        |path: &String| parse_destination(path).map_err(|why| anyhow::anyhow!("the image has a wrong volume: {why}"));
    let mut all = declared.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    all.sort();
    all.dedup();
    Ok(all)
}

fn find(store: &Store, options: &Options) -> anyhow::Result<Image> {
    match options.pull {
        PullPolicy::Always => {}
        PullPolicy::Never => return Ok(store.resolve(options.image())?),
        PullPolicy::Missing => match store.resolve(options.image()) {
            Err(coracle_image_oci::Error::NoSuchImage(_)) => {}
            found => return Ok(found?),
        },
    }
    pull::pull(store, options.image(), &coracle_image_oci::PullOptions::default())
}

fn record(options: &Options, source: &Source, id: &str) -> anyhow::Result<Record> {
    let (dir, live) = (paths::container(id), paths::live_container(id));
    let entrypoint = match &options.entrypoint {
        Some(program) if program.is_empty() => Vec::new(),
        Some(program) => vec![program.clone()],
        None => source.entrypoint.clone(),
    };
    // As under Docker, another entry point does not get the image's arguments.
    let cmd = match options.command() {
        [] if options.entrypoint.is_some() => Vec::new(),
        [] => source.cmd.clone(),
        given => given.to_vec(),
    };
    let line: Vec<String> = entrypoint.iter().chain(&cmd).cloned().collect();
    let [path, args @ ..] = &line[..] else {
        bail!("no command specified: the image has none; name one after the image")
    };
    let hostname = options.hostname.clone().unwrap_or_else(|| match options.network {
        NetworkMode::Host => rustix::system::uname().nodename().to_string_lossy().into_owned(),
        _ => names::short(id).to_owned(),
    });
    let ports: Vec<_> = options.publish.iter().flat_map(|ports| ports.0.clone()).collect();
    ensure!(ports.is_empty() || options.network == NetworkMode::Bridge, "-p needs --network bridge");
    Ok(Record {
        id: id.into(),
        created: time::now(),
        path: path.clone(),
        args: args.to_vec(),
        image: source.id.clone(),
        log_path: dir.join("log"),
        hosts_path: live.join("hosts"),
        hostname_path: live.join("hostname"),
        resolv_conf_path: live.join("resolv.conf"),
        host_config: HostConfig {
            binds: options.volume.iter().map(|volume| volume.text.clone()).collect(),
            network_mode: options.network.word().into(),
            port_bindings: network::port_map(&ports),
            auto_remove: options.remove,
            readonly_rootfs: options.read_only,
            cap_add: options.cap_add.clone(),
            cap_drop: options.cap_drop.clone(),
            devices: options.device.clone(),
            memory: options.memory.unwrap_or(0),
            memory_swap: options.memory_swap.unwrap_or(0),
            nano_cpus: options.cpus.map_or(0, coracle_cgroups::units::Cpus::nanos),
            pids_limit: options.pids_limit.and_then(|limit| u64::try_from(limit).ok()).unwrap_or(0),
            ..HostConfig::default()
        },
        mounts: mounts(options, source)?,
        config: Config {
            hostname,
            user: options.user.clone().unwrap_or_else(|| source.user.clone()),
            tty: options.tty,
            open_stdin: options.interactive,
            env: environment(&source.env, &options.env_file, &options.env)?,
            cmd,
            image: options.image().into(),
            working_dir: options.workdir.clone().unwrap_or_else(|| source.workdir.clone()),
            entrypoint,
            labels: labels(source.labels.clone(), &options.label),
            volumes: source.volumes.iter().map(|path| (path.clone(), Default::default())).collect(),
            stop_signal: options.stop_signal.map_or_else(|| source.stop_signal.clone(), signals::name),
            ..Config::default()
        },
        layers: source.layers.clone(),
        ..Record::default()
    })
}

/// What is to be mounted, nothing of it made yet: `-v`, and an anonymous volume for each path of the image that has none.
fn mounts(options: &Options, source: &Source) -> anyhow::Result<Vec<MountPoint>> {
    let mut all: Vec<MountPoint> = Vec::new();
    for volume in &options.volume {
        ensure!(
            !all.iter().any(|mount| mount.destination == volume.destination),
            "two volumes are to be mounted on {}",
            volume.destination
        );
        let (kind, name, source) = match &volume.source {
            Some(path) if is_path(path) => ("bind", String::new(), PathBuf::from(path)),
            name => ("volume", name.clone().unwrap_or_default(), PathBuf::new()),
        };
        all.push(MountPoint {
            kind: kind.into(),
            name,
            source,
            destination: volume.destination.clone(),
            mode: volume.mode.clone(),
            rw: !volume.read_only,
        });
    }
    for path in &source.volumes {
        if !all.iter().any(|mount| mount.destination == *path) {
            all.push(MountPoint {
                kind: "volume".into(),
                destination: path.clone(),
                rw: true,
                ..MountPoint::default()
            });
        }
    }
    // What lies below another comes after it.
    all.sort_by_key(|mount| mount.destination.split('/').count());
    Ok(all)
}

/// Make the sources of mounts that are not there, as Docker does with -v. The lock is held until the record names the volumes.
fn make_sources(mounts: &mut [MountPoint]) -> anyhow::Result<Option<volumes::Lock>> {
    let lock = if mounts.iter().any(volumes::is_volume) { Some(volumes::lock()?) } else { None };
    for mount in mounts {
        match &lock {
            Some(lock) if volumes::is_volume(mount) => {
                if mount.name.is_empty() {
                    (mount.name, mount.source) = volumes::create_anonymous(lock, Default::default())?;
                } else {
                    mount.source = volumes::create(lock, &mount.name, Default::default())?;
                }
            }
            _ if mount.source.exists() => {}
            _ => std::fs::create_dir_all(&mount.source)
                .with_context(|| format!("cannot create {}", mount.source.display()))?,
        }
    }
    Ok(lock)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_2022_0344_volumes_of_an_image_stay_inside() {
        let paths = |declared: &[&str]| volume_paths(&declared.iter().map(|&path| path.into()).collect::<Vec<_>>());
        assert_eq!(paths(&["/b/", "/a/./c", "/a/c"]).unwrap(), ["/a/c", "/b"]);
        assert_eq!(paths(&["/../../etc", "/x/../../root"]).unwrap(), ["/etc", "/root"]);
        for wrong in ["", "/", "etc", "../etc", "/.."] {
            assert!(paths(&[wrong]).is_err(), "{wrong}");
        }
    }
}
