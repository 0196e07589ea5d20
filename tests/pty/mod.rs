//! A program on a terminal: type to it, see what it draws.

#![allow(clippy::unwrap_used, reason = "a test that cannot be set up fails")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::{Winsize, tcsetwinsize};

/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(20);

/// A terminal of 24 rows and 80 columns with a program on it.
pub struct Pty {
    master: File,
    child: Child,
    seen: Arc<Mutex<Vec<u8>>>,
}

impl Pty {
    /// Run a program in a folder, in a session of its own.
    pub fn spawn(args: &[&str], dir: &Path) -> Self {
        let master: OwnedFd = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let slave = File::options().read(true).write(true).open(name.to_str().unwrap()).unwrap();
        let size = Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&slave, size).unwrap();
        let stdio = || Stdio::from(slave.try_clone().unwrap());
        let child = Command::new("setsid")
            .args(["--ctty", "--wait"])
            .args(args)
            .current_dir(dir)
            .env("TERM", "xterm")
            .env_remove("LESS")
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let master = File::from(master);
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (mut reader, sink) = (master.try_clone().unwrap(), seen.clone());
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = reader.read(&mut buffer) {
                sink.lock().unwrap().extend_from_slice(&buffer[..count]);
            }
        });
        Self { master, child, seen }
    }

    /// Type.
    pub fn send(&mut self, keys: &str) {
        self.seen.lock().unwrap().clear();
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Wait until this was drawn since the last keys.
    #[track_caller]
    pub fn expect(&self, text: &str) {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if String::from_utf8_lossy(&self.seen.lock().unwrap()).contains(text) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("{text:?} was not drawn: {:?}", String::from_utf8_lossy(&self.seen.lock().unwrap()));
    }

    /// Type, and wait for an answer.
    #[track_caller]
    pub fn say(&mut self, keys: &str, answer: &str) {
        self.send(keys);
        self.expect(answer);
    }

    /// Give the terminal another size.
    pub fn resize(&self, rows: u16, columns: u16) {
        let size = Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(self.master.as_fd(), size).unwrap();
    }

    /// What the kernel says to the session when its terminal goes.
    pub fn hang_up(&self) {
        let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGHUP).unwrap();
    }

    /// Wait for the program's end.
    #[track_caller]
    pub fn wait(mut self) -> ExitStatus {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.child.kill().unwrap();
        panic!("it does not end: {:?}", String::from_utf8_lossy(&self.seen.lock().unwrap()));
    }
}
