//! Hooks: programs that a specification has run at points of a container's life (runtime-spec config.md, "POSIX-platform Hooks").
//!
//! | point | where it runs | status in its state |
//! |---|---|---|
//! | prestart, createRuntime | the caller's namespaces, before the container's root becomes / | creating |
//! | createContainer | the container's namespaces, before its root becomes /: its path is one of the host | creating |
//! | startContainer | the container, before its program | created |
//! | poststart | the caller's namespaces, once the program runs | running |
//! | poststop | the caller's namespaces, once the container is deleted | stopped |
//!
//! [`super::create`] and what follows from it run the first four, the caller the others by [`run_hooks`].

use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

use coracle_abi::child::ChildExt;
use oci_spec::runtime::{ContainerState, Hook, Hooks, Spec, State};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process_group, pidfd_open};

use super::channel::{Failure, FailureKind, Step};
use super::{Error, Identity};

/// How much of a failed hook's output is told.
const OUTPUT_MAX: u64 = 300;

/// A point of a container's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HookPoint {
    /// Deprecated, like [`HookPoint::CreateRuntime`] and before it.
    Prestart,
    /// The namespaces exist, the root is not yet `/`; run by the caller.
    CreateRuntime,
    /// The same moment, run in the container's namespaces.
    CreateContainer,
    /// The start was asked for, the program does not run yet; run in the container.
    StartContainer,
    /// The program runs.
    Poststart,
    /// The container is deleted.
    Poststop,
}

impl HookPoint {
    const ALL: [Self; 6] = [
        Self::Prestart,
        Self::CreateRuntime,
        Self::CreateContainer,
        Self::StartContainer,
        Self::Poststart,
        Self::Poststop,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }

    fn status(self) -> ContainerState {
        match self {
            Self::Prestart | Self::CreateRuntime | Self::CreateContainer => ContainerState::Creating,
            Self::StartContainer => ContainerState::Created,
            Self::Poststart => ContainerState::Running,
            Self::Poststop => ContainerState::Stopped,
        }
    }

