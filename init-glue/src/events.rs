//! The one place where PID 1 waits.

use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use nix::sys::signalfd::SignalFd;
use rustix::event::{Timespec, epoll};
use rustix::fs::inotify;

use crate::buttons::{self, Button, News};
use crate::control::{Control, Request};
use crate::signals;

const SIGNALS: u64 = 0;
const CONTROL: u64 = 1;
const FILES: u64 = 2;
/// Power buttons have the numbers from here on.
const BUTTONS: u64 = 3;
/// Clients of the control socket have the numbers from here on.
const CLIENTS: u64 = BUTTONS + buttons::MOST as u64;

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A signal came.
    Signal(i32),
    /// The power button was pressed.
    PowerButton,
    /// A client of the control socket wants something.
    Request(u64, Request),
}

/// An epoll instance over signals, power buttons, the control socket and a watched folder.
pub struct Events {
    epoll: OwnedFd,
    signals: SignalFd,
    /// At the place of its number; none where a device is gone.
    buttons: Vec<Option<Button>>,
    control: Option<Control>,
    watch: Option<OwnedFd>,
}

impl Events {
    /// Wait for signals; the rest is added later.
    ///
    /// # Errors
    /// What epoll_create1(2) or signalfd(2) says.
    pub fn new() -> anyhow::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).context("cannot make an epoll instance")?;
        let signals = signals::descriptor().context("cannot make a signalfd")?;
        add(&epoll, &signals, SIGNALS)?;
        Ok(Self { epoll, signals, buttons: vec![], control: None, watch: None })
    }

    /// Listen to the power buttons that there are by now.
    pub fn add_buttons(&mut self) {
        for (number, button) in (BUTTONS..).zip(Button::all()) {
            let added = add(&self.epoll, &button, number).is_ok();
            self.buttons.push(added.then_some(button));
        }
    }

    /// Listen on the control socket from now on.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn listen(&mut self, path: &Path) -> anyhow::Result<()> {
        let control = Control::listen(path).with_context(|| format!("cannot listen on {}", path.display()))?;
        add(&self.epoll, control.listener(), CONTROL)?;
        self.control = Some(control);
        Ok(())
    }

    /// Let [`Self::wait`] end when a file appears in a folder; until [`Self::unwatch`].
    ///
    /// # Errors
    /// What inotify_add_watch(2) says.
    pub fn watch(&mut self, dir: &Path) -> anyhow::Result<()> {
        let watch = inotify::init(inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK)?;
        let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::MOVED_TO | inotify::WatchFlags::CLOSE_WRITE;
        inotify::add_watch(&watch, dir, flags).with_context(|| format!("cannot watch {}", dir.display()))?;
        add(&self.epoll, &watch, FILES)?;
        self.watch = Some(watch);
        Ok(())
    }

    /// Watch no folder any more.
    pub fn unwatch(&mut self) {
        self.watch = None;
    }

    /// Wait until something happens, at most for `timeout`; there may be nothing to report.
    pub fn wait(&mut self, timeout: Option<Duration>) -> Vec<Event> {
        let timeout = timeout.and_then(|time| Timespec::try_from(time).ok());
        let mut buffer = [const { MaybeUninit::uninit() }; 16];
        let ready: Vec<u64> = match epoll::wait(&self.epoll, &mut buffer, timeout.as_ref()) {
            Ok((ready, _)) => ready
                .iter()
                .map(|event| {
                    let data = event.data;
                    data.u64()
                })
                .collect(),
            Err(_) => vec![],
        };
        let mut events = vec![];
        for source in ready {
            match source {
                SIGNALS => events.extend(self.signals()),
                CONTROL => self.accept(),
                FILES => self.drain_watch(),
                button @ BUTTONS..CLIENTS => events.extend(self.button(button - BUTTONS)),
                client => events.extend(self.request(client.wrapping_sub(CLIENTS))),
            }
        }
        events
    }

    /// Answer a request.
    pub fn answer(&mut self, client: u64, text: &str) {
        if let Some(control) = &mut self.control {
            control.answer(client, text);
        }
    }

    fn signals(&mut self) -> Vec<Event> {
        let mut events = vec![];
        while let Ok(Some(info)) = self.signals.read_signal() {
            events.push(Event::Signal(i32::try_from(info.ssi_signo).unwrap_or(0)));
        }
        events
    }

    fn button(&mut self, number: u64) -> Option<Event> {
        let slot = self.buttons.get_mut(usize::try_from(number).ok()?)?;
        match slot.as_mut()?.read() {
            News::Pressed => return Some(Event::PowerButton),
            News::Gone => *slot = None,
            News::Nothing => {}
        }
        None
    }

    fn accept(&mut self) {
        let Some(control) = &mut self.control else { return };
        if let Some((number, stream)) = control.accept() {
            let _ = add(&self.epoll, stream, number.wrapping_add(CLIENTS));
        }
    }

    fn request(&mut self, client: u64) -> Option<Event> {
        let request = self.control.as_mut()?.read(client)?;
        Some(Event::Request(client, request))
    }

    fn drain_watch(&mut self) {
        let mut buffer = [0; 1024];
        if let Some(watch) = &self.watch {
            while rustix::io::read(watch, &mut buffer).is_ok_and(|count| count > 0) {}
        }
    }
}

fn add(epoll: &OwnedFd, source: impl std::os::fd::AsFd, number: u64) -> anyhow::Result<()> {
    epoll::add(epoll, source, epoll::EventData::new_u64(number), epoll::EventFlags::IN)
        .context("cannot add to the epoll instance")
}
