//! Files between a container and the host: cp, diff, export, commit.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::{Engine, text};

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn fails(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

/// A running and a stopped container, by name.
fn both(engine: &Engine) -> [String; 2] {
    let running = engine.start("mkdir -p /data/sub; echo inside > /data/file; exec sleep 100");
    let stopped = engine.start("mkdir -p /data/sub; echo inside > /data/file");
    ok(engine, &["wait", &stopped]);
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        engine.ctr(&["exec", &running, "cat", "/data/file"]).status.success()
    }));
    [running, stopped]
}

fn work(engine: &Engine) -> PathBuf {
    let dir = engine.dir.path().join("work");
    fs::create_dir_all(&dir).unwrap();
    dir
}

#[test]
fn cp_goes_both_ways_by_the_rules_of_docker() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    let host = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    fs::write(dir.join("plain"), "from the host\n").unwrap();
    fs::create_dir_all(dir.join("tree/deep")).unwrap();
    fs::write(dir.join("tree/deep/leaf"), "leaf\n").unwrap();
    fs::hard_link(dir.join("tree/deep/leaf"), dir.join("tree/twin")).unwrap();
    symlink("deep/leaf", dir.join("tree/link")).unwrap();
    std::os::unix::fs::chown(dir.join("plain"), Some(1234), Some(1235)).unwrap();
    fs::set_permissions(dir.join("plain"), fs::Permissions::from_mode(0o4751)).unwrap();
    for name in both(&engine) {
        let at = |path: &str| format!("{name}:{path}");
        // A file: to a new name, over another, into a folder.
        ok(&engine, &["cp", &host("plain"), &at("/data/new")]);
        ok(&engine, &["cp", &host("plain"), &at("/data/file")]);
        ok(&engine, &["cp", &host("plain"), &at("data")]);
        ok(&engine, &["cp", "-a", &host("plain"), &at("/data/kept")]);
        // A folder: to a new name, into a folder, and only what is in it.
        ok(&engine, &["cp", &host("tree"), &at("/data/copy")]);
        ok(&engine, &["cp", &host("tree"), &at("/data/sub")]);
        ok(&engine, &["cp", &format!("{}/.", host("tree")), &at("/data/sub")]);
        let back = dir.join(format!("back-{name}"));
        ok(&engine, &["cp", "-a", &at("/data"), back.to_str().unwrap()]);
        for path in ["new", "file", "plain"] {
            let meta = fs::metadata(back.join(path)).unwrap();
            assert_eq!(fs::read_to_string(back.join(path)).unwrap(), "from the host\n", "{path}");
            assert_eq!((meta.uid(), meta.gid(), meta.mode() & 0o7777), (0, 0, 0o4751), "{path}");
        }
        assert_eq!(fs::metadata(back.join("kept")).unwrap().uid(), 1234);
        for path in ["copy/deep/leaf", "sub/tree/deep/leaf", "sub/deep/leaf", "copy/twin", "copy/link"] {
            assert_eq!(fs::read_to_string(back.join(path)).unwrap(), "leaf\n", "{path}");
        }
        assert_eq!(fs::read_link(back.join("copy/link")).unwrap(), Path::new("deep/leaf"));
        assert_eq!(fs::metadata(back.join("copy/twin")).unwrap().nlink(), 2);
        // Links: copied, or followed with -L.
        ok(&engine, &["cp", &at("/data/copy/link"), &host("as-link")]);
        assert!(fs::symlink_metadata(dir.join("as-link")).unwrap().is_symlink());
        fs::remove_file(dir.join("as-link")).unwrap();
        ok(&engine, &["cp", "-L", &at("/data/copy/link"), &host("as-file")]);
        assert!(fs::symlink_metadata(dir.join("as-file")).unwrap().is_file());
        fs::remove_file(dir.join("as-file")).unwrap();
        // What cannot be.
        assert!(
            fails(&engine, &["cp", &at("/nowhere"), &host("x")])
                .contains("Could not find the file /nowhere in container")
        );
        assert!(fails(&engine, &["cp", &host("nowhere"), &at("/")]).contains("nowhere"));
        fails(&engine, &["cp", &host("plain"), &at("/nowhere/")]);
        fails(&engine, &["cp", &host("plain"), &at("/nowhere/deeper")]);
        assert!(fails(&engine, &["cp", &host("tree"), &at("/data/file")]).contains("cannot copy directory"));
        assert!(
            fails(&engine, &["cp", &at("/data"), &at("/x")]).contains("copying between containers is not supported")
        );
        assert!(
            fails(&engine, &["cp", &host("tree"), &host("x")]).contains("must specify at least one container source")
        );
        assert!(!dir.join("x").exists());
        ok(&engine, &["rm", "-f", &name]);
    }
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn cp_says_how_much_and_streams_archives() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    fs::write(dir.join("file"), "x").unwrap();
    for name in both(&engine) {
        let output = engine.ctr(&["cp", dir.join("file").to_str().unwrap(), &format!("{name}:/tmp/")]);
        assert!(text(&output.stderr).starts_with("Successfully copied ") && text(&output.stdout).is_empty());
        let quiet = engine.ctr(&["cp", "-q", dir.join("file").to_str().unwrap(), &format!("{name}:/tmp/")]);
        assert_eq!(text(&quiet.stderr), "");
        let archive = engine.ctr(&["cp", &format!("{name}:/data"), "-"]);
        assert!(archive.status.success());
        fs::write(dir.join("a.tar"), &archive.stdout).unwrap();
        let listed = std::process::Command::new("tar").arg("-tf").arg(dir.join("a.tar")).output().unwrap();
        assert_eq!(text(&listed.stdout), "data/\ndata/file\ndata/sub/\n");
        let mut child = engine.command(&["cp", "-", &format!("{name}:/tmp")]).stdin(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(&archive.stdout).unwrap();
        assert!(child.wait().unwrap().success());
        ok(&engine, &["cp", &format!("{name}:/tmp/data/file"), dir.join("again").to_str().unwrap()]);
        assert_eq!(fs::read_to_string(dir.join("again")).unwrap(), "inside\n");
        let nowhere = engine.command(&["cp", "-", &format!("{name}:/nowhere")]).output().unwrap();
        assert!(text(&nowhere.stderr).contains("must be a directory"), "{}", text(&nowhere.stderr));
        ok(&engine, &["rm", "-f", &name]);
    }
}

