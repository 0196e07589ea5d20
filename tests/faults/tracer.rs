//! Run a command under ptrace and kill one of its processes as it enters a given system call.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{self, File};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

/// The command has ended, and what it left running is silent for this long: there is nothing more to see.
const SILENCE: Duration = Duration::from_millis(50);
/// No command takes that long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who was killed, where.
pub struct Killed {
    /// Number of the system call that it was about to make.
    syscall: String,
    /// The name that the process had given itself.
    name: String,
    /// Whether it was the command itself; else a process that it made.
    leader: bool,
}

impl fmt::Display for Killed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = if self.leader { "the command" } else { "a process of it" };
        write!(out, "{who} ({}) at system call {}", self.name, self.syscall)
    }
}

/// Run the command, its errors into a file; kill whichever of its processes makes the system call number `point`, counted over all of
/// them, before the kernel has done anything about it. All others go on untraced, and the command's own end is waited for. `None` if it
/// made fewer calls.
pub fn kill_at(command: &Command, errors: File, point: usize) -> Option<Killed> {
    let leader = spawn_stopped(command, errors);
    let options = ptrace::Options::PTRACE_O_TRACESYSGOOD
        | ptrace::Options::PTRACE_O_TRACEFORK
        | ptrace::Options::PTRACE_O_TRACEVFORK
        | ptrace::Options::PTRACE_O_TRACECLONE
        | ptrace::Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(leader, options).unwrap();
    kill(leader, Signal::SIGCONT).unwrap();
    let phase = Phase::Shell { point };
    let mut trace =
        Trace { leader, traced: [leader].into(), seen: [leader].into(), inside: BTreeSet::new(), phase, killed: None };
    trace.follow();
    trace.killed
}

/// The command behind a shell that waits for the tracer. (What std could run in the child itself is unsafe.)
#[expect(clippy::zombie_processes, reason = "the tracer waits for it by its number")]
fn spawn_stopped(command: &Command, errors: File) -> Pid {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", "kill -STOP $$; exec \"$@\"", "sh"]).arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child = shell.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).spawn().unwrap();
    let pid = Pid::from_raw(i32::try_from(child.id()).unwrap());
    assert_eq!(waitpid(pid, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(pid, Signal::SIGSTOP)));
    pid
}

/// How far it has come.
#[derive(Clone, Copy)]
enum Phase {
    /// The shell has not become the command yet.
    Shell { point: usize },
    /// So many system calls until the kill.
    Counting(usize),
    /// Whoever stops is detached.
    LettingGo,
}

struct Trace {
    leader: Pid,
    /// Traced threads.
    traced: BTreeSet<Pid>,
    /// All that ever were: a new one may report before its parent does.
    seen: BTreeSet<Pid>,
    /// Those of the traced that are in a system call: their next stop is its end.
    inside: BTreeSet<Pid>,
    phase: Phase,
    killed: Option<Killed>,
}

impl Trace {
    fn follow(&mut self) {
        let start = Instant::now();
        let (mut last, mut ended) = (start, false);
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        while !self.traced.is_empty() || !ended {
            assert!(start.elapsed() < PATIENCE, "the command hangs");
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::StillAlive) => {
                    if ended && last.elapsed() > SILENCE {
                        self.let_go();
                    }
                    std::thread::sleep(Duration::from_micros(200));
                    continue;
                }
                Ok(WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..)) => {
                    self.traced.remove(&pid);
                    self.inside.remove(&pid);
                    ended |= pid == self.leader;
                }
                Ok(status) => self.stopped(status),
                Err(nix::Error::ECHILD) => return,
                Err(error) => panic!("cannot wait: {error}"),
            }
            last = Instant::now();
        }
    }

    /// Ask all to stop, wherever they are, so that they can be detached.
    fn let_go(&mut self) {
        self.phase = Phase::LettingGo;
        for pid in &self.traced {
            // One that was killed cannot stop any more.
            let _ = ptrace::interrupt(*pid);
        }
    }

    fn stopped(&mut self, status: WaitStatus) {
        let Some(pid) = status.pid() else { return };
        self.traced.insert(pid);
        self.seen.insert(pid);
        if let WaitStatus::PtraceEvent(
            _,
            _,
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE,
        ) = status
            && let Some(child) =
                ptrace::getevent(pid).ok().and_then(|child| i32::try_from(child).ok()).map(Pid::from_raw)
            && self.seen.insert(child)
        {
            self.traced.insert(child);
        }
        // What the tracer asked for is no signal of the tracee's.
        let signal = match status {
            WaitStatus::Stopped(_, signal) if signal != Signal::SIGTRAP => Some(signal),
            _ => None,
        };
        if let WaitStatus::PtraceEvent(_, _, libc::PTRACE_EVENT_EXEC) = status
            && let Phase::Shell { point } = self.phase
        {
            self.phase = Phase::Counting(point);
        }
        if matches!(self.phase, Phase::LettingGo) || is_payload(pid) {
            return self.detach(pid, signal);
        }
        if let WaitStatus::PtraceSyscall(_) = status {
            self.system_call(pid);
        }
        // One that was killed cannot go on.
        let _ = ptrace::syscall(pid, signal);
    }

    /// A tracee enters or leaves a system call.
    fn system_call(&mut self, pid: Pid) {
        if self.inside.remove(&pid) {
            return;
        }
        self.inside.insert(pid);
        match self.phase {
            Phase::Shell { .. } | Phase::LettingGo => {}
            Phase::Counting(0) => {
                let syscall = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
                let syscall = syscall.split(' ').next().unwrap_or_default().to_owned();
                let name = fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim_end().to_owned();
                kill(pid, Signal::SIGKILL).unwrap();
                self.killed = Some(Killed { syscall, name, leader: pid == self.leader });
                self.let_go();
            }
            Phase::Counting(left) => self.phase = Phase::Counting(left - 1),
        }
    }

    fn detach(&mut self, pid: Pid, signal: Option<Signal>) {
        self.inside.remove(&pid);
        // One that was killed stays until its end is seen.
        if ptrace::detach(pid, signal).is_ok() {
            self.traced.remove(&pid);
        }
    }
}

/// What a container runs is not ours to be killed.
fn is_payload(pid: Pid) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("busybox"))
}
