//! The command line of the OCI runtime from the outside: what containerd, conmon and people call. Needs root and busybox-static.
//!
//! `CORACLE_RUNTIME=/usr/sbin/runc cargo test --test runc` asks another runtime; what only ours promises is then skipped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

#[path = "cases/runc_exec.rs"]
mod exec;
#[path = "cases/runc_faults.rs"]
mod faults;
#[path = "cases/runc_output.rs"]
mod output;
#[path = "cases/runc_terminal.rs"]
mod terminal;

/// A bundle of busybox, and a root of its own for the runtime's state.
struct Bundle {
    dir: tempfile::TempDir,
    runtime: PathBuf,
    /// Names of the containers: the cgroups of other tests lie beside.
    prefix: String,
}

impl Bundle {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            println!("SKIP runc: needs root and Debian's busybox-static");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let runtime = std::env::var_os("CORACLE_RUNTIME").map(PathBuf::from).unwrap_or_else(|| {
            let link = dir.path().join("runc");
            symlink(env!("CARGO_BIN_EXE_coracle"), &link).unwrap();
            link
        });
        let rootfs = dir.path().join("bundle/rootfs");
        for folder in ["bin", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(rootfs.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", rootfs.join("bin/busybox")).unwrap();
        for name in ["cat", "env", "false", "id", "kill", "ls", "readlink", "sh", "sleep", "stty", "true"] {
            symlink("busybox", rootfs.join("bin").join(name)).unwrap();
        }
        let name = dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let bundle = Bundle { dir, runtime, prefix: name };
        let output = bundle.run(&["spec", "--bundle", bundle.path().to_str().unwrap()]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        bundle.change(|config| {
            config["process"]["terminal"] = json!(false);
            config["process"]["args"] = json!(["sleep", "1000"]);
            // What a caller that is confined itself may not raise.
            config["process"]["rlimits"] = json!([]);
        });
        Some(bundle)
    }

    /// Only for ours.
    fn ours() -> Option<Self> {
        if std::env::var_os("CORACLE_RUNTIME").is_some() {
            println!("SKIP runc: what another runtime does not promise");
            return None;
        }
        Self::new()
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("bundle")
    }

    fn root(&self) -> PathBuf {
        self.dir.path().join("root")
    }

    fn id(&self, name: &str) -> String {
        format!("{}-{name}", self.prefix)
    }

    fn change(&self, change: impl FnOnce(&mut Value)) {
        let path = self.path().join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        fs::write(&path, serde_json::to_vec_pretty(&config).unwrap()).unwrap();
    }

    fn set_args(&self, args: &[&str]) {
        self.change(|config| config["process"]["args"] = json!(args));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.runtime);
        command.arg("--root").arg(self.root()).args(args).current_dir(self.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Whether it succeeds; without pipes, as below.
    fn succeeds(&self, args: &[&str]) -> bool {
        self.command(args).stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    /// Run it without pipes: a container inherits its streams, and would keep them open.
    fn detached(&self, args: &[&str]) {
        let log = self.dir.path().join("log");
        let file = fs::File::create(&log).unwrap();
        let streams = || Stdio::from(file.try_clone().unwrap());
        let status = self.command(args).stdout(streams()).stderr(streams()).status().unwrap();
        assert!(status.success(), "{args:?}: {}", fs::read_to_string(log).unwrap());
    }

    fn create(&self, id: &str) {
        self.detached(&["create", id]);
    }

    fn start(&self, id: &str) {
        self.detached(&["run", "-d", id]);
    }

    /// What is said on standard error, after the time.
    fn complaint(&self, args: &[&str], status: i32) -> String {
        let output = self.run(args);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {said}");
        let message = said.split_once(" msg=").map_or(said.as_str(), |(_, message)| message).trim();
        serde_json::from_str::<String>(message).unwrap_or_else(|_| message.to_owned())
    }

    fn state(&self, id: &str) -> Value {
        let output = self.run(&["state", id]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn status(&self, id: &str) -> String {
        self.state(id)["status"].as_str().unwrap().to_owned()
    }

    fn wait_for_status(&self, id: &str, status: &str) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.status(id) != status {
            assert!(Instant::now() < deadline, "{id} is {} and not {status}", self.status(id));
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// What must not be there when all containers are deleted: state, mounts, cgroups and processes.
    fn leftovers(&self) -> Vec<String> {
        let mut left: Vec<String> = Vec::new();
        left.extend(
            fs::read_dir(self.root()).into_iter().flatten().map(|entry| entry.unwrap().path().display().to_string()),
        );
        let own = self.dir.path().to_str().unwrap();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(mounts.lines().filter(|line| line.contains(own)).map(str::to_owned));
        left.extend(cgroups(Path::new("/sys/fs/cgroup"), &self.prefix));
        left
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let list = self.run(&["list", "-q"]);
        for id in text(&list.stdout).lines() {
            self.run(&["delete", "--force", id]);
        }
    }
}

fn cgroups(dir: &Path, prefix: &str) -> Vec<String> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            if entry.file_name().to_string_lossy().contains(prefix) {
                found.push(entry.path().display().to_string());
            }
            found.extend(cgroups(&entry.path(), prefix));
        }
    }
    found
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn life_of_a_container() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("life");
    let pid_file = bundle.dir.path().join("pid");
    bundle.detached(&[
        "create",
        "--bundle",
        bundle.path().to_str().unwrap(),
        "--pid-file",
        pid_file.to_str().unwrap(),
        &id,
    ]);
    let state = bundle.state(&id);
    let pid = fs::read_to_string(&pid_file).unwrap();
    assert_eq!(state["pid"].to_string(), pid);
    assert_eq!((&state["id"], &state["status"]), (&json!(id), &json!("created")));
    assert_eq!(state["bundle"], json!(bundle.path()));
    assert_eq!(state["rootfs"], json!(bundle.path().join("rootfs")));
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    assert_eq!(state["owner"], "");
    // The program does not run yet.
    assert!(!fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap().starts_with("sleep"));
    bundle.detached(&["start", &id]);
    assert_eq!(bundle.status(&id), "running");
    let runs = || fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap() == "sleep\x001000\0";
    let deadline = Instant::now() + Duration::from_secs(5);
    // Others than ours come back from start a little earlier.
    while !runs() {
        assert!(Instant::now() < deadline && std::env::var_os("CORACLE_RUNTIME").is_some());
    }
    assert_eq!(bundle.complaint(&["start", &id], 1), "cannot start an already running container");
    assert_eq!(bundle.complaint(&["create", &id], 1), "runc create failed: container with given ID already exists");
    assert_eq!(
        bundle.complaint(&["delete", &id], 1),
        format!("cannot delete container {id} that is not stopped: running")
    );
    bundle.detached(&["kill", &id, "KILL"]);
    bundle.wait_for_status(&id, "stopped");
    assert_eq!(bundle.state(&id)["pid"], 0);
    assert_eq!(bundle.complaint(&["kill", &id], 1), "container not running");
    assert_eq!(bundle.complaint(&["start", &id], 1), "cannot start a container that has stopped");
    assert_eq!(bundle.complaint(&["pause", &id], 1), "container not running");
    bundle.detached(&["delete", &id]);
    for command in ["state", "kill", "start", "delete", "pause", "resume", "ps", "events"] {
        assert_eq!(bundle.complaint(&[command, &id], 1), "container does not exist", "{command}");
    }
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn run_ends_with_the_programs_status() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("run");
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("exec sleep 1000", 137)] {
        bundle.set_args(&["sh", "-c", script]);
        let mut child = bundle.command(&["run", &id]).spawn().unwrap();
        if status == 137 {
            let deadline = Instant::now() + Duration::from_secs(10);
            while !bundle.run(&["kill", &id, "9"]).status.success() {
                assert!(Instant::now() < deadline);
            }
        }
        assert_eq!(child.wait().unwrap().code(), Some(status), "{script}");
        assert_eq!(bundle.leftovers(), [""; 0]);
    }
    bundle.set_args(&["sh", "-c", "cat; echo err >&2"]);
    let mut command = bundle.command(&["run", &id]);
    command.stdin(fs::File::open(bundle.path().join("config.json")).unwrap());
    let output = command.output().unwrap();
    assert_eq!(output.stdout, fs::read(bundle.path().join("config.json")).unwrap());
    assert_eq!(text(&output.stderr), "err\n");
}

#[test]
fn signals_reach_the_program() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("signals");
    bundle.set_args(&["sh", "-c", "trap 'exit 3' USR1; echo ready; while :; do sleep 0.05; done"]);
    let mut child = bundle.command(&["run", &id]).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
    let pid = nix::unistd::Pid::from_raw(child.id().try_into().unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGUSR1).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    bundle.start(&id);
    assert_eq!(bundle.complaint(&["kill", &id, "NOSIG"], 1), "unknown signal \"NOSIG\"");
    assert_eq!(bundle.complaint(&["kill", &id, "99"], 1), "unable to signal init: invalid argument");
    bundle.detached(&["kill", &id, "0"]);
    std::thread::sleep(Duration::from_millis(300));
    bundle.detached(&["kill", &id, "SIGUSR1"]);
    bundle.wait_for_status(&id, "stopped");
}

#[test]
fn a_signal_ends_what_only_waits_for_its_start() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("waiting");
    for signal in ["TERM", "INT", "KILL", "RTMIN+1"] {
        bundle.create(&id);
        bundle.detached(&["kill", &id, "WINCH"]);
        assert_eq!(bundle.status(&id), "created");
        bundle.detached(&["kill", &id, signal]);
        if signal.starts_with("RT") {
            bundle.detached(&["start", &id]);
            bundle.detached(&["delete", "--force", &id]);
        } else {
            bundle.wait_for_status(&id, "stopped");
            bundle.detached(&["delete", &id]);
        }
        assert_eq!(bundle.leftovers(), [""; 0]);
    }
}

#[test]
fn loopback_is_up_in_a_network_of_ones_own() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set_args(&["cat", "/sys/class/net/lo/flags", "/proc/net/route"]);
    let output = bundle.run(&["run", &bundle.id("net")]);
    // IFF_UP and IFF_LOOPBACK.
    assert!(text(&output.stdout).starts_with("0x9\n"), "{} {}", text(&output.stdout), text(&output.stderr));
}

