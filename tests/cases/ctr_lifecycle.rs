//! What is done to containers that exist: stop, restart, pause, rename, rm, wait, and what events tell of it.

use super::{Engine, keeps_device_rules, text};

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

/// Exit status and standard error.
fn fails(engine: &Engine, args: &[&str]) -> (Option<i32>, String) {
    let output = engine.ctr(args);
    (output.status.code(), text(&output.stderr))
}

#[test]
fn what_fails_for_one_is_done_for_the_others() {
    let Some(engine) = Engine::new() else { return };
    let (one, two) = (engine.start("exec sleep 100"), engine.start("exec sleep 100"));
    for command in ["kill", "stop", "restart", "wait", "rm"] {
        let args = if command == "restart" || command == "stop" { vec![command, "-t", "0"] } else { vec![command] };
        let args = [&args[..], &[&one, "missing", &two]].concat();
        let output = engine.ctr(&args);
        let wanted = if command == "wait" { "137\n137\n".to_owned() } else { format!("{one}\n{two}\n") };
        assert_eq!(
            (output.status.code(), text(&output.stdout)),
            (Some(1), wanted),
            "{command}: {}",
            text(&output.stderr)
        );
        assert!(text(&output.stderr).contains("No such container: missing"), "{command}");
        if command == "restart" {
            assert_eq!(engine.inspect(&one)["State"]["Running"], true);
            ok(&engine, &["kill", &one, &two]);
        }
    }
    assert_eq!(fails(&engine, &["rm", "-f", "missing"]).0, Some(0), "as Docker has it");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn stop_takes_signal_and_time() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("trap 'exit 5' USR1; trap 'exit 6' TERM; while :; do sleep 0.05; done");
    ok(&engine, &["stop", "-s", "USR1", "--timeout", "20", &name]);
    assert_eq!(engine.inspect(&name)["State"]["ExitCode"], 5);
    ok(&engine, &["start", &name]);
    // Before it has set its traps it would be deaf to the signal, and this waits for ever.
    std::thread::sleep(std::time::Duration::from_secs(2));
    ok(&engine, &["stop", "--time", "-1", &name]);
    assert_eq!(engine.inspect(&name)["State"]["ExitCode"], 6);
    ok(&engine, &["stop", &name]);
    let (code, error) = fails(&engine, &["kill", &name]);
    assert!(code == Some(1) && error.contains("is not running"), "{error}");
    ok(&engine, &["rm", &name]);
}

#[test]
fn a_restart_keeps_the_container_even_with_rm() {
    let Some(engine) = Engine::new() else { return };
    let run =
        ["run", "-d", "--rm", "--name", "kept", "--network", "none", "busybox", "sh", "-c", "echo up; exec sleep 100"];
    ok(&engine, &run);
    let first = engine.inspect("kept")["State"]["Pid"].clone();
    assert_eq!(ok(&engine, &["restart", "-t", "0", "kept"]), "kept\n");
    let state = engine.inspect("kept")["State"].clone();
    assert!(state["Running"] == true && state["Pid"] != first, "{state}");
    ok(&engine, &["kill", "kept"]);
    engine.ctr(&["wait", "kept"]);
    assert_eq!(engine.leftovers(), (0, vec![]), "and then --rm counts again");
    ok(&engine, &["create", "--name", "fresh", "--network", "none", "busybox", "sleep", "100"]);
    ok(&engine, &["restart", "fresh"]);
    assert_eq!(engine.inspect("fresh")["State"]["Running"], true);
    ok(&engine, &["rm", "-f", "fresh"]);
}

#[test]
fn names_change_hands() {
    let Some(engine) = Engine::new() else { return };
    let (one, two) = (engine.start("exec sleep 100"), engine.start("true"));
    let (code, error) = fails(&engine, &["rename", &one, &two]);
    assert!(code == Some(1) && error.contains("is already in use by container"), "{error}");
    assert_eq!(fails(&engine, &["rename", &one, &one]).0, Some(1));
    assert_eq!(fails(&engine, &["rename", &one, "a b"]).0, Some(125));
    ok(&engine, &["rename", &one, "new-name"]);
    assert_eq!(engine.inspect("new-name")["Name"], "/new-name");
    assert!(!engine.ctr(&["inspect", &one]).status.success());
    ok(&engine, &["rename", &two, &one]);
    ok(&engine, &["stop", "-t", "0", "new-name"]);
    assert_eq!(engine.inspect("new-name")["Name"], "/new-name", "its end does not bring the old name back");
    ok(&engine, &["rm", "-f", "new-name", &one]);
    assert_eq!(std::fs::read_dir(engine.dir.path().join("state/names")).unwrap().count(), 0);
}

