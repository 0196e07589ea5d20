//! Mounts, their options, and the root.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};

use serde_json::json;

use super::Bundle;

/// Options of the mount at a path, by mountinfo.
const OPTIONS: &str = "options() { awk -v at=$1 '$5 == at { print $6 }' /proc/self/mountinfo | tail -1; }; ";

#[test]
fn options_of_a_mount_and_of_all_below_it() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_mount(
        json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "noexec"]}),
    );
    bundle.add_mount(json!({"destination": "/data/sub", "type": "tmpfs", "source": "tmpfs", "options": ["nodev"]}));
    let all =
        bundle.run(&format!("{OPTIONS} options /data; options /data/sub; echo x > /data/f && echo x > /data/sub/f"));
    assert_eq!(all, "rw,nosuid,noexec,relatime\nrw,nodev,relatime\n");
    let source = bundle.path("source");
    fs::create_dir(&source).unwrap();
    for (options, expected) in [
        (json!(["bind", "ro", "nosuid", "nodev", "noexec", "noatime"]), "ro,nosuid,nodev,noexec,noatime"),
        (json!(["bind", "strictatime", "nodiratime"]), "rw,nodiratime"),
        (json!(["rbind", "rro", "rnosuid"]), "ro,nosuid,relatime"),
        (json!(["bind", "nosymfollow"]), "rw,relatime,nosymfollow"),
        (json!(["bind", "ro", "rw"]), "rw,relatime"),
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(2);
        bundle.add_mount(json!({"destination": "/data", "type": "bind", "source": source, "options": options}));
        assert_eq!(bundle.run(&format!("{OPTIONS} options /data")).trim(), expected, "{options}");
    }
}

#[test]
fn recursive_options_reach_what_is_mounted_below() {
    let Some(mut bundle) = Bundle::new() else { return };
    let source = bundle.path("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    let mount = |args: &[&str]| assert!(std::process::Command::new("mount").args(args).status().unwrap().success());
    let sub = source.join("sub").display().to_string();
    mount(&["-t", "tmpfs", "tmpfs", &sub]);
    let run = |bundle: &mut Bundle, options| {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(2);
        bundle.add_mount(json!({"destination": "/data", "type": "bind", "source": source, "options": options}));
        bundle.run("touch /data/sub/f && echo writable || echo read-only")
    };
    let (own, all) = (run(&mut bundle, json!(["rbind", "ro"])), run(&mut bundle, json!(["rbind", "rro"])));
    std::process::Command::new("umount").arg(&sub).status().unwrap();
    assert_eq!((own.as_str(), all.as_str()), ("writable\n", "read-only\n"));
}

#[test]
fn files_links_and_relative_sources() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.path("file"), "content\n").unwrap();
    std::os::unix::fs::symlink("/tmp", bundle.path("rootfs/link")).unwrap();
    bundle.add_mount(json!({"destination": "/made/here", "type": "bind", "source": "file", "options": ["bind"]}));
    bundle.add_mount(json!({"destination": "/link/f", "source": bundle.path("file"), "options": ["bind", "ro"]}));
    assert_eq!(bundle.run("cat /made/here /tmp/f; echo x > /tmp/f || echo refused"), "content\ncontent\nrefused\n");
}