#[test]
fn without_pivot_nothing_of_the_host_shows() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("nopivot");
    bundle.set_args(&["sh", "-c", "ls /; cat /proc/self/mountinfo; cat /etc/hostname"]);
    let output = bundle.run(&["run", "--no-pivot", &id]);
    let out = text(&output.stdout);
    assert!(out.starts_with("bin\ndev\netc\n"), "{out} {}", text(&output.stderr));
    let points = out.lines().filter_map(|line| line.split(' ').nth(4));
    let foreign: Vec<&str> = points
        .filter(|point| !["/", "/dev", "/proc", "/sys"].iter().any(|own| point.split('/').take(2).eq(own.split('/'))))
        .collect();
    assert_eq!(foreign, [""; 0], "{out}");
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn a_cgroup_is_made_where_systemd_would() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("systemd");
    let slice = format!("{}.slice", bundle.prefix);
    bundle.change(|config| config["linux"]["cgroupsPath"] = json!(format!("{slice}:test:{id}")));
    let said = bundle.complaint(&["--systemd-cgroup", "create", "-b", "/nonexistent", &id], 1);
    assert!(said.contains("/nonexistent"), "{said}");
    bundle.detached(&["--systemd-cgroup", "run", "-d", &id]);
    let groups = cgroups(Path::new("/sys/fs/cgroup"), &format!("test-{id}.scope"));
    assert_eq!(groups.len(), 1);
    assert!(groups[0].ends_with(&format!("/{slice}/test-{id}.scope")), "{groups:?}");
    bundle.detached(&["delete", "--force", &id]);
    fs::remove_dir(Path::new(&groups[0]).parent().unwrap()).unwrap();
    bundle.change(|config| config["linux"]["cgroupsPath"] = json!("/a/b"));
    assert!(bundle.complaint(&["--systemd-cgroup", "create", &id], 1).contains("slice:prefix:name"));
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn kill_all_reaches_every_process() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("all");
    bundle.change(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.retain(|namespace| namespace["type"] != "pid");
    });
    bundle.set_args(&["sh", "-c", "sleep 1000 & sleep 1000 & wait"]);
    bundle.start(&id);
    let pids = || -> Vec<i32> { serde_json::from_slice(&bundle.run(&["ps", "-f", "json", &id]).stdout).unwrap() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while pids().len() < 3 {
        assert!(Instant::now() < deadline);
    }
    let before = pids();
    bundle.detached(&["kill", "--all", &id, "KILL"]);
    bundle.wait_for_status(&id, "stopped");
    let alive = |pid: &i32| {
        fs::read_to_string(format!("/proc/{pid}/stat"))
            .is_ok_and(|stat| !stat.contains(") Z ") && stat.contains("sleep"))
    };
    let deadline = Instant::now() + Duration::from_secs(10);
    while before.iter().any(alive) {
        assert!(Instant::now() < deadline, "{before:?}");
    }
    bundle.detached(&["delete", &id]);
}