#[test]
fn rm_takes_no_running_container_without_force() {
    let Some(engine) = Engine::new() else { return };
    let name = engine.start("exec sleep 100");
    let (code, error) = fails(&engine, &["rm", &name]);
    assert!(
        code == Some(1) && error.contains("container is running: stop the container before removing or force remove")
    );
    assert_eq!(fails(&engine, &["rm", "-l", &name]).0, Some(1));
    ok(&engine, &["rm", "-fv", &name]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_paused_container_stands_still() {
    let Some(engine) = Engine::new() else { return };
    if !keeps_device_rules() {
        println!("SKIP a_paused_container_stands_still: this host has no cgroup v2");
        return;
    }
    let name = engine.start("i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done");
    assert_eq!(ok(&engine, &["pause", &name]), format!("{name}\n"));
    let lines = || text(&engine.ctr(&["logs", &name]).stdout).lines().count();
    let before = lines();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!(lines(), before);
    let state = engine.inspect(&name)["State"].clone();
    assert_eq!((state["Status"].as_str(), state["Paused"].as_bool()), (Some("paused"), Some(true)), "{state}");
    let listed = ok(&engine, &["ps", "--format", "{{.State}} {{.Status}}", "--filter", "status=paused"]);
    assert!(listed.starts_with("paused Up ") && listed.ends_with("(Paused)\n"), "{listed}");
    let (code, error) = fails(&engine, &["pause", &name]);
    assert!(code == Some(1) && error.contains("is already paused"), "{error}");
    let (code, error) = fails(&engine, &["exec", &name, "true"]);
    assert!(code == Some(1) && error.contains("is paused, unpause the container before exec"), "{code:?} {error}");
    for (args, wanted) in [
        (["attach", &name], "You cannot attach to a paused container, unpause it first"),
        (["start", &name], "cannot start a paused container, try unpause instead"),
        (["rm", &name], "container is paused and must be unpaused first"),
    ] {
        let (code, error) = fails(&engine, &args);
        assert!(code == Some(1) && error.contains(wanted), "{args:?}: {code:?} {error}");
    }
    ok(&engine, &["unpause", &name]);
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        lines() > before
    }));
    let (code, error) = fails(&engine, &["unpause", &name]);
    assert!(code == Some(1) && error.contains("is not paused"), "{error}");
    ok(&engine, &["pause", &name]);
    ok(&engine, &["stop", "-t", "1", &name]);
    assert_eq!(engine.inspect(&name)["State"]["Status"], "exited");
    let (code, error) = fails(&engine, &["pause", &name]);
    assert!(code == Some(1) && error.contains("is not running"), "{error}");
    ok(&engine, &["start", &name]);
    ok(&engine, &["pause", &name]);
    ok(&engine, &["rm", "-f", &name]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn events_tell_what_has_happened() {
    let Some(engine) = Engine::new() else { return };
    let run = ["run", "--name", "old", "--label", "a=b", "--network", "none", "busybox", "sh", "-c", "exit 3"];
    assert_eq!(engine.ctr(&run).status.code(), Some(3));
    ok(&engine, &["rename", "old", "new"]);
    ok(&engine, &["rm", "new"]);
    let events = |args: &[&str]| ok(&engine, &[&["events", "--since", "10m", "--until", "0s"], args].concat());
    let actions = events(&["--format", "{{.Action}}", "--filter", "type=container"]);
    assert_eq!(actions, "create\nstart\ndie\nrename\ndestroy\n");
    let died = events(&["--filter", "event=die"]);
    assert!(
        died.contains(" container die ") && died.contains("(a=b, execDuration=0, exitCode=3, image=busybox, name=old)"),
        "{died}"
    );
    let renamed: serde_json::Value =
        serde_json::from_str(&events(&["--format", "json", "--filter", "event=rename"])).unwrap();
    assert_eq!(
        (renamed["Type"].as_str(), renamed["Actor"]["Attributes"]["oldName"].as_str()),
        (Some("container"), Some("/old"))
    );
    assert_eq!(events(&["--filter", "container=none"]), "");
    assert_eq!(
        events(&["--filter", "label=a=b", "--filter", "container=new", "--format", "{{.Actor.Attributes.name}}"]),
        "new\nnew\n"
    );
    assert_eq!(ok(&engine, &["events", "--until", "0s"]), "", "only what is new, and there is nothing");
    assert_eq!(fails(&engine, &["events", "--filter", "nope=1"]).0, Some(1));
}

#[test]
fn events_are_followed() {
    let Some(engine) = Engine::new() else { return };
    let mut follower = engine.command(&["events", "--format", "{{.Action}} {{.Actor.Attributes.name}}"]);
    let mut follower = follower.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let events = std::io::BufReader::new(follower.stdout.take().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(300));
    let name = engine.start("true");
    ok(&engine, &["wait", &name]);
    ok(&engine, &["rm", &name]);
    let seen: Vec<_> = std::io::BufRead::lines(events).take(4).map(Result::unwrap).collect();
    assert_eq!(seen, ["create", "start", "die", "destroy"].map(|action| format!("{action} {name}")));
    follower.kill().unwrap();
    follower.wait().unwrap();
}

#[test]
fn a_created_container_with_rm_outlives_copies_and_exports_that_fail() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["create", "--rm", "--name", "box", "--network", "none", "busybox", "true"]);
    let unwritable = engine.dir.path().join("nowhere/x");
    let unwritable = unwritable.to_str().unwrap();
    for args in
        [&["cp", "box:/nowhere", "-"][..], &["cp", "box:/etc/passwd", unwritable], &["export", "-o", unwritable, "box"]]
    {
        assert_eq!(fails(&engine, args).0, Some(1), "{args:?}");
        assert_eq!(ok(&engine, &["ps", "-a", "--format", "{{.Names}} {{.Status}}"]), "box Created\n", "{args:?}");
    }
    assert_eq!(engine.leftovers().1.len(), 1, "no lock is left");
    assert_eq!(ok(&engine, &["start", "-a", "box"]), "");
    assert_eq!(engine.leftovers(), (0, vec![]), "and its end is still its removal");
}

