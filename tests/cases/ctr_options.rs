//! Options of `ctr run`: each does what it says.

use std::fs;
use std::path::Path;

use super::{Engine, keeps_device_rules, text};

/// What a container with these options prints, which must succeed.
fn says(engine: &Engine, options: &[&str], script: &str) -> String {
    let (code, output) = engine.run(options, script);
    assert_eq!(code, 0, "{options:?}: {output}");
    output
}

/// Why these options are refused.
fn refused(engine: &Engine, options: &[&str]) -> String {
    let output = engine.ctr(&[&["run", "--rm", "--network", "none"], options, &["busybox", "true"]].concat());
    assert_eq!(output.status.code(), Some(125), "{options:?}: {}", text(&output.stderr));
    text(&output.stderr)
}

#[test]
fn names_and_addresses() {
    let Some(engine) = Engine::new() else { return };
    let options = ["--dns", "9.9.9.9", "--dns-search", "example.org", "--dns-option", "ndots:3"];
    let found = says(&engine, &options, "cat /etc/resolv.conf");
    for line in ["nameserver 9.9.9.9\n", "search example.org\n", "options ndots:3\n"] {
        assert!(found.contains(line), "{found}");
    }
    assert_eq!(found.matches("nameserver").count(), 1, "{found}");
    let options = ["--add-host", "db:10.1.2.3", "--add-host", "gw=host-gateway", "--add-host", "six:[::1]"];
    let found = says(&engine, &options, "cat /etc/hosts");
    for line in ["10.1.2.3\tdb\n", "10.88.0.1\tgw\n", "::1\tsix\n"] {
        assert!(found.contains(line), "{found}");
    }
    assert_eq!(says(&engine, &["--hostname", "web"], "hostname; cat /etc/hostname"), "web\nweb\n");
    assert_eq!(says(&engine, &["--domainname", "lan"], "cat /proc/sys/kernel/domainname"), "lan\n");
    assert!(refused(&engine, &["--dns", "x"]).contains("x is not an ip address"));
    assert!(refused(&engine, &["--add-host", "x"]).contains("bad format for add-host: \"x\""));
}

