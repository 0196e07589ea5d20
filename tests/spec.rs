//! What config.json asks for, seen from within a container. Needs root and busybox-static.
//!
//! `CORACLE_RUNTIME=/usr/sbin/runc cargo test --test spec` asks another runtime, to compare. runc 1.1 is of an older
//! specification: it fails where that is stricter or has more (order of poststart, duplicate limits, seccomp flags, mappings).

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Value, json};

#[path = "cases/spec_attacks.rs"]
mod attacks;
#[path = "cases/spec_hooks.rs"]
mod hooks;
#[path = "cases/spec_mounts.rs"]
mod mounts;
#[path = "cases/spec_process.rs"]
mod process;
#[path = "cases/spec_resources.rs"]
mod resources;
#[path = "cases/spec_seccomp.rs"]
mod seccomp;
#[path = "cases/spec_users.rs"]
mod users;

#[cfg(target_arch = "x86_64")]
mod probe;

/// A bundle with a root of busybox; its configuration is `config`.
struct Bundle {
    dir: tempfile::TempDir,
    config: Value,
}

impl Bundle {
    fn new() -> Option<Self> {
        if !nix::unistd::geteuid().is_root() || !Path::new("/bin/busybox").exists() {
            println!("SKIP spec: needs root and Debian's busybox-static");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        // Users of a user namespace must find the way.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let root = dir.path().join("rootfs");
        for folder in ["bin", "data", "dev", "etc", "proc", "sys", "tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        let list = Command::new("/bin/busybox").arg("--list").output().unwrap();
        for name in text(&list.stdout).lines().filter(|name| *name != "busybox") {
            symlink("busybox", root.join("bin").join(name)).unwrap();
        }
        Some(Bundle { dir, config: config() })
    }

    /// Whether it is ours that is tested; others are not asked for what only it promises.
    fn is_ours() -> bool {
        std::env::var_os("CORACLE_RUNTIME").is_none()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn runtime(&self, args: &[&str]) -> Command {
        let mut command = match std::env::var_os("CORACLE_RUNTIME") {
            Some(runtime) => Command::new(runtime),
            None => Command::new(env!("CARGO_BIN_EXE_coracle")),
        };
        if Self::is_ours() {
            command.arg("runc");
        }
        command.arg("--root").arg(self.path("state")).args(args).stdin(Stdio::null());
        command
    }

    fn write(&self) {
        fs::write(self.path("config.json"), serde_json::to_vec(&self.config).unwrap()).unwrap();
    }

    /// Run a shell script as the container's program.
    fn output(&mut self, script: &str) -> Output {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let id = format!("spec-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        self.config["process"]["args"] = json!(["sh", "-c", script]);
        self.write();
        let bundle = self.dir.path().to_str().unwrap().to_owned();
        self.runtime(&["run", "--bundle", &bundle, &id]).output().unwrap()
    }

    /// The same, of one that must succeed: what it printed.
    fn run(&mut self, script: &str) -> String {
        let output = self.output(script);
        assert!(output.status.success(), "{script}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// The same, of one that must not come to run: the complaint.
    fn refused(&mut self) -> String {
        let output = self.output("echo ran");
        let said = text(&output.stdout) + &text(&output.stderr);
        assert!(!output.status.success() && !said.contains("ran\n"), "{said}");
        said
    }

    /// A container that stays until the bundle is dropped; its process id.
    fn start(&mut self, id: &str) -> u32 {
        self.config["process"]["args"] = json!(["sleep", "1000"]);
        self.write();
        let pid_file = self.path("pid");
        let bundle = self.dir.path().to_str().unwrap().to_owned();
        let args = ["run", "-d", "--bundle", &bundle, "--pid-file", pid_file.to_str().unwrap(), id];
        let log = fs::File::create(self.path("log")).unwrap();
        let status = self.runtime(&args).stdout(log.try_clone().unwrap()).stderr(log).status().unwrap();
        assert!(status.success(), "{}", fs::read_to_string(self.path("log")).unwrap());
        fs::read_to_string(pid_file).unwrap().trim().parse().unwrap()
    }

    fn namespaces(&mut self) -> &mut Vec<Value> {
        self.config["linux"]["namespaces"].as_array_mut().unwrap()
    }

    fn add_namespace(&mut self, kind: &str, path: Option<&str>) {
        self.namespaces().retain(|namespace| namespace["type"] != kind);
        let namespace = match path {
            Some(path) => json!({"type": kind, "path": path}),
            None => json!({"type": kind}),
        };
        self.namespaces().push(namespace);
    }

    fn add_mount(&mut self, mount: Value) {
        self.config["mounts"].as_array_mut().unwrap().push(mount);
    }

    fn add_users(&mut self) {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        self.add_namespace("user", None);
        self.config["linux"]["uidMappings"] = map.clone();
        self.config["linux"]["gidMappings"] = map;
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let list = self.runtime(&["list", "-q"]).output().unwrap();
        for id in text(&list.stdout).lines() {
            self.runtime(&["delete", "--force", id]).output().unwrap();
        }
    }
}

fn config() -> Value {
    let capabilities = json!(["CAP_CHOWN", "CAP_KILL", "CAP_SYS_ADMIN"]);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": "rootfs"},
        "process": {
            "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
            "capabilities": {"bounding": capabilities, "effective": capabilities, "permitted": capabilities},
        },
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        ],
        "linux": {"namespaces": [{"type": "mount"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}]},
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