#[test]
fn a_tmpfs_takes_on_mode_and_content() {
    let Some(mut bundle) = Bundle::new() else { return };
    let etc = bundle.path("rootfs/etc");
    fs::write(etc.join("file"), "content\n").unwrap();
    chown(etc.join("file"), Some(7), Some(8)).unwrap();
    fs::set_permissions(&etc, PermissionsExt::from_mode(0o751)).unwrap();
    bundle.add_mount(json!({"destination": "/etc", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup"]}));
    assert_eq!(
        bundle.run("stat -c %a /etc; stat -c '%u %g' /etc/file; cat /etc/file; rm /etc/file"),
        "751\n7 8\ncontent\n"
    );
    assert!(etc.join("file").exists());
}

#[test]
fn the_root_is_read_only_and_paths_are_masked() {
    let Some(mut bundle) = Bundle::new() else { return };
    fs::write(bundle.path("rootfs/etc/secret"), "secret").unwrap();
    fs::write(bundle.path("rootfs/data/f"), "").unwrap();
    bundle.config["root"]["readonly"] = json!(true);
    bundle.config["linux"]["maskedPaths"] = json!(["/etc/secret", "/data", "/nonexistent"]);
    bundle.config["linux"]["readonlyPaths"] = json!(["/proc/sys", "/nonexistent"]);
    let script = "cat /etc/secret; ls /data; touch /f || echo 1; echo x > /proc/sys/kernel/hostname || echo 2; touch /dev/f && echo 3";
    assert_eq!(bundle.run(script), "1\n2\n3\n");
}

#[test]
fn propagation_of_the_root() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.config["process"]["capabilities"] = json!(null);
    for (mode, expected) in [("shared", "shared:"), ("slave", ""), ("private", ""), ("unbindable", "unbindable")] {
        bundle.config["linux"]["rootfsPropagation"] = json!(mode);
        let optional = bundle.run("awk '$5 == \"/\" { print $7 }' /proc/self/mountinfo");
        let ok = if expected.is_empty() { !optional.contains("shared") } else { optional.contains(expected) };
        assert!(ok, "{mode}: {optional}");
    }
    assert!(bundle.dir.path().metadata().unwrap().uid() == 0);
}

/// What is mounted below a shared bind mount in the container shows on the host, and nothing else does.
#[test]
fn mounts_reach_the_host_where_they_are_to() {
    let Some(mut bundle) = Bundle::new() else { return };
    let source = bundle.path("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    let call =
        |args: &[&str]| assert!(std::process::Command::new(args[0]).args(&args[1..]).status().unwrap().success());
    let path = source.display().to_string();
    call(&["mount", "-t", "tmpfs", "tmpfs", &path]);
    call(&["mount", "--make-shared", &path]);
    fs::create_dir(source.join("sub")).unwrap();
    let count = || fs::read_to_string("/proc/self/mountinfo").unwrap().lines().count();
    let before = count();
    let run = |bundle: &mut Bundle, root: &str, option: &str| {
        bundle.config["linux"]["rootfsPropagation"] = json!(root);
        bundle.config["mounts"].as_array_mut().unwrap().truncate(2);
        bundle
            .add_mount(json!({"destination": "/data", "type": "bind", "source": source, "options": ["rbind", option]}));
        bundle.run("mount -t tmpfs tmpfs /data/sub && touch /data/sub/f");
        let reached = source.join("sub/f").exists();
        std::process::Command::new("umount")
            .arg(source.join("sub"))
            .stderr(std::process::Stdio::null())
            .status()
            .unwrap();
        reached
    };
    let found = [("rshared", "rshared"), ("rshared", "rslave"), ("rslave", "rslave"), ("rprivate", "rprivate")]
        .map(|(root, option)| run(&mut bundle, root, option));
    let after = count();
    call(&["umount", "-R", &path]);
    assert_eq!(found, [true, false, false, false]);
    assert_eq!(before, after, "mounts that were left on the host");
    bundle.config["linux"]["rootfsPropagation"] = json!("nosuch");
    bundle.refused();
}

#[test]
fn ids_of_a_mount_are_mapped() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    let source = bundle.path("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("root"), "").unwrap();
    fs::write(source.join("user"), "").unwrap();
    chown(source.join("user"), Some(1), Some(1)).unwrap();
    let map = json!([{"containerID": 0, "hostID": 500, "size": 10}]);
    bundle.add_mount(json!({
        "destination": "/data", "type": "bind", "source": source, "options": ["bind"], "uidMappings": map, "gidMappings": map,
    }));
    assert_eq!(bundle.run("stat -c '%u %g' /data/root /data/user"), "500 500\n501 501\n");
    // In a user namespace: its own mapping makes the owners what they are in the source.
    bundle.config["mounts"].as_array_mut().unwrap().truncate(2);
    bundle.add_users();
    bundle.add_mount(json!({"destination": "/data", "type": "bind", "source": source, "options": ["bind", "idmap"]}));
    assert_eq!(bundle.run("stat -c '%u %g' /data/root /data/user; touch /data/new"), "0 0\n1 1\n");
    assert_eq!(source.join("new").metadata().unwrap().uid(), 0);
    bundle.namespaces().retain(|namespace| namespace["type"] != "user");
    bundle.config["linux"]["uidMappings"] = json!([]);
    bundle.config["linux"]["gidMappings"] = json!([]);
    assert!(bundle.refused().contains("idmap"));
}

#[test]
fn what_a_mount_must_not_be() {
    let Some(mut bundle) = Bundle::new() else { return };
    for mount in [
        json!({"destination": "/proc/self", "type": "tmpfs", "source": "tmpfs"}),
        json!({"destination": "/proc", "type": "bind", "source": "/tmp", "options": ["bind"]}),
        json!({"destination": "/data", "type": "nosuchfs", "source": "x"}),
        json!({"destination": "/data", "type": "bind", "source": "/nonexistent", "options": ["bind"]}),
        json!({"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuchoption"]}),
    ] {
        bundle.config["mounts"].as_array_mut().unwrap().truncate(2);
        bundle.add_mount(mount);
        bundle.refused();
    }
}