    fn list(self, hooks: &Hooks) -> &[Hook] {
        let list = match self {
            Self::Prestart => hooks.prestart(),
            Self::CreateRuntime => hooks.create_runtime(),
            Self::CreateContainer => hooks.create_container(),
            Self::StartContainer => hooks.start_container(),
            Self::Poststart => hooks.poststart(),
            Self::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// The hooks of a specification at a point.
fn hooks(spec: &Spec, point: HookPoint) -> &[Hook] {
    spec.hooks().as_ref().map_or(&[], |hooks| point.list(hooks))
}

/// Whether a specification has hooks at one of these points.
pub(super) fn has_hooks(spec: &Spec, points: &[HookPoint]) -> bool {
    points.iter().any(|&point| !hooks(spec, point).is_empty())
}

/// Check the hooks of a specification.
pub(super) fn check(spec: &Spec, identity: Option<Identity<'_>>) -> Result<(), Error> {
    for point in HookPoint::ALL {
        for (index, hook) in hooks(spec, point).iter().enumerate() {
            let what = |field: &str| format!("hooks.{}[{index}].{field}", point.name());
            if !hook.path().is_absolute() {
                return Err(Error::spec(what("path"), "it must be an absolute path"));
            }
            if hook.timeout().is_some_and(|timeout| timeout <= 0) {
                return Err(Error::spec(what("timeout"), "it must be greater than zero"));
            }
            if hook.env().iter().flatten().any(|entry| !entry.contains('=') || entry.contains('\0')) {
                return Err(Error::spec(what("env"), "an entry is NAME=VALUE"));
            }
            if identity.is_none() {
                return Err(Error::spec("hooks", "this container has no state that they could be told"));
            }
        }
    }
    Ok(())
}

/// Run the hooks of `point` in the order in which they are listed. `pid`: the container's first process, as the hooks see it.
/// All of [`HookPoint::Poststop`] are run, whatever becomes of the one before; of the others none after one that failed.
///
/// # Errors
/// The first hook that failed: not executed, not ended in time, or ended with another status than 0.
pub fn run_hooks(spec: &Spec, point: HookPoint, identity: Identity<'_>, pid: Option<u32>) -> Result<(), Error> {
    let list = hooks(spec, point);
    if list.is_empty() {
        return Ok(());
    }
    let state = state(spec, point, identity, pid)?;
    let mut failed = None;
    for (index, hook) in list.iter().enumerate() {
        let folder = (point != HookPoint::StartContainer).then_some(identity.bundle);
        let Err(why) = run(hook, &state, folder) else { continue };
        failed.get_or_insert(Error::Hook { point: point.name(), index, why });
        if point != HookPoint::Poststop {
            break;
        }
    }
    failed.map_or(Ok(()), Err)
}

/// The same in the child.
pub(super) fn run_in_child(spec: &Spec, point: HookPoint, identity: Option<Identity<'_>>) -> Step {
    let Some(identity) = identity else { return Ok(()) };
    // The set-up has none.
    let own = rustix::process::umask(Mode::WGRP | Mode::WOTH);
    let ran = run_hooks(spec, point, identity, Some(std::process::id()));
    rustix::process::umask(own);
    ran.map_err(|error| Failure { kind: FailureKind::Hook, doing: error.to_string(), errno: Errno::CANCELED })
}

/// The state of a container (runtime-spec runtime.md, "State") as JSON.
fn state(spec: &Spec, point: HookPoint, identity: Identity<'_>, pid: Option<u32>) -> Result<Vec<u8>, Error> {
    let mut state = State::default();
    state
        .set_version(spec.version().clone())
        .set_id(identity.id.into())
        .set_status(point.status())
        .set_pid(pid.and_then(|pid| i32::try_from(pid).ok()))
        .set_bundle(identity.bundle.into())
        .set_annotations(spec.annotations().clone());
    serde_json::to_vec(&state).map_err(|error| Error::setup("write the container's state as JSON", error))
}

/// Run one hook; what went wrong is words.
fn run(hook: &Hook, state: &[u8], folder: Option<&Path>) -> Result<(), String> {
    // Files and not pipes: a hook that reads nothing or writes much is not waited for.
    let file = |name: &str| memfd_create(name, MemfdFlags::CLOEXEC).map(File::from);
    let make = || -> std::io::Result<_> {
        let mut stdin = file("state")?;
        stdin.write_all(state)?;
        stdin.rewind()?;
        let (stdout, stderr) = (file("stdout")?, file("stderr")?);
        let mut command = Command::new(hook.path());
        let mut args = hook.args().iter().flatten();
        if let Some(name) = args.next() {
            command.arg0(name);
        }
        let env = hook.env().iter().flatten().filter_map(|entry| entry.split_once('='));
        command.args(args).env_clear().envs(env).process_group(0).default_signals().close_descriptors();
        command.stdin(stdin).stdout(stdout.try_clone()?).stderr(stderr.try_clone()?);
        if let Some(folder) = folder {
            command.current_dir(folder);
        }
        Ok((command.spawn()?, stdout, stderr))
    };
    let (mut child, stdout, stderr) =
        make().map_err(|error| format!("cannot execute {}: {error}", hook.path().display()))?;
    let seconds = hook.timeout().and_then(|seconds| u64::try_from(seconds).ok());
    let status = wait(&mut child, seconds.map(Duration::from_secs)).map_err(|error| error.to_string())?;
    let Some(status) = status else {
        return Err(format!("hook ran past specified timeout of {}s", seconds.unwrap_or(0)));
    };
    if status.success() {
        return Ok(());
    }
    let status = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, signal) => format!("signal {}", signal.unwrap_or(0)),
    };
    Err(format!("{status}, stdout: {}, stderr: {}", text(stdout), text(stderr)))
}

/// Wait for the end; `None` if it did not come in time and the hook and its process group were killed.
fn wait(child: &mut Child, timeout: Option<Duration>) -> std::io::Result<Option<ExitStatus>> {
    let (Some(timeout), Ok(pid)) = (timeout, i32::try_from(child.id())) else { return child.wait().map(Some) };
    let Some(pid) = Pid::from_raw(pid) else { return child.wait().map(Some) };
    let deadline = Instant::now() + timeout;
    let pidfd: OwnedFd = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        let left = Timespec::try_from(deadline.saturating_duration_since(Instant::now())).unwrap_or_default();
        match poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&left)) {
            Err(Errno::INTR) => {}
            Ok(0) => {
                // Its group has its number, as it leads it.
                let _ = kill_process_group(pid, Signal::KILL);
                child.wait()?;
                return Ok(None);
            }
            ended => {
                ended?;
                return child.wait().map(Some);
            }
        }
    }
}

