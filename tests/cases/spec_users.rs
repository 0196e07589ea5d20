//! User namespaces.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};
use std::process::{Command, Stdio};

use serde_json::json;

use super::{Bundle, text};

#[test]
fn root_inside_is_nobody_outside() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_users();
    bundle.config["process"]["oomScoreAdj"] = json!(111);
    bundle.config["process"]["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]);
    chown(bundle.path("rootfs/tmp"), Some(100_000), Some(100_000)).unwrap();
    let script = "id -u; tr -s ' ' < /proc/self/uid_map; touch /tmp/f && echo made; cat /proc/self/oom_score_adj; ulimit -n; echo x > /dev/null && echo null";
    assert_eq!(bundle.run(script), "0\n 0 100000 1000\nmade\n111\n100\nnull\n");
    assert_eq!(bundle.path("rootfs/tmp/f").metadata().unwrap().uid(), 100_000);
    bundle.config["process"]["user"] = json!({"uid": 5, "gid": 6, "additionalGids": [7]});
    assert_eq!(bundle.run("id -u; id -G"), "5\n6 7\n");
    bundle.config["process"]["user"] = json!({"uid": 1000, "gid": 0});
    bundle.refused();
}

#[test]
fn file_systems_of_a_user_namespace() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_users();
    for kind in ["network", "cgroup"] {
        bundle.add_namespace(kind, None);
    }
    bundle.add_mount(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}));
    bundle.add_mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]}));
    bundle.add_mount(json!({"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"}));
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/cpuinfo", "/proc/acpi"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/proc/sys"]);
    bundle.config["root"]["readonly"] = json!(true);
    bundle.config["hostname"] = json!("inside");
    assert_eq!(
        bundle.run("hostname; ls -d /sys/class/net/lo; wc -c < /proc/cpuinfo; touch /f || echo read-only"),
        "inside\n/sys/class/net/lo\n0\nread-only\n"
    );
}

/// CVE-2023-25809: with the host's cgroup namespace its cgroups are in sight, and were to be written.
#[test]
fn cve_2023_25809_the_hosts_cgroups_and_sysfs_are_read_only() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    bundle.add_users();
    bundle.add_mount(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs"}));
    bundle.add_mount(json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"}));
    let script = "awk '$5 ~ \"^/sys\" { split($6, o, \",\"); print o[1] }' /proc/self/mountinfo | sort -u";
    assert_eq!(bundle.run(script), "ro\n");
}

#[test]
fn namespaces_of_another_are_joined_with_its_users() {
    let Some(mut holder) = Bundle::new() else { return };
    holder.add_users();
    holder.add_namespace("network", None);
    let pid = holder.start("users");
    let link = |file: &str| fs::read_link(format!("/proc/{pid}/ns/{file}")).unwrap().display().to_string();
    let Some(mut bundle) = Bundle::new() else { return };
    let mut expected = String::new();
    for (kind, file) in [("user", "user"), ("network", "net"), ("ipc", "ipc"), ("pid", "pid"), ("uts", "uts")] {
        bundle.add_namespace(kind, Some(&format!("/proc/{pid}/ns/{file}")));
        expected += &(link(file) + "\n");
        let script = "for n in user net ipc pid uts; do readlink /proc/self/ns/$n; done";
        let said = bundle.run(script);
        assert!(said.starts_with(&expected), "{kind}: {said}{expected}");
    }
    let output =
        holder.runtime(&["exec", "users", "sh", "-c", "id -u; readlink /proc/self/ns/user; ps"]).output().unwrap();
    let said = text(&output.stdout);
    assert!(
        said.starts_with(&format!("0\n{}\n", link("user"))) && said.contains("sleep 1000"),
        "{said}{}",
        text(&output.stderr)
    );
}

#[test]
fn a_network_namespace_of_the_host_with_own_users() {
    let Some(mut holder) = Bundle::new() else { return };
    holder.add_namespace("network", None);
    let pid = holder.start("network");
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_users();
    bundle.add_namespace("network", Some(&format!("/proc/{pid}/ns/net")));
    let expected = fs::read_link(format!("/proc/{pid}/ns/net")).unwrap().display().to_string();
    assert_eq!(bundle.run("readlink /proc/self/ns/net").trim(), expected);
}

#[test]
fn mappings_are_checked() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_users();
    for map in [
        json!([]),
        json!([{"containerID": 0, "hostID": 0, "size": 0}]),
        json!([{"containerID": 0, "hostID": 1, "size": 10}, {"containerID": 5, "hostID": 100, "size": 1}]),
    ] {
        bundle.config["linux"]["uidMappings"] = map;
        bundle.refused();
    }
    bundle.add_users();
    bundle.namespaces().retain(|namespace| namespace["type"] != "user");
    assert!(bundle.refused().contains("user namespace isn't enabled"));
}

/// A user without privileges, who maps nobody but the own id.
#[test]
fn without_privileges() {
    let restricted = fs::read_to_string("/proc/sys/kernel/apparmor_restrict_unprivileged_userns");
    if restricted.is_ok_and(|value| value.trim() == "1") {
        println!("SKIP without_privileges: AppArmor keeps user namespaces from users without privileges");
        return;
    }
    let Some(mut bundle) = Bundle::new() else { return };
    let own = json!([{"containerID": 0, "hostID": 1234, "size": 1}]);
    bundle.add_users();
    bundle.config["linux"]["uidMappings"] = own.clone();
    bundle.config["linux"]["gidMappings"] = own;
    bundle.config["process"]["args"] = json!(["sh", "-c", "id -u; touch /tmp/f; cat /proc/self/setgroups"]);
    bundle.write();
    let owned = Command::new("chown").args(["-R", "1234:1234"]).arg(bundle.dir.path()).status().unwrap();
    assert!(owned.success());
    let id = format!("rootless-{}", std::process::id());
    // The test's binary lies where only root may look.
    let program = bundle.path("runtime");
    let runtime = std::env::var_os("CORACLE_RUNTIME").unwrap_or_else(|| env!("CARGO_BIN_EXE_coracle").into());
    fs::copy(runtime, &program).unwrap();
    let mut command = Command::new("setpriv");
    command.args(["--reuid=1234", "--regid=1234", "--clear-groups"]).arg(&program);
    if Bundle::is_ours() {
        command.arg("runc");
    }
    command.arg("--root").arg(bundle.path("own-state")).args(["run", "--bundle"]).arg(bundle.dir.path()).arg(&id);
    let output = command.env("XDG_RUNTIME_DIR", bundle.dir.path()).stdin(Stdio::null()).output().unwrap();
    assert_eq!(text(&output.stdout), "0\ndeny\n", "{}", text(&output.stderr));
    assert_eq!(bundle.path("rootfs/tmp/f").metadata().unwrap().uid(), 1234);
}
