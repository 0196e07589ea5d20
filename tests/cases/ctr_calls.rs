//! System calls by which containers were left, or their filters passed, made by programs that no image should have.

#![cfg(target_arch = "x86_64")]

use std::fs;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::probe::Arg::{Data, Result, Value};
use crate::probe::{self, Abi, Call};

use super::{Engine, text};

const EPERM: i32 = 1;
const EROFS: i32 = 30;
const ENOSYS: i32 = 38;
const ECONNREFUSED: i32 = 111;
const UNCONFINED: [&str; 2] = ["--security-opt", "seccomp=unconfined"];

const CLONE_NEWUSER: i64 = 0x1000_0000;
const SIGCHLD: i64 = 17;
const KEYCTL_GET_KEYRING_ID: i64 = 0;
const KEY_SPEC_SESSION_KEYRING: i64 = -3;

/// An image `probes` of programs that make these calls, by the name of each.
fn image(engine: &Engine, programs: &[(&str, Abi, &[Call])]) {
    let tree = engine.dir.path().join("probes");
    fs::create_dir_all(tree.join("bin")).unwrap();
    for (name, abi, calls) in programs {
        probe::write(&tree.join("bin").join(name), *abi, calls);
    }
    engine.import(&tree, "probes");
}

/// The errno of a program's last call, or 0.
fn errno(engine: &Engine, options: &[&str], program: &str) -> i32 {
    let path = format!("/bin/{program}");
    let output = engine.ctr(&[&["run", "--rm", "--network", "none"], options, &["probes", path.as_str()]].concat());
    let status = output.status.code().unwrap();
    // By a signal: the door is closed on this kernel. Anything else is told by ctr itself.
    assert!(output.stderr.is_empty() || status > 128, "{program}: {}", text(&output.stderr));
    status
}

#[test]
fn seccomp_calls_are_denied_as_in_dockers_profile() {
    let Some(engine) = Engine::new() else { return };
    let parameters = [0; 120];
    let fork = [CLONE_NEWUSER.to_le_bytes(), [0; 8], [0; 8], [0; 8], SIGCHLD.to_le_bytes(), [0; 8], [0; 8], [0; 8]];
    let fork = fork.concat();
    let keyring = [Value(KEYCTL_GET_KEYRING_ID), Value(KEY_SPEC_SESSION_KEYRING), Value(1)];
    let key = [Data(b"user\0"), Data(b"name\0"), Data(b"x"), Value(1), Value(KEY_SPEC_SESSION_KEYRING)];
    let programs: [(&str, Abi, &[Call]); 9] = [
        ("keyctl", Abi::X86_64, &[(250, &keyring)]),
        ("add_key", Abi::X86_64, &[(248, &key)]),
        ("request_key", Abi::X86_64, &[(249, &[Data(b"user\0"), Data(b"name\0"), Value(0), Value(0)])]),
        ("io_uring_setup", Abi::X86_64, &[(425, &[Value(1), Data(&parameters)])]),
        ("userfaultfd", Abi::X86_64, &[(323, &[Value(1)])]),
        ("unshare", Abi::X86_64, &[(272, &[Value(CLONE_NEWUSER)])]),
        ("clone", Abi::X86_64, &[(56, &[Value(CLONE_NEWUSER | SIGCHLD), Value(0), Value(0), Value(0), Value(0)])]),
        ("clone3", Abi::X86_64, &[(435, &[Data(&fork), Value(64)])]),
        ("vsock", Abi::X86_64, &[(41, &[Value(40), Value(1), Value(0)])]),
    ];
    image(&engine, &programs);
    for (name, _, _) in programs {
        let expected = if name == "clone3" { ENOSYS } else { EPERM };
        assert_eq!(errno(&engine, &[], name), expected, "{name}");
    }
    // They are denied by the filter, not by something else.
    for name in ["keyctl", "add_key", "unshare", "clone", "clone3"] {
        assert_eq!(errno(&engine, &UNCONFINED, name), 0, "{name}");
    }
}

