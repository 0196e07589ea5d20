//! Pods: containers that share namespaces.

use super::{Engine, text};

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn fails(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(!output.status.success(), "{args:?}");
    text(&output.stderr)
}

#[test]
fn containers_of_a_pod_share_namespaces() {
    let Some(engine) = Engine::new() else { return };
    let id = ok(&engine, &["pod", "create", "--name", "both", "--network", "none", "--label", "a=b"]);
    assert_eq!(id.trim().len(), 64);
    assert_eq!(
        ok(&engine, &["pod", "ls", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}"]),
        "both Created 1\n"
    );
    let spaces =
        "for kind in net ipc uts pid mnt; do busybox readlink /proc/self/ns/$kind; done; hostname; exec sleep 100";
    for name in ["one", "two"] {
        ok(&engine, &["run", "-d", "--name", name, "--pod", "both", "busybox", "sh", "-c", spaces]);
    }
    let seen = |name: &str| {
        (0..100)
            .map(|_| {
                std::thread::sleep(std::time::Duration::from_millis(20));
                text(&engine.ctr(&["logs", name]).stdout).lines().map(str::to_owned).collect::<Vec<_>>()
            })
            .find(|lines| lines.len() == 6)
            .unwrap()
    };
    let (one, two) = (seen("one"), seen("two"));
    assert_eq!((&one[..3], &one[5]), (&two[..3], &"both".to_owned()), "network, IPC, UTS and the host name");
    assert!(one[3] != two[3] && one[4] != two[4], "but not processes and mounts");
    // What listens in one is reached from the other.
    let server = "echo hello | busybox nc -l -p 4000 127.0.0.1 & sleep 0.3; echo x > /dev/shm/shared; wait";
    ok(&engine, &["exec", "-d", "one", "sh", "-c", server]);
    std::thread::sleep(std::time::Duration::from_millis(600));
    let client = "busybox nc 127.0.0.1 4000 < /dev/null; cat /dev/shm/shared";
    assert_eq!(ok(&engine, &["exec", "two", "sh", "-c", client]), "hello\nx\n");
    assert_eq!(ok(&engine, &["pod", "ls", "--format", "{{.Status}}", "--filter", "name=both"]), "Running\n");
    ok(&engine, &["stop", "-t", "0", "two"]);
    assert_eq!(
        ok(&engine, &["pod", "inspect", "-f", "{{.State}} {{len .Containers}} {{.SharedNamespaces}}", "both"]),
        "Degraded 3 [ipc net uts]\n"
    );
    // All stop and start together, with new namespaces that are shared again.
    assert_eq!(ok(&engine, &["pod", "stop", "-t", "0", "both"]), "both\n");
    assert_eq!(ok(&engine, &["pod", "ls", "--format", "{{.Status}}"]), "Exited\n");
    assert_eq!(ok(&engine, &["pod", "start", "both"]), "both\n");
    assert_eq!(ok(&engine, &["pod", "ls", "--format", "{{.Status}}"]), "Running\n");
    let space = |name: &str| ok(&engine, &["exec", name, "busybox", "readlink", "/proc/self/ns/net"]);
    assert_eq!(space("one"), space("two"));
    assert!(fails(&engine, &["pod", "rm", "both"]).contains("has running containers"));
    assert_eq!(ok(&engine, &["pod", "rm", "-f", "both"]), "both\n");
    assert_eq!(ok(&engine, &["pod", "ls", "-q"]), "");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn what_a_pod_is_not_is_refused() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["pod", "create", "--network", "none", "--share", "ipc,uts", "some"]);
    assert!(fails(&engine, &["pod", "create", "some"]).contains("in use"));
    // The beginning of a pod's id is no name of it.
    let id = ok(&engine, &["pod", "inspect", "-f", "{{.Id}}", "some"]);
    ok(&engine, &["pod", "create", "--network", "none", &id[..4]]);
    ok(&engine, &["pod", "rm", &id[..4]]);
    assert!(fails(&engine, &["run", "--pod", "missing", "busybox", "true"]).contains("No such pod: missing"));
    assert!(fails(&engine, &["run", "--pod", "some", "--hostname", "x", "busybox", "true"]).contains("host name"));
    assert_eq!(engine.ctr(&["pod", "create", "--share", "pid", "x1"]).status.code(), Some(125));
    assert!(fails(&engine, &["pod", "rm", "missing"]).contains("No such pod: missing"));
    ok(&engine, &["pod", "rm", "-f", "missing"]);
    // Joining starts it; its own network is the container's.
    let run = ["run", "--rm", "--pod", "some", "--network", "none", "busybox", "hostname"];
    assert_eq!(ok(&engine, &run), "some\n");
    let infra = engine.inspect("some-infra");
    assert_eq!(
        (infra["State"]["Running"].as_bool(), infra["HostConfig"]["ReadonlyRootfs"].as_bool()),
        (Some(true), Some(true))
    );
    ok(&engine, &["pod", "stop", "some"]);
    assert_eq!(engine.inspect("some-infra")["State"]["ExitCode"], 0, "it ends when it is told to");
    ok(&engine, &["pod", "rm", "some"]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}
