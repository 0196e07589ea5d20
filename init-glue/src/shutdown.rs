//! The way down: containers, units, everything else, file systems, the machine. Every step is bounded in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use nix::sys::reboot::{RebootMode, reboot};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::mount::{MountFlags, UnmountFlags, mount_remount, unmount};

use crate::console::say;
use crate::supervise::{Io, Restart, Unit};
use crate::{cgroup, control_socket, early, launch, machine, reap};

/// What a container has to end in after SIGTERM, as with `docker stop`.
const CONTAINER_PATIENCE: Duration = Duration::from_secs(10);
/// What the monitors of containers have to put on record how their containers ended.
const RECORD_PATIENCE: Duration = Duration::from_secs(5);
/// What units have.
const UNIT_PATIENCE: Duration = Duration::from_secs(5);
/// What any other process has, first after SIGTERM, then after SIGKILL.
const PROCESS_PATIENCE: Duration = Duration::from_secs(2);
/// After this long in the last steps, which wait for disks, the machine goes down without them.
const DISK_PATIENCE: Duration = Duration::from_secs(60);

/// Where the way down leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Power off.
    PowerOff,
    /// Start again.
    Reboot,
    /// Stop, with the power on.
    Halt,
}

impl Goal {
    fn mode(self) -> RebootMode {
        match self {
            Goal::PowerOff => RebootMode::RB_POWER_OFF,
            Goal::Reboot => RebootMode::RB_AUTOBOOT,
            Goal::Halt => RebootMode::RB_HALT_SYSTEM,
        }
    }

    /// The word for it on the control socket.
    #[must_use]
    pub fn request(self) -> &'static str {
        match self {
            Goal::PowerOff => "poweroff",
            Goal::Reboot => "reboot",
            Goal::Halt => "halt",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Goal::PowerOff => "power off",
            Goal::Reboot => "reboot",
            Goal::Halt => "halt",
        }
    }
}

/// Go down, whatever stands in the way.
pub fn go(goal: Goal) -> ! {
    say(&format!("coracle: going down: {}", goal.words()));
    stop_containers();
    stop_units();
    end_processes();
    // From here on a dead disk can hang this thread for good; another one sees to it that the machine goes down.
    let _ = thread::Builder::new().spawn(move || {
        thread::sleep(DISK_PATIENCE);
        say("coracle: a file system does not answer; going down without it");
        let _ = reboot(goal.mode());
    });
    machine::save_random_seed();
    unmount_all();
    rustix::fs::sync();
    say(&format!("coracle: {}", goal.words()));
    loop {
        // Comes back only if the kernel cannot do it, and then there is nothing to go back to.
        let Err(error) = reboot(goal.mode());
        say(&format!("coracle: the kernel cannot {}: {error}", goal.words()));
        thread::sleep(Duration::from_secs(10));
    }
}

/// Do it now, without stopping or unmounting anything: `poweroff -f`.
///
/// # Errors
/// What reboot(2) says.
pub fn force(goal: Goal, sync: bool) -> nix::Result<std::convert::Infallible> {
    if sync {
        rustix::fs::sync();
    }
    reboot(goal.mode())
}

fn stop_containers() {
    // From here on no monitor starts its container again, and no stop counts as one by hand.
    let _ = fs::write(control_socket().with_file_name("stopping"), "");
    let running: Vec<PathBuf> =
        cgroup::children(&cgroup::containers()).into_iter().filter(|dir| cgroup::is_populated(dir)).collect();
    if running.is_empty() {
        return;
    }
    say(&format!("coracle: stopping {} containers", running.len()));
    let (polite, deaf): (Vec<_>, Vec<_>) = running.iter().partition(|dir| heeds_signals(dir));
    for dir in deaf {
        // The first process of a namespace ignores a signal that it has no handler for: nothing to wait for.
        let _ = cgroup::kill(dir);
    }
    stop_by_ctr(&polite);
    for dir in polite.into_iter().filter(|dir| cgroup::is_populated(dir)) {
        namespace_inits(dir).for_each(|(pid, _)| signal(pid, Signal::SIGTERM));
    }
    wait_and_kill(&running, CONTAINER_PATIENCE);
    // A monitor lives in the cgroup of the unit that it was started from, which is stopped next. It is done when it has removed
    // its container's volatile files.
    let live = control_socket().with_file_name("containers");
    let all_recorded = || running.iter().filter_map(|dir| dir.file_name()).all(|id| !live.join(id).exists());
    if !wait_until(RECORD_PATIENCE, all_recorded) {
        say("coracle: how some containers ended is not on record");
    }
}

