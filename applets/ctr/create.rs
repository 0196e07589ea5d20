//! From options and an image to a container on record.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use coracle_image_oci::{Image, Platform, Store};
use coracle_netns::PortMapping;

use super::create_mounts::{make_sources, mounts, name_volumes};
use super::lock::Lock;
use super::options::{Options, PullPolicy};
use super::options_env::{all_labels, environment};
use super::options_mounts::parse_destination;
use super::record::{Config, Healthcheck, HostConfig, NetworkSettings, Record, State, claim_name};
use super::{events, files, limits, names, network, paths, pod, pull, signals, time, volumes};

/// Attempts at finding a free generated name.
const NAME_ATTEMPTS: u32 = 100;

/// Open the images.
pub fn store() -> anyhow::Result<Store> {
    Store::open(&paths::state_dir().join("images")).context("cannot open the image store")
}

/// Put a new container on record. Nothing is left of one that fails. The lock keeps others from taking it for remains until it is
/// started or let go.
pub fn create(options: &Options, state: State, detached: bool) -> anyhow::Result<(Record, Lock)> {
    check(options)?;
    // Until the record says that the image is in use nobody may remove it.
    let store = store()?;
    let _hold = store.hold().context("cannot hold the image store")?;
    let source = if options.rootfs { Source::directory(options.image())? } else { Source::image(&store, options)? };
    let id = names::new_id()?;
    let dir = paths::container(&id);
    let mut record = Record { state, ..record(options, &source, &id)? };
    if detached {
        let config = &mut record.config;
        (config.attach_stdin, config.attach_stdout, config.attach_stderr) = (false, false, false);
    }
    if let Some(pod) = &options.pod {
        pod::join(pod, options, &mut record)?;
    }
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

/// Refuse what does not go together.
fn check(options: &Options) -> anyhow::Result<()> {
    ensure!(
        !options.remove || options.restart.name == "no",
        "conflicting options: cannot specify both --restart and --rm"
    );
    if let Some(path) = &options.cidfile {
        ensure!(
            !path.exists(),
            "container ID file found, make sure the other container isn't running or delete {}",
            path.display()
        );
    }
    Ok(())
}

/// Put a new container's id into the file of `--cidfile`.
fn write_cidfile(record: &Record) -> anyhow::Result<()> {
    let path = &record.host_config.container_id_file;
    if path.is_empty() {
        return Ok(());
    }
    let file = std::fs::OpenOptions::new().write(true).create_new(true).open(path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, record.id.as_bytes()))
        .with_context(|| format!("failed to create the container ID file {path}"))
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
    let anonymous = name_volumes(&mut record.mounts)?;
    if !anonymous.is_empty() {
        // Nobody would find them by their names if this is cut off.
        record.write_draft()?;
    }
    let _volumes = make_sources(record, &anonymous)?;
    record.write()?;
    Record::remove_draft(&record.id).context("cannot remove the container's draft")?;
    write_cidfile(record)
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
pub struct Source {
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
    pub volumes: Vec<String>,
    /// Ports of `EXPOSE`.
    ports: Vec<String>,
    extra: Extra,
}

/// What Docker's images say beyond the specification.
#[derive(Default, serde::Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Extra {
    healthcheck: Option<Healthcheck>,
    shell: Option<Vec<String>>,
}

impl Extra {
    fn read(bytes: &[u8]) -> anyhow::Result<Self> {
        #[derive(serde::Deserialize)]
        struct Outer {
            config: Option<Extra>,
        }
        let outer: Outer =
            serde_json::from_slice(bytes).context("the image's configuration has a wrong health check")?;
        Ok(outer.config.unwrap_or_default())
    }
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
            ports: Vec::new(),
            extra: Extra::default(),
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
            ports: config.exposed_ports().clone().unwrap_or_default(),
            extra: Extra::read(&store.raw_config(&image)?)?,
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
    let mut how = coracle_image_oci::PullOptions::default();
    if let Some(platform) = &options.platform {
        how.platform = platform.clone();
    }
    match options.pull {
        PullPolicy::Always => {}
        PullPolicy::Never => return Ok(store.resolve(options.image())?),
        PullPolicy::Missing => match store.resolve(options.image()) {
            Err(coracle_image_oci::Error::NoSuchImage(_)) => {
                if let (false, Ok(name)) = (options.quiet, options.image().parse::<coracle_image_oci::Reference>()) {
                    eprintln!("Unable to find image '{}' locally", name.familiar());
                }
            }
            Ok(image) if options.platform.is_some() && how.platform.fit(&platform_of(&image)).is_none() => {}
            found => return Ok(found?),
        },
    }
    pull::pull(store, options.image(), &how, options.quiet)
}

fn platform_of(image: &Image) -> Platform {
    Platform {
        os: image.config().os().to_string(),
        architecture: image.config().architecture().to_string(),
        variant: image.config().variant().clone().filter(|variant| !variant.is_empty()),
    }
}

