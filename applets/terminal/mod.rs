//! The terminal that the user sits at: raw mode, keys, size. What programs on it (sh, vi, less, top) share.
//!
//! It is never asked anything (a question such as `ESC [ 6 n` hangs on a line that nobody answers).

pub mod keys;
pub mod width;

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use rustix::termios::{self, InputModes, LocalModes, OptionalActions, SpecialCodeIndex, Termios};

use keys::{Key, Source};

/// How long the bytes of one key may lie apart, in milliseconds: two at 300 baud.
const KEY_GAP: u16 = 50;
/// Size of a terminal that does not know it.
const DEFAULT_SIZE: (usize, usize) = (24, 80);

/// A terminal without echo, line buffer and signal keys, until dropped.
pub struct RawMode {
    fd: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// For a line editor: input is otherwise as it was. `None` if it is no terminal.
    #[cfg_attr(not(feature = "brush"), expect(dead_code, reason = "the shell's"))]
    pub fn for_line(fd: BorrowedFd<'_>) -> Option<Self> {
        Self::enter(fd, InputModes::empty())
    }

    /// For a program that has the whole screen: Return and newline, Ctrl-S and Ctrl-Q are keys like others.
    pub fn for_screen(fd: BorrowedFd<'_>) -> Option<Self> {
        Self::enter(fd, InputModes::IXON | InputModes::INLCR | InputModes::IGNCR | InputModes::ICRNL)
    }

    fn enter(fd: BorrowedFd<'_>, without: InputModes) -> Option<Self> {
        let before = termios::tcgetattr(fd).ok()?;
        let mut raw = before.clone();
        raw.input_modes -= without;
        raw.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG | LocalModes::IEXTEN;
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        // Not `Flush`: what was typed ahead, or pasted, is wanted.
        termios::tcsetattr(fd, OptionalActions::Drain, &raw).ok()?;
        Some(Self { fd: fd.try_clone_to_owned().ok()?, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that is gone needs no modes.
        let _ = termios::tcsetattr(&self.fd, OptionalActions::Drain, &self.before);
    }
}

/// Rows and columns of the terminal, or what the environment or custom says.
pub fn size(fd: BorrowedFd<'_>) -> (usize, usize) {
    let told = termios::tcgetwinsize(fd).map_or((0, 0), |size| (size.ws_row.into(), size.ws_col.into()));
    let named = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    let choose = |told: usize, name: &str, custom| match (told, named(name)) {
        (2.., _) => told,
        (_, named @ 2..) => named,
        _ => custom,
    };
    (choose(told.0, "LINES", DEFAULT_SIZE.0), choose(told.1, "COLUMNS", DEFAULT_SIZE.1))
}

/// A whole screen with its keys.
pub struct Screen {
    input: OwnedFd,
    signals: SignalFd,
    mask: SigSet,
    raw: Option<RawMode>,
    pending: VecDeque<u8>,
    alternate: bool,
}

impl Screen {
    /// Take the terminal: standard input, or, if that is something else, the controlling one. With `alternate`, what was on the
    /// screen comes back at the end.
    ///
    /// # Errors
    /// If there is no terminal.
    pub fn open(alternate: bool) -> io::Result<Self> {
        let stdin = rustix::stdio::stdin();
        let input = match termios::isatty(stdin) {
            true => stdin.try_clone_to_owned()?,
            false => File::options().read(true).write(true).open("/dev/tty")?.into(),
        };
        let mut mask = SigSet::empty();
        // Those that would leave the terminal raw, and the one that tells of a new size.
        for signal in [Signal::SIGWINCH, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGINT, Signal::SIGQUIT] {
            mask.add(signal);
        }
        mask.thread_block()?;
        let signals = SignalFd::with_flags(&mask, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
        let mut screen = Self { input, signals, mask, raw: None, pending: VecDeque::new(), alternate };
        screen.enter()?;
        Ok(screen)
    }

    fn enter(&mut self) -> io::Result<()> {
        let raw = RawMode::for_screen(self.input.as_fd());
        self.raw = Some(raw.ok_or_else(|| io::Error::other("not a terminal"))?);
        if self.alternate { self.draw("\x1b[?1049h\x1b[H\x1b[2J") } else { Ok(()) }
    }

    fn leave(&mut self) {
        let _ = self.draw(if self.alternate { "\x1b[?1049l\x1b[?25h" } else { "\x1b[?25h" });
        self.raw = None;
    }

    /// A descriptor to see by poll(2) whether a key waits.
    ///
    /// # Errors
    /// If there are no more descriptors.
    pub fn keyboard(&self) -> io::Result<OwnedFd> {
        self.input.try_clone()
    }

    /// Rows and columns.
    pub fn size(&self) -> (usize, usize) {
        size(self.input.as_fd())
    }

    /// Write to the screen.
    ///
    /// # Errors
    /// What the terminal's write gave.
    pub fn draw(&mut self, text: &str) -> io::Result<()> {
        let mut out = io::stdout().lock();
        out.write_all(text.as_bytes())?;
        out.flush()
    }

    /// Wait for a key; `None` if there is none within `timeout` milliseconds.
    ///
    /// # Errors
    /// What the terminal's read gave.
    pub fn key(&mut self, timeout: Option<u16>) -> io::Result<Option<Key>> {
        if self.pending.is_empty() {
            match self.wait(timeout)? {
                Event::Nothing => return Ok(None),
                Event::Input => {}
                Event::Signal(Signal::SIGWINCH) => return Ok(Some(Key::Resized)),
                Event::Signal(Signal::SIGINT) => return Ok(Some(Key::Control('c'))),
                Event::Signal(_) => return Ok(Some(Key::Gone)),
            }
        }
        keys::next(self).map(Some)
    }

    /// Stop, as Ctrl-Z asks; comes back when the shell lets it go on.
    ///
    /// # Errors
    /// If the terminal cannot be taken again.
    pub fn suspend(&mut self) -> io::Result<()> {
        self.leave();
        nix::sys::signal::raise(Signal::SIGTSTP)?;
        self.enter()
    }

    fn wait(&mut self, timeout: Option<u16>) -> io::Result<Event> {
        loop {
            let mut fds = [
                PollFd::new(self.input.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.signals.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut fds, timeout.map_or(PollTimeout::NONE, PollTimeout::from)) {
                Ok(0) => return Ok(Event::Nothing),
                Err(nix::errno::Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
                Ok(_) => {}
            }
            let has_input = fds[0].any().unwrap_or(false);
            let signal = self.signals.read_signal()?;
            if let Some(info) = signal {
                return Ok(Event::Signal(Signal::try_from(info.ssi_signo as i32).unwrap_or(Signal::SIGTERM)));
            }
            if has_input {
                return Ok(Event::Input);
            }
        }
    }
}

enum Event {
    Nothing,
    Input,
    Signal(Signal),
}

impl Source for Screen {
    fn byte(&mut self) -> io::Result<Option<u8>> {
        if self.pending.is_empty() {
            let mut buffer = [0; 1024];
            match rustix::io::retry_on_intr(|| rustix::io::read(&self.input, &mut buffer)) {
                Ok(count) => self.pending.extend(&buffer[..count]),
                // A terminal that was hung up.
                Err(rustix::io::Errno::IO) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(self.pending.pop_front())
    }

    fn follows(&mut self) -> io::Result<bool> {
        if !self.pending.is_empty() {
            return Ok(true);
        }
        let mut fds = [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut fds, KEY_GAP) {
            Ok(count) => Ok(count > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.leave();
        let _ = self.mask.thread_unblock();
    }
}