/// The beginning of a hook's output.
fn text(mut file: File) -> String {
    let mut bytes = Vec::new();
    let read = file.rewind().and_then(|()| file.take(OUTPUT_MAX).read_to_end(&mut bytes));
    if read.is_err() {
        return String::new();
    }
    String::from_utf8_lossy(&bytes).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn spec(point: &str, list: Value) -> Spec {
        serde_json::from_value(json!({"ociVersion": "1.2.0", "hooks": {point: list}, "annotations": {"a": "b"}}))
            .unwrap()
    }

    fn sh(script: &str) -> Value {
        json!({"path": "/bin/sh", "args": ["hook", "-c", script], "env": ["A=1"]})
    }

    fn run_at(point: HookPoint, list: Value) -> Result<(), Error> {
        let spec = spec(point.name(), list);
        let identity = Identity { id: "c1", bundle: Path::new("/tmp") };
        check(&spec, Some(identity))?;
        run_hooks(&spec, point, identity, Some(7))
    }

    #[test]
    fn a_hook_gets_state_environment_and_arguments() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("out");
        let script = format!("{{ echo \"$0 $A $HOME $(pwd)\"; cat; }} > {}", file.display());
        run_at(HookPoint::CreateRuntime, json!([sh(&script)])).unwrap();
        let text = std::fs::read_to_string(file).unwrap();
        let (first, state) = text.split_once('\n').unwrap();
        assert_eq!(first, "hook 1  /tmp");
        let state: Value = serde_json::from_str(state).unwrap();
        let expected = json!({"ociVersion": "1.2.0", "id": "c1", "status": "creating", "pid": 7, "bundle": "/tmp",
            "annotations": {"a": "b"}});
        assert_eq!(state, expected);
    }

    #[test]
    fn the_first_failure_ends_all_but_poststop() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ran");
        let list = json!([sh("exit 0"), sh("echo out; echo err >&2; exit 3"), sh(&format!("> {}", file.display()))]);
        let error = run_at(HookPoint::Prestart, list.clone()).unwrap_err().to_string();
        assert_eq!(error, "error running prestart hook #1: exit status 3, stdout: out, stderr: err");
        assert!(!file.exists());
        assert!(run_at(HookPoint::Poststop, list).is_err());
        assert!(file.exists());
    }

    #[test]
    fn a_hook_that_takes_too_long_is_killed_with_its_children() {
        let begin = Instant::now();
        let list = json!([{"path": "/bin/sh", "args": ["sh", "-c", "sleep 100 & sleep 100"], "timeout": 1}]);
        let error = run_at(HookPoint::Poststart, list).unwrap_err().to_string();
        assert_eq!(error, "error running poststart hook #0: hook ran past specified timeout of 1s");
        assert!(begin.elapsed() < Duration::from_secs(20));
    }

    #[test]
    fn a_flood_and_a_deaf_hook_do_not_hang() {
        let large = "x".repeat(1 << 20);
        let mut spec = spec("prestart", json!([sh("dd if=/dev/zero bs=1k count=1000 2>&1; exit 1")]));
        spec.set_annotations(Some(std::collections::HashMap::from([("large".to_owned(), large)])));
        let identity = Identity { id: "c1", bundle: Path::new("/tmp") };
        assert!(run_hooks(&spec, HookPoint::Prestart, identity, None).is_err());
    }

    #[test]
    fn malformed_hooks_are_refused_by_name() {
        for (hook, field) in [
            (json!({"path": "true"}), "path"),
            (json!({"path": "/bin/true", "timeout": 0}), "timeout"),
            (json!({"path": "/bin/true", "timeout": -1}), "timeout"),
            (json!({"path": "/bin/true", "env": ["A"]}), "env"),
        ] {
            let error = run_at(HookPoint::StartContainer, json!([hook])).unwrap_err().to_string();
            assert!(error.starts_with(&format!("hooks.startContainer[0].{field}: ")), "{error}");
        }
        let error = run_at(HookPoint::Poststart, json!([{"path": "/nonexistent"}])).unwrap_err().to_string();
        assert!(error.contains("cannot execute /nonexistent: No such file"), "{error}");
    }
}
