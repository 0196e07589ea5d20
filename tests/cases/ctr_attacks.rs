//! Attacks on container runtimes that are on record, tried on `ctr`.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{Engine, text};

/// docs/security.md names a test for each attack: it is there.
#[test]
fn every_test_that_the_table_names_exists() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![top.join("tests"), top.join("applets")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs" || extension == "py") {
                sources += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let table = fs::read_to_string(top.join("docs/security.md")).unwrap();
    let cells = table.lines().filter_map(|line| line.strip_suffix(" |")?.rsplit_once(" | "));
    let names: Vec<&str> = cells.flat_map(|(_, cell)| cell.split('`').skip(1).step_by(2)).collect();
    assert!(names.len() > 50, "{names:?}");
    for name in names {
        let is_there = ["fn", "def"].iter().any(|word| sources.contains(&format!("{word} {name}(")));
        assert!(is_there, "{name}");
    }
}

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

/// A client that has begun to show a flood which nobody takes: neither it nor the monitor piles it up in memory.
fn assert_bounded(engine: &Engine, name: &str, client: &mut Child) {
    // It has begun, and now nobody reads on.
    client.stdout.as_mut().unwrap().read_exact(&mut [0; 1 << 16]).unwrap();
    std::thread::sleep(Duration::from_secs(2));
    let payload = engine.inspect(name)["State"]["Pid"].as_i64().unwrap();
    let status = fs::read_to_string(format!("/proc/{payload}/status")).unwrap();
    let monitor = status.lines().find_map(|line| line.strip_prefix("PPid:\t")).unwrap().to_owned();
    for pid in [monitor, client.id().to_string()] {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let anonymous = rollup.lines().find_map(|line| line.strip_prefix("Anonymous:")).unwrap();
        let size: u64 = anonymous.trim().trim_end_matches(" kB").parse().unwrap();
        assert!(size < 8 << 10, "{size} kB in process {pid}");
    }
    assert!(engine.ctr(&["rm", "-f", name]).status.success());
    drop(client.stdout.take());
    client.wait().unwrap();
    assert_eq!(engine.leftovers(), (0, vec![]));
}

const FLOOD: &str = "while :; do cat /bin/busybox; done";

