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
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use census::Census;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

/// Cgroups and processes are counted for the whole machine: one scenario at a time.
static TURN: Mutex<()> = Mutex::new(());
/// What is still on its way when a command has ended may take this long to settle.
const SETTLING: Duration = Duration::from_secs(10);
/// The cgroup that the tests themselves are in.
const TESTS: &str = "tests";
/// Points that are skipped between two that are tried.
const STRIDE: usize = 29;

/// An engine with a state of its own.
struct Engine {
    dir: tempfile::TempDir,
}

impl Engine {
    /// Run a test with an engine, in namespaces and cgroups of its own.
    fn test(test: impl FnOnce(&Engine) + Send + 'static) {
        let busybox = Path::new("/bin/busybox");
        if !nix::unistd::geteuid().is_root() || !busybox.exists() {
            println!("SKIP faults: needs root and Debian's busybox-static");
            return;
        }
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        isolated(move || {
            let engine = Engine::new(busybox);
            engine.is_counted();
            test(&engine);
        });
    }

    fn new(busybox: &Path) -> Self {
        let engine = Engine { dir: tempfile::tempdir().unwrap() };
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
        engine
    }

    /// A census that does not see a container would find all well whatever is left of one.
    fn is_counted(&self) {
        let before = Census::take(self.dir.path());
        self.succeed(RUN);
        let running = Census::take(self.dir.path());
        for kind in ["interfaces", "rules", "cgroups", "processes", "files"] {
            assert!(running.count(kind) > before.count(kind), "no {kind} of a running container: {running}");
        }
        self.succeed(&["rm", "-f", "-v", "box"]);
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

/// The cgroup v2 trees of this host, and the cgroup in each that this process is in.
fn cgroup_trees() -> Vec<(PathBuf, PathBuf)> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
    let trees = mounts.lines().filter(|line| line.contains(" - cgroup2 ")).filter_map(|line| line.split(' ').nth(4));
    trees.filter_map(|tree| Some((tree.into(), Path::new(tree).join(own?)))).collect()
}

/// Run a test in a thread, and so all that it starts, that has a network, mounts and cgroups of its own.
///
/// The root of its cgroups has no process in it, as on a machine of its own: else it could hand no controller on.
fn isolated(test: impl FnOnce() + Send + 'static) {
    let own = format!("coracle-faults-{}", std::process::id());
    let trees = cgroup_trees();
    for (tree, _) in &trees {
        fs::create_dir_all(tree.join(&own).join(TESTS)).unwrap();
        enter(&tree.join(&own));
    }
    let (inside, name) = (trees.clone(), own.clone());
    let result = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWCGROUP).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        for (tree, _) in inside {
            mount(Some(&tree.join(&name)), &tree, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
            enter(&tree.join(TESTS));
        }
        test();
    })
    .join();
    for (tree, before) in trees {
        enter(&before);
        let removed = remove_groups(&tree.join(&own));
        assert!(removed.is_ok() || result.is_err(), "{own} is still in use: {removed:?}");
    }
    if let Err(panic) = result {
        std::panic::resume_unwind(panic);
    }
}

/// Move this process, all its threads, to a cgroup.
fn enter(group: &Path) {
    fs::write(group.join("cgroup.procs"), std::process::id().to_string()).unwrap();
}

/// Remove a cgroup and those in it, with what a test that failed has left running there.
fn remove_groups(group: &Path) -> io::Result<()> {
    fs::write(group.join("cgroup.kill"), "1")?;
    for entry in fs::read_dir(group)?.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())) {
        remove_groups(&entry.path())?;
    }
    let deadline = Instant::now() + SETTLING;
    loop {
        match fs::remove_dir(group) {
            // A killed process is in its cgroup until it has ended.
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            removed => return removed,
        }
    }
}

const RUN: &[&str] = &["run", "-d", "--name", "box", "-p", "18080:80", "-v", "/data", "busybox", "sleep", "1000"];

#[test]
fn create() {
    Engine::test(|engine| {
        engine.walk("create", &[], &["create", "--name", "box", "-v", "/data", "busybox", "true"]);
    });
}

#[test]
fn start() {
    Engine::test(|engine| {
        engine.walk(
            "start",
            &[&["create", "--name", "box", "-p", "18080:80", "busybox", "sleep", "1000"]],
            &["start", "box"],
        );
    });
}

#[test]
fn run_detached() {
    Engine::test(|engine| {
        engine.walk("run -d", &[], RUN);
    });
}

#[test]
fn run_to_the_end() {
    Engine::test(|engine| {
        engine.walk("run --rm", &[], &["run", "--rm", "--name", "box", "-v", "/data", "busybox", "true"]);
    });
}

#[test]
fn stop() {
    Engine::test(|engine| {
        engine.walk("stop", &[RUN], &["stop", "-t", "0", "box"]);
    });
}

#[test]
fn remove() {
    Engine::test(|engine| {
        engine.walk("rm -f", &[RUN], &["rm", "-f", "-v", "box"]);
    });
}

#[test]
fn exec() {
    Engine::test(|engine| {
        engine.walk("exec", &[RUN], &["exec", "box", "true"]);
    });
}