#[test]
fn mounts_by_mount() {
    let Some(engine) = Engine::new() else { return };
    let host = engine.dir.path().join("host");
    fs::create_dir_all(host.join("sub")).unwrap();
    fs::write(host.join("file"), "host\n").unwrap();
    let bind = format!("type=bind,source={},target=/data", host.display());
    assert_eq!(says(&engine, &["--mount", &bind], "cat /data/file; touch /data/new; echo $?"), "host\n0\n");
    assert!(host.join("new").exists());
    let (code, _) = engine.run(&["--mount", &format!("{bind},readonly")], "touch /data/other");
    assert!(code != 0 && !host.join("other").exists());
    let volume = "type=volume,source=data,target=/data,volume-label=a=b";
    says(&engine, &["--mount", volume], "echo kept > /data/file");
    assert_eq!(
        says(&engine, &["--mount", "source=data,dst=/data,ro"], "cat /data/file; touch /data/x 2>/dev/null || echo ro"),
        "kept\nro\n"
    );
    let labels = engine.ctr(&["volume", "inspect", "data"]);
    assert!(text(&labels.stdout).contains("\"a\": \"b\""));
    let tmpfs = says(
        &engine,
        &["--mount", "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=0700"],
        "grep ' /t ' /proc/mounts; stat -c %a /t",
    );
    assert!(tmpfs.contains("size=1024k") && tmpfs.contains("noexec") && tmpfs.ends_with("700\n"), "{tmpfs}");
    let missing = refused(&engine, &["--mount", "type=bind,source=/no/such,target=/x"]);
    assert!(missing.contains("bind source path does not exist: /no/such"), "{missing}");
    assert!(refused(&engine, &["-v", "/a:/x", "--mount", "type=tmpfs,dst=/x"]).contains("Duplicate mount point: /x"));
    assert!(refused(&engine, &["-v", "/a:/x:wrong"]).contains("invalid mode: wrong"));
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn mounts_below_a_bind_mount() {
    let Some(engine) = Engine::new() else { return };
    let host = engine.dir.path().join("host");
    let below = host.join("below");
    fs::create_dir_all(&below).unwrap();
    let mount = |args: &[&str]| assert!(std::process::Command::new("mount").args(args).status().unwrap().success());
    mount(&["-t", "tmpfs", "below", below.to_str().unwrap()]);
    fs::write(below.join("file"), "below").unwrap();
    let bind = format!("type=bind,src={},dst=/data", host.display());
    let see = |more: &str, script: &str| engine.run(&["--mount", &format!("{bind}{more}")], script);
    let all = [
        see("", "cat /data/below/file"),
        see(",bind-nonrecursive", "ls /data/below"),
        see(",readonly", "touch /data/below/x 2>/dev/null || echo ro"),
        see(",readonly,bind-recursive=writable", "touch /data/below/x 2>/dev/null && echo rw"),
    ];
    let umounted = std::process::Command::new("umount").arg(&below).status().unwrap().success();
    assert!(umounted);
    let wanted = ["below", "", "ro\n", "rw\n"].map(|output| (0, output.to_owned()));
    assert_eq!(all, wanted);
}

#[test]
fn a_mount_of_the_host_spreads_if_wanted() {
    let Some(engine) = Engine::new() else { return };
    let host = engine.dir.path().join("host");
    fs::create_dir_all(host.join("below")).unwrap();
    let sh = |script: &str| {
        let status = std::process::Command::new("sh").arg("-euc").arg(script).current_dir(&host).status().unwrap();
        assert!(status.success(), "{script}");
    };
    sh("mount --bind . . && mount --make-shared .");
    let script = "touch /data/ready; while ! test -e /data/go; do sleep 0.05; done; cat /data/below/file 2>&1";
    let outcome = |mode: &str| {
        let _ = fs::remove_file(host.join("ready"));
        let _ = fs::remove_file(host.join("go"));
        let volume = format!("{}:/data:{mode}", host.display());
        let name = format!("spread-{mode}");
        let started = engine.ctr(&[
            "run",
            "-d",
            "--name",
            &name,
            "--network",
            "none",
            "-v",
            &volume,
            "busybox",
            "sh",
            "-c",
            script,
        ]);
        assert!(started.status.success(), "{}", text(&started.stderr));
        sh("while ! test -e ready; do sleep 0.05; done; mount -t tmpfs below below; echo below > below/file; touch go");
        engine.ctr(&["wait", &name]);
        sh("umount below");
        text(&engine.ctr(&["logs", &name]).stdout)
    };
    let outcomes = [outcome("rslave"), outcome("rprivate")];
    sh("cd / && umount \"$OLDPWD\" 2>/dev/null || umount -l \"$OLDPWD\"");
    assert_eq!(outcomes[0], "below\n");
    assert!(outcomes[1].contains("No such file"), "{}", outcomes[1]);
}

#[test]
fn tmpfs_and_read_only() {
    let Some(engine) = Engine::new() else { return };
    let options = ["--read-only", "--tmpfs", "/run:size=64k,exec,mode=755", "--tmpfs", "/tmp"];
    let found = says(
        &engine,
        &options,
        "grep -E ' /(run|tmp) ' /proc/mounts; touch /run/x /tmp/x; touch /x 2>/dev/null || echo ro",
    );
    assert!(found.contains("size=64k") && found.ends_with("ro\n"), "{found}");
    let run = found.lines().find(|line| line.contains(" /run ")).unwrap();
    assert!(!run.contains("noexec") && run.contains("nosuid"), "{run}");
    assert!(says(&engine, &["--shm-size", "1m"], "grep /dev/shm /proc/mounts").contains("size=1024k"));
}

#[test]
fn volumes_from_another_container() {
    let Some(engine) = Engine::new() else { return };
    let created =
        engine.ctr(&["create", "--name", "donor", "--network", "none", "-v", "data:/data", "busybox", "true"]);
    assert!(created.status.success(), "{}", text(&created.stderr));
    says(&engine, &["--volumes-from", "donor"], "echo x > /data/file");
    assert_eq!(
        says(&engine, &["--volumes-from", "donor:ro"], "cat /data/file; touch /data/y 2>/dev/null || echo ro"),
        "x\nro\n"
    );
    assert!(refused(&engine, &["--volumes-from", "nobody"]).contains("No such container: nobody"));
    assert!(refused(&engine, &["--volumes-from", "donor:x"]).contains("invalid mode"));
}

#[test]
fn users_and_groups() {
    let Some(engine) = Engine::new() else { return };
    let found = says(&engine, &["--user", "1000:1000", "--group-add", "7", "--group-add", "1234"], "id");
    assert!(found.starts_with("uid=1000") && found.contains("groups=7,1000,1234"), "{found}");
    // As Docker has it, root is in the groups that name it.
    let tree = engine.dir.path().join("tree");
    fs::write(tree.join("etc/group"), "root:x:0:\nwheel:x:10:root\n").unwrap();
    engine.import(&tree, "busybox");
    assert!(says(&engine, &["--group-add", "wheel"], "id").contains("groups=0(root),10(wheel)"));
    assert!(engine.run(&["--group-add", "nogroup"], "true").1.contains("no such group"));
}

#[test]
fn limits_of_a_process() {
    let Some(engine) = Engine::new() else { return };
    let found =
        says(&engine, &["--ulimit", "nofile=100:200", "--ulimit", "core=0"], "ulimit -Sn; ulimit -Hn; ulimit -c");
    assert_eq!(found, "100\n200\n0\n");
    assert_eq!(says(&engine, &["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"), "500\n");
    assert!(
        refused(&engine, &["--ulimit", "nofile=2:1"])
            .contains("ulimit soft limit must be less than or equal to hard limit: 2 > 1")
    );
    assert!(refused(&engine, &["--oom-score-adj", "1001"]).contains("range for oom score adj is [-1000, 1000]"));
    assert!(refused(&engine, &["--memory", "64m", "--memory-swap", "32m"]).contains("Minimum memoryswap limit"));
    assert!(
        refused(&engine, &["--cpus", "1", "--cpu-quota", "2000"])
            .contains("Nano CPUs and CPU Quota cannot both be set")
    );
}

#[test]
fn security_options() {
    let Some(engine) = Engine::new() else { return };
    let status = "grep -E 'NoNewPrivs|Seccomp:' /proc/self/status";
    assert_eq!(says(&engine, &[], status), "NoNewPrivs:\t1\nSeccomp:\t2\n");
    let open = ["--security-opt", "seccomp=unconfined", "--security-opt", "no-new-privileges=false"];
    assert_eq!(says(&engine, &open, status), "NoNewPrivs:\t0\nSeccomp:\t0\n");
    let profile = engine.dir.path().join("profile.json");
    fs::write(&profile, r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#).unwrap();
    let (_, output) = engine.run(&["--security-opt", &format!("seccomp={}", profile.display())], "mkdir /x");
    assert!(output.contains("No space left on device"), "{output}");
    let read_only = "(echo 0 > /proc/sys/kernel/domainname) 2>/dev/null || echo ro";
    assert_eq!(says(&engine, &[], read_only), "ro\n");
    assert_eq!(says(&engine, &["--security-opt", "systempaths=unconfined"], read_only), "");
    assert_eq!(says(&engine, &["--security-opt", "mask=/etc/passwd"], "cat /etc/passwd"), "");
    for wrong in ["apparmor=x", "label=type:x", "magic"] {
        assert!(refused(&engine, &["--security-opt", wrong]).contains(wrong.split('=').next().unwrap()));
    }
    assert_eq!(says(&engine, &["--sysctl", "net.ipv4.ip_forward=1"], "cat /proc/sys/net/ipv4/ip_forward"), "1\n");
    assert!(engine.run(&["--sysctl", "kernel.panic=1"], "true").1.contains("kernel.panic"));
}

#[test]
fn privileged_has_all() {
    let Some(engine) = Engine::new() else { return };
    let (code, output) = engine
        .run(&["--privileged"], "grep -E 'CapEff|Seccomp:|NoNewPrivs' /proc/self/status; ls /dev; touch /sys/x 2>&1");
    if !keeps_device_rules() {
        // The runtime refuses to give what it could not take.
        assert_eq!(code, 125, "{output}");
        assert!(output.contains("device"), "{output}");
        return;
    }
    assert!(output.contains("Seccomp:\t0") && output.contains("NoNewPrivs:\t0"), "{output}");
    assert!(output.contains("kmsg") && !output.contains("Read-only file system"), "{output}");
}

#[test]
fn namespaces_of_the_host_and_of_others() {
    let Some(engine) = Engine::new() else { return };
    let own = |name: &str| {
        fs::read_link(format!("/proc/self/ns/{name}")).unwrap().into_os_string().into_string().unwrap() + "\n"
    };
    let show = |name: &str| format!("ls -l /proc/self/ns/{name} | sed 's/.*-> //'");
    for (option, name) in [("--pid", "pid"), ("--ipc", "ipc"), ("--uts", "uts"), ("--cgroupns", "cgroup")] {
        assert_eq!(says(&engine, &[option, "host"], &show(name)), own(name), "{option}");
        assert_ne!(says(&engine, &[], &show(name)), own(name), "{option}");
    }
    assert_eq!(says(&engine, &["--userns", "host"], &show("user")), own("user"));
    assert!(engine.run(&["--ipc", "none"], "ls /dev/shm").0 != 0);
    assert!(refused(&engine, &["--uts", "host", "--hostname", "x"]).contains("hostname and the UTS mode"));
    let donor = engine.ctr(&[
        "run",
        "-d",
        "--name",
        "donor",
        "--network",
        "none",
        "--ipc",
        "shareable",
        "busybox",
        "sleep",
        "100",
    ]);
    assert!(donor.status.success(), "{}", text(&donor.stderr));
    assert!(engine.ctr(&["exec", "donor", "sh", "-c", "echo shared > /dev/shm/file"]).status.success());
    let found = says(
        &engine,
        &["--ipc", "container:donor", "--pid", "container:donor"],
        "cat /dev/shm/file; cat /proc/1/cmdline",
    );
    assert!(found.starts_with("shared\nsleep"), "{found}");
    let private = engine.start("sleep 100");
    assert!(engine.run(&["--ipc", &format!("container:{private}")], "true").1.contains("non-shareable IPC"));
    assert!(refused(&engine, &["--pid", "container:nobody"]).contains("No such container: nobody"));
    assert!(engine.ctr(&["rm", "-f", "donor", &private]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn files_of_variables_labels_and_ids() {
    let Some(engine) = Engine::new() else { return };
    let path = |name: &str| engine.dir.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("env"), "# comment\n  A=1 2 \nB='x'\nHOME=/h\n").unwrap();
    fs::write(path("labels"), "one=1\ntwo\n").unwrap();
    let found = says(&engine, &["--env-file", &path("env"), "-e", "B=y"], "echo \"[$A][$B][$HOME]\"");
    assert_eq!(found, "[1 2 ][y][/h]\n");
    let args = [
        "create",
        "--cidfile",
        &path("cid"),
        "--label-file",
        &path("labels"),
        "-l",
        "three=3",
        "--annotation",
        "a=b",
        "busybox",
    ];
    let id = text(&engine.ctr(&args).stdout).trim().to_owned();
    assert_eq!(fs::read_to_string(path("cid")).unwrap(), id);
    let found = engine.inspect(&id);
    assert_eq!(found["Config"]["Labels"], serde_json::json!({"one": "1", "two": "", "three": "3"}));
    assert_eq!(found["HostConfig"]["Annotations"]["a"], "b");
    let again = engine.ctr(&args);
    assert!(text(&again.stderr).contains("container ID file found"), "{}", text(&again.stderr));
    assert_eq!(again.status.code(), Some(125));
}

#[test]
fn streams_that_are_followed() {
    let Some(engine) = Engine::new() else { return };
    let run = |options: &[&str]| {
        let output = engine.ctr(
            &[&["run", "--rm", "--network", "none"], options, &["busybox", "sh", "-c", "echo out; echo err >&2"]]
                .concat(),
        );
        (text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(run(&[]), ("out\n".into(), "err\n".into()));
    assert_eq!(run(&["-a", "stdout"]), ("out\n".into(), String::new()));
    assert_eq!(run(&["--attach", "STDERR"]), (String::new(), "err\n".into()));
    assert!(refused(&engine, &["-d", "-a", "stdout"]).contains("cannot specify both --attach and --detach"));
    assert!(refused(&engine, &["-a", "x"]).contains("valid streams are STDIN, STDOUT and STDERR"));
}

#[test]
fn logs_turn_over_as_wanted() {
    let Some(engine) = Engine::new() else { return };
    let run = |options: &[&str]| {
        let args = [
            &["run", "--name", "log", "--network", "none"],
            options,
            &["busybox", "sh", "-c", "i=0; while [ $i -lt 100 ]; do echo line $i; i=$((i+1)); done"],
        ]
        .concat();
        assert!(engine.ctr(&args).status.success());
        let dir = Path::new(engine.inspect("log")["LogPath"].as_str().unwrap()).parent().unwrap().to_owned();
        let files = fs::read_dir(dir).map_or(0, |all| {
            all.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().starts_with("log")).count()
        });
        let lines = text(&engine.ctr(&["logs", "log"]).stdout).lines().count();
        assert!(engine.ctr(&["rm", "log"]).status.success());
        (files, lines)
    };
    assert_eq!(run(&[]), (1, 100));
    let (files, lines) = run(&["--log-opt", "max-size=2k", "--log-opt", "max-file=3"]);
    assert!(files == 3 && lines < 100, "{files} {lines}");
    assert!(refused(&engine, &["--log-driver", "syslog"]).contains("no log driver named 'syslog'"));
    assert!(refused(&engine, &["--log-opt", "tag=x"]).contains("unknown log opt 'tag' for json-file log driver"));
    let none =
        engine.ctr(&["run", "--name", "none", "--log-driver", "none", "--network", "none", "busybox", "echo", "x"]);
    assert_eq!(text(&none.stdout), "x\n");
    assert_eq!(text(&engine.ctr(&["logs", "none"]).stdout), "");
}

#[test]
fn booleans_as_docker_reads_them() {
    let Some(engine) = Engine::new() else { return };
    let output = engine.ctr(&[
        "run",
        "--rm=true",
        "-i=false",
        "--network",
        "none",
        "--read-only=false",
        "busybox",
        "touch",
        "/x",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(engine.leftovers().1.len(), 0);
    // The last one counts.
    assert_eq!(says(&engine, &["--hostname", "a", "--hostname", "b"], "hostname"), "b\n");
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    let Some(engine) = Engine::new() else { return };
    for (option, value) in [
        ("--gpus", "all"),
        ("--link", "x"),
        ("--link-local-ip", "169.254.1.1"),
        ("--runtime", "runc"),
        ("--isolation", "default"),
        ("--storage-opt", "size=1g"),
        ("--volume-driver", "nfs"),
        ("--kernel-memory", "1g"),
        ("--memory-swappiness", "10"),
        ("--cpu-rt-period", "1"),
        ("--cpu-rt-runtime", "1"),
        ("--cpu-count", "1"),
        ("--cpu-percent", "1"),
        ("--io-maxbandwidth", "1"),
        ("--io-maxiops", "1"),
    ] {
        let why = refused(&engine, &[option, value]);
        assert!(why.contains(&format!("{option} is not supported: ")), "{why}");
    }
    for option in ["--oom-kill-disable", "--use-api-socket"] {
        assert!(refused(&engine, &[option]).contains(&format!("{option} is not supported: ")));
        says(&engine, &[&format!("{option}=false")], "true");
    }
    assert!(refused(&engine, &["--restart", "always"]).contains("cannot specify both --restart and --rm"));
}
