//! Seccomp profiles, and the agent that is asked.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use serde_json::{Value, json};

use super::Bundle;

fn rule(names: &[&str], action: &str) -> Value {
    json!({"names": names, "action": action})
}

#[test]
fn actions_and_conditions() {
    let Some(mut bundle) = Bundle::new() else { return };
    let with = |bundle: &mut Bundle, syscalls: Value, script: &str| {
        bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": syscalls});
        let output = bundle.output(script);
        (output.status.code(), super::text(&output.stdout) + &super::text(&output.stderr))
    };
    for privileges in [false, true] {
        bundle.config["process"]["noNewPrivileges"] = json!(privileges);
        let mkdir = ["mkdir", "mkdirat"];
        let (_, said) = with(&mut bundle, json!([rule(&mkdir, "SCMP_ACT_ERRNO")]), "mkdir /tmp/x");
        assert!(said.contains("Operation not permitted"), "{said}");
        let errno = json!([{"names": mkdir, "action": "SCMP_ACT_ERRNO", "errnoRet": 28}]);
        assert!(with(&mut bundle, errno, "mkdir /tmp/x").1.contains("No space left"));
        for action in ["SCMP_ACT_KILL_PROCESS", "SCMP_ACT_KILL", "SCMP_ACT_TRAP"] {
            let (status, _) = with(&mut bundle, json!([rule(&mkdir, action)]), "mkdir /tmp/x; echo $?");
            assert_eq!(status, Some(0), "{action}");
            let (_, said) = with(&mut bundle, json!([rule(&mkdir, action)]), "mkdir /tmp/x; echo $?");
            assert!(said.contains("159"), "killed by SIGSYS: {said}");
        }
        let (_, said) =
            with(&mut bundle, json!([rule(&mkdir, "SCMP_ACT_LOG")]), "mkdir /tmp/y && rmdir /tmp/y && echo done");
        assert_eq!(said, "done\n");
        let conditional = json!([{"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 5,
            "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}]}]);
        let (_, said) = with(&mut bundle, conditional, "sleep 5 & kill -0 $! && echo allowed; kill -10 $!; kill -9 $!");
        assert!(said.contains("allowed") && said.contains("I/O error") | said.contains("Input/output"), "{said}");
    }
}

#[test]
fn malformed_profiles_are_refused() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    for profile in [
        json!({"defaultAction": "SCMP_ACT_NOTIFY"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 1}),
        json!({"defaultAction": "SCMP_ACT_NOSUCH"}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_NOSUCH"]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["NOSUCH"]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(&[], "SCMP_ACT_ERRNO")]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule(&["mkdir"], "SCMP_ACT_NOTIFY")]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "listenerPath": "/nonexistent", "syscalls": [rule(&["mkdir"], "SCMP_ACT_NOTIFY")]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 1}]}),
        json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO",
            "args": [{"index": 6, "value": 1, "op": "SCMP_CMP_EQ"}]}]}),
    ] {
        bundle.config["linux"]["seccomp"] = profile;
        bundle.refused();
    }
}

/// What an agent got over one connection: the state, and the filter's descriptor.
fn receive(stream: &UnixStream) -> (Value, OwnedFd) {
    let mut bytes = vec![0; 65536];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()).unwrap();
    let fd = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    (serde_json::from_slice(&bytes[..received.bytes]).unwrap(), fd.unwrap())
}

#[test]
fn an_agent_gets_filter_and_state() {
    for privileges in [true, false] {
        let Some(mut bundle) = Bundle::new() else { return };
        let path = bundle.path("agent");
        let listener = UnixListener::bind(&path).unwrap();
        bundle.config["process"]["noNewPrivileges"] = json!(privileges);
        bundle.config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "listenerMetadata": "meta",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
            "syscalls": [rule(&["mkdir", "mkdirat"], "SCMP_ACT_NOTIFY")],
        });
        let agent = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let (state, filter) = receive(&stream);
            drop(stream);
            // Whoever holds the only descriptor decides; when it is closed, calls fail with ENOSYS.
            let link = std::fs::read_link(format!("/proc/self/fd/{}", filter.as_fd().as_raw_fd())).unwrap();
            assert!(link.to_string_lossy().contains("seccomp"), "{link:?}");
            state
        });
        let output = bundle.output("mkdir /tmp/x");
        let said = super::text(&output.stderr);
        assert!(said.contains("Function not implemented"), "{said}");
        let state = agent.join().unwrap();
        assert_eq!(state["fds"], json!(["seccompFd"]));
        assert_eq!(state["metadata"], "meta");
        assert!(state["pid"].as_u64() > Some(1) && state["pid"] == state["state"]["pid"], "{state}");
        assert_eq!(state["state"]["bundle"], json!(bundle.dir.path()));
    }
}

#[test]
fn further_processes_have_an_agent_too() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    let path = bundle.path("agent");
    let listener = UnixListener::bind(&path).unwrap();
    bundle.config["linux"]["seccomp"] = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": path, "syscalls": [rule(&["mkdir"], "SCMP_ACT_NOTIFY")],
    });
    let agent = std::thread::spawn(move || [(); 2].map(|()| receive(&listener.accept().unwrap().0)));
    let pid = bundle.start("agent");
    let output = bundle.runtime(&["exec", "agent", "true"]).output().unwrap();
    assert!(output.status.success(), "{}", super::text(&output.stderr));
    let [(first, _), (second, _)] = agent.join().unwrap();
    assert_eq!(first["pid"], pid);
    assert_eq!(second["state"]["pid"], pid);
    assert!(second["pid"] != pid && second["state"]["status"] == "running", "{second}");
}