/// Let `ctr` stop them: it reads which signal a container wants, which is not for PID 1 to parse.
fn stop_by_ctr(containers: &[&PathBuf]) {
    if containers.is_empty() {
        return;
    }
    let patience = CONTAINER_PATIENCE.as_secs().to_string();
    let ids = containers.iter().filter_map(|dir| Some(dir.file_name()?.to_string_lossy().into_owned()));
    let unit = Unit {
        name: "stop-containers".into(),
        program: "/usr/bin/ctr".into(),
        arg0: None,
        args: ["stop".into(), "-t".into(), patience].into_iter().chain(ids).collect(),
        io: Io::Log,
        restart: Restart::Never,
    };
    if let Err(error) = launch::start(&unit) {
        return say(&format!("coracle: {error:#}"));
    }
    let stopper = cgroup::units().join(&unit.name);
    wait_until(CONTAINER_PATIENCE + RECORD_PATIENCE, || !cgroup::is_populated(&stopper));
}

/// Does any first process in a container have a handler for a signal that may be the one to stop it by?
fn heeds_signals(container: &Path) -> bool {
    namespace_inits(container).any(|(_, status)| handles_stop_signal(&status))
}

/// The first processes of namespaces in a container: process number and `/proc/PID/status`.
fn namespace_inits(container: &Path) -> impl Iterator<Item = (i32, String)> {
    let with_status = |pid| (pid, fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default());
    cgroup::processes(container).into_iter().map(with_status).filter(|(_, status)| is_namespace_init(status))
}

fn stop_units() {
    let running: Vec<PathBuf> =
        cgroup::children(&cgroup::units()).into_iter().filter(|dir| cgroup::is_populated(dir)).collect();
    if running.is_empty() {
        return;
    }
    say(&format!("coracle: stopping {} units", running.len()));
    for dir in &running {
        for pid in cgroup::processes(dir) {
            signal(pid, Signal::SIGTERM);
            // A shell on a terminal ignores SIGTERM; SIGHUP tells it that the terminal goes.
            signal(pid, Signal::SIGHUP);
            signal(pid, Signal::SIGCONT);
        }
    }
    wait_and_kill(&running, UNIT_PATIENCE);
}

fn wait_and_kill(cgroups: &[PathBuf], patience: Duration) {
    if wait_until(patience, || cgroups.iter().all(|dir| !cgroup::is_populated(dir))) {
        return;
    }
    for dir in cgroups.iter().filter(|dir| cgroup::is_populated(dir)) {
        let name = dir.file_name().unwrap_or_default().to_string_lossy();
        say(&format!("coracle: {name} did not end within {} s: killed", patience.as_secs()));
        let _ = cgroup::kill(dir);
    }
    wait_until(PROCESS_PATIENCE, || cgroups.iter().all(|dir| !cgroup::is_populated(dir)));
}

/// Everything that is left, wherever it is: all of it descends from init.
fn end_processes() {
    for sign in [Signal::SIGTERM, Signal::SIGKILL] {
        if wait_until(Duration::ZERO, || !reap::has_children()) {
            return;
        }
        signal(-1, sign);
        wait_until(PROCESS_PATIENCE, || !reap::has_children());
    }
}

