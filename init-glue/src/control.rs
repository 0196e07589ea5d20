//! The control socket: how `poweroff`, `reboot`, `halt` and whoever wants to know the state of things talk to PID 1.
//!
//! One line in, an answer out, the end. The answer starts with `ok` or `error: `. Only root is listened to.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use crate::shutdown::Goal;

/// The longest request.
const LONGEST: usize = 128;
/// How many may be connected; the one that came first has to go when another comes.
const MOST_CLIENTS: usize = 16;
/// How long a command waits for the answer.
const CLIENT_PATIENCE: Duration = Duration::from_secs(10);

/// What can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// Go down.
    Go(Goal),
    /// Tell how the units are.
    Status,
}

impl Request {
    /// Read one line.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, &'static str> {
        match line.trim_ascii() {
            b"poweroff" => Ok(Self::Go(Goal::PowerOff)),
            b"reboot" => Ok(Self::Go(Goal::Reboot)),
            b"halt" => Ok(Self::Go(Goal::Halt)),
            b"status" => Ok(Self::Status),
            _ => Err("no such request; there are poweroff, reboot, halt, status"),
        }
    }
}

/// Ask PID 1 for something; the answer without its `ok`.
///
/// # Errors
/// What connecting, or the answer, says.
pub fn ask(socket: &Path, request: &str) -> io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(CLIENT_PATIENCE))?;
    stream.set_write_timeout(Some(CLIENT_PATIENCE))?;
    stream.write_all(format!("{request}\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.strip_prefix("ok\n") {
        Some(text) => Ok(text.into()),
        None => Err(io::Error::other(answer.trim().trim_start_matches("error: ").to_owned())),
    }
}

/// The socket, and who is connected.
pub struct Control {
    listener: UnixListener,
    clients: BTreeMap<u64, Client>,
    next: u64,
}

struct Client {
    stream: UnixStream,
    input: Vec<u8>,
}

impl Control {
    /// Listen on a path; a socket that is there is replaced.
    ///
    /// # Errors
    /// What bind(2) says.
    pub fn listen(path: &Path) -> io::Result<Self> {
        use std::os::unix::fs::PermissionsExt;
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, clients: BTreeMap::new(), next: 0 })
    }

    /// The listening socket, to wait for.
    pub fn listener(&self) -> impl AsFd {
        &self.listener
    }

    /// Accept one client: its number and socket, to wait for. `None` if there is none, or it is not root.
    pub fn accept(&mut self) -> Option<(u64, impl AsFd)> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
        if !peer.uid.is_root() {
            answer(&stream, "error: only root may ask");
            return None;
        }
        if self.clients.len() >= MOST_CLIENTS {
            self.clients.pop_first();
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        let client = self.clients.entry(number).or_insert(Client { stream, input: vec![] });
        Some((number, &client.stream))
    }

    /// Read what a client has sent: its request, once the line is complete. Wrong ones are answered here.
    pub fn read(&mut self, number: u64) -> Option<Request> {
        let client = self.clients.get_mut(&number)?;
        let mut buffer = [0; LONGEST];
        let count = match client.stream.read(&mut buffer) {
            Ok(count) => count,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                return None;
            }
            Err(_) => 0,
        };
        client.input.extend(buffer.iter().take(count));
        let Some(line) =
            client.input.split(|byte| *byte == b'\n').next().filter(|line| line.len() < client.input.len())
        else {
            if count == 0 || client.input.len() >= LONGEST {
                self.clients.remove(&number);
            }
            return None;
        };
        match Request::parse(line) {
            Ok(request) => Some(request),
            Err(why) => {
                self.answer(number, &format!("error: {why}"));
                None
            }
        }
    }

    /// Answer a client, and have done with it.
    pub fn answer(&mut self, number: u64, text: &str) {
        if let Some(client) = self.clients.remove(&number) {
            answer(&client.stream, text);
        }
    }
}

/// The socket does not block: a client that does not read loses what its buffer cannot take.
fn answer(mut stream: &UnixStream, text: &str) {
    let _ = stream.write_all(format!("{text}\n").as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_request_and_its_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/init.sock");
        let mut control = Control::listen(&path).unwrap();
        let client = {
            let path = path.clone();
            std::thread::spawn(move || ask(&path, "status"))
        };
        let number = loop {
            if let Some((number, _)) = control.accept() {
                break number;
            }
        };
        let request = loop {
            if let Some(request) = control.read(number) {
                break request;
            }
        };
        assert_eq!(request, Request::Status);
        control.answer(number, "ok\nall well");
        assert_eq!(client.join().unwrap().unwrap(), "all well\n");
    }

    #[test]
    fn too_much_is_cut_off() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mut control = Control::listen(&path).unwrap();
        let mut client = UnixStream::connect(&path).unwrap();
        client.write_all(&[b'x'; 200]).unwrap();
        let number = control.accept().map(|(number, _)| number).unwrap();
        assert_eq!(control.read(number), None);
        assert!(control.clients.is_empty());
    }

    #[test]
    fn a_crowd_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let mut control = Control::listen(&path).unwrap();
        let crowd: Vec<_> = (0..40)
            .map(|_| {
                let c = UnixStream::connect(&path).unwrap();
                control.accept().map(|(n, _)| n);
                c
            })
            .collect();
        assert_eq!(control.clients.len(), MOST_CLIENTS);
        drop(crowd);
    }

    proptest! {
        #[test]
        fn parse_never_panics(line in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = Request::parse(&line);
        }
    }
}
