//! `RUN`: a command in a container on the layers so far, made by what `ctr run` is made by.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{WaitId, WaitIdOptions, waitid};

use super::super::record::{Config, Record};
use super::super::{files, limits, paths, reaper, start};
use super::builder::PROXY_ARGS;
use super::config::env_map;
use super::containerfile::{CommandLine, Heredoc, Run};
use super::mounts::{self, Mounts};
use super::progress::Vertex;
use super::steps::{Steps, Task};
use super::stubs;
use super::view::{View, lower, open_to_all};
use crate::runtime::Io;

/// Where a heredoc that is a script of its own is mounted, as docker does.
const SCRIPTS: &str = "/dev/pipes";

/// Carry it out. Says whether its result was there.
///
/// # Errors
/// If the command fails, or cannot be run.
pub fn run(it: &mut Steps<'_, '_>, run: &Run, vertex: &mut Vertex) -> anyhow::Result<bool> {
    let command = Command::new(it, run);
    let expand = |text: &str| it.expand(text).map_err(|error| format!("{error:#}"));
    let wanted = run.mounts.iter().map(|text| super::containerfile::Mount::parse(text, &expand));
    let wanted = wanted.collect::<Result<Vec<_>, _>>().map_err(anyhow::Error::msg)?;
    let network = network_of(run.network.as_deref(), &it.builder.args.run.network);
    let args = run_args(it);
    let mut key = it.key("run");
    key.add_all(&command.words).add_all(command.script.iter().map(|(name, text)| format!("{name}\0{text}")));
    key.add_all(it.config.env()).add_all(args.iter().map(|(name, value)| format!("{name}={value}")));
    key.add(it.config.user()).add(it.config.workdir()).add(&network).add_all(&it.builder.args.run.add_host);
    mounts::add_to_key(it, &wanted, &mut key)?;
    let shown: String = args.iter().map(|(name, value)| format!(" {name}={value}")).collect();
    let prefix = if args.is_empty() { String::new() } else { format!("|{}{shown} ", args.len()) };
    let created_by = format!("RUN {prefix}{} # buildkit", command.words.join(" "));
    it.layer(&Task { key: key.finish(), created_by }, |it| {
        let mut mounts = Mounts::prepare(it, &wanted)?;
        if let Some((name, text)) = &command.script {
            let path = it.builder.session.new_dir("script")?.join(name);
            fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o755)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()))
                .with_context(|| format!("cannot write {}", path.display()))?;
            mounts.bind(path, &format!("{SCRIPTS}/{name}"), false);
        }
        execute(it, &command.words, &args, &network, &mounts, vertex)
    })
}

/// What is executed.
struct Command {
    words: Vec<String>,
    /// A heredoc that begins with `#!`: name and text.
    script: Option<(String, String)>,
}

impl Command {
    fn new(it: &Steps<'_, '_>, run: &Run) -> Self {
        let CommandLine::Shell(text) = &run.command else {
            return Command { words: it.config.words(&run.command), script: None };
        };
        let shell = |text: String| Command { words: it.config.words(&CommandLine::Shell(text)), script: None };
        match (&run.heredocs[..], Heredoc::parse(text)) {
            ([], _) => shell(text.clone()),
            // The heredoc is all there is: a script.
            ([heredoc], Some(_)) if heredoc.text().starts_with("#!") && !heredoc.name.contains('/') => Command {
                words: vec![format!("{SCRIPTS}/{}", heredoc.name)],
                script: Some((heredoc.name.clone(), heredoc.text())),
            },
            ([heredoc], Some(_)) => shell(heredoc.text()),
            // The shell reads them itself.
            (all, _) => shell(
                std::iter::once(text.clone())
                    .chain(all.iter().map(|heredoc| format!("\n{}{}", heredoc.content, heredoc.name)))
                    .collect(),
            ),
        }
    }
}

/// Docker's word for the network of a container.
pub fn network_of(instruction: Option<&str>, option: &str) -> String {
    match instruction.unwrap_or("default") {
        "default" if option == "default" => "bridge".into(),
        "default" => option.into(),
        other => other.into(),
    }
}

/// ARGs that are set and that the image's environment does not hide.
fn run_args(it: &Steps<'_, '_>) -> Vec<(String, String)> {
    let env = env_map(&it.config.env());
    let set = it.args.iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?)));
    set.filter(|(name, _)| !env.contains_key(name)).collect()
}

