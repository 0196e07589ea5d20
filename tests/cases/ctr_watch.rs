//! What is seen of containers that run: logs, top, stats; and what else has no state: completions, `ctr container`.

use std::fs;

use super::{Engine, keeps_device_rules, text};

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

#[test]
fn logs_are_cut_by_time_and_by_number() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("echo one; sleep 0.3; echo two; sleep 0.3; echo three");
    assert_eq!(ok(&engine, &["logs", "-f", &name]), "one\ntwo\nthree\n");
    let stamped = ok(&engine, &["logs", "-t", &name]);
    let times: Vec<_> = stamped.lines().map(|line| line.split_once(' ').unwrap().0.to_owned()).collect();
    assert_eq!(ok(&engine, &["logs", "--since", &times[1], &name]), "two\nthree\n");
    assert_eq!(ok(&engine, &["logs", "--until", &times[1], &name]), "one\ntwo\n");
    assert_eq!(ok(&engine, &["logs", "--since", &times[1], "--until", &times[1], &name]), "two\n");
    assert_eq!(ok(&engine, &["logs", "-n", "1", "--details", &name]), " three\n");
    assert_eq!(ok(&engine, &["logs", "--tail", "0", &name]), "");
    assert_eq!(ok(&engine, &["logs", "--tail", "-1", &name]), "one\ntwo\nthree\n");
    assert_eq!(ok(&engine, &["container", "logs", "-f", "--until", &times[0], &name]), "one\n");
    assert!(fails(&engine, &["logs", "missing"]).contains("No such container: missing"));
    ok(&engine, &["rm", &name]);
}

#[test]
fn followed_logs_miss_nothing() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; sleep 0.5");
    for _ in 0..3 {
        let wanted: String = (1..=3000).map(|number| format!("{number}\n")).collect();
        assert!(ok(&engine, &["logs", "-f", &name]) == wanted);
        ok(&engine, &["restart", "-t", "0", &name]);
        ok(&engine, &["stop", "-t", "0", &name]);
        let count = ok(&engine, &["logs", "-f", &name]).lines().count();
        assert!(count >= 3000, "{count}");
        ok(&engine, &["rm", &name]);
        let args = ["run", "-d", "--name", &name, "--network", "none", "busybox", "sh", "-c"];
        ok(&engine, &[&args[..], &["i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo $i; done; sleep 0.5"]].concat());
    }
    ok(&engine, &["rm", "-f", &name]);
    ok(&engine, &["run", "--name", "silent", "--log-driver", "none", "--network", "none", "busybox", "echo", "x"]);
    assert!(fails(&engine, &["logs", "silent"]).contains("configured logging driver does not support reading"));
}

#[test]
fn top_lists_a_containers_processes_only() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("sleep 4321 & exec sleep 1234");
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        ok(&engine, &["top", &name]).lines().count() == 3
    }));
    let listed = ok(&engine, &["top", &name]);
    let title = listed.lines().next().unwrap();
    assert_eq!(
        title.split_whitespace().collect::<Vec<_>>(),
        ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    );
    assert!(title.starts_with("UID                 PID                 PPID "), "{title}");
    assert!(listed.contains("sleep 1234") && listed.contains("sleep 4321") && !listed.contains("cargo"), "{listed}");
    let chosen = ok(&engine, &["top", &name, "-o", "pid,comm"]);
    assert_eq!(chosen.lines().next().unwrap().split_whitespace().collect::<Vec<_>>(), ["PID", "COMMAND"]);
    assert!(fails(&engine, &["top", &name, "-o", "comm"]).contains("Couldn't find PID field in ps output"));
    ok(&engine, &["rm", "-f", &name]);
    let ended = engine.start("true");
    ok(&engine, &["wait", &ended]);
    assert!(fails(&engine, &["top", &ended]).contains("is not running"));
}

