//! `exec`.

use super::*;

#[test]
fn options_of_a_process() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("exec");
    bundle.start(&id);
    let out = |args: &[&str]| {
        let output = bundle.run(&[&["exec"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    };
    assert_eq!(out(&["-e", "A=b", "--cwd", "/tmp", &id, "sh", "-c", "echo $A; pwd"]), "b\n/tmp\n");
    assert_eq!(out(&["-u", "1000:1001", "-g", "5", &id, "id"]), "uid=1000 gid=1001 groups=5\n");
    let status = |options: &[&str]| out(&[options, &[&id, "cat", "/proc/self/status"]].concat());
    let field = |status: &str, name: &str| status.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    let plain = status(&[]);
    let raised = status(&["--cap", "CAP_SYS_ADMIN"]);
    assert_ne!(field(&plain, "CapEff"), field(&raised, "CapEff"));
    assert_eq!(field(&raised, "CapInh"), "CapInh:\t0000000000000000");
    assert_eq!(field(&status(&["--no-new-privs"]), "NoNewPrivs"), "NoNewPrivs:\t1");
}

#[test]
fn statuses_and_errors() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("exec");
    bundle.start(&id);
    let status = |script: &str| bundle.run(&["exec", &id, "sh", "-c", script]).status.code();
    assert_eq!(status("exit 7"), Some(7));
    assert_eq!(status("kill -9 $$"), Some(137));
    let said = |args: &[&str]| bundle.complaint(&[&["exec"], args].concat(), 255);
    let start = "exec failed: unable to start container process: exec: ";
    assert_eq!(said(&[&id, "nope"]), format!("{start}\"nope\": executable file not found in $PATH"));
    assert_eq!(said(&[&id, "/nope"]), format!("{start}\"/nope\": stat /nope: no such file or directory"));
    assert_eq!(said(&[&id]), "exec failed: process args cannot be empty");
    for user in ["bob", "1:x"] {
        assert!(said(&[&format!("--user={user}"), &id, "id"]).starts_with("exec failed: "), "{user}");
    }
    assert_eq!(said(&[&bundle.id("missing"), "true"]), "exec failed: container does not exist");
    bundle.detached(&["kill", &id, "KILL"]);
    bundle.wait_for_status(&id, "stopped");
    assert_eq!(said(&[&id, "true"]), "exec failed: cannot exec in a stopped container");
}

#[test]
fn a_cgroup_below_the_containers() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("exec");
    bundle.start(&id);
    let own = cgroups(Path::new("/sys/fs/cgroup"), &bundle.prefix).remove(0);
    fs::create_dir(Path::new(&own).join("sub")).unwrap();
    let cgroup = |name: &str| bundle.run(&["exec", "--cgroup", name, &id, "cat", "/proc/self/cgroup"]);
    let output = cgroup("sub");
    let line = text(&output.stdout).lines().find(|line| line.starts_with("0::")).unwrap().to_owned();
    assert!(line.ends_with("/sub"), "{line}");
    assert!(cgroup("/").status.success());
    let said = bundle.complaint(&["exec", "--cgroup", "missing", &id, "true"], 255);
    assert!(said.contains(" adding pid ") && said.ends_with("no such file or directory"), "{said}");
    let said = bundle.complaint(&["exec", "--cgroup", "/../other", &id, "true"], 255);
    assert!(said.contains("bad sub cgroup path"), "{said}");
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}

/// A number that overflows is never another user.
#[test]
fn cve_2026_30892_go_2025_3528_a_user_that_overflows_is_refused() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("exec");
    bundle.start(&id);
    for user in ["4294967295", "4294967296", "18446744073709551616", "-1", "+0", "0x0", "0:4294967296"] {
        let said = bundle.complaint(&["exec", &format!("--user={user}"), &id, "id"], 255);
        assert!(said.contains(" as int for "), "{user}: {said}");
    }
}

/// As conmon and containerd's shim call it.
#[test]
fn a_detached_process_from_a_file() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("exec");
    bundle.create(&id);
    bundle.detached(&["start", &id]);
    let file = bundle.dir.path().join("process.json");
    let pid_file = bundle.dir.path().join("exec.pid");
    let process = json!({
        "terminal": false, "user": {"uid": 7, "gid": 8}, "args": ["sleep", "1000"],
        "env": ["PATH=/bin", "B=c"], "cwd": "/tmp", "capabilities": {},
    });
    fs::write(&file, process.to_string()).unwrap();
    let (file, pid_name) = (file.to_str().unwrap(), pid_file.to_str().unwrap());
    bundle.detached(&["exec", "--process", file, "--pid-file", pid_name, "--detach", &id]);
    let pid: i32 = fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    assert_eq!(fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap(), "sleep\x001000\0");
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    assert!(status.contains("Uid:\t7\t7\t7\t7"));
    let mut pids: Vec<i32> = serde_json::from_slice(&bundle.run(&["ps", "-f", "json", &id]).stdout).unwrap();
    pids.sort_unstable();
    assert!(pids.len() == 2 && pids.contains(&pid), "{pids:?}");
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}
