//! `exec`: a further process in a container.

use std::os::fd::AsFd;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, anyhow, bail, ensure};
use coracle_cgroups::{Cgroup, Hierarchy};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process, Spec};

use super::container::{Container, Status};
use super::options::Global;
use super::{console, launch, words};
use crate::runtime::{self, Caller, Exec, Io};

/// `exec`.
#[derive(clap::Args)]
pub struct Args {
    /// AF_UNIX socket that receives a descriptor of the master end of the console's pseudoterminal
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// AF_UNIX socket that receives a descriptor of the process (pidfd)
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,

    /// Current working directory in the container
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Set an environment variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Allocate a pseudo-TTY
    #[arg(short, long)]
    tty: bool,

    /// User id, and group id
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,

    /// Additional group id
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,

    /// Read the process from a file, as `process` in config.json
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,

    /// Do not wait for the process' end
    #[arg(short, long)]
    detach: bool,

    /// File to write the process id to
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// SELinux label of the process
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,

    /// AppArmor profile of the process
    #[arg(long, value_name = "PROFILE")]
    apparmor: Option<String>,

    /// Set no_new_privs for the process
    #[arg(long)]
    no_new_privs: bool,

    /// Add a capability to the bounding, effective and permitted set
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,

    /// Pass N additional file descriptors to the process (stdio + $LISTEN_FDS + N in total)
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,

    /// Run it in a cgroup that exists below the container's
    #[arg(long, value_name = "CGROUP")]
    cgroup: Option<String>,

    /// Allow exec in a paused container
    #[arg(long)]
    ignore_paused: bool,

    /// Name of the container
    #[arg(value_name = "container-id")]
    id: String,