#[test]
fn pause_and_resume() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("pause");
    bundle.start(&id);
    assert_eq!(bundle.complaint(&["resume", &id], 1), "container not paused");
    bundle.detached(&["pause", &id]);
    assert_eq!(bundle.status(&id), "paused");
    let refused = "exec failed: cannot exec in a paused container (use --ignore-paused to override)";
    assert_eq!(bundle.complaint(&["exec", &id, "true"], 255), refused);
    assert!(bundle.complaint(&["delete", &id], 1).ends_with("that is not stopped: paused"));
    bundle.detached(&["resume", &id]);
    assert_eq!(bundle.status(&id), "running");
    bundle.detached(&["pause", &id]);
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn a_failed_create_leaves_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("failed");
    let failed = |start: &str, why: &str| {
        for command in ["create", "run"] {
            let said = bundle.complaint(&[command, &id], 1);
            assert!(said.starts_with(&format!("runc {command} failed: {start}")) && said.contains(why), "{said}");
            assert_eq!(bundle.leftovers(), [""; 0]);
        }
    };
    bundle.set_args(&["nope"]);
    failed("unable to start container process: exec: \"nope\": ", "executable file not found in $PATH");
    bundle.set_args(&["/nope"]);
    failed("unable to start container process: exec: \"/nope\": ", "no such file or directory");
    bundle.set_args(&["/etc"]);
    failed("unable to start container process: exec: \"/etc\": ", "");
    bundle.set_args(&[]);
    failed("", "args must not be empty");
    bundle.set_args(&["true"]);
    // Also where a filter keeps the privileges until the start.
    let beyond = fs::read_to_string("/proc/sys/fs/nr_open").unwrap().trim().parse::<u64>().unwrap() + 1;
    bundle.change(|config| {
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 5, "hard": beyond}]);
        config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW"});
    });
    failed("", "");
    bundle.change(|config| config["process"]["rlimits"] = json!([]));
    bundle.set_args(&["true"]);
    bundle.change(|config| config["root"]["path"] = json!("nowhere"));
    failed("", "");
    fs::write(bundle.path().join("config.json"), "{").unwrap();
    failed("", "");
    fs::remove_file(bundle.path().join("config.json")).unwrap();
    failed("", "JSON specification file config.json not found");
}

