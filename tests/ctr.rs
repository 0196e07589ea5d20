//! `ctr` from the outside, on this host, with a root file system of busybox. Needs root and busybox-static.
//!
//! Limits need cgroup v2 controllers and are tested in the virtual machine; here is what needs none.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

#[path = "cases/ctr_attacks.rs"]
mod attacks;
#[path = "cases/ctr_build.rs"]
mod build;
#[path = "cases/ctr_calls.rs"]
mod calls;
#[path = "cases/ctr_copy.rs"]
mod copy;
#[path = "cases/ctr_dns.rs"]
mod dns;
#[path = "cases/ctr_images.rs"]
mod images;
#[path = "cases/ctr_lifecycle.rs"]
mod lifecycle;
#[path = "cases/ctr_lists.rs"]
mod lists;
#[path = "cases/ctr_network.rs"]
mod network;
#[path = "cases/ctr_options.rs"]
mod options;
#[path = "cases/ctr_pods.rs"]
mod pods;
#[path = "cases/ctr_restart.rs"]
mod restart;
#[path = "cases/ctr_terminal.rs"]
mod terminal;
#[path = "cases/ctr_users.rs"]
mod users;
#[path = "cases/ctr_volumes.rs"]
mod volumes;
#[path = "cases/ctr_watch.rs"]
mod watch;

#[cfg(target_arch = "x86_64")]
mod probe;

/// An engine with a state of its own, and an image `busybox` in it.
struct Engine {
    dir: tempfile::TempDir,
}