    /// Program and its arguments
    #[arg(value_name = "command", trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Run it; its exit status.
pub fn exec(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let doing = "exec failed";
    runtime::seal_self().map_err(words::runtime).context(doing)?;
    run(global, args).context(doing)
}

fn run(global: &Global, args: &Args) -> anyhow::Result<i32> {
    let (preserve_fds, variables) = launch::inherited(args.preserve_fds)?;
    let container = Container::load(global, &args.id)?;
    match container.status()? {
        Status::Stopped => bail!("cannot exec in a stopped container"),
        Status::Paused if !args.ignore_paused => {
            bail!("cannot exec in a paused container (use --ignore-paused to override)")
        }
        _ => {}
    }
    let spec = container.state.spec()?;
    let mut process = process(&spec, args)?;
    launch::check_process(&process)?;
    let terminal = launch::wants_terminal(&process, args.detach, args.console_socket.as_deref())?;
    let env = process.env().iter().flatten().cloned().chain(variables).collect();
    process.set_env(Some(env));
    let target = container.pidfd()?.context("cannot exec in a stopped container")?;
    let cgroup = cgroup(&container, args.cgroup.as_deref())?;
    let size = if args.detach { None } else { console::size() };
    let mut created = runtime::exec(&Exec {
        target: target.as_fd(),
        spec: &spec,
        process: &process,
        io: if terminal { Io::Terminal(size) } else { Io::Inherit },
        cgroup: cgroup.as_ref().map(Cgroup::as_fd),
        user: None,
        caller: Caller { preserve_fds, identity: Some(container.record.identity()), ..Caller::default() },
    })
    .map_err(words::runtime)?;
    let pid = i32::try_from(created.pid()).context("the kernel gave a strange process id")?;
    created.ready().map_err(words::runtime)?;
    let mut console = created.take_console();
    if let (Some(socket), Some(master)) = (&args.console_socket, console.take_if(|_| args.detach)) {
        console::send(socket, &master)?;
    }
    if let Some(socket) = &args.pidfd_socket {
        console::send_pidfd(socket, pid)?;
    }
    if let Some(path) = &args.pid_file {
        launch::write_pid(path, pid)?;
    }
    let signals = if args.detach { None } else { Some(console::signals()?) };
    let running = created.start().map_err(words::runtime)?;
    signals.map_or(Ok(0), |signals| console::follow(&running, console.as_ref(), &signals))
}

/// What to run: from the file, or the container's own process with other arguments.
fn process(spec: &Spec, args: &Args) -> anyhow::Result<Process> {
    if let Some(path) = &args.process {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut process: Process =
            launch::understand(&bytes).with_context(|| format!("cannot understand {}", path.display()))?;
        if args.tty {
            process.set_terminal(Some(true));
        }
        return Ok(process);
    }
    ensure!(!args.command.is_empty(), "process args cannot be empty");
    let mut process = runtime::exec_process(spec, args.command.clone());
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    if let Some(label) = &args.process_label {
        process.set_selinux_label(Some(label.clone()));
    }
    if let Some(profile) = &args.apparmor {
        process.set_apparmor_profile(Some(profile.clone()));
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    let env = process.env().iter().flatten().cloned().chain(args.env.iter().cloned()).collect();
    process.set_env(Some(env));
    add_capabilities(&mut process, &args.cap)?;
    if let Some(user) = args.user.as_deref().filter(|user| !user.is_empty()) {
        set_user(&mut process, user)?;
    }
    if !args.additional_gids.is_empty() {
        let groups = process.user().additional_gids().iter().flatten().chain(&args.additional_gids).copied().collect();
        process.user_mut().set_additional_gids(Some(groups));
    }
    Ok(process)
}

/// The inheritable and ambient sets stay as they are (CVE-2022-29162).
fn add_capabilities(process: &mut Process, names: &[String]) -> anyhow::Result<()> {
    if names.is_empty() {
        return Ok(());
    }
    let parse = |name: &String| {
        let upper = name.to_ascii_uppercase();
        let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
        serde_json::from_value::<Capability>(full.into()).map_err(|_| anyhow!("unknown capability {name:?}"))
    };
    let added = names.iter().map(parse).collect::<anyhow::Result<Vec<_>>>()?;
    let none = || {
        let mut sets = LinuxCapabilities::default();
        sets.set_bounding(None).set_effective(None).set_permitted(None).set_inheritable(None).set_ambient(None);
        sets
    };
    let mut sets = process.capabilities().clone().unwrap_or_else(none);
    let with = |set: &Option<std::collections::HashSet<Capability>>| {
        Some(set.iter().flatten().chain(&added).copied().collect())
    };
    let (bounding, effective, permitted) = (with(sets.bounding()), with(sets.effective()), with(sets.permitted()));
    sets.set_bounding(bounding).set_effective(effective).set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

/// `UID[:GID]`, numbers only; what is not one is an error, never another user.
fn set_user(process: &mut Process, text: &str) -> anyhow::Result<()> {
    let id = |kind: &str, text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // The last number means "leave it" to system calls.
        let number = text.parse().ok().filter(|&number: &u32| is_number && number != u32::MAX);
        number.with_context(|| format!("parsing {text} as int for {kind} failed: invalid syntax"))
    };
    let (uid, gid) = match text.split_once(':') {
        None => (id("uid", text)?, None),
        Some((uid, gid)) => (id("uid", uid)?, Some(id("gid", gid)?)),
    };
    process.user_mut().set_uid(uid);
    if let Some(gid) = gid {
        process.user_mut().set_gid(gid);
    }
    Ok(())
}

/// Where the process is born: the container's cgroup, or one below it.
fn cgroup(container: &Container, below: Option<&str>) -> anyhow::Result<Option<Cgroup>> {
    let Some(own) = container.cgroup() else {
        ensure!(below.is_none(), "--cgroup: the container has no cgroup");
        return Ok(None);
    };
    if let Some(name) = below {
        ensure!(!name.contains(':'), "--cgroup: {name:?}: cgroup v2 has no hierarchies by controller");
        let parts = Path::new(name).components();
        ensure!(
            parts.clone().all(|part| matches!(part, Component::Normal(_) | Component::RootDir | Component::CurDir)),
            "bad sub cgroup path: {name}"
        );
        let path =
            parts.filter(|part| matches!(part, Component::Normal(_))).fold(own.path().to_owned(), |p, c| p.join(c));
        let open = Cgroup::open(&path).map_err(|error| {
            let why = std::error::Error::source(&error).and_then(|source| source.downcast_ref()).map(words::reason);
            anyhow!("error adding pid to cgroup {}: {}", path.display(), why.unwrap_or_else(|| error.to_string()))
        });
        return open.map(Some).context("unable to start container process");
    }
    // One that passes its controllers on holds no processes itself: the container has moved its first one further down.
    if own.read("cgroup.subtree_control").is_ok_and(|text| text.trim().is_empty()) {
        return Ok(Some(own));
    }
    let text = std::fs::read_to_string(format!("/proc/{}/cgroup", container.record.pid))?;
    let name =
        text.lines().find_map(|line| line.strip_prefix("0::")).context("the container's first process is gone")?;
    let path = Hierarchy::find()?.path(name);
    Ok(Some(if path.starts_with(own.path()) { Cgroup::open(&path)? } else { own }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_users_are_nobody() {
        let mut process = Process::default();
        set_user(&mut process, "1000:1001").unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (1000, 1001));
        set_user(&mut process, "7").unwrap();
        assert_eq!((process.user().uid(), process.user().gid()), (7, 1001));
        for text in ["", ":", "1:", ":1", "-1", "+1", "bob", "4294967295", "4294967296", "1:2:3", " 1", "0x1"] {
            assert!(set_user(&mut process, text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn added_capabilities_are_not_inheritable() {
        let mut process = Process::default();
        process.set_capabilities(None);
        add_capabilities(&mut process, &["net_admin".into(), "CAP_SYS_TIME".into()]).unwrap();
        let sets = process.capabilities().clone().unwrap();
        assert_eq!(sets.effective().as_ref().unwrap().len(), 2);
        assert!(sets.inheritable().is_none() && sets.ambient().is_none());
        assert!(add_capabilities(&mut process, &["NOPE".into()]).is_err());
    }
}