#[test]
fn names_that_are_no_file_names_are_refused() {
    let Some(bundle) = Bundle::new() else { return };
    for id in ["a/b", "..", "a b", "/", "a:b"] {
        assert_eq!(bundle.complaint(&["create", id], 1), "runc create failed: invalid container ID format");
    }
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn descriptors_are_preserved_only_as_asked() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("fds");
    bundle.set_args(&["sh", "-c", "ls /proc/self/fd | cat; cat <&3; echo ${LISTEN_FDS-none}"]);
    let file = bundle.dir.path().join("file");
    fs::write(&file, "preserved\n").unwrap();
    let run = |options: &str| {
        let script = format!(
            "exec 3<{file} 4<{file} 5<{file}; exec {runtime} --root {root} run {options} {id}",
            file = file.display(),
            runtime = bundle.runtime.display(),
            root = bundle.root().display()
        );
        Command::new("sh").arg("-c").arg(script).current_dir(bundle.path()).stdin(Stdio::null()).output().unwrap()
    };
    let output = run("--preserve-fds 2");
    let out = text(&output.stdout);
    assert!(out.contains("preserved\n") && out.contains("\n4\n") && out.contains("none"), "{out}");
    // 5 may be the folder that ls reads.
    assert!(!out.contains("\n6\n"), "{out}");
    let output = run("");
    assert!(!text(&output.stdout).contains("preserved"), "{}", text(&output.stdout));
}