impl Engine {
    fn new() -> Option<Self> {
        let root = nix::unistd::geteuid().is_root();
        let busybox = Path::new("/bin/busybox");
        if !root || !busybox.exists() {
            println!("SKIP ctr: needs root and Debian's busybox-static");
            return None;
        }
        let engine = Engine { dir: tempfile::tempdir().unwrap() };
        let tree = engine.dir.path().join("tree");
        for folder in ["bin", "etc", "tmp"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        for name in
            "sh cat chmod chown echo false grep hostname id ln ls mkdir mknod mount ps rm sed sleep stat stty test touch true unshare wc"
                .split(' ')
        {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
            .unwrap();
        engine.import(&tree, "busybox");
        Some(engine)
    }

    fn import(&self, tree: &Path, name: &str) {
        let archive = self.dir.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(tree).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        let imported = self.ctr(&["import", "-c", "sh", archive.to_str().unwrap(), name]);
        assert!(imported.status.success(), "{}", text(&imported.stderr));
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command.arg("ctr").args(args).stdin(Stdio::null());
        command.env("CORACLE_STATE", self.dir.path().join("state")).env("CORACLE_RUN", self.dir.path().join("run"));
        command
    }

    fn ctr(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Run a shell script in a container without a network; its status and all its output.
    fn run(&self, options: &[&str], script: &str) -> (i32, String) {
        let args = [&["run", "--rm", "--network", "none"], options, &["busybox", "sh", "-c", script]].concat();
        let output = self.ctr(&args);
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    }

    fn start(&self, script: &str) -> String {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let output = self.ctr(&["run", "-d", "--name", &name, "--network", "none", "busybox", "sh", "-c", script]);
        assert!(output.status.success(), "{}", text(&output.stderr));
        name
    }

    fn inspect(&self, name: &str) -> serde_json::Value {
        let output = self.ctr(&["inspect", name]);
        let all: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        all[0].clone()
    }

    /// What must be the same before and after: mounts and containers of this engine.
    fn leftovers(&self) -> (usize, Vec<PathBuf>) {
        let own = self.dir.path().to_str().unwrap();
        let mounts =
            fs::read_to_string("/proc/self/mountinfo").unwrap().lines().filter(|line| line.contains(own)).count();
        let list = |folder: &str| {
            fs::read_dir(self.dir.path().join(folder)).into_iter().flatten().map(|entry| entry.unwrap().path())
        };
        (mounts, list("state/containers").chain(list("run/containers")).collect())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn exit_codes_are_dockers() {
    let Some(engine) = Engine::new() else { return };
    assert_eq!(engine.run(&[], "exit 7").0, 7);
    assert_eq!(engine.run(&[], "kill -9 $$; sleep 5; exit 3").0, 3, "PID 1 cannot kill itself");
    let code = |command: &[&str]| {
        engine.ctr(&[&["run", "--rm", "--network", "none", "busybox"], command].concat()).status.code()
    };
    assert_eq!(code(&["no-such-program"]), Some(127));
    assert_eq!(code(&["/etc/passwd"]), Some(126));
    assert_eq!(engine.ctr(&["run", "--no-such-option", "busybox"]).status.code(), Some(125));
    assert_eq!(engine.ctr(&["run", "--pull", "never", "missing"]).status.code(), Some(125));
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_container_is_isolated() {
    let Some(engine) = Engine::new() else { return };
    let (code, output) =
        engine.run(&[], "echo pid=$$; ps | wc -l; cat /proc/self/status; ls /proc/self/fd; cat /proc/net/dev");
    assert_eq!(code, 0, "{output}");
    let capabilities = if keeps_device_rules() { "CapEff:\t00000000a80425fb" } else { "CapEff:\t00000000a00425fb" };
    for line in ["pid=1", "NoNewPrivs:\t1", "Seccomp:\t2", "CapInh:\t0000000000000000", capabilities] {
        assert!(output.contains(line), "no {line:?} in {output}");
    }
    assert!(!output.contains("eth0"));
}

#[test]
fn proc_sys_and_what_else_is_read_only_stay_so() {
    let Some(engine) = Engine::new() else { return };
    for script in [
        "echo x > /proc/sys/kernel/core_pattern",
        "echo x > /proc/sysrq-trigger",
        "mount -t tmpfs x /tmp",
        "mknod /tmp/disk b 254 0 && : < /tmp/disk",
        "test -s /proc/keys",
        "touch /sys/fs/cgroup/x",
        "unshare -r true",
    ] {
        assert_ne!(engine.run(&[], script).0, 0, "{script}");
    }
    assert_ne!(engine.run(&["--read-only"], "touch /x").0, 0);
    assert_eq!(engine.run(&[], "touch /x").0, 0);
}

/// Device rules are a program on the container's cgroup: of cgroup v2, wherever that is mounted.
fn keeps_device_rules() -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 ")
}

#[test]
fn devices_are_those_that_were_given() {
    let Some(engine) = Engine::new() else { return };
    if !keeps_device_rules() {
        println!("SKIP devices_are_those_that_were_given: this host has no cgroup v2");
        return;
    }
    for node in ["c 1 11", "c 1 1", "b 7 0", "c 10 229", "c 10 237", "b 254 0"] {
        let (code, output) = engine.run(&[], &format!("mknod /tmp/x {node} || exit 0; : < /tmp/x"));
        assert!(code != 0 && output.contains("Operation not permitted"), "{node}: {code} {output}");
    }
    assert_eq!(engine.run(&[], "mknod /tmp/null c 1 3 && echo x > /tmp/null && : < /dev/zero").0, 0);
    assert_eq!(engine.run(&[], "for d in null zero full random urandom; do : < /dev/$d || exit 1; done").0, 0);
    let given = ["--device", "/dev/fuse:/dev/x:r"];
    assert_eq!(engine.run(&given, "test -c /dev/x && : < /dev/x"), (0, String::new()));
    let (code, output) = engine.run(&given, ": > /dev/x");
    assert!(code != 0 && output.contains("Operation not permitted"), "{code} {output}");
    assert_eq!(engine.run(&["--device", "/etc/passwd"], "true").0, 125);
    assert_eq!(engine.run(&["--cap-add", "SYSLOG"], "mknod /tmp/x c 1 11; : < /tmp/x 2>/dev/null").0, 1);
    // A process that comes later is under the same rules.
    let name = engine.start("exec sleep 100");
    let script = "mknod /tmp/x c 10 229 || exit 0; : < /tmp/x";
    let output = engine.ctr(&["exec", &name, "sh", "-c", script]);
    assert!(!output.status.success() && text(&output.stderr).contains("Operation not permitted"));
    engine.ctr(&["rm", "-f", &name]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn cve_2024_21626_working_directory_in_proc_fd() {
    let Some(engine) = Engine::new() else { return };
    for number in 3..12 {
        let (code, output) = engine.run(&["--workdir", &format!("/proc/self/fd/{number}")], "ls ..");
        assert_ne!(code, 0, "{output}");
    }
    let (_, fds) = engine.run(&[], "echo /proc/self/fd/*");
    assert_eq!(fds.trim(), "/proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/self/fd/3", "3 is the shell's own");
}

#[test]
fn cve_2019_5736_binary_is_out_of_reach() {
    let Some(engine) = Engine::new() else { return };
    let before = fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap();
    let output = engine.ctr(&["run", "--rm", "--network", "none", "busybox", "/proc/self/exe", "ctr", "version"]);
    assert_ne!(output.status.code(), Some(0));
    let name = engine.start("while :; do for exe in /proc/[0-9]*/exe; do echo x >> $exe; done; done 2>/dev/null");
    for _ in 0..20 {
        engine.ctr(&["exec", &name, "true"]);
    }
    engine.ctr(&["rm", "-f", &name]);
    assert!(fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap() == before, "the binary was changed");
}

#[test]
fn cve_2019_19921_proc_and_dev_as_links() {
    let Some(engine) = Engine::new() else { return };
    for folder in ["proc", "sys", "dev"] {
        let tree = engine.dir.path().join("hostile");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy("/bin/busybox", tree.join("bin/sh")).unwrap();
        std::os::unix::fs::symlink("/tmp", tree.join(folder)).unwrap();
        engine.import(&tree, folder);
        let output = engine.ctr(&["run", "--rm", "--network", "none", folder, "sh", "-c", "exit 0"]);
        assert_eq!(output.status.code(), Some(125), "{folder}: {}", text(&output.stderr));
        assert!(text(&output.stderr).contains("symbolic link"), "{}", text(&output.stderr));
        fs::remove_dir_all(&tree).unwrap();
    }
}

#[test]
fn cve_2026_30892_malformed_users_are_errors() {
    let Some(engine) = Engine::new() else { return };
    assert_eq!(engine.run(&["--user", "user"], "id").1.trim(), "uid=1000(user) gid=1000 groups=1000");
    for user in ["4294967296", "-1", "nobody", "user:", "0x0", "4294967295", " 0"] {
        assert_eq!(engine.run(&[&format!("--user={user}")], "id").0, 125, "{user}");
    }
}

#[test]
fn a_detached_container_lives_and_ends() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("echo out; echo err >&2; exec sleep 100");
    let exec = engine.ctr(&["exec", "-e", "A=b", &name, "sh", "-c", "echo $A; exit 9"]);
    assert_eq!((exec.status.code(), text(&exec.stdout)), (Some(9), "b\n".to_owned()));
    assert_eq!(engine.inspect(&name)["State"]["Running"], true);
    let listed = text(&engine.ctr(&["ps", "--format", "json"]).stdout);
    assert!(listed.contains(&name), "{listed}");
    assert_ne!(engine.ctr(&["rm", &name]).status.code(), Some(0), "it runs");
    assert_eq!(engine.ctr(&["stop", "-t", "0", &name]).status.code(), Some(0));
    let state = engine.inspect(&name)["State"].clone();
    assert_eq!((state["Status"].as_str(), state["ExitCode"].as_i64()), (Some("exited"), Some(137)));
    let logs = engine.ctr(&["logs", &name]);
    assert_eq!((text(&logs.stdout), text(&logs.stderr)), ("out\n".to_owned(), "err\n".to_owned()));
    assert_eq!(engine.ctr(&["start", &name]).status.code(), Some(0), "its files are kept");
    assert_eq!(engine.ctr(&["rm", "-f", &name]).status.code(), Some(0));
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_killed_monitor_is_cleaned_up_after() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let payload = engine.inspect(&name)["State"]["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{payload}/status")).unwrap();
    let parent = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().parse::<i32>().unwrap();
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(parent), nix::sys::signal::Signal::SIGKILL).unwrap();
    // The kernel lets go of a killed process' lock a moment after kill(2) has returned.
    let ended = (0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        engine.inspect(&name)["State"]["Status"] == "exited"
    });
    assert!(ended, "{}", engine.inspect(&name)["State"]);
    let alive = fs::read_to_string(format!("/proc/{payload}/stat")).is_ok_and(|stat| !stat.contains(") Z "));
    assert!(!alive, "the payload outlived its monitor unseen");
    assert_eq!(engine.ctr(&["rm", "-f", &name]).status.code(), Some(0));
    assert_eq!(engine.leftovers(), (0, vec![]));
}

/// SIGCHLD and the like must be waited for before what they tell of can begin: else one in hundreds is missed, and `run` hangs.
#[test]
fn signals_are_not_missed_in_a_thousand_runs() {
    let Some(engine) = Engine::new() else { return };
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..250 {
                    let output = engine.ctr(&["run", "--rm", "--network", "none", "busybox", "true"]);
                    assert_eq!((output.status.code(), text(&output.stderr).as_str()), (Some(0), ""));
                }
            });
        }
    });
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn input_that_nobody_reads_costs_no_exit_status() {
    let Some(engine) = Engine::new() else { return };
    let zero = || fs::File::open("/dev/zero").unwrap();
    for script in ["exit 3", "read -n 1 x; exit 3", "exec <&-; sleep 0.1; exit 3"] {
        for _ in 0..5 {
            let args = ["run", "-i", "--rm", "--network", "none", "busybox", "sh", "-c", script];
            let output = engine.command(&args).stdin(zero()).output().unwrap();
            assert_eq!(output.status.code(), Some(3), "{script}: {}", text(&output.stderr));
        }
    }
}

#[test]
fn many_at_once_do_not_disturb_each_other() {
    let Some(engine) = Engine::new() else { return };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..8 {
                    let name = engine.start("echo out; echo err >&2; exit 3");
                    let waited = engine.ctr(&["wait", &name]);
                    assert_eq!(text(&waited.stdout), "3\n", "{name}: {}", text(&waited.stderr));
                    let logs = engine.ctr(&["logs", &name]);
                    assert_eq!((text(&logs.stdout), text(&logs.stderr)), ("out\n".to_owned(), "err\n".to_owned()));
                    let removed = engine.ctr(&["rm", &name]);
                    assert!(removed.status.success(), "{}", text(&removed.stderr));
                }
            });
        }
    });
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn limits_without_a_controller_are_refused_by_name() {
    let Some(engine) = Engine::new() else { return };
    let has_memory = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|list| list.contains("memory"));
    if has_memory {
        println!("SKIP limits_without_a_controller: this host has cgroup v2 with the memory controller");
        return;
    }
    let (code, output) = engine.run(&["--memory", "64m"], "true");
    assert_eq!(code, 125);
    assert!(output.contains("cgroup v2"), "{output}");
}
