//! The program and what the kernel keeps for it.

use serde_json::{Value, json};

use super::{Bundle, text};

#[test]
fn user_groups_umask_and_directory() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7, 8], "umask": 0o27});
    bundle.config["process"]["cwd"] = json!("/tmp");
    assert_eq!(bundle.run("id -u; id -g; id -G; umask; pwd"), "5\n6\n6 7 8\n0027\n/tmp\n");
}

#[test]
fn standard_streams_are_the_users() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6});
    assert_eq!(
        bundle.run("ln -s /proc/self/fd /tmp/fd 2>/dev/null; echo out > /proc/self/fd/1; stat -Lc %u /proc/self/fd/1"),
        "out\n5\n"
    );
}

#[test]
fn capabilities_of_all_five_sets() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6});
    bundle.config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"], "permitted": ["CAP_CHOWN", "CAP_KILL"],
        "effective": ["CAP_KILL"], "inheritable": ["CAP_KILL", "CAP_CHOWN"], "ambient": ["CAP_KILL"],
    });
    let status = bundle.run("grep -E 'Cap|NoNew' /proc/self/status");
    for line in [
        "CapInh:\t0000000000000021",
        "CapPrm:\t0000000000000020",
        "CapBnd:\t0000000000002021",
        "CapAmb:\t0000000000000020",
    ] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    assert!(status.contains("NoNewPrivs:\t0"));
    bundle.config["process"]["noNewPrivileges"] = json!(true);
    assert!(bundle.run("cat /proc/self/status").contains("NoNewPrivs:\t1"));
}

#[test]
fn limits_and_oom_score() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    bundle.config["process"]["oomScoreAdj"] = json!(321);
    assert_eq!(bundle.run("ulimit -n; ulimit -Hn; cat /proc/self/oom_score_adj"), "100\n200\n321\n");
    let limit = json!({"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200});
    bundle.config["process"]["rlimits"] = json!([limit, limit]);
    bundle.refused();
    bundle.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]);
    bundle.refused();
}

/// A field of /proc/self/stat, by its number in proc(5).
fn stat(bundle: &mut Bundle, field: usize) -> String {
    let text = bundle.run("cat /proc/self/stat");
    text.rsplit_once(") ").unwrap().1.split(' ').nth(field - 3).unwrap().to_owned()
}

#[test]
fn scheduling() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_BATCH", "nice": 5});
    assert_eq!((stat(&mut bundle, 41).as_str(), stat(&mut bundle, 19).as_str()), ("3", "5"));
    bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_IDLE"});
    bundle.config["process"]["ioPriority"] = json!({"class": "IOPRIO_CLASS_BE", "priority": 6});
    assert_eq!(stat(&mut bundle, 41), "5");
    assert_eq!(bundle.run("ionice -p $$"), "best-effort: prio 6\n");
    let refused: [(&str, Value); 3] = [
        ("scheduler", json!({"policy": "SCHED_FIFO", "priority": 100})),
        ("scheduler", json!({"policy": "SCHED_ISO"})),
        ("ioPriority", json!({"class": "IOPRIO_CLASS_BE", "priority": 8})),
    ];
    for (key, value) in refused {
        bundle.config["process"]["scheduler"] = json!({"policy": "SCHED_OTHER"});
        bundle.config["process"][key] = value;
        assert!(bundle.refused().contains(&format!("process.{key}")));
    }
}

#[test]
fn personality_and_names() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["hostname"] = json!("coracle-test");
    assert_eq!(bundle.run("hostname"), "coracle-test\n");
    if Bundle::is_ours() {
        bundle.config["linux"]["personality"] = json!({"domain": "LINUX32"});
        bundle.config["domainname"] = json!("example.org");
        let machine = if cfg!(target_arch = "x86_64") { "i686" } else { "armv8l" };
        assert_eq!(bundle.run("uname -m; cat /proc/sys/kernel/domainname"), format!("{machine}\nexample.org\n"));
        bundle.config["linux"]["personality"]["flags"] = json!(["X"]);
        assert!(bundle.refused().contains("linux.personality.flags"));
    }
}

#[test]
fn time_of_a_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    bundle.config["linux"]["timeOffsets"] = json!({"boottime": {"secs": 1_000_000_000, "nanosecs": 5}});
    assert!(bundle.refused().contains("linux.timeOffsets"));
    bundle.add_namespace("time", None);
    let uptime: f64 = bundle.run("cut -d' ' -f1 /proc/uptime").trim().parse().unwrap();
    assert!(uptime > 1e9, "{uptime}");
    assert_eq!(bundle.run("cat /proc/self/timens_offsets | tr -s ' ' | tail -1"), "boottime 1000000000 5\n");
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(mut holder) = Bundle::new() else { return };
    for kind in ["network", "cgroup"] {
        holder.add_namespace(kind, None);
    }
    let pid = holder.start("holder");
    let files = [("network", "net"), ("ipc", "ipc"), ("uts", "uts"), ("pid", "pid"), ("cgroup", "cgroup")];
    let Some(mut bundle) = Bundle::new() else { return };
    for (kind, file) in files {
        bundle.add_namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        let expected = std::fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
        assert_eq!(bundle.run(&format!("readlink /proc/self/ns/{file}")).trim(), expected, "{kind}");
    }
    assert!(bundle.run("ps").contains("sleep"), "one PID namespace");
    bundle.add_namespace("ipc", Some("/nonexistent"));
    bundle.refused();
}

#[test]
fn sysctls_of_own_namespaces_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_namespace("network", None);
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.shmmni": "77"});
    assert_eq!(bundle.run("cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shmmni"), "1\n77\n");
    for key in ["vm.swappiness", "kernel.core_pattern", "net.ipv4/../../kernel/core_pattern"] {
        bundle.config["linux"]["sysctl"] = json!({key: "1"});
        bundle.refused();
    }
    bundle.namespaces().retain(|namespace| namespace["type"] != "network");
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.refused();
}

#[test]
fn devices() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/here/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 0o640, "uid": 3, "gid": 4},
        {"path": "/dev/pipe", "type": "p"},
    ]);
    let script = "stat -c '%F %t %T %a %u %g' /dev/here/fuse; stat -c %F /dev/pipe; for d in null zero full random urandom tty; do stat -c '%t:%T %a' /dev/$d; done; readlink /dev/fd /dev/ptmx";
    let expected = "character special file a e5 640 3 4\nfifo\n1:3 666\n1:5 666\n1:7 666\n1:8 666\n1:9 666\n5:0 666\n";
    let said = text(bundle.output(script).stdout.as_slice());
    assert!(said.starts_with(expected), "{said}");
}

#[test]
fn what_is_not_supported_is_refused_by_name() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    let plain = bundle.config.clone();
    for (key, value) in [
        ("intelRdt", json!({"closID": "x"})),
        ("mountLabel", json!("system_u:object_r:x_t:s0")),
        ("netDevices", json!({"eth0": {"name": "x"}})),
        ("memoryPolicy", json!({"mode": "MPOL_INTERLEAVE", "nodes": "0"})),
    ] {
        bundle.config = plain.clone();
        bundle.config["linux"][key] = value;
        let said = bundle.refused();
        assert!(said.contains(&format!("linux.{key}")), "{said}");
    }
    bundle.config = plain;
    bundle.config["process"]["selinuxLabel"] = json!("system_u:system_r:x_t:s0");
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        assert!(bundle.refused().contains("process.selinuxLabel"));
    }
}
