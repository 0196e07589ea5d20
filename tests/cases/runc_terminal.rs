//! Terminals: handed over by a console socket.

use super::*;
use std::io::{IoSliceMut, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// The master that is sent to a console socket.
fn receive(listener: &UnixListener) -> fs::File {
    let (stream, _) = listener.accept().unwrap();
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut name = [0; 256];
    let got = recvmsg(&stream, &mut [IoSliceMut::new(&mut name)], &mut ancillary, RecvFlags::CMSG_CLOEXEC).unwrap();
    assert!(got.bytes > 0, "the name is missing");
    let fd: OwnedFd = ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
            _ => None,
        })
        .unwrap();
    fd.into()
}

fn read_until(master: &mut fs::File, wanted: &str) -> String {
    let mut all = String::new();
    let mut buffer = [0; 1024];
    while !all.contains(wanted) {
        match master.read(&mut buffer) {
            Ok(length) if length > 0 => all.push_str(&text(&buffer[..length])),
            end => panic!("{end:?} after {all:?}"),
        }
    }
    all
}

#[test]
fn a_console_socket_gets_the_master() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("tty");
    bundle.set_args(&["sh", "-c", "stty size; readlink /proc/self/fd/0; cat >/dev/null"]);
    bundle.change(|config| {
        config["process"]["terminal"] = json!(true);
        config["process"]["consoleSize"] = json!({"height": 33, "width": 101});
    });
    let refused = "runc create failed: cannot allocate tty if runc will detach without setting console socket";
    assert_eq!(bundle.complaint(&["create", &id], 1), refused);
    let socket = bundle.dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.detached(&["create", "--console-socket", socket.to_str().unwrap(), &id]);
    let mut master = receive(&listener);
    bundle.detached(&["start", &id]);
    let said = read_until(&mut master, "/dev/pts/0");
    assert!(said.contains("33 101"), "{said}");
    // A further process has one of its own.
    let file = bundle.dir.path().join("process.json");
    let process = json!({
        "terminal": true, "user": {"uid": 0, "gid": 0}, "cwd": "/", "env": ["PATH=/bin"],
        "args": ["sh", "-c", "read line; echo got-$line"], "capabilities": {},
    });
    fs::write(&file, process.to_string()).unwrap();
    let (socket, file) = (socket.to_str().unwrap(), file.to_str().unwrap());
    bundle.detached(&["exec", "--detach", "--console-socket", socket, "--process", file, &id]);
    let mut second = receive(&listener);
    second.write_all(b"word\n").unwrap();
    read_until(&mut second, "got-word");
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn a_pidfd_socket_gets_the_process() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("pidfd");
    let socket = bundle.dir.path().join("s");
    let listener = UnixListener::bind(&socket).unwrap();
    bundle.detached(&["create", "--pidfd-socket", socket.to_str().unwrap(), &id]);
    let pidfd = receive(&listener);
    let number = |pidfd: &fs::File| {
        use std::os::fd::AsRawFd;
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
        info.lines().find_map(|line| line.strip_prefix("Pid:")).unwrap().trim().to_owned()
    };
    assert_eq!(number(&pidfd), bundle.state(&id)["pid"].to_string());
    bundle.detached(&["exec", "-d", "--pidfd-socket", socket.to_str().unwrap(), &id, "sleep", "1000"]);
    let pids = text(&bundle.run(&["ps", "-f", "json", &id]).stdout);
    assert!(pids.contains(&number(&receive(&listener))), "{pids}");
    assert!(bundle.run(&["exec", "--pidfd-socket", "/nonexistent", &id, "true"]).status.code() == Some(255));
}

#[test]
fn a_socket_without_a_terminal_is_refused() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("tty");
    let said = bundle.complaint(&["create", "--console-socket", "/nonexistent", &id], 1);
    assert_eq!(said, "runc create failed: cannot use console socket if runc will not detach or allocate tty");
    bundle.change(|config| config["process"]["terminal"] = json!(true));
    let said = bundle.complaint(&["create", "--console-socket", "/nonexistent", &id], 1);
    assert!(said.contains("/nonexistent"), "{said}");
    assert_eq!(bundle.leftovers(), [""; 0]);
}

/// CVE-2025-52565: what is bound to /dev/console is named /dev/pts/N, or lies on a link, of the bundle's making.
#[test]
fn cve_2025_52565_console_and_pseudo_terminals_as_links() {
    let Some(bundle) = Bundle::ours() else { return };
    let outside = bundle.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    let socket = bundle.dir.path().join("s");
    let _listener = UnixListener::bind(&socket).unwrap();
    bundle.set_args(&["sh", "-c", "echo changed > /dev/console"]);
    let keep = |places: &[&str]| {
        bundle.change(|config| {
            config["process"]["terminal"] = json!(true);
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| places.contains(&mount["destination"].as_str().unwrap()));
        });
    };
    let refused = |why: &str| {
        let id = bundle.id("hostile");
        let said = bundle.complaint(&["create", "--console-socket", socket.to_str().unwrap(), &id], 1);
        assert!(said.contains(why), "{said}");
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was made on the host");
        assert_eq!(bundle.leftovers(), [""; 0]);
    };
    let dev = bundle.path().join("rootfs/dev");
    for target in [outside.join("file"), outside.join("new"), PathBuf::from("/proc/sys/kernel/core_pattern")] {
        // A mount point that is a link.
        keep(&["/proc", "/dev/pts"]);
        symlink(&target, dev.join("console")).unwrap();
        refused("symbolic link");
        fs::remove_file(dev.join("console")).unwrap();
    }
    // Pseudo-terminals that are none.
    keep(&["/proc"]);
    fs::create_dir_all(dev.join("pts")).unwrap();
    for number in 0..64 {
        symlink(outside.join("file"), dev.join(format!("pts/{number}"))).unwrap();
    }
    refused("/dev/pts");
    symlink("/dev/null", dev.join("pts/ptmx")).unwrap();
    refused("/dev/pts");
    fs::remove_file(dev.join("pts/ptmx")).unwrap();
    fs::write(dev.join("pts/ptmx"), "").unwrap();
    refused("/dev/pts");
}
