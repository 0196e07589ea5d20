//! The parent's side: a created process, its start and its end.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use coracle_abi::clone::Child;
use oci_spec::runtime::Spec;
use rustix::process::{Signal, WaitId, WaitIdOptions, pidfd_send_signal, waitid};

use super::channel::{Channel, Heard};
use super::hooks::{HookPoint, run_hooks};
use super::{Error, Identity};

/// A process that exists, sets itself up, and waits for [`Created::start`]. Dropped without a start, it is killed and reaped.
pub struct Created {
    process: Option<Running>,
    pid: u32,
    channel: Channel,
    program: String,
    ready: bool,
    console: Option<OwnedFd>,
    questions: Option<Questions>,
}

/// What the parent does when the child asks before its root becomes `/`: hooks, if there are any.
#[derive(Default)]
pub(super) struct Questions {
    hooks: Option<(Spec, String, PathBuf)>,
}

impl Questions {
    pub(super) fn hooks(spec: &Spec, identity: Identity<'_>) -> Self {
        Self { hooks: Some((spec.clone(), identity.id.into(), identity.bundle.into())) }
    }

    fn answer(&self, pid: u32) -> Result<(), Error> {
        let Some((spec, id, bundle)) = &self.hooks else { return Ok(()) };
        let identity = Identity { id, bundle };
        run_hooks(spec, HookPoint::Prestart, identity, Some(pid))?;
        run_hooks(spec, HookPoint::CreateRuntime, identity, Some(pid))
    }
}

impl Created {
    pub(super) fn new(child: Child, channel: Channel, program: String) -> Self {
        let Child { pid, pidfd } = child;
        Self { process: Some(Running { pidfd }), pid, channel, program, ready: false, console: None, questions: None }
    }

    pub(super) fn set_questions(&mut self, questions: Questions) {
        self.questions = Some(questions);
    }

    pub(super) fn send_go(&self) -> Result<(), Error> {
        self.channel.send_go().map_err(|_| Error::Vanished)
    }

    /// The process' id in the caller's PID namespace.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Wait until the set-up is done; run the hooks of the caller's namespaces meanwhile.
    ///
    /// # Errors
    /// The step or the hook that failed.
    pub fn ready(&mut self) -> Result<(), Error> {
        if self.ready {
            return Ok(());
        }
        loop {
            match (self.hear()?, &self.questions) {
                (Heard::Asks, Some(questions)) => {
                    questions.answer(self.pid)?;
                    self.channel.send_answer(self.pid).map_err(|_| Error::Vanished)?;
                }
                (Heard::Ready(console), _) => {
                    self.ready = true;
                    self.console = console;
                    return Ok(());
                }
                (Heard::Failed(error), _) => return Err(error),
                (Heard::Ended | Heard::Starting | Heard::Asks | Heard::Born(_), _) => return Err(Error::Vanished),
            }
        }
    }

    /// The master of the container's terminal, once, after [`Created::ready`].
    pub fn take_console(&mut self) -> Option<OwnedFd> {
        self.console.take()
    }

    /// Let the payload run; returns once the program is being executed.
    ///
    /// # Errors
    /// The step of the set-up that failed, or why the program could not be executed; see [`Error::exit_code`].
    pub fn start(mut self) -> Result<Running, Error> {
        self.ready()?;
        self.send_go()?;
        match self.hear()? {
            Heard::Failed(error) => Err(error),
            Heard::Ready(_) | Heard::Starting | Heard::Asks | Heard::Born(_) => Err(Error::Vanished),
            Heard::Ended => self.process.take().ok_or(Error::Vanished),
        }
    }

    /// Let go of the process once its set-up is done: from now on it waits at its gate, also when the caller is gone. Its parent
    /// is still the caller, and then whoever adopts the caller's children.
    ///
    /// # Errors
    /// The step of the set-up that failed.
    pub fn hand_over(mut self) -> Result<(), Error> {
        self.ready()?;
        self.channel.send_wait_at_gate().map_err(|_| Error::Vanished)?;
        // Not ours to kill any more.
        self.process = None;
        Ok(())
    }

    fn hear(&self) -> Result<Heard, Error> {
        self.channel
            .hear(&self.program)
            .map_err(|source| Error::setup("hear from the container's first process", source))
    }
}

impl Drop for Created {
    fn drop(&mut self) {
        if let Some(process) = self.process.take() {
            let _ = pidfd_send_signal(&process.pidfd, Signal::KILL);
            let _ = process.wait();
        }
    }
}

/// A process that runs its program; a child of the caller.
pub struct Running {
    pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By exit, with this status.
    Exited(u8),
    /// By this signal.
    Signaled(i32),
}

impl ExitStatus {
    /// As a shell and Docker count: the status, or 128 + the signal.
    pub fn code(self) -> i32 {
        match self {
            ExitStatus::Exited(status) => i32::from(status),
            ExitStatus::Signaled(signal) => 128 + signal,
        }
    }
}

impl Running {
    /// Readable when the process has ended.
    pub fn pidfd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    /// Wait for the end and reap.
    ///
    /// # Errors
    /// What waitid(2) says; `ECHILD` if it was reaped elsewhere.
    pub fn wait(&self) -> io::Result<ExitStatus> {
        loop {
            match waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED) {
                Ok(Some(status)) => {
                    let exited = status.exit_status().map(|status| ExitStatus::Exited((status & 0xff) as u8));
                    let signaled = status.terminating_signal().map(ExitStatus::Signaled);
                    return exited.or(signaled).ok_or_else(|| io::Error::other("waitid gave no exit status"));
                }
                Ok(None) => {}
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}