#[test]
fn cp_respects_what_is_read_only_and_reaches_volumes() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    fs::write(dir.join("file"), "x").unwrap();
    let file = dir.join("file");
    let file = file.to_str().unwrap();
    let options = ["--name", "ro", "--network", "none", "--read-only", "-v", "vol:/vol", "-v", "vol:/rovol:ro"];
    ok(&engine, &[&["create"], &options[..], &["busybox", "sleep", "100"]].concat());
    for _ in 0..2 {
        assert!(fails(&engine, &["cp", file, "ro:/tmp"]).contains("container rootfs is marked read-only"));
        assert!(fails(&engine, &["cp", file, "ro:/rovol"]).contains("mounted volume is marked read-only"));
        let volume = engine.dir.path().join("state/volumes/vol/_data/file");
        // A mount point is there once the container has been started.
        if engine.ctr(&["inspect", "-f", "{{.State.Running}}", "ro"]).stdout == b"true\n" {
            ok(&engine, &["cp", file, "ro:/vol"]);
            assert_eq!(fs::read_to_string(&volume).unwrap(), "x");
        }
        ok(&engine, &["start", "ro"]);
    }
    ok(&engine, &["rm", "-fv", "ro"]);
}

#[test]
fn cve_2018_15664_links_that_are_swapped_lead_nowhere() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    let secret = dir.join("secret");
    fs::create_dir_all(&secret).unwrap();
    fs::write(secret.join("key"), "secret").unwrap();
    fs::write(dir.join("bait"), "bait").unwrap();
    let path = secret.to_str().unwrap();
    // The container has the very path of the host's folder, and swaps it with a link to /.
    let script = format!(
        "mkdir -p {path}; echo own > {path}/key; ln -s {path} /stable; mkdir /swap; echo own > /swap/key
         while :; do rm -rf /swap; ln -s {path} /swap; rm -rf /swap; ln -s ../../../../../../..{path} /swap;
         rm -rf /swap; ln -s /proc/1/root{path} /swap; rm -rf /swap; mkdir /swap; echo own > /swap/key; done"
    );
    let name = engine.start(&script);
    let bait = dir.join("bait");
    for round in 0..60 {
        let out = dir.join(format!("out-{round}"));
        engine.ctr(&["cp", "-q", "-L", &format!("{name}:/swap/key"), out.to_str().unwrap()]);
        assert_ne!(fs::read_to_string(&out).unwrap_or_default(), "secret");
        engine.ctr(&["cp", "-q", bait.to_str().unwrap(), &format!("{name}:/swap/planted")]);
        engine.ctr(&["cp", "-q", bait.to_str().unwrap(), &format!("{name}:/swap")]);
    }
    let left: Vec<_> = fs::read_dir(&secret).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["key"], "nothing is written on the host");
    assert_eq!(fs::read_to_string(secret.join("key")).unwrap(), "secret");
    // A link that stands still leads to the container's own.
    ok(&engine, &["cp", "-q", "-L", &format!("{name}:/stable/key"), dir.join("stable").to_str().unwrap()]);
    assert_eq!(fs::read_to_string(dir.join("stable")).unwrap(), "own\n");
    ok(&engine, &["rm", "-f", &name]);
}

