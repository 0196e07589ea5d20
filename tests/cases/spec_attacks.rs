//! Attacks on OCI runtimes that are on record, by bundles as an attacker would make them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::{Value, json};

use super::{Bundle, text};

/// A folder of the host's with a file in it that no container may change or see.
fn outside(bundle: &Bundle) -> PathBuf {
    let outside = bundle.path("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("file"), "untouched").unwrap();
    outside
}

fn assert_untouched(outside: &std::path::Path) {
    let names: Vec<_> = fs::read_dir(outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["file"], "something was made on the host");
    assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
}

/// Leave only these mounts.
fn keep_mounts(bundle: &mut Bundle, keep: &[&str]) {
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| keep.contains(&mount["destination"].as_str().unwrap()));
}

/// Replace a folder of the root.
fn replace_by_link(bundle: &Bundle, folder: &str, target: &str) {
    let path = bundle.path("rootfs").join(folder);
    let _ = fs::remove_file(&path);
    let _ = fs::remove_dir_all(&path);
    symlink(target, path).unwrap();
}

/// CVE-2019-16884: a mount over a part of /proc takes writes of the runtime to somewhere else.
#[test]
fn cve_2019_16884_mounts_over_parts_of_proc() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = outside(&bundle);
    for destination in ["/proc", "/proc/self", "/proc/self/attr", "/proc/sys", "/proc/../proc/self", "/proc/1/fd"] {
        for mount in [
            json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}),
            json!({"destination": destination, "type": "bind", "source": outside, "options": ["bind"]}),
        ] {
            keep_mounts(&mut bundle, &["/dev"]);
            let proc = json!({"destination": "/proc", "type": "proc", "source": "proc"});
            bundle.config["mounts"].as_array_mut().unwrap().insert(0, proc);
            bundle.add_mount(mount);
            bundle.refused();
        }
    }
    // The same by a link.
    for (target, destination) in [("/proc/self", "/way/attr"), ("proc", "/way/sys"), ("/data/../proc/sys", "/way")] {
        replace_by_link(&bundle, "way", target);
        keep_mounts(&mut bundle, &["/dev"]);
        bundle.config["mounts"].as_array_mut().unwrap().insert(0, json!({"destination": "/proc", "type": "proc"}));
        bundle.add_mount(json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"}));
        bundle.refused();
    }
    assert_untouched(&outside);
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2023-28642: /proc or /sys is a link, so procfs is mounted elsewhere and the masks miss it.
#[test]
fn cve_2019_19921_cve_2023_27561_cve_2023_28642_proc_or_sys_as_links() {
    let Some(mut bundle) = Bundle::new() else { return };
    bundle.add_mount(json!({"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]}));
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/timer_list"]);
    bundle.run("true");
    for folder in ["proc", "sys"] {
        for target in ["/tmp", "tmp", "/data/../tmp", "../../tmp"] {
            replace_by_link(&bundle, folder, target);
            bundle.refused();
        }
        fs::remove_file(bundle.path("rootfs").join(folder)).unwrap();
        fs::create_dir(bundle.path("rootfs").join(folder)).unwrap();
    }
    // By a volume over the root's folder, which holds the link.
    let volume = bundle.path("volume");
    fs::create_dir_all(volume.join("there")).unwrap();
    symlink("there", volume.join("proc")).unwrap();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/proc");
    mounts.push(json!({"destination": "/data", "type": "bind", "source": volume, "options": ["bind"]}));
    mounts.push(json!({"destination": "/data/proc", "type": "proc", "source": "proc"}));
    bundle.refused();
}

/// CVE-2025-31133: what a mask is made of is the image's /dev/null.
#[test]
fn cve_2025_31133_masks_by_a_null_device_that_is_a_link() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !Bundle::is_ours() {
        return;
    }
    let outside = outside(&bundle);
    keep_mounts(&mut bundle, &["/proc"]);
    bundle.config["linux"]["maskedPaths"] = json!(["/proc/timer_list", "/data"]);
    let before = fs::read("/proc/sys/kernel/core_pattern").unwrap();
    for target in ["/proc/sys/kernel/core_pattern".to_owned(), outside.join("file").display().to_string()] {
        replace_by_link(&bundle, "dev/null", &target);
        let output = bundle.output("test -s /proc/timer_list && echo seen; echo x > /proc/timer_list");
        assert!(!text(&output.stdout).contains("seen"));
        assert!(fs::read("/proc/sys/kernel/core_pattern").unwrap() == before, "core_pattern was written");
        assert_untouched(&outside);
    }
}

/// CVE-2025-52881: the runtime's writes to the kernel go to what the bundle has put in their place.
#[test]
fn cve_2025_52881_settings_behind_a_false_procfs() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = outside(&bundle);
    keep_mounts(&mut bundle, &["/dev"]);
    bundle.add_namespace("network", None);
    bundle.config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1"});
    bundle.config["process"]["oomScoreAdj"] = json!(321);
    let proc = bundle.path("rootfs/proc");
    fs::create_dir_all(proc.join("sys/net/ipv4")).unwrap();
    fs::create_dir_all(proc.join("self")).unwrap();
    let (setting, score) = (proc.join("sys/net/ipv4/ip_forward"), proc.join("self/oom_score_adj"));
    // What the kernel has by a procfs of the container's own, mounted later.
    let script = "mount -t proc proc /tmp && cat /tmp/sys/net/ipv4/ip_forward /tmp/self/oom_score_adj";
    fs::write(&setting, "false").unwrap();
    fs::write(&score, "false").unwrap();
    assert_eq!(bundle.run(script), "1\n321\n");
    for file in [&setting, &score] {
        assert_eq!(fs::read_to_string(file).unwrap(), "false", "{}", file.display());
        fs::remove_file(file).unwrap();
        symlink(outside.join("file"), file).unwrap();
    }
    assert_eq!(bundle.run(script), "1\n321\n");
    assert_untouched(&outside);
}

/// CVE-2026-41579: /dev leads out of the root, and the default devices and links are made there.
#[test]
fn cve_2026_41579_dev_as_a_link() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = outside(&bundle);
    keep_mounts(&mut bundle, &["/proc"]);
    bundle.config["linux"]["devices"] = json!([
        {"path": "/dev/made", "type": "c", "major": 1, "minor": 3}, {"path": "/dev/pipe", "type": "p"},
    ]);
    let path = outside.display();
    for target in [format!("{path}"), format!("../../../../../../../..{path}"), format!("/proc/self/root{path}")] {
        replace_by_link(&bundle, "dev", &target);
        // It may be refused; what it sees and makes is never the host's.
        let output = bundle.output("cat /dev/file; echo x > /dev/file; ls /dev/");
        assert!(!text(&output.stdout).contains("untouched"), "{}", text(&output.stdout));
        assert_untouched(&outside);
    }
}

/// CVE-2024-45310: files are made as mount points while a folder on the way is swapped with a link out of the volume.
#[test]
fn cve_2024_45310_mount_points_made_while_folders_are_swapped() {
    let Some(mut bundle) = Bundle::new() else { return };
    let outside = outside(&bundle);
    let shared = bundle.path("shared");
    fs::create_dir_all(shared.join("one")).unwrap();
    symlink(&outside, shared.join("two")).unwrap();
    fs::write(bundle.path("source"), "source").unwrap();
    let source = bundle.path("source");
    bundle.add_mount(json!({"destination": "/data", "type": "bind", "source": shared, "options": ["bind"]}));
    for destination in ["/data/one/file-made", "/data/one/a/b/c", "/data/one/folder/"] {
        let kind = if destination.ends_with('/') { "tmpfs" } else { "bind" };
        bundle.add_mount(
            json!({"destination": destination, "type": kind, "source": source, "options": if kind == "bind" { json!(["bind"]) } else { json!([]) }}),
        );
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let folder = fs::File::open(&shared).unwrap();
            while !done.load(Ordering::Relaxed) {
                let flags = rustix::fs::RenameFlags::EXCHANGE;
                rustix::fs::renameat_with(&folder, "one", &folder, "two", flags).unwrap();
            }
        });
        for _ in 0..40 {
            // It may start or be refused.
            let output = bundle.output("cat /data/one/file /data/two/file");
            assert!(!text(&output.stdout).contains("untouched"));
            for made in ["one", "two"] {
                let _ = fs::remove_dir_all(shared.join(made).join("a"));
            }
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_untouched(&outside);
}

/// GO-2022-0396: a list of device rules that is empty, or none at all, allows the default devices and denies all others.
#[test]
fn go_2022_0396_no_device_rules_mean_deny() {
    let Some(mut bundle) = Bundle::new() else { return };
    if !fs::read_to_string("/proc/self/mountinfo").unwrap().contains(" - cgroup2 ") {
        println!("SKIP go_2022_0396_no_device_rules_mean_deny: this host has no cgroup v2");
        return;
    }
    let all = json!(["CAP_MKNOD"]);
    bundle.config["process"]["capabilities"] = json!({"bounding": all, "effective": all, "permitted": all});
    let script = "mknod /dev/kmsg c 1 11 && true < /dev/kmsg && echo kmsg; mknod /dev/mem c 1 1 && true < /dev/mem && echo mem; \
                  mknod /dev/loop b 7 0 && true < /dev/loop && echo loop; true < /dev/null && echo null";
    for resources in [json!({"devices": []}), json!({}), Value::Null] {
        bundle.config["linux"]["resources"] = resources;
        let output = bundle.output(script);
        let said = text(&output.stderr);
        assert_eq!(text(&output.stdout), "null\n", "{said}");
        assert!(said.contains("Operation not permitted"), "{said}");
    }
}

#[cfg(target_arch = "x86_64")]
mod calls {
    use super::*;
    use crate::probe::Arg::{Data, Value as Number};
    use crate::probe::{self, Abi, Call};
    use coracle_abi::child::ChildExt;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
    use std::process::{Command, Stdio};

    const EPERM: i32 = 1;
    const EROFS: i32 = 30;
    const ENOKEY: i32 = 126;

    /// Make a program in the root, and let the container run it.
    fn program(bundle: &mut Bundle, path: &str, abi: Abi, calls: &[Call]) {
        let full = bundle.path("rootfs").join(path);
        fs::create_dir_all(full.parent().unwrap()).unwrap();
        probe::write(&full, abi, calls);
        bundle.config["process"]["args"] = json!([format!("/{path}")]);
    }

    fn run(bundle: &Bundle, options: &[&str]) -> Command {
        bundle.write();
        let path = bundle.dir.path().to_str().unwrap().to_owned();
        let id = format!("attack-{}", std::process::id());
        bundle.runtime(&[&["run"], options, &["--bundle", &path, &id]].concat())
    }

    fn status(bundle: &Bundle, options: &[&str]) -> i32 {
        let output = run(bundle, options).output().unwrap();
        assert!(output.stderr.is_empty(), "{}", text(&output.stderr));
        output.status.code().unwrap()
    }

    /// CVE-2019-5736: the program is the runtime itself, and the loader that it asks for is the attacker's, who thus runs in
    /// a process whose /proc/self/exe is the runtime's file.
    #[test]
    fn cve_2019_5736_the_runtime_as_the_program() {
        let Some(mut bundle) = Bundle::new() else { return };
        let binary = fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap();
        let loader = b"/lib64/ld-linux-x86-64.so.2\0";
        if !Bundle::is_ours() || !binary[..4096].windows(loader.len()).any(|bytes| bytes == loader) {
            println!("SKIP cve_2019_5736_the_runtime_as_the_program: needs a build of ours that wants a loader");
            return;
        }
        // open("/proc/self/exe", O_WRONLY | O_TRUNC): ETXTBSY where nothing but its running stands in the way.
        let open = [Data(b"/proc/self/exe\0"), Number(0o1001)];
        program(&mut bundle, "lib64/ld-linux-x86-64.so.2", Abi::X86_64, &[(2, &open)]);
        bundle.config["process"]["args"] = json!(["/proc/self/exe"]);
        assert_eq!(status(&bundle, &[]), EROFS);
        bundle.config["process"]["args"] = json!(["/bin/script"]);
        fs::write(bundle.path("rootfs/bin/script"), "#!/proc/self/exe\n").unwrap();
        fs::set_permissions(bundle.path("rootfs/bin/script"), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let output = run(&bundle, &[]).output().unwrap();
        assert_ne!(output.status.code(), Some(0));
        bundle.start("attacked");
        let output = bundle.runtime(&["exec", "attacked", "/proc/self/exe"]).output().unwrap();
        assert_eq!(output.status.code(), Some(EROFS), "{}", text(&output.stderr));
        assert!(fs::read(env!("CARGO_BIN_EXE_coracle")).unwrap() == binary, "the binary was changed");
    }

    /// Calls of other ABIs are no way around a profile that names x86_64 only: they end the process.
    #[test]
    fn seccomp_ends_32_bit_and_x32_calls_that_a_profile_does_not_name() {
        let Some(mut bundle) = Bundle::new() else { return };
        let profile = json!({"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_ERRNO"}]});
        let path = b"/tmp/made\0";
        for (abi, number) in [(Abi::X86_64, 83), (Abi::X32, 83), (Abi::I386, 39)] {
            program(&mut bundle, "bin/attack", abi, &[(number, &[Data(path), Number(0o755)])]);
            bundle.config["linux"].as_object_mut().unwrap().remove("seccomp");
            let unfiltered = run(&bundle, &[]).output().unwrap().status.code().unwrap();
            bundle.config["linux"]["seccomp"] = profile.clone();
            let output = run(&bundle, &[]).output().unwrap();
            let made = fs::remove_dir(bundle.path("rootfs/tmp/made")).is_ok();
            assert_eq!(made, unfiltered == 0, "{abi:?}: what was made, was made without the profile");
            // 128 + SIGSYS.
            let expected = if abi == Abi::X86_64 { EPERM } else { 128 + 31 };
            if abi == Abi::I386 && unfiltered > 128 {
                println!("SKIP seccomp_ends_32_bit_and_x32_calls: this kernel runs no 32-bit calls");
                continue;
            }
            assert_eq!(output.status.code(), Some(expected), "{abi:?}");
        }
    }

    /// A key of the caller's session is not in the container's.
    #[test]
    fn keyring_of_the_caller_is_out_of_reach() {
        let Some(mut bundle) = Bundle::new() else { return };
        // For this thread, and whom it starts.
        coracle_abi::process::new_session_keyring().unwrap();
        let (kind, name) = (b"user\0", b"coracle-test\0");
        const SESSION: i64 = -3;
        const KEYCTL_SEARCH: i64 = 10;
        let add = bundle.path("add");
        probe::write(&add, Abi::X86_64, &[(248, &[Data(kind), Data(name), Data(b"x"), Number(1), Number(SESSION)])]);
        let search = [Number(KEYCTL_SEARCH), Number(SESSION), Data(kind), Data(name), Number(0)];
        program(&mut bundle, "bin/attack", Abi::X86_64, &[(250, &search)]);
        assert_eq!(Command::new(add).status().unwrap().code(), Some(0));
        assert_eq!(Command::new(bundle.path("rootfs/bin/attack")).status().unwrap().code(), Some(0));
        assert_eq!(status(&bundle, &[]), ENOKEY);
        assert_eq!(status(&bundle, &["--no-new-keyring"]), 0, "the caller's own is passed on when that is asked for");
    }

    /// TIOCSTI: the container types into the terminal that its caller has given as standard input.
    #[test]
    fn tiocsti_into_the_callers_terminal() {
        let Some(mut bundle) = Bundle::new() else { return };
        bundle.config["process"]["capabilities"] = json!({});
        let newline = [Number(0), Number(0x5412), Data(b"\n")];
        program(&mut bundle, "bin/attack", Abi::X86_64, &[(16, &newline)]);
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let attack = |command: &mut Command| {
            let master = openpt(flags).unwrap();
            grantpt(&master).unwrap();
            unlockpt(&master).unwrap();
            let slave = ioctl_tiocgptpeer(&master, flags).unwrap();
            command.stdin(Stdio::from(slave.try_clone().unwrap())).new_terminal_session();
            let status = command.status().unwrap().code();
            let moment = Timespec { tv_sec: 0, tv_nsec: 0 };
            let typed = poll(&mut [PollFd::new(&slave, PollFlags::IN)], Some(&moment)).unwrap() > 0;
            (status, typed)
        };
        // On a kernel that has it (dev.tty.legacy_tiocsti) the attack works without a container.
        let allowed = fs::read_to_string("/proc/sys/dev/tty/legacy_tiocsti").is_ok_and(|value| value.trim() == "1");
        let host = attack(&mut Command::new(bundle.path("rootfs/bin/attack")));
        assert_eq!(host.1, allowed, "{host:?}");
        let (status, typed) = attack(&mut run(&bundle, &[]));
        assert!(status != Some(0) && !typed, "{status:?} {typed}");
        assert!(status == Some(EPERM) || !allowed, "{status:?}");
    }
}
