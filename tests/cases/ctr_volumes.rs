//! Volumes: of an image, by name, and what becomes of them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Engine, text};

/// Load an image with the tree of `busybox` and the script's changes of it, and these paths as `VOLUME`.
fn load(engine: &Engine, name: &str, script: &str, volumes: &[&str]) {
    let tree = engine.dir.path().join("tree");
    let sh = |script: &str| {
        let output = Command::new("sh").arg("-euc").arg(script).current_dir(&tree).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let archive = engine.dir.path().join("archive");
    fs::create_dir_all(&archive).unwrap();
    sh(script);
    sh("tar --xattrs --xattrs-include='*' -cf ../archive/layer.tar .");
    let digest = sh("sha256sum ../archive/layer.tar");
    let volumes: serde_json::Map<_, _> = volumes.iter().map(|&path| (path.to_owned(), serde_json::json!({}))).collect();
    let config = serde_json::json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "config": { "Cmd": ["sh"], "Volumes": volumes },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", &digest[..64])] },
    });
    fs::write(archive.join("config.json"), config.to_string()).unwrap();
    let manifest = serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    fs::write(archive.join("manifest.json"), manifest.to_string()).unwrap();
    sh("tar -C ../archive -cf ../image.tar manifest.json config.json layer.tar");
    let output = engine.ctr(&["load", "-i", engine.dir.path().join("image.tar").to_str().unwrap()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn sh(engine: &Engine, options: &[&str], image: &str, script: &str) -> String {
    ok(engine, &[&["run", "--rm", "--network", "none"], options, &[image, "sh", "-c", script]].concat())
}

fn count(engine: &Engine) -> usize {
    fs::read_dir(engine.dir.path().join("state/volumes")).map_or(0, Iterator::count)
}

#[test]
fn an_image_fills_its_volumes() {
    let Some(engine) = Engine::new() else { return };
    let fill = "mkdir -p data/deep; echo text > data/deep/file; ln data/deep/file data/twin; ln -s deep/file data/link
        chown 1000:1001 data data/deep/file; chmod 1750 data; chmod 4755 data/deep/file; touch -d 2001-02-03T04:05:06Z data/deep/file
        truncate -s 8M data/holes; mkfifo data/pipe";
    load(&engine, "filled", fill, &["/data", "/new"]);
    let look =
        "stat -c '%n %u:%g %a %h %F' /data /data/deep /data/deep/file /data/link /data/pipe; cat /data/link /data/twin;
        stat -c %Y /data/deep/file; test $(stat -c %i /data/twin) = $(stat -c %i /data/deep/file) && echo same;
        test $(stat -c %b /data/holes) -lt 1000 && stat -c %s /data/holes; echo x > /new/x && echo writable";
    let expected = "/data 1000:1001 1750 3 directory\n/data/deep 0:0 755 2 directory\n\
        /data/deep/file 1000:1001 4755 2 regular file\n/data/link 0:0 777 1 symbolic link\n/data/pipe 0:0 644 1 fifo\n\
        text\ntext\n981173106\nsame\n8388608\nwritable\n";
    assert_eq!(sh(&engine, &[], "filled", look), expected);
    assert_eq!(count(&engine), 0, "--rm takes the anonymous volumes along");

    // By name it stays, with what was made of it, and nothing is filled in again.
    let named = ["-v", "kept:/data", "-v", "/new"];
    assert_eq!(sh(&engine, &named, "filled", look), expected);
    assert_eq!(sh(&engine, &named, "filled", "rm -r /data/deep; chmod 700 /data; echo y > /data/y; ls /new"), "");
    assert_eq!(sh(&engine, &["-v", "kept:/data:ro"], "filled", "ls /data; touch /data/x || stat -c %a /data"), {
        "holes\nlink\npipe\ntwin\ny\n700\n"
    });
    assert_eq!(sh(&engine, &["-v", "kept:/mnt"], "busybox", "cat /mnt/y"), "y\n");
    assert_eq!(sh(&engine, &["-v", "bare:/data:nocopy"], "filled", "ls /data"), "");
    assert_eq!(ok(&engine, &["volume", "ls", "-q"]), "bare\nkept\n");
    // A host's directory is never filled.
    let host = engine.dir.path().join("host");
    assert_eq!(sh(&engine, &["-v", &format!("{}:/data", host.display())], "filled", "ls /data"), "");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn extended_attributes_come_along() {
    let Some(engine) = Engine::new() else { return };
    let file = engine.dir.path().join("tree/data/file");
    fs::create_dir(file.parent().unwrap()).unwrap();
    fs::write(&file, "").unwrap();
    // struct vfs_cap_data, linux/capability.h: version 2, effective, CAP_NET_BIND_SERVICE.
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    rustix::fs::setxattr(&file, "security.capability", &capability, rustix::fs::XattrFlags::empty()).unwrap();
    load(&engine, "capable", ":", &[]);
    sh(&engine, &["-v", "vv:/data"], "capable", "true");
    let mut value = [0; 64];
    let copy = engine.dir.path().join("state/volumes/vv/_data/file");
    let length = rustix::fs::getxattr(&copy, "security.capability", &mut value[..]).unwrap();
    assert_eq!(value[..length], capability);
}

#[test]
fn volumes_are_listed_and_removed() {
    let Some(engine) = Engine::new() else { return };
    load(&engine, "declares", ":", &["/data"]);
    assert_eq!(ok(&engine, &["volume", "create", "--label", "a=b", "mine"]), "mine\n");
    let inspected: serde_json::Value = serde_json::from_str(&ok(&engine, &["volume", "inspect", "mine"])).unwrap();
    assert_eq!((inspected[0]["Name"].as_str(), inspected[0]["Labels"]["a"].as_str()), (Some("mine"), Some("b")));
    assert!(Path::new(inspected[0]["Mountpoint"].as_str().unwrap()).is_dir());
    ok(&engine, &["create", "--name", "one", "-v", "mine:/mine", "declares"]);
    assert_eq!(count(&engine), 2);
    let mounts = engine.inspect("one")["Mounts"].clone();
    assert_eq!(mounts.as_array().unwrap().len(), 2, "{mounts}");
    assert_ne!(engine.ctr(&["volume", "rm", "mine"]).status.code(), Some(0), "it is in use");
    ok(&engine, &["rm", "-v", "one"]);
    assert_eq!(ok(&engine, &["volume", "ls", "-q"]), "mine\n", "the anonymous one has gone");
    ok(&engine, &["create", "--name", "two", "declares"]);
    ok(&engine, &["rm", "two"]);
    assert_eq!(count(&engine), 2);
    ok(&engine, &["volume", "prune"]);
    assert_eq!(ok(&engine, &["volume", "ls", "-q"]), "mine\n");
    ok(&engine, &["volume", "rm", "mine"]);
    assert_ne!(engine.ctr(&["volume", "rm", "mine"]).status.code(), Some(0), "there is none");
    assert_eq!(count(&engine), 0);
    // Nothing is left of a creation that fails.
    assert_eq!(
        engine.ctr(&["create", "--name", "a", "-v", "/x", "-v", "/proc/nowhere/y:/y", "declares"]).status.code(),
        Some(125)
    );
    assert_eq!(count(&engine), 0);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_filling_that_was_cut_off_is_done_again() {
    let Some(engine) = Engine::new() else { return };
    load(&engine, "filled", "mkdir data; echo 1 > data/a; echo 2 > data/b", &[]);
    ok(&engine, &["volume", "create", "vv"]);
    let volume = engine.dir.path().join("state/volumes/vv");
    fs::create_dir_all(volume.join("fill.part/deep")).unwrap();
    fs::write(volume.join("fill.part/deep/half"), "").unwrap();
    assert_eq!(sh(&engine, &["-v", "vv:/data"], "filled", "ls /data"), "a\nb\n");
    // Complete, and cut off while it was moved.
    fs::create_dir(volume.join("fill")).unwrap();
    fs::rename(volume.join("_data/b"), volume.join("fill/b")).unwrap();
    assert_eq!(sh(&engine, &["-v", "vv:/new"], "filled", "cat /new/*"), "1\n2\n");
    let mut left: Vec<_> = fs::read_dir(&volume).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["_data", "volume.json"]);
}

#[test]
fn go_2022_0344_volumes_never_leave_the_root() {
    let Some(engine) = Engine::new() else { return };
    let secret = engine.dir.path().join("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    let path = secret.to_str().unwrap();
    let up = "../".repeat(20);
    // An image's links are followed, but within the image.
    load(&engine, "absolute", &format!("ln -s {path} escape"), &["/escape"]);
    load(&engine, "relative", &format!("rm escape; ln -s {up}{path} escape"), &["/escape"]);
    load(&engine, "inside", "rm escape; mkdir -p real; echo in > real/x; ln -s /real escape", &["/escape"]);
    load(&engine, "dots", ":", &[&format!("/{up}{path}")]);
    load(&engine, "magic", "rm escape; ln -s /proc/self/cwd escape", &["/escape"]);
    for image in ["absolute", "relative", "dots", "magic"] {
        let output =
            engine.ctr(&["run", "--name", "hostile", "--network", "none", image, "sh", "-c", "cat /escape/key"]);
        assert!(!text(&output.stdout).contains("secret"), "{image}");
        for volume in fs::read_dir(engine.dir.path().join("state/volumes")).unwrap() {
            assert!(!volume.unwrap().path().join("_data/key").exists(), "{image}");
        }
        engine.ctr(&["rm", "-v", "hostile"]);
    }
    assert_eq!(sh(&engine, &[], "inside", "cat /real/x"), "in\n");
    for place in ["/proc", "/proc/self/attr", "/proc/sys"] {
        load(&engine, "kernel", ":", &[place]);
        assert_eq!(
            engine.ctr(&["run", "--rm", "--network", "none", "kernel", "true"]).status.code(),
            Some(125),
            "{place}"
        );
    }
    for wrong in ["relative", "/", "/.."] {
        load(&engine, "wrong", ":", &[wrong]);
        assert_eq!(
            engine.ctr(&["run", "--rm", "--network", "none", "wrong", "true"]).status.code(),
            Some(125),
            "{wrong}"
        );
    }
    assert_eq!(fs::read_dir(&secret).unwrap().count(), 1);
    assert_eq!(engine.leftovers(), (0, vec![]));
    assert_eq!(count(&engine), 0);
}