/// A filter that looks at numbers only would take x32's for others, and i386's for those of x86_64.
#[test]
fn seccomp_is_not_passed_by_32_bit_and_x32_calls() {
    let Some(engine) = Engine::new() else { return };
    let new = [Value(CLONE_NEWUSER)];
    let keyring = [Value(KEYCTL_GET_KEYRING_ID), Value(KEY_SPEC_SESSION_KEYRING), Value(1)];
    let clone = [Value(CLONE_NEWUSER | SIGCHLD), Value(0), Value(0), Value(0), Value(0)];
    let nothing = [Value(0), Value(0), Value(0), Value(0), Value(0)];
    let denied: [(&str, Abi, &[Call]); 9] = [
        ("x32-keyctl", Abi::X32, &[(250, &keyring)]),
        ("x32-unshare", Abi::X32, &[(272, &new)]),
        ("x32-clone", Abi::X32, &[(56, &clone)]),
        ("x32-mount", Abi::X32, &[(165, &nothing)]),
        ("i386-keyctl", Abi::I386, &[(288, &keyring)]),
        ("i386-unshare", Abi::I386, &[(310, &new)]),
        ("i386-clone", Abi::I386, &[(120, &clone)]),
        ("i386-mount", Abi::I386, &[(21, &nothing)]),
        ("i386-bpf", Abi::I386, &[(357, &nothing)]),
    ];
    let harmless: [(&str, Abi, &[Call]); 3] =
        [("native", Abi::X86_64, &[(39, &[])]), ("x32", Abi::X32, &[(39, &[])]), ("i386", Abi::I386, &[(20, &[])])];
    image(&engine, &[&denied[..], &harmless].concat());
    assert_eq!(errno(&engine, &[], "native"), 0);
    // getpid: whether this kernel has the ABI at all. The filter decides before the kernel says that it has not.
    let unfiltered = |name| errno(&engine, &UNCONFINED, name);
    assert!([0, ENOSYS].contains(&unfiltered("x32")));
    let has_i386 = unfiltered("i386") == 0;
    if !has_i386 {
        println!("SKIP seccomp_is_not_passed_by_32_bit_and_x32_calls: this kernel runs no 32-bit calls");
    }
    for (name, abi, _) in denied.iter().filter(|(_, abi, _)| *abi == Abi::X32 || has_i386) {
        assert_eq!(errno(&engine, &[], name), EPERM, "{name} {abi:?}");
    }
    if has_i386 {
        assert_eq!(errno(&engine, &[], "i386"), 0, "what is harmless is allowed, as Docker's profile names the ABI");
        assert_eq!(unfiltered("i386-unshare"), 0, "and denied is only what the filter denies");
    }
}

/// CVE-2020-15257: the daemon listened at an abstract address, which who shares the host's network reaches.
#[test]
fn cve_2020_15257_abstract_sockets_of_the_host() {
    let Some(engine) = Engine::new() else { return };
    let name = format!("coracle-test-{}", std::process::id());
    let _listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    // sockaddr_un: AF_UNIX, and a name that begins with a NUL.
    let address = [b"\x01\0\0", name.as_bytes()].concat();
    let socket = [Value(1), Value(1), Value(0)];
    let connect = [Result, Data(&address), Value(address.len() as i64)];
    image(&engine, &[("connect", Abi::X86_64, &[(41, &socket), (42, &connect)])]);
    assert_eq!(errno(&engine, &[], "connect"), ECONNREFUSED);
    let host = engine.ctr(&["run", "--rm", "--network", "host", "probes", "/bin/connect"]);
    assert_eq!(host.status.code(), Some(0), "in the host's network it is in reach: {}", text(&host.stderr));
    // There too, nothing of ours listens at such an address.
    let host = engine.ctr(&["run", "-d", "--name", "host", "--network", "host", "busybox", "sleep", "100"]);
    assert!(host.status.success(), "{}", text(&host.stderr));
    let payload = engine.inspect("host")["State"]["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{payload}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap();
    let sockets = fs::read_to_string("/proc/self/net/unix").unwrap();
    let listening = format!("@{name}");
    assert!(sockets.contains(&listening), "{sockets}");
    let links: Vec<String> = fs::read_dir(format!("/proc/{monitor}/fd"))
        .unwrap()
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.display().to_string()))
        .collect();
    assert!(links.iter().any(|link| link.starts_with("socket:")), "the monitor has sockets: {links:?}");
    for line in sockets.lines().filter(|line| line.contains(" @")) {
        let inode = line.split_whitespace().nth(6).unwrap();
        assert!(!links.contains(&format!("socket:[{inode}]")), "{line}");
    }
    assert!(engine.ctr(&["rm", "-f", "host"]).status.success());
}

/// CVE-2019-5736: the program is the runtime itself, and the loader that it asks for is the image's, which thus runs in a process
/// whose /proc/self/exe is the runtime's file.
#[test]
fn cve_2019_5736_the_runtime_as_the_program() {
    let Some(engine) = Engine::new() else { return };
    let binary = fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap();
    let loader = "lib64/ld-linux-x86-64.so.2";
    if !binary[..4096].windows(loader.len()).any(|bytes| bytes == loader.as_bytes()) {
        println!("SKIP cve_2019_5736_the_runtime_as_the_program: needs a build that wants a loader");
        return;
    }
    let tree = engine.dir.path().join("tree");
    fs::create_dir_all(tree.join("lib64")).unwrap();
    // open("/proc/self/exe", O_WRONLY | O_TRUNC): ETXTBSY where nothing but its running stands in the way.
    let open = [Data(b"/proc/self/exe\0"), Value(0o1001)];
    probe::write(&tree.join(loader), Abi::X86_64, &[(2, &open)]);
    engine.import(&tree, "hostile");
    let run = ["run", "--rm", "--network", "none", "hostile", "/proc/self/exe"];
    assert_eq!(engine.ctr(&run).status.code(), Some(EROFS));
    let output = engine.ctr(&["run", "-d", "--name", "some", "--network", "none", "hostile", "sleep", "100"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(engine.ctr(&["exec", "some", "/proc/self/exe"]).status.code(), Some(EROFS));
    assert!(engine.ctr(&["rm", "-f", "some"]).status.success());
    assert!(fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap() == binary, "the binary was changed");
}
