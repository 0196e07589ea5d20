//! Who is to be waited for, by epoll(7), and until when. A token is never used twice, so an event of what is gone finds
//! nothing.

use std::collections::{BTreeSet, HashMap};
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

use crate::{Error, Result};

/// What stands for a source.
pub type Token = u64;

/// Sources of events.
#[derive(Debug)]
pub struct Reactor<S> {
    epoll: OwnedFd,
    sources: HashMap<Token, S>,
    next: Token,
    deadlines: BTreeSet<(Instant, Token)>,
}

/// What has happened.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A source can be read from or written to, or is broken.
    Ready(Token, epoll::EventFlags),
    /// A source's time is up.
    Late(Token),
}

impl<S: AsFd> Reactor<S> {
    /// Without sources.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn new() -> Result<Self> {
        let epoll =
            epoll::create(epoll::CreateFlags::CLOEXEC).map_err(|errno| Error::kernel("make an epoll set", errno))?;
        Ok(Reactor { epoll, sources: HashMap::new(), next: 0, deadlines: BTreeSet::new() })
    }

    /// Watch a source.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn add(&mut self, source: S, flags: epoll::EventFlags) -> Result<Token> {
        let token = self.next;
        self.next += 1;
        epoll::add(&self.epoll, &source, epoll::EventData::new_u64(token), flags)
            .map_err(|errno| Error::kernel("watch a descriptor", errno))?;
        self.sources.insert(token, source);
        Ok(token)
    }

    /// Watch it for something else.
    pub fn change(&mut self, token: Token, flags: epoll::EventFlags) {
        if let Some(source) = self.sources.get(&token) {
            // It was added, so this cannot fail but for want of memory.
            let _ = epoll::modify(&self.epoll, source, epoll::EventData::new_u64(token), flags);
        }
    }

    /// Give a source until then, once.
    pub fn set_deadline(&mut self, token: Token, deadline: Instant) {
        self.deadlines.retain(|(_, other)| *other != token);
        self.deadlines.insert((deadline, token));
    }

    /// A source.
    pub fn get(&mut self, token: Token) -> Option<&mut S> {
        self.sources.get_mut(&token)
    }

    /// Watch a source no longer.
    pub fn remove(&mut self, token: Token) -> Option<S> {
        self.deadlines.retain(|(_, other)| *other != token);
        let source = self.sources.remove(&token)?;
        // Explicitly: closing it does not do where the descriptor was inherited by someone.
        let _ = epoll::delete(&self.epoll, &source);
        Some(source)
    }

    /// All that fit.
    pub fn tokens(&self, fits: impl Fn(&S) -> bool) -> Vec<Token> {
        self.sources.iter().filter(|(_, source)| fits(source)).map(|(token, _)| *token).collect()
    }

    /// Wait for events, for no longer than `patience`; none when that is over.
    ///
    /// # Errors
    /// What the kernel said.
    pub fn wait(&mut self, patience: Option<Duration>) -> Result<Vec<Event>> {
        let mut events: Vec<epoll::Event> = Vec::with_capacity(64);
        let due = self.deadlines.first().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        let timeout = match (due, patience) {
            (Some(due), Some(patience)) => Some(due.min(patience)),
            (due, patience) => due.or(patience),
        };
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match epoll::wait(&self.epoll, rustix::buffer::spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::kernel("wait for events", errno)),
        }
        let mut happened: Vec<Event> = events.iter().map(|event| Event::Ready(event.data.u64(), event.flags)).collect();
        let now = Instant::now();
        while let Some((at, token)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now) {
            self.deadlines.remove(&(at, token));
            happened.push(Event::Late(token));
        }
        Ok(happened)
    }
}