#[test]
fn stats_tell_what_is_used() {
    let Some(engine) = Engine::new() else { return };
    if !keeps_device_rules() {
        println!("SKIP stats_tell_what_is_used: this host has no cgroup v2");
        return;
    }
    let busy = engine.start("while :; do :; done");
    let idle = engine.start("exec sleep 100");
    let ended = engine.start("true");
    ok(&engine, &["wait", &ended]);
    let table = ok(&engine, &["stats", "--no-stream"]);
    let title = "CONTAINER ID   NAME      CPU %     MEM USAGE / LIMIT   MEM %     NET I/O       BLOCK I/O     PIDS";
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(squeeze(table.lines().next().unwrap()), squeeze(title));
    assert!(table.contains(&busy) && table.contains(&idle) && !table.contains(&ended), "{table}");
    let format = "{{.Name}} {{.CPUPerc}} {{.PIDs}} {{.NetIO}}";
    let row = ok(&engine, &["stats", "--no-stream", "--format", format, &busy]);
    let words: Vec<_> = row.split_whitespace().collect();
    let percent: f64 = words[1].trim_end_matches('%').parse().unwrap();
    assert!(words[0] == busy && percent > 1.0 && words[2] == "1" && row.ends_with("0B / 0B\n"), "{row}");
    let all = ok(&engine, &["stats", "--no-stream", "-a", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}"]);
    assert!(all.contains(&format!("{ended} -- -- / --\n")), "{all}");
    let json: serde_json::Value =
        serde_json::from_str(&ok(&engine, &["stats", "--no-stream", "--format", "json", &idle])).unwrap();
    assert_eq!((json["Name"].as_str(), json["CPUPerc"].as_str()), (Some(idle.as_str()), Some("0.00%")));
    assert!(fails(&engine, &["stats", "--no-stream", "missing"]).contains("No such container: missing"));
    ok(&engine, &["rm", "-f", &busy, &idle, &ended]);
}

#[test]
fn update_changes_what_needs_no_controller_and_refuses_the_rest() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    assert_eq!(ok(&engine, &["update", "--restart", "on-failure:3", &name]), format!("{name}\n"));
    let policy = engine.inspect(&name)["HostConfig"]["RestartPolicy"].clone();
    assert_eq!((policy["Name"].as_str(), policy["MaximumRetryCount"].as_i64()), (Some("on-failure"), Some(3)));
    assert!(fails(&engine, &["update", &name]).contains("You must provide one or more flags"));
    assert!(
        fails(&engine, &["update", "--memory-swap", "64m", &name]).contains("You should always set the Memory limit")
    );
    assert_eq!(engine.ctr(&["update", "--memory", "1m", &name]).status.code(), Some(125));
    let has_memory = fs::read_to_string("/sys/fs/cgroup/cgroup.controllers").is_ok_and(|list| list.contains("memory"));
    if !has_memory {
        assert!(fails(&engine, &["update", "--memory", "64m", "--restart", "no", &name]).contains("cgroup v2"));
        assert_eq!(engine.inspect(&name)["HostConfig"]["RestartPolicy"]["Name"], "on-failure", "all or nothing");
        assert_eq!(engine.inspect(&name)["HostConfig"]["Memory"], 0);
    }
    ok(&engine, &["update", "--restart", "no", &name]);
    ok(&engine, &["rm", "-f", &name]);
}

#[test]
fn all_about_containers_is_under_one_word() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["container", "create", "--name", "one", "--network", "none", "busybox", "true"]);
    assert_eq!(ok(&engine, &["container", "ls", "-a", "--format", "{{.Names}}"]), "one\n");
    assert_eq!(ok(&engine, &["container", "inspect", "-f", "{{.Name}}", "one"]), "/one\n");
    let run = ["container", "run", "--rm", "--network", "none", "busybox", "no-such-program"];
    assert_eq!(engine.ctr(&run).status.code(), Some(127));
    assert_eq!(engine.ctr(&["container", "run", "--pull", "never", "missing"]).status.code(), Some(125));
    let kept = engine.start("exec sleep 100");
    assert!(fails(&engine, &["container", "prune"]).contains("container prune has been cancelled"));
    let pruned = ok(&engine, &["container", "prune", "-f"]);
    assert!(
        pruned.starts_with("Deleted Containers:\n") && pruned.ends_with("\nTotal reclaimed space: 0B\n"),
        "{pruned}"
    );
    assert_eq!(ok(&engine, &["container", "ls", "-a", "--format", "{{.Names}}"]), format!("{kept}\n"));
    ok(&engine, &["container", "rm", "-f", &kept]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn completions_know_commands_and_options() {
    let Some(engine) = Engine::new() else { return };
    for shell in ["bash", "zsh", "fish"] {
        let script = ok(&engine, &["completion", shell]);
        for word in ["inspect", "no-trunc", "memory-swap", "container"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(engine.ctr(&["completion", "none"]).status.code(), Some(125));
    let script = engine.dir.path().join("completion.bash");
    fs::write(&script, ok(&engine, &["completion", "bash"])).unwrap();
    let complete = format!(
        "source {}; COMP_WORDS=(ctr upd); COMP_CWORD=1; _ctr ctr upd ctr; echo ${{COMPREPLY[@]}}",
        script.display()
    );
    let output = std::process::Command::new("bash").arg("-c").arg(complete).output().unwrap();
    assert_eq!(text(&output.stdout), "update\n", "{}", text(&output.stderr));
}
