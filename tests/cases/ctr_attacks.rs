//! Attacks on container runtimes that are on record, tried on `ctr`.

use std::fs;
use std::io::Read;
use std::os::unix::fs::symlink;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Engine, text};

#[test]
fn cve_2024_21626_exec_in_proc_fd() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    for number in 3..16 {
        for path in [format!("/proc/self/fd/{number}"), format!("/proc/1/fd/{number}"), "/proc/self/cwd".to_owned()] {
            let output = engine.ctr(&["exec", "--workdir", &path, &name, "ls", ".."]);
            assert!(!output.status.success(), "{path}: {}", text(&output.stdout));
        }
    }
    engine.ctr(&["rm", "-f", &name]);
}

#[test]
fn cve_2026_30892_exec_as_malformed_users() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let id = |user: &str| engine.ctr(&["exec", &format!("--user={user}"), &name, "id", "-u"]);
    assert_eq!(text(&id("user").stdout), "1000\n");
    for user in
        ["4294967296", "4294967295", "-1", "nobody", "user:", ":", "0x0", " 0", "user:nobody", "18446744073709551616"]
    {
        assert_eq!(id(user).status.code(), Some(125), "{user}");
    }
    engine.ctr(&["rm", "-f", &name]);
}

#[test]
fn cve_2022_29162_exec_has_no_inheritable_capabilities() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let status = text(&engine.ctr(&["exec", "--user", "user", &name, "cat", "/proc/self/status"]).stdout);
    for line in
        ["CapInh:\t0000000000000000", "CapEff:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1"]
    {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    engine.ctr(&["rm", "-f", &name]);
}

#[test]
fn cve_2022_0492_no_cgroup_v1_mount() {
    let Some(engine) = Engine::new() else { return };
    for script in [
        "mount -t cgroup -o memory x /tmp",
        "mount -t cgroup2 x /tmp",
        "unshare -UrmC mount -t cgroup -o rdma x /tmp",
        "touch /sys/fs/cgroup/release_agent",
        "echo 1 > /sys/fs/cgroup/cgroup.procs",
    ] {
        assert_ne!(engine.run(&[], script).0, 0, "{script}");
    }
}

#[test]
fn cve_2025_31133_null_device_as_a_link() {
    let Some(engine) = Engine::new() else { return };
    let tree = engine.dir.path().join("tree");
    fs::create_dir_all(tree.join("dev")).unwrap();
    symlink("/proc/sys/kernel/core_pattern", tree.join("dev/null")).unwrap();
    symlink("/proc/sysrq-trigger", tree.join("dev/zero")).unwrap();
    engine.import(&tree, "hostile");
    let before = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    let script =
        "echo x > /proc/sys/kernel/core_pattern; echo x > /proc/keys; test -c /dev/null && test ! -s /proc/keys";
    let output = engine.ctr(&["run", "--rm", "--network", "none", "hostile", "sh", "-c", script]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert_eq!(fs::read("/proc/sys/kernel/core_pattern").unwrap(), before);
}

#[test]
fn cve_2021_41091_the_state_is_closed_to_other_users() {
    use std::os::unix::fs::PermissionsExt;
    let Some(engine) = Engine::new() else { return };
    let output = engine.ctr(&["create", "-v", "/data", "--name", "some", "busybox"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mode = |folder: &str| fs::metadata(engine.dir.path().join(folder)).unwrap().permissions().mode() & 0o777;
    for folder in ["state/containers", "state/volumes", "state/images", "run/containers"] {
        assert_eq!(mode(folder), 0o700, "{folder}");
    }
}

/// CVE-2021-30465 and CVE-2024-45310: what a mount point is, and where, changes between two looks.
#[test]
fn cve_2021_30465_mount_points_that_are_swapped() {
    let Some(engine) = Engine::new() else { return };
    let outside = engine.dir.path().join("outside");
    let shared = engine.dir.path().join("shared");
    fs::create_dir_all(outside.join("inner")).unwrap();
    fs::create_dir_all(shared.join("one")).unwrap();
    symlink(&outside, shared.join("two")).unwrap();
    let done = AtomicBool::new(false);
    let volumes = [format!("{}:/shared", shared.display()), "kept:/shared/one/inner/deep".to_owned()];
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let folder = fs::File::open(&shared).unwrap();
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "one", &folder, "two", flags).unwrap();
            }
        });
        for _ in 0..40 {
            // It may start or be refused; what it sees is never the host's.
            let args = ["run", "--rm", "--network", "none", "-v", &volumes[0], "-v", &volumes[1], "busybox"];
            let script = "ls /shared/one/ /shared/two/ /proc/1/root/ 2>&1; echo x > /shared/one/inner/deep/file";
            let output = engine.ctr(&[&args[..], &["sh", "-c", script]].concat());
            let seen = text(&output.stdout);
            assert!(!seen.contains("state\n") && !seen.contains("boot\n"), "{seen}");
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(fs::read_dir(outside.join("inner")).unwrap().count(), 0, "something was made on the host");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 1, "something was made on the host");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

/// GO-2022-0482 and GO-2025-4108: output that nobody takes does not pile up in memory.
#[test]
fn go_2022_0482_a_flood_stays_outside() {
    let Some(engine) = Engine::new() else { return };
    let flood = "while :; do cat /bin/busybox; done";
    let args = ["run", "-i", "--name", "flood", "--network", "none", "busybox", "sh", "-c", flood];
    let mut client = engine.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    // It has begun, and now nobody reads on.
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 1 << 16]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let payload = engine.inspect("flood")["State"]["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{payload}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().to_owned();
    for pid in [monitor, client.id().to_string()] {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        let size: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(size < 8 << 10, "{size} kB in process {pid}");
    }
    assert!(engine.ctr(&["rm", "-f", "flood"]).status.success());
    drop(client.stdout.take());
    client.wait().unwrap();
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn mount_points_behind_links_are_made_in_the_root() {
    let Some(engine) = Engine::new() else { return };
    let outside = engine.dir.path().join("outside");
    let up = "../".repeat(20);
    for (number, link) in [
        "/run/there/resolv.conf".to_owned(),
        "../run/there/resolv.conf".to_owned(),
        outside.join("resolv.conf").to_str().unwrap().to_owned(),
        format!("{up}{}", outside.join("resolv.conf").display()),
    ]
    .iter()
    .enumerate()
    {
        let tree = engine.dir.path().join("tree");
        let name = tree.join("etc/resolv.conf");
        let _ = fs::remove_file(&name);
        symlink(link, &name).unwrap();
        let image = format!("linked-{number}");
        engine.import(&tree, &image);
        let output =
            engine.ctr(&["run", "--rm", "--network", "none", "--dns", "192.0.2.9", &image, "cat", "/etc/resolv.conf"]);
        assert!(text(&output.stdout).contains("192.0.2.9"), "{link}: {}", text(&output.stderr));
        assert!(!outside.exists(), "{link} was followed out of the root");
    }
}