fn record(options: &Options, source: &Source, id: &str) -> anyhow::Result<Record> {
    let (dir, live) = (paths::container(id), paths::live_container(id));
    let mut host_config = host_config(options)?;
    let config = config(options, source, &host_config, id)?;
    let line: Vec<String> = config.entrypoint.iter().chain(&config.cmd).cloned().collect();
    let [path, args @ ..] = &line[..] else {
        bail!("no command specified: the image has none; name one after the image")
    };
    let mut ports: Vec<_> = options.publish.iter().flat_map(|ports| ports.0.clone()).collect();
    if options.names.publish_all {
        for port in config.exposed_ports.keys() {
            let all =
                PortMapping::parse_all(port).with_context(|| format!("the image exposes a wrong port {port:?}"))?;
            ports.extend(
                all.into_iter().filter(|one| !ports.iter().any(|other| is_same(other, one))).collect::<Vec<_>>(),
            );
        }
    }
    let plan = options.networks.plan()?;
    if plan.shared_with.is_some() {
        ensure!(options.hostname.is_none(), "conflicting options: hostname and the network mode");
        ensure!(ports.is_empty(), "conflicting options: port publishing and the container type network mode");
    }
    if plan.mode == "host" && !ports.is_empty() {
        eprintln!("WARNING: Published ports are discarded when using host network mode");
    }
    let file = |name: &str, shared: fn(&Record) -> &PathBuf| {
        plan.shared_with.as_ref().map_or_else(|| live.join(name), |other| shared(other).clone())
    };
    host_config.port_bindings = network::port_map(&ports);
    Ok(Record {
        id: id.into(),
        created: time::now(),
        path: path.clone(),
        args: args.to_vec(),
        image: source.id.clone(),
        log_path: if host_config.log_config.driver == "none" { PathBuf::new() } else { dir.join("log") },
        hosts_path: file("hosts", |other| &other.hosts_path),
        hostname_path: live.join("hostname"),
        resolv_conf_path: file("resolv.conf", |other| &other.resolv_conf_path),
        network_settings: NetworkSettings { networks: plan.endpoints, ..NetworkSettings::default() },
        mounts: mounts(options, source, &host_config)?,
        host_config,
        config,
        platform: "linux".into(),
        driver: "overlayfs".into(),
        layers: source.layers.clone(),
        ..Record::default()
    })
}

fn is_same(one: &PortMapping, other: &PortMapping) -> bool {
    (one.container_port, one.protocol) == (other.container_port, other.protocol)
}

fn config(options: &Options, source: &Source, host: &HostConfig, id: &str) -> anyhow::Result<Config> {
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
    let own_name = host.uts_mode != "host";
    ensure!(own_name || options.hostname.is_none(), "conflicting options: hostname and the UTS mode");
    let plan = options.networks.plan()?;
    let hostname = options.hostname.clone().unwrap_or_else(|| match &plan.shared_with {
        Some(other) => other.config.hostname.clone(),
        None if plan.mode != "host" && own_name => names::short(id).to_owned(),
        None => rustix::system::uname().nodename().to_string_lossy().into_owned(),
    });
    let published = options.publish.iter().flat_map(|ports| &ports.0);
    let published = published.map(|port| format!("{}/{}", port.container_port, port.protocol));
    let exposed = source.ports.iter().map(|port| if port.contains('/') { port.clone() } else { format!("{port}/tcp") });
    let attach = |stream: &str, default| {
        if options.attach.is_empty() { default } else { options.attach.iter().any(|name| name == stream) }
    };
    Ok(Config {
        hostname,
        domainname: options.names.domainname.clone().unwrap_or_default(),
        user: options.user.clone().unwrap_or_else(|| source.user.clone()),
        attach_stdin: attach("stdin", options.interactive),
        attach_stdout: attach("stdout", true),
        attach_stderr: attach("stderr", true),
        exposed_ports: exposed
            .chain(options.names.exposed().cloned())
            .chain(published)
            .map(|port| (port, Default::default()))
            .collect(),
        tty: options.tty,
        open_stdin: options.interactive,
        stdin_once: options.interactive,
        env: environment(&source.env, &options.env_file, &options.env)?,
        cmd,
        healthcheck: options.health.healthcheck(source.extra.healthcheck.as_ref())?,
        image: options.image().into(),
        volumes: source.volumes.iter().map(|path| (path.clone(), Default::default())).collect(),
        working_dir: options.workdir.clone().unwrap_or_else(|| source.workdir.clone()),
        entrypoint,
        labels: all_labels(source.labels.clone(), &options.label_file, &options.label)?,
        stop_signal: options.stop_signal.map_or_else(|| source.stop_signal.clone(), signals::name),
        stop_timeout: options.stop_timeout,
        shell: source.extra.shell.clone().unwrap_or_default(),
    })
}

pub fn host_config(options: &Options) -> anyhow::Result<HostConfig> {
    let mut host = HostConfig {
        binds: options
            .volume
            .iter()
            .filter(|volume| volume.source.is_some())
            .map(|volume| volume.text.clone())
            .collect(),
        container_id_file: options.cidfile.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        log_config: options.log.config()?,
        network_mode: options.networks.plan()?.mode,
        restart_policy: options.restart.clone(),
        auto_remove: options.remove,
        volumes_from: options.volumes_from.clone(),
        privileged: options.privileged,
        readonly_rootfs: options.read_only,
        cap_add: options.cap_add.clone(),
        cap_drop: options.cap_drop.clone(),
        group_add: options.group_add.clone(),
        security_opt: options.security_opt.clone(),
        tmpfs: options.tmpfs.iter().cloned().collect(),
        sysctls: options.sysctl.iter().cloned().collect(),
        annotations: options.annotation.iter().cloned().collect(),
        init: options.init,
        runtime: "coracle".into(),
        mounts: options.mount.clone(),
        devices: options.device.clone(),
        device_cgroup_rules: options.device_cgroup_rule.clone(),
        ..HostConfig::default()
    };
    options.limits.apply(&mut host)?;
    options.spaces.apply(&mut host)?;
    options.names.apply(&mut host);
    let (masked, readonly) = super::spec_security::paths(&host)?;
    host.masked_paths = masked;
    host.readonly_paths = readonly;
    Ok(host)
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