/// Run the command; gives the directory of what it has changed.
fn execute(
    it: &Steps<'_, '_>,
    words: &[String],
    args: &[(String, String)],
    network: &str,
    mounts: &Mounts,
    vertex: &mut Vertex,
) -> anyhow::Result<PathBuf> {
    let session = it.builder.session;
    let layers = it.layer_paths()?;
    let dir = paths::container(&session.id);
    for name in ["upper", "work", "rootfs"] {
        let path = dir.join(name);
        files::remove_tree(&path)
            .and_then(|()| fs::create_dir(&path))
            .with_context(|| format!("cannot create {}", path.display()))?;
    }
    open_to_all(&dir.join("upper"))?;
    let view = View::mount(session, &layers)?;
    let stubs = stubs::make(session, &view, &mounts.destinations())?;
    drop(view);
    let mut layers = lower(session, &layers)?;
    layers.extend(stubs);
    let record = record(it, words, args, network, mounts, layers)?;
    let result = supervise(&record, vertex);
    let cleaned = reaper::undo(&record);
    let code = result?;
    cleaned?;
    if code != 0 {
        bail!("process {:?} did not complete successfully: exit code: {code}", words.join(" "));
    }
    Ok(dir.join("upper"))
}

fn record(
    it: &Steps<'_, '_>,
    words: &[String],
    args: &[(String, String)],
    network: &str,
    mounts: &Mounts,
    layers: Vec<PathBuf>,
) -> anyhow::Result<Record> {
    let live = paths::live_container(&it.builder.session.id);
    let [path, rest @ ..] = words else { bail!("there is no command to run") };
    let mut env = it.config.env();
    let known: BTreeMap<_, _> = env_map(&env);
    // What ARG declares, and proxies that need no ARG; the image's own comes first.
    let proxies = it.builder.build_args.iter().filter(|(name, _)| PROXY_ARGS.contains(&name.as_str()));
    let proxies =
        proxies.map(|(name, value)| (name.clone(), value.clone())).filter(|(name, _)| !known.contains_key(name));
    let declared = |name: &String| args.iter().any(|(other, _)| other == name);
    env.extend(args.iter().map(|(name, value)| format!("{name}={value}")));
    env.extend(proxies.filter(|(name, _)| !declared(name)).map(|(name, value)| format!("{name}={value}")));
    env.extend(mounts.env.iter().map(|(name, value)| format!("{name}={value}")));
    let record = Record {
        id: it.builder.session.id.clone(),
        path: path.clone(),
        args: rest.to_vec(),
        hosts_path: live.join("hosts"),
        hostname_path: live.join("hostname"),
        resolv_conf_path: live.join("resolv.conf"),
        host_config: it.builder.args.run.host_config(network)?,
        mounts: mounts.points.clone(),
        config: Config {
            hostname: "buildkitsandbox".into(),
            user: it.config.user().into(),
            env,
            working_dir: it.config.workdir(),
            ..Config::default()
        },
        layers,
        ..Record::default()
    };
    limits::check(&record.host_config)?;
    Ok(record)
}

/// Start it, pass its output on, and wait for its end; gives its exit status.
fn supervise(record: &Record, vertex: &mut Vertex) -> anyhow::Result<i32> {
    let null = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
    let null = null.context("cannot open /dev/null")?;
    let (output, input) = pipe_with(PipeFlags::CLOEXEC).context("cannot make a pipe")?;
    let io = Io::Fds { stdin: null.as_fd(), stdout: input.as_fd(), stderr: input.as_fd() };
    let (pidfd, _): (OwnedFd, _) = start::launch(record, io)?;
    drop(input);
    let mut output = fs::File::from(output);
    let mut buffer = vec![0; 32 << 10];
    // The pipe ends when the last process of the container has ended, and that is with its first.
    loop {
        match output.read(&mut buffer) {
            Ok(0) => break,
            Ok(length) => vertex.output(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error).context("cannot read the command's output"),
        }
    }
    vertex.flush();
    let status = waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)?.context("the command is gone")?;
    let killed = status.terminating_signal().map(|signal| 128 + signal);
    Ok(status.exit_status().or(killed).unwrap_or(125))
}