/// GO-2022-0482 and GO-2025-4108: output that nobody takes does not pile up in memory.
#[test]
fn go_2022_0482_a_flood_stays_outside() {
    let Some(engine) = Engine::new() else { return };
    let args = ["run", "-i", "--name", "flood", "--network", "none", "busybox", "sh", "-c", FLOOD];
    let mut client = engine.command(&args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    assert_bounded(&engine, "flood", &mut client);
}

/// The same of a client that comes later.
#[test]
fn go_2022_0482_a_flood_over_attach_stays_outside() {
    let Some(engine) = Engine::new() else { return };
    let script = format!("read x; {FLOOD}");
    let args = ["run", "-d", "-i", "--name", "flood", "--network", "none", "--log-driver", "none"];
    let output = engine.ctr(&[&args[..], &["busybox", "sh", "-c", &script]].concat());
    assert!(output.status.success(), "{}", text(&output.stderr));
    let mut client = engine.command(&["attach", "flood"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    client.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    assert_bounded(&engine, "flood", &mut client);
}

/// GO-2025-4108: of a further process too.
#[test]
fn go_2025_4108_a_flood_of_exec_stays_outside() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let args = ["exec", &name, "sh", "-c", FLOOD];
    let mut client = engine.command(&args).stdout(Stdio::piped()).spawn().unwrap();
    assert_bounded(&engine, &name, &mut client);
}

/// CVE-2019-5736: who holds a descriptor of the runtime's file waits until nothing runs from it, and writes.
#[test]
fn cve_2019_5736_a_descriptor_that_outlives_the_runtime() {
    let Some(engine) = Engine::new() else { return };
    // A copy that no other test executes: else running alone would protect it.
    let binary = engine.dir.path().join("coracle");
    fs::copy(env!("CARGO_BIN_EXE_coracle"), &binary).unwrap();
    let before = fs::read(&binary).unwrap();
    let script = "while :; do for exe in /proc/[0-9]*/exe; do test $exe -ef /bin/busybox && continue
        (exec 3<$exe; sleep 0.1; echo x >> /proc/self/fd/3) 2>> /tmp/log & done; sleep 0.02; wait; done";
    let name = engine.start(script);
    for command in ["true", "/proc/self/exe", "/proc/self/fd/3"] {
        for _ in 0..5 {
            let exec = engine.command(&["exec", &name, command]);
            let mut own = Command::new(&binary);
            own.args(exec.get_args()).envs(exec.get_envs().filter_map(|(key, value)| Some((key, value?))));
            own.stdin(Stdio::null()).output().unwrap();
        }
    }
    std::thread::sleep(Duration::from_millis(300));
    let log = text(&engine.ctr(&["exec", &name, "cat", "/tmp/log"]).stdout);
    assert!(!log.contains("Text file busy"), "only its running protects the binary: {log}");
    engine.ctr(&["rm", "-f", &name]);
    assert!(fs::read(&binary).unwrap() == before, "the binary was changed");
}

/// CVE-2019-16884: a volume over a part of /proc takes writes of the runtime to somewhere else.
#[test]
fn cve_2019_16884_volumes_over_proc() {
    let Some(engine) = Engine::new() else { return };
    let folder = engine.dir.path().join("folder");
    fs::create_dir(&folder).unwrap();
    for place in ["/proc", "/proc/self/attr", "/proc/sys", "/proc/../proc/self", "/sys/../proc/1"] {
        for option in [
            vec!["-v".to_owned(), format!("named:{place}")],
            vec!["-v".to_owned(), format!("{}:{place}", folder.display())],
            vec!["--tmpfs".to_owned(), place.to_owned()],
            vec!["--mount".to_owned(), format!("type=bind,source={},target={place}", folder.display())],
        ] {
            let options: Vec<&str> = option.iter().map(String::as_str).collect();
            assert_eq!(engine.run(&options, "true").0, 125, "{option:?}");
        }
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

/// A program that is set-uid root in a volume: no one on the host reaches it, and in a container it gives nothing.
#[test]
fn setuid_in_volumes_gives_nothing() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Some(engine) = Engine::new() else { return };
    let volume = ["-v", "shared:/data"];
    let script = "cp /bin/busybox /data/busybox; chmod 6755 /data/busybox; chmod 777 /data";
    assert_eq!(engine.run(&volume, script), (0, String::new()));
    let program = engine.dir.path().join("state/volumes/shared/_data/busybox");
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o6755);
    // Nothing but the engine's own folders may keep the host's users out.
    fs::set_permissions(engine.dir.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let nobody = ["--reuid=65534", "--regid=65534", "--clear-groups"];
    let as_nobody = |args: &[&str]| Command::new("setpriv").args(nobody).args(args).output().unwrap();
    assert!(as_nobody(&["test", "-d", engine.dir.path().to_str().unwrap()]).status.success());
    // setpriv itself has root's capabilities until it executes a program.
    let output = as_nobody(&["sh", "-c", "exec \"$0\" true", program.to_str().unwrap()]);
    assert!(!output.status.success() && text(&output.stderr).contains("Permission denied"), "{}", text(&output.stderr));
    // "status" of a process shows real, effective and saved id.
    let show = "/data/busybox grep Uid: /proc/self/status; grep NoNewPrivs: /proc/self/status";
    let (code, said) = engine.run(&[&volume[..], &["--user", "user"]].concat(), show);
    assert_eq!((code, said.as_str()), (0, "Uid:\t1000\t1000\t1000\t1000\nNoNewPrivs:\t1\n"));
}

/// What a container can reach of cgroups: its own, to be read.
#[test]
fn cgroup_escape_is_not_possible() {
    let Some(engine) = Engine::new() else { return };
    let (code, own) = engine.run(&[], "cat /proc/self/cgroup /proc/1/cgroup");
    assert_eq!(code, 0, "{own}");
    for line in own.lines().filter(|line| line.starts_with("0::")) {
        assert_eq!(line, "0::/", "{own}");
    }
    for script in [
        "mkdir /sys/fs/cgroup/new",
        "echo $$ > /sys/fs/cgroup/cgroup.procs",
        "echo $$ > /sys/fs/cgroup/../cgroup/cgroup.procs",
        "echo 0 > /sys/fs/cgroup/memory.max",
        "mount -o remount,rw /sys/fs/cgroup",
        "mount -t cgroup2 cgroup2 /tmp",
    ] {
        assert_ne!(engine.run(&[], script).0, 0, "{script}");
    }
    // Who may mount sees no more than the own one: only the root of all has no type.
    if fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 ") {
        let script = "mount -t cgroup2 cgroup2 /tmp && test -e /tmp/cgroup.type && ! test -e /tmp/coracle && echo own";
        let (_, said) = engine.run(&["--cap-add", "SYS_ADMIN"], script);
        assert!(said.ends_with("own\n"), "{said}");
    }
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
