//! Limits of the container's cgroup. They need cgroup v2 with its controllers: on a host that has given them to cgroup v1 nothing is tested
//! here.

use std::fs;

use serde_json::{Value, json};

use super::Bundle;

/// A bundle, its cgroup's path and a reader of its control files; `None` where they are not there.
fn bundle(limits: Value) -> Option<(Bundle, impl Fn(&str) -> String)> {
    let controllers = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").unwrap_or_default();
    if !["cpu", "memory", "io", "pids", "cpuset"].iter().all(|name| controllers.contains(name)) {
        println!("SKIP spec resources: needs cgroup v2 with its controllers");
        return None;
    }
    let mut bundle = Bundle::new()?;
    let name = bundle.dir.path().file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
    bundle.config["linux"]["cgroupsPath"] = json!(format!("/spec/{name}"));
    bundle.config["linux"]["resources"] = limits;
    let read = move |file: &str| {
        fs::read_to_string(format!("/sys/fs/cgroup/spec/{name}/{file}")).unwrap_or_default().trim().to_owned()
    };
    Some((bundle, read))
}

#[test]
fn limits_are_in_the_cgroup() {
    let Some((mut bundle, read)) = bundle(json!({
        "memory": {"limit": 67_108_864, "reservation": 33_554_432},
        "cpu": {"shares": 1024, "quota": 20_000, "period": 50_000, "cpus": "0", "mems": "0"},
        "pids": {"limit": 20},
        "unified": {"memory.high": "50331648", "cgroup.max.depth": "3"},
    })) else {
        return;
    };
    bundle.start("limits");
    for (file, expected) in [
        ("memory.max", "67108864"),
        ("memory.low", "33554432"),
        ("memory.high", "50331648"),
        ("cpu.weight", "39"),
        ("cpu.max", "20000 50000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "20"),
        ("cgroup.max.depth", "3"),
    ] {
        assert_eq!(read(file), expected, "{file}");
    }
}

#[test]
fn limits_hold() {
    let Some((mut bundle, _)) =
        bundle(json!({"memory": {"limit": 16_777_216, "swap": 16_777_216}, "pids": {"limit": 8}}))
    else {
        return;
    };
    // A shell that cannot fork ends.
    let output = bundle.output("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 3 & done; echo all");
    assert!(
        !output.status.success() && !super::text(&output.stdout).contains("all"),
        "{}",
        super::text(&output.stderr)
    );
    // dd's buffer is in memory.
    let output = bundle.output("dd if=/dev/zero of=/dev/null bs=64M count=1 2>/dev/null; echo status $?");
    assert!(!super::text(&output.stdout).contains("status 0"), "{}", super::text(&output.stdout));
}

#[test]
fn what_cannot_be_set_is_refused_by_name() {
    for (limits, name) in [
        (json!({"unified": {"nosuch.file": "1"}}), "nosuch"),
        (json!({"unified": {"../memory.max": "1"}}), "unified"),
        (json!({"memory": {"swappiness": 1}}), "swappiness"),
        (json!({"memory": {"disableOOMKiller": true}}), "disableOOMKiller"),
        (json!({"rdma": {"nosuch0": {"hcaHandles": 1}}}), "rdma"),
        (json!({"network": {"classID": 5}}), "classID"),
    ] {
        let Some((mut bundle, _)) = bundle(limits) else { return };
        let said = bundle.refused();
        assert!(said.contains(name), "{said}");
    }
}

#[test]
fn only_devices_that_are_allowed_are_used() {
    let Some((mut bundle, _)) = bundle(json!({"devices": [
        {"allow": false, "access": "rwm"}, {"allow": true, "type": "c", "major": 1, "minor": 11, "access": "r"},
    ]})) else {
        return;
    };
    let all = json!(["CAP_MKNOD"]);
    bundle.config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    let script = "mknod /dev/kmsg c 1 11; mknod /dev/mem c 1 1; cat /dev/null && echo null; head -c 1 < /dev/mem && echo mem; \
                  : < /dev/kmsg && echo read; : > /dev/kmsg && echo written";
    let output = bundle.output(script);
    assert_eq!(super::text(&output.stdout), "null\nread\n", "{}", super::text(&output.stderr));
}