/// CVE-2019-14271: `cp` in the container's root loads what the image offers as a library, as a list of users or as a program.
/// Here all that is a pipe into which nobody writes: who opens any of it hangs.
#[test]
fn cve_2019_14271_cp_uses_nothing_of_the_container() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    let tree = engine.dir.path().join("tree");
    let mut traps: Vec<String> = "etc/ld.so.preload etc/ld.so.cache etc/ld.so.conf etc/nsswitch.conf etc/localtime \
         lib64/ld-linux-x86-64.so.2 lib/ld-linux-aarch64.so.1 bin/tar bin/cp bin/gzip usr/bin/tar usr/bin/docker-tar"
        .split_ascii_whitespace()
        .map(str::to_owned)
        .collect();
    for folder in
        ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu"]
    {
        for library in ["libc.so.6", "libnss_files.so.2", "libnss_compat.so.2", "libnss_dns.so.2", "libgcc_s.so.1"] {
            traps.push(format!("{folder}/{library}"));
        }
    }
    for trap in &traps {
        let path = tree.join(trap);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let _ = fs::remove_file(&path);
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::from_bits_truncate(0o777)).unwrap();
    }
    fs::create_dir(tree.join("data")).unwrap();
    fs::write(tree.join("data/file"), "from the container").unwrap();
    engine.import(&tree, "hostile");
    let within = |args: &[&str]| {
        let mut child = engine.command(args).stdout(Stdio::null()).spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(status) = child.try_wait().unwrap() {
                return assert!(status.success(), "{args:?}");
            }
            if Instant::now() > deadline {
                child.kill().unwrap();
                panic!("{args:?} opens what is in the container");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    };
    ok(&engine, &["create", "--name", "idle", "--network", "none", "hostile", "true"]);
    let script =
        "cd /etc; for file in passwd group; do rm -f $file; busybox mkfifo $file; done; touch /ready; exec sleep 100";
    ok(&engine, &["run", "-d", "--name", "busy", "--network", "none", "hostile", "sh", "-c", script]);
    let is_ready = || engine.ctr(&["cp", "busy:/ready", dir.to_str().unwrap()]).status.success();
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        is_ready()
    }));
    let source = dir.join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "from the host").unwrap();
    for name in ["idle", "busy"] {
        let out = dir.join(name);
        within(&["cp", "-a", &format!("{name}:/data"), out.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "from the container");
        within(&["cp", "-a", source.to_str().unwrap(), &format!("{name}:/data")]);
        within(&["cp", "-L", &format!("{name}:/data/source/file"), out.to_str().unwrap()]);
        assert_eq!(fs::read_to_string(out.join("file")).unwrap(), "from the host");
        // The traps themselves are copied as what they are.
        within(&["cp", &format!("{name}:/lib"), out.to_str().unwrap()]);
        ok(&engine, &["rm", "-f", name]);
    }
}

