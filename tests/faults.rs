//! Kill -9 at every point: each of `ctr`'s processes is killed as it is about to make its Nth system call, for all N, and the next
//! `ctr` must find its way: no mount, interface, packet filter rule, cgroup, process, lock or file may be left.
//!
//! The command under test runs below a tracer. Each test has a network and a mount namespace of its own, so that what is counted is
//! its own. `CORACLE_FAULT_STRIDE=1` walks every point; the default skips some, other ones in each scenario. Needs root and busybox.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot be set up fails")]

#[path = "faults/census.rs"]
mod census;
#[path = "faults/tracer.rs"]
mod tracer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use census::Census;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Cgroups and processes are counted for the whole machine: one scenario at a time.
static TURN: Mutex<()> = Mutex::new(());
/// What is still on its way when a command has ended may take this long to settle.
const SETTLING: Duration = Duration::from_secs(10);
/// Points that are skipped between two that are tried.
const STRIDE: usize = 29;

/// An engine with a state of its own, in namespaces of its own.
struct Engine {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Engine {
    fn new() -> Option<Self> {
        let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let busybox = Path::new("/bin/busybox");
        if !nix::unistd::geteuid().is_root() || !busybox.exists() {
            println!("SKIP faults: needs root and Debian's busybox-static");
            return None;
        }
        isolate();
        let engine = Engine { dir: tempfile::tempdir().unwrap(), _turn: turn };
        let tree = engine.dir.path().join("tree");
        fs::create_dir_all(tree.join("bin")).unwrap();
        fs::copy(busybox, tree.join("bin/busybox")).unwrap();
        for name in ["sh", "sleep", "true"] {
            std::os::unix::fs::symlink("busybox", tree.join("bin").join(name)).unwrap();
        }
        let archive = engine.dir.path().join("image.tar");
        let tar = Command::new("tar").arg("-C").arg(&tree).arg("-cf").arg(&archive).arg(".").status().unwrap();
        assert!(tar.success());
        engine.succeed(&["import", archive.to_str().unwrap(), "busybox"]);
        Some(engine)
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

    #[track_caller]
    fn succeed(&self, args: &[&str]) {
        let output = self.ctr(args);
        assert!(output.status.success(), "ctr {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What the next user does after a crash: look, remove, and run one of the same name.
    fn recover(&self, point: &str) {
        let say = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
        let listed = self.ctr(&["ps", "-a"]);
        assert!(listed.status.success() && listed.stderr.is_empty(), "{point}: ctr ps -a: {}", say(&listed));
        let removed = self.ctr(&["rm", "-f", "-v", "box"]);
        let error = say(&removed);
        assert!(
            removed.status.success() || error.to_lowercase().contains("no such container"),
            "{point}: ctr rm: {error}"
        );
        let again = self.ctr(&["run", "--rm", "--name", "box", "busybox", "true"]);
        assert!(again.status.success(), "{point}: ctr run: {}", say(&again));
    }

    /// Kill at one point after the other until the command gets through. `prepare` comes before each, untraced.
    #[track_caller]
    fn walk(&self, scenario: &str, prepare: &[&[&str]], args: &[&str]) {
        // Once in peace: what stays for good, such as the folder of all volumes, is there before.
        prepare.iter().chain(&[args]).for_each(|args| self.succeed(args));
        self.recover("at the start");
        let before = Census::take(self.dir.path());
        println!("{scenario}: before {before}");
        let stride = std::env::var("CORACLE_FAULT_STRIDE").map_or(STRIDE, |text| text.parse().unwrap());
        // Other points in each scenario, the same ones in each run.
        let first = scenario.bytes().map(usize::from).sum::<usize>() % stride;
        let mut tried = 0;
        for point in (first..).step_by(stride) {
            prepare.iter().for_each(|args| self.succeed(args));
            let errors = self.dir.path().join("stderr");
            let killed = tracer::kill_at(&self.command(args), fs::File::create(&errors).unwrap(), point);
            let who = killed.as_ref().map_or_else(|| "nobody".to_owned(), ToString::to_string);
            let name = format!("{scenario}, point {point}, killed {who}");
            self.recover(&name);
            let after = self.settle(&before);
            assert!(after == before, "{name}: {}", after.compared_with(&before));
            tried += 1;
            if killed.is_none() {
                println!("{scenario}: after  {after}: {tried} of {point} points");
                assert!(
                    tried > 3,
                    "{scenario}: the tracer saw next to nothing: {}",
                    fs::read_to_string(&errors).unwrap()
                );
                return;
            }
        }
    }

    fn settle(&self, before: &Census) -> Census {
        let deadline = Instant::now() + SETTLING;
        loop {
            let after = Census::take(self.dir.path());
            if after == *before || Instant::now() > deadline {
                return after;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Give this thread, and so all that it starts, a network, mounts and a cgroup of its own.
fn isolate() {
    let own = |path: &str| path.parse::<PathBuf>().unwrap().join(format!("coracle-faults-{}", std::process::id()));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let trees = mounts.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| line.split(' ').nth(4));
    let trees: Vec<_> = trees.collect();
    for tree in &trees {
        fs::create_dir_all(own(tree)).unwrap();
        fs::write(own(tree).join("cgroup.procs"), std::process::id().to_string()).unwrap();
    }
    unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP).unwrap();
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
    for tree in trees {
        mount(Some(&own(tree)), tree, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
}

const RUN: &[&str] = &["run", "-d", "--name", "box", "-p", "18080:80", "-v", "/data", "busybox", "sleep", "1000"];

#[test]
fn create() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("create", &[], &["create", "--name", "box", "-v", "/data", "busybox", "true"]);
}

#[test]
fn start() {
    let Some(engine) = Engine::new() else { return };
    engine.walk(
        "start",
        &[&["create", "--name", "box", "-p", "18080:80", "busybox", "sleep", "1000"]],
        &["start", "box"],
    );
}

#[test]
fn run_detached() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("run -d", &[], RUN);
}

#[test]
fn run_to_the_end() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("run --rm", &[], &["run", "--rm", "--name", "box", "-v", "/data", "busybox", "true"]);
}

#[test]
fn stop() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("stop", &[RUN], &["stop", "-t", "0", "box"]);
}

#[test]
fn remove() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("rm -f", &[RUN], &["rm", "-f", "-v", "box"]);
}

#[test]
fn exec() {
    let Some(engine) = Engine::new() else { return };
    engine.walk("exec", &[RUN], &["exec", "box", "true"]);
}
