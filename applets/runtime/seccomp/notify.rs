//! Notification of an agent: the filter's descriptor and the state of the process that it decides on go to the agent's socket
//! (runtime-spec config-linux.md, "The Container Process State").

use std::mem::MaybeUninit;
use std::path::Path;

use oci_spec::runtime::{ContainerProcessState, ContainerState, LinuxSeccomp, SECCOMP_FD_NAME, Spec, State};
use rustix::fd::{AsFd, OwnedFd};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType,
    connect, sendmsg, socket_with,
};

use super::super::channel::{Doing, Step};
use super::super::{Error, Identity};
use super::{Filter, notifies};

/// A connection to an agent that waits for a filter.
pub struct Agent {
    socket: OwnedFd,
    state: ContainerProcessState,
}

impl Agent {
    /// Connect to the agent of a profile that notifies one. `container`: the id of the container's first process, if the profile is
    /// for a further one.
    pub fn connect(
        spec: &Spec,
        profile: &LinuxSeccomp,
        identity: Option<Identity<'_>>,
        container: Option<i32>,
    ) -> Result<Option<Self>, Error> {
        let Some(path) = profile.listener_path().as_deref().filter(|_| notifies(profile)) else { return Ok(None) };
        let what = "linux.seccomp.listenerPath";
        let identity =
            identity.ok_or_else(|| Error::spec(what, "this container has no state that an agent could be told"))?;
        let socket =
            open(path).map_err(|errno| Error::setup(format!("connect to {what} {}", path.display()), errno))?;
        let mut state = State::default();
        state
            .set_version(spec.version().clone())
            .set_id(identity.id.into())
            .set_status(if container.is_some() { ContainerState::Running } else { ContainerState::Created })
            .set_pid(container)
            .set_bundle(identity.bundle.into())
            .set_annotations(spec.annotations().clone());
        let mut process = ContainerProcessState::default();
        process
            .set_version(spec.version().clone())
            .set_fds(vec![SECCOMP_FD_NAME.into()])
            .set_metadata(profile.listener_metadata().clone())
            .set_state(state);
        Ok(Some(Self { socket, state: process }))
    }

    /// Load the filter and hand it over. `pid`: the calling process as the runtime sees it.
    pub fn load(&self, filter: &Filter, pid: u32) -> Step {
        let words = || "hand the seccomp filter to linux.seccomp.listenerPath".into();
        let mut process = self.state.clone();
        let pid = i32::try_from(pid).map_err(|_| Errno::OVERFLOW).doing(words)?;
        let container = process.state().pid().unwrap_or(pid);
        process.set_pid(pid).state_mut().set_pid(Some(container));
        // All is ready before there is a filter: then no call may be needed but the one.
        let message = serde_json::to_vec(&process).map_err(|_| Errno::INVAL).doing(words)?;
        let listener = filter.load_with_listener().doing(|| "load the seccomp filter".into())?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [listener.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let sent = sendmsg(&self.socket, &[std::io::IoSlice::new(&message)], &mut ancillary, SendFlags::NOSIGNAL);
        // Both are close-on-exec; an agent may decide on close itself.
        std::mem::forget(listener);
        match sent.doing(words)? {
            length if length == message.len() => Ok(()),
            _ => Err(Errno::MSGSIZE).doing(words),
        }
    }
}

fn open(path: &Path) -> Result<OwnedFd, Errno> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    connect(&socket, &SocketAddrUnix::new(path)?)?;
    Ok(socket)
}