#[test]
fn diff_tells_added_changed_and_deleted() {
    let Some(engine) = Engine::new() else { return };
    let clean = engine.start("true");
    ok(&engine, &["wait", &clean]);
    assert_eq!(ok(&engine, &["diff", &clean]), "", "what is made for a container is no change of it");
    let script = "echo x > /tmp/new; mkdir /made; echo y > /made/file; rm /bin/wc; echo z >> /etc/passwd; rm -r /tmp; mkdir /tmp";
    let name = engine.start(script);
    ok(&engine, &["wait", &name]);
    let wanted = "C /bin\nD /bin/wc\nC /etc\nC /etc/passwd\nA /made\nA /made/file\nC /tmp\n";
    assert_eq!(ok(&engine, &["diff", &name]), wanted);
    assert!(fails(&engine, &["diff", "missing"]).contains("No such container: missing"));
}

#[test]
fn export_is_the_root_without_its_mounts() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    for name in both(&engine) {
        let file = dir.join("root.tar");
        ok(&engine, &["export", "-o", file.to_str().unwrap(), &name]);
        let piped = engine.ctr(&["export", &name]);
        assert!(piped.status.success(), "{}", text(&piped.stderr));
        let listed = std::process::Command::new("tar").arg("-tf").arg(&file).output().unwrap();
        let listed = text(&listed.stdout);
        assert!(listed.contains("data/file\n") && listed.contains("bin/busybox\n"), "{listed}");
        assert!(!listed.contains("proc/self") && !listed.contains("dev/null"), "{listed}");
        fs::write(dir.join("piped.tar"), &piped.stdout).unwrap();
        let again = std::process::Command::new("tar").arg("-tf").arg(dir.join("piped.tar")).output().unwrap();
        assert_eq!(text(&again.stdout), listed, "{name}");
        fs::remove_file(dir.join("piped.tar")).unwrap();
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing beside it");
        ok(&engine, &["rm", "-f", &name]);
    }
    assert_eq!(engine.leftovers(), (0, vec![]));
}

/// A device or a pipe is written into; it is not replaced by a file.
#[test]
fn export_into_what_is_no_file() {
    let Some(engine) = Engine::new() else { return };
    let dir = work(&engine);
    let pipe = dir.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    ok(&engine, &["create", "--name", "some", "--network", "none", "busybox", "true"]);
    let path = pipe.clone();
    let reader = std::thread::spawn(move || fs::read(path).unwrap());
    ok(&engine, &["export", "-o", pipe.to_str().unwrap(), "some"]);
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    assert_eq!(reader.join().unwrap(), engine.ctr(&["export", "some"]).stdout);
    let said = fails(&engine, &["export", "-o", dir.to_str().unwrap(), "some"]);
    assert!(said.contains("is a directory"), "{said}");
    assert_eq!(fs::read_dir(&dir).unwrap().count(), 1, "nothing beside it");
}

#[test]
fn commit_makes_an_image_of_a_container() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("rm /bin/wc; rm -r /tmp; mkdir /tmp; echo new > /tmp/file; exec sleep 100");
    assert!((0..100).any(|_| {
        std::thread::sleep(Duration::from_millis(20));
        engine.ctr(&["exec", &name, "cat", "/tmp/file"]).status.success()
    }));
    let args = [
        "commit",
        "-a",
        "Jane",
        "-m",
        "a word",
        "-c",
        "CMD [\"cat\", \"/tmp/file\"]",
        "-c",
        "ENV A=b",
        &name,
        "made:1",
    ];
    let id = ok(&engine, &args);
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    let run = |args: &[&str]| ok(&engine, &[&["run", "--rm", "--network", "none", "made:1"], args].concat());
    assert_eq!(run(&[]), "new\n");
    assert_eq!(run(&["sh", "-c", "echo $A; test -e /bin/wc || echo gone; ls /tmp"]), "b\ngone\nfile\n");
    assert_eq!(engine.inspect(&name)["State"]["Paused"], false);
    let nameless = ok(&engine, &["commit", "--pause=false", &name]);
    ok(&engine, &["run", "--rm", "--network", "none", nameless.trim(), "true"]);
    assert!(fails(&engine, &["commit", "-c", "RUN x", &name]).contains("RUN is not a valid change command"));
    ok(&engine, &["rm", "-f", &name]);
}