#[test]
fn a_restart_that_fails_takes_a_container_with_rm_along() {
    let Some(engine) = Engine::new() else { return };
    let script = "busybox rm /bin/sh; exec busybox sleep 100";
    ok(&engine, &["run", "-d", "--rm", "--name", "once", "--network", "none", "busybox", "sh", "-c", script]);
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        !engine.ctr(&["exec", "once", "test", "-e", "/bin/sh"]).status.success()
    }));
    let (code, error) = fails(&engine, &["restart", "-t", "0", "once"]);
    assert!(code == Some(1) && error.contains("cannot restart container once"), "{code:?} {error}");
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_start_is_told_when_the_program_runs() {
    let Some(engine) = Engine::new() else { return };
    let args = ["run", "--name", "box", "--network", "none", "--restart", "on-failure:1", "busybox", "sh", "-c"];
    assert_eq!(engine.ctr(&[&args[..], &["rm /bin/sh; exit 3"]].concat()).status.code(), Some(3));
    assert!((0..100).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        engine.inspect("box")["State"]["Status"] == "exited"
    }));
    let state = engine.inspect("box")["State"].clone();
    assert_eq!(state["ExitCode"], 127, "{state}");
    let actions = ok(&engine, &["events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}"]);
    assert_eq!(actions.matches("start\n").count(), 1, "{actions}");
    for _ in 0..20 {
        engine.ctr(&["run", "--rm", "--name", "quick", "--network", "none", "busybox", "true"]);
    }
    let args = ["events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}", "--filter", "container=quick"];
    assert_eq!(ok(&engine, &args), "create\nstart\ndie\ndestroy\n".repeat(20));
    ok(&engine, &["rm", "box"]);
}

#[test]
fn what_needs_a_running_container_says_so_in_the_words_of_docker() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["create", "--name", "new", "--network", "none", "busybox", "sh", "-c", "exit 4"]);
    let id = engine.inspect("new")["Id"].as_str().unwrap().to_owned();
    let not_running = format!("container {id} is not running");
    for round in ["created", "exited"] {
        assert_eq!(engine.inspect("new")["State"]["Status"], round);
        for (args, wanted) in [
            (&["exec", "new", "true"][..], not_running.as_str()),
            (&["pause", "new"], &not_running),
            (&["unpause", "new"], &not_running),
            (&["top", "new"], &not_running),
            (&["kill", "new"], &format!("cannot kill container: new: {not_running}")),
            (&["attach", "new"], "You cannot attach to a stopped container, start it first"),
        ] {
            let (code, error) = fails(&engine, args);
            assert!(code == Some(1) && error.contains(wanted), "{round}: {args:?}: {code:?} {error}");
        }
        ok(&engine, &["stop", "new"]);
        let status = engine.ctr(&["start", "-a", "new"]).status.code();
        assert_eq!(status, Some(4));
    }
    for command in ["exec", "attach", "start", "pause", "logs", "port", "top", "rename", "cp"] {
        let more: &[&str] = match command {
            "exec" => &["missing", "true"],
            "rename" => &["missing", "other"],
            "cp" => &["missing:/x", "-"],
            _ => &["missing"],
        };
        let (code, error) = fails(&engine, &[&[command], more].concat());
        assert!(code == Some(1) && error.contains("No such container: missing"), "{command}: {code:?} {error}");
    }
    // Docker starts the others, and names those that it could not start.
    let output = engine.ctr(&["start", "missing", "new", "gone"]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "new\n".into()));
    assert!(text(&output.stderr).ends_with("failed to start containers: missing, gone\n"), "{}", text(&output.stderr));
    let (code, error) = fails(&engine, &["start", "-a", "new", "new"]);
    assert!(code == Some(1) && error.contains("you cannot start and attach multiple containers at once"), "{error}");
    // One that runs is followed.
    let name = engine.start("sleep 1; echo late; exit 6");
    let output = engine.ctr(&["start", "-a", &name]);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(6), "late\n".into()), "{}", text(&output.stderr));
    ok(&engine, &["rm", &name, "new"]);
    assert_eq!(engine.leftovers(), (0, vec![]));
}