fn signal(pid: i32, signal: Signal) {
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Collect children until a condition holds; false if it does not in time.
fn wait_until(patience: Duration, done: impl Fn() -> bool) -> bool {
    let deadline = early::now().saturating_add(patience);
    loop {
        while reap::next().is_some() {}
        if done() {
            return true;
        }
        if early::now() >= deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// By `/proc/PID/status`: is this process number 1 in its innermost namespace?
fn is_namespace_init(status: &str) -> bool {
    status_field(status, "NSpid")
        .and_then(|pids| pids.split_whitespace().nth(1).map(|_| pids))
        .is_some_and(|pids| pids.split_whitespace().next_back() == Some("1"))
}

/// By `/proc/PID/status`: does this process have a handler for one of the signals that images name to be stopped by?
fn handles_stop_signal(status: &str) -> bool {
    // SIGWINCH is httpd's; 37 is systemd's SIGRTMIN+3.
    const CANDIDATES: [i32; 8] =
        [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2, libc::SIGWINCH, 37];
    let caught = status_field(status, "SigCgt").and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    CANDIDATES.iter().any(|signal| caught & (1 << (signal - 1)) != 0)
}

fn status_field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
}

/// Unmount what holds data, last mounted first; what is still in use is made read-only.
fn unmount_all() {
    // A mount below another one, or a busy one freed by the next, may take a second look.
    for _ in 0..3 {
        let targets = to_unmount(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default());
        if targets.is_empty() {
            return;
        }
        for target in targets {
            let _ = unmount(&target, UnmountFlags::NOFOLLOW);
        }
    }
    for target in to_unmount(&fs::read_to_string("/proc/self/mountinfo").unwrap_or_default()) {
        if let Err(error) = mount_remount(&target, MountFlags::RDONLY, c"") {
            say(&format!("coracle: {} is still in use, and cannot be made read-only: {error}", target.display()));
        }
    }
}

/// Mount points in the order in which to unmount them, from `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
fn to_unmount(mountinfo: &str) -> Vec<PathBuf> {
    const NOTHING_TO_LOSE: [&str; 15] = [
        "proc",
        "sysfs",
        "devtmpfs",
        "devpts",
        "mqueue",
        "cgroup2",
        "bpf",
        "securityfs",
        "pstore",
        "efivarfs",
        "rootfs",
        "ramfs",
        "nsfs",
        "debugfs",
        "tracefs",
    ];
    let mut targets: Vec<PathBuf> = mountinfo
        .lines()
        .filter_map(|line| {
            let (mount, filesystem) = line.split_once(" - ")?;
            let target = unescape(mount.split(' ').nth(4)?);
            let kind = filesystem.split(' ').next()?;
            let in_memory = kind == "tmpfs" && (["/run", "/dev", "/mnt"].iter().any(|dir| target.starts_with(dir)));
            (target != Path::new("/") && !NOTHING_TO_LOSE.contains(&kind) && !in_memory).then_some(target)
        })
        .collect();
    targets.reverse();
    targets
}

/// Undo the kernel's `\040` for white space and backslash.
fn unescape(text: &str) -> PathBuf {
    use std::os::unix::ffi::OsStringExt;
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let octal = tail.get(..3).and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok());
        match (first, octal) {
            (b'\\', Some(byte)) => {
                out.push(byte);
                rest = tail.get(3..).unwrap_or_default();
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    std::ffi::OsString::from_vec(out).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn unmounts_in_reverse_and_only_what_matters() {
        let mountinfo = "\
1 0 0:2 / / ro - rootfs rootfs ro
20 1 0:19 / / ro - erofs /root.erofs ro
21 20 0:20 / /proc rw - proc proc rw
22 20 0:21 / /run rw - tmpfs tmpfs rw
23 20 254:2 / /var rw shared:1 - ext4 /dev/vda2 rw
24 20 0:30 / /etc rw - overlay overlay rw
25 23 0:31 / /var/lib/a\\040b rw - overlay overlay rw
";
        assert_eq!(to_unmount(mountinfo), ["/var/lib/a b", "/etc", "/var"].map(PathBuf::from));
    }

    #[test]
    fn reads_process_status() {
        let container = "Name:\tsh\nNSpid:\t120\t1\nSigCgt:\t0000000000004002\n";
        assert!(is_namespace_init(container) && handles_stop_signal(container));
        let child = "NSpid:\t121\t7\nSigCgt:\t0000000000000000\n";
        assert!(!is_namespace_init(child) && !handles_stop_signal(child));
        assert!(!is_namespace_init("NSpid:\t1\n") && !is_namespace_init(""));
    }

    proptest! {
        #[test]
        fn parsers_never_panic(text in ".{0,200}") {
            let _ = (to_unmount(&text), unescape(&text), is_namespace_init(&text), handles_stop_signal(&text));
        }
    }
}
