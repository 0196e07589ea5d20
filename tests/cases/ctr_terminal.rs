//! `ctr run -it` and `ctr attach` as a user has them: on a pseudo-terminal that the test types into.

use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use coracle_abi::child::ChildExt;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

use super::{Engine, text};

/// How long an answer may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `ctr` on a terminal.
struct Terminal {
    master: OwnedFd,
    slave: OwnedFd,
    child: Child,
    /// What it has shown so far that no one has asked for.
    shown: String,
}

impl Terminal {
    fn run(engine: &Engine, args: &[&str]) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
        resize(&master, 30, 90);
        let stream = || Stdio::from(slave.try_clone().unwrap());
        let mut command = engine.command(args);
        command.stdin(stream()).stdout(stream()).stderr(stream()).new_terminal_session();
        let child = command.spawn().unwrap();
        Terminal { master, slave, child, shown: String::new() }
    }

    fn type_in(&self, keys: &str) {
        rustix::io::write(&self.master, keys.as_bytes()).unwrap();
    }

    /// Wait until it shows this; what came before it is forgotten.
    fn expect(&mut self, wanted: &str) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.shown.find(wanted) {
                self.shown.drain(..at + wanted.len());
                return;
            }
            assert!(Instant::now() < deadline, "no {wanted:?} in {:?}", self.shown);
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            if poll(&mut [PollFd::new(&self.master, PollFlags::IN)], Some(&second)).unwrap() > 0 {
                let mut buffer = [0; 4096];
                let length = rustix::io::read(&self.master, &mut buffer).unwrap();
                self.shown += &text(&buffer[..length]);
            }
        }
    }

    fn exit_code(&mut self) -> Option<i32> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < deadline, "it does not end: {:?}", self.shown);
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Whether lines are edited and echoed, as before `ctr` came.
    fn is_cooked(&self) -> bool {
        use rustix::termios::LocalModes;
        tcgetattr(&self.slave).unwrap().local_modes.contains(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn resize(terminal: &OwnedFd, rows: u16, columns: u16) {
    tcsetwinsize(terminal, Winsize { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
}

#[test]
fn a_shell_on_a_terminal() {
    let Some(engine) = Engine::new() else { return };
    let mut terminal = Terminal::run(&engine, &["run", "-it", "--rm", "--network", "none", "busybox"]);
    terminal.expect("/ # ");
    assert!(!terminal.is_cooked());
    terminal.type_in("stty size\r");
    terminal.expect("30 90");
    resize(&terminal.master, 41, 101);
    // The size is on its way: the shell may be faster than the signal.
    terminal.type_in("until [ \"$(stty size)\" = '41 101' ]; do sleep 0.01; done; echo re''sized\r");
    terminal.expect("resized");
    terminal.type_in("test -t 0 && test -t 2 && echo x > /dev/console && echo on a ter''minal\r");
    terminal.expect("on a terminal");
    terminal.type_in("exit 7\r");
    assert_eq!(terminal.exit_code(), Some(7));
    assert!(terminal.is_cooked());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn control_c_reaches_the_payload() {
    let Some(engine) = Engine::new() else { return };
    let script = "trap 'echo caught; exit 3' INT; echo ready; while :; do sleep 0.1; done";
    for options in ["-it", "-t", "-i"] {
        let args = ["run", options, "--rm", "--network", "none", "busybox", "sh", "-c", script];
        let mut terminal = Terminal::run(&engine, &args);
        terminal.expect("ready");
        terminal.type_in("\x03");
        terminal.expect("caught");
        assert_eq!(terminal.exit_code(), Some(3), "{options}");
    }
    let mut terminal = Terminal::run(&engine, &["run", "-it", "--rm", "--network", "none", "busybox"]);
    terminal.expect("/ # ");
    terminal.type_in("sleep 1000\r");
    terminal.expect("1000");
    std::thread::sleep(Duration::from_millis(200));
    terminal.type_in("\x03");
    terminal.expect("/ # ");
    terminal.type_in("\x04");
    assert_eq!(terminal.exit_code(), Some(130), "the shell's last status");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn detach_and_attach_again() {
    let Some(engine) = Engine::new() else { return };
    let mut terminal = Terminal::run(&engine, &["run", "-it", "--name", "shell", "--network", "none", "busybox"]);
    terminal.expect("/ # ");
    terminal.type_in("echo $((40 + 2))\x10\x11");
    assert_eq!(terminal.exit_code(), Some(0));
    assert!(terminal.is_cooked());
    assert_eq!(engine.inspect("shell")["State"]["Running"], true);

    let mut terminal = Terminal::run(&engine, &["attach", "--detach-keys", "ctrl-a,d", "shell"]);
    terminal.type_in("\r");
    terminal.expect("42");
    terminal.type_in("\x10\x11\x01d");
    assert_eq!(terminal.exit_code(), Some(0));

    let mut watcher = Terminal::run(&engine, &["attach", "--no-stdin", "--sig-proxy=false", "shell"]);
    let mut terminal = Terminal::run(&engine, &["attach", "shell"]);
    terminal.type_in("\x15\x0becho wat''ched\r");
    terminal.expect("watched");
    watcher.expect("watched");
    watcher.type_in("\x03");
    assert_eq!(watcher.exit_code(), Some(130));
    terminal.type_in("exit 5\r");
    assert_eq!(terminal.exit_code(), Some(5));
    assert_eq!(engine.ctr(&["attach", "shell"]).status.code(), Some(1), "it does not run");
    assert!(engine.ctr(&["rm", "shell"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn exec_on_a_terminal() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let mut terminal = Terminal::run(&engine, &["exec", "-it", &name, "sh"]);
    terminal.expect("/ # ");
    terminal.type_in("stty size\r");
    terminal.expect("30 90");
    terminal.type_in("sleep 1000\r");
    terminal.expect("1000");
    std::thread::sleep(Duration::from_millis(200));
    terminal.type_in("\x03");
    terminal.expect("/ # ");
    terminal.type_in("exit 6\r");
    assert_eq!(terminal.exit_code(), Some(6));
    assert!(terminal.is_cooked());
    assert!(engine.ctr(&["rm", "-f", &name]).status.success());
}

#[test]
fn wait_and_attach_right_after_the_start() {
    let Some(engine) = Engine::new() else { return };
    for _ in 0..8 {
        let name = engine.start("sleep 0.2; exit 4");
        let waited = engine.ctr(&["wait", &name]);
        assert_eq!((text(&waited.stdout).as_str(), waited.status.code()), ("4\n", Some(0)), "{}", text(&waited.stderr));
        assert!(engine.ctr(&["rm", &name]).status.success());
        let name = engine.start("sleep 0.2; echo said; exit 4");
        let attached = engine.ctr(&["attach", &name]);
        assert_eq!((text(&attached.stdout).as_str(), attached.status.code()), ("said\n", Some(4)));
        assert!(engine.ctr(&["rm", &name]).status.success());
    }
}

/// TIOCSTI types into a terminal. A container has none but its own, whoever called `ctr` from one.
#[cfg(target_arch = "x86_64")]
#[test]
fn tiocsti_stays_in_the_containers_own_terminal() {
    use crate::probe::{self, Abi, Arg};
    let Some(engine) = Engine::new() else { return };
    let tree = engine.dir.path().join("tree");
    for number in 0..3 {
        // ioctl(NUMBER, TIOCSTI, "\n")
        let call = [Arg::Value(number), Arg::Value(0x5412), Arg::Data(b"\n")];
        probe::write(&tree.join(format!("bin/type-{number}")), Abi::X86_64, &[(16, &call)]);
    }
    engine.import(&tree, "probes");
    let script = "for number in 0 1 2; do type-$number; echo typed $?; done";
    for options in [&["-i"][..], &["-t"], &["-it"], &[]] {
        let args = [&["run", "--rm", "--network", "none"], options, &["probes", "sh", "-c", script]].concat();
        let mut terminal = Terminal::run(&engine, &args);
        for _ in 0..3 {
            terminal.expect("typed ");
        }
        assert!(terminal.exit_code().is_some());
        let moment = Timespec { tv_sec: 0, tv_nsec: 0 };
        let typed = poll(&mut [PollFd::new(&terminal.slave, PollFlags::IN)], Some(&moment)).unwrap();
        assert_eq!(typed, 0, "{options:?}: it was typed into the caller's terminal");
    }
}
