//! Restart policies, health checks and `--init`.

use std::process::Command;
use std::time::{Duration, Instant};

use super::{Engine, text};

fn start(engine: &Engine, name: &str, options: &[&str], script: &str) {
    let args =
        [&["run", "-d", "--name", name, "--network", "none"], options, &["busybox", "sh", "-c", script]].concat();
    let output = engine.ctr(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// Wait until the container is as wanted.
fn until(engine: &Engine, name: &str, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let found = engine.inspect(name);
        if wanted(&found) {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", found["State"]);
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn count(found: &serde_json::Value) -> u64 {
    found["RestartCount"].as_u64().unwrap()
}

#[test]
fn on_failure_ends_after_as_many_as_wanted() {
    let Some(engine) = Engine::new() else { return };
    start(&engine, "fails", &["--restart", "on-failure:3"], "echo run; exit 7");
    let found = until(&engine, "fails", |found| found["State"]["Status"] == "exited");
    assert_eq!((count(&found), found["State"]["ExitCode"].as_i64()), (3, Some(7)));
    assert_eq!(text(&engine.ctr(&["logs", "fails"]).stdout), "run\n".repeat(4));
    start(&engine, "works", &["--restart", "on-failure:3"], "echo run");
    let found = until(&engine, "works", |found| found["State"]["Status"] == "exited");
    assert_eq!(count(&found), 0);
    assert_eq!(found["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    assert!(engine.ctr(&["rm", "fails", "works"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn always_comes_back_until_it_is_stopped() {
    let Some(engine) = Engine::new() else { return };
    start(&engine, "web", &["--restart", "always"], "echo run; exit 0");
    let found = until(&engine, "web", |found| count(found) >= 4 && found["State"]["Status"] == "restarting");
    assert_eq!((&found["State"]["Restarting"], &found["State"]["Running"]), (&true.into(), &true.into()));
    let listed = text(&engine.ctr(&["ps"]).stdout);
    assert!(listed.contains("Restarting (0) "), "{listed}");
    let exec = engine.ctr(&["exec", "web", "true"]);
    assert!(
        text(&exec.stderr).contains("is restarting, wait until the container is running"),
        "{}",
        text(&exec.stderr)
    );
    let rm = engine.ctr(&["rm", "web"]);
    assert!(text(&rm.stderr).contains("container is restarting: stop the container before removing or force remove"));
    // In the middle of a delay of more than a second.
    let begun = Instant::now();
    assert!(engine.ctr(&["stop", "web"]).status.success());
    assert!(begun.elapsed() < Duration::from_secs(5));
    let stopped = engine.inspect("web");
    assert_eq!(stopped["State"]["Status"], "exited");
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(engine.inspect("web")["State"], stopped["State"]);
    // By hand it starts anew.
    assert!(engine.ctr(&["start", "web"]).status.success());
    until(&engine, "web", |found| count(found) >= 1);
    assert!(engine.ctr(&["rm", "-f", "web"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_run_that_is_stopped_or_killed_stays_so() {
    let Some(engine) = Engine::new() else { return };
    let script = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
    for command in [["stop", "-t=5"], ["kill", "-s=KILL"]] {
        start(&engine, "long", &["--restart", "unless-stopped"], script);
        assert!(engine.ctr(&[command[0], command[1], "long"]).status.success());
        until(&engine, "long", |found| found["State"]["Status"] == "exited" && count(found) == 0);
        std::thread::sleep(Duration::from_millis(300));
        assert_eq!(engine.inspect("long")["State"]["Status"], "exited");
        assert!(engine.ctr(&["rm", "-f", "long"]).status.success());
    }
    start(&engine, "long", &["--restart", "always"], script);
    assert!(engine.ctr(&["restart", "long"]).status.success());
    let found = engine.inspect("long");
    assert_eq!((&found["State"]["Status"], count(&found)), (&"running".into(), 0));
    assert!(engine.ctr(&["rm", "-f", "long"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn who_follows_hears_of_each_end() {
    let Some(engine) = Engine::new() else { return };
    let args = [
        "run",
        "--name",
        "once",
        "--network",
        "none",
        "--restart",
        "always",
        "busybox",
        "sh",
        "-c",
        "echo out; exit 5",
    ];
    let output = engine.ctr(&args);
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(5), "out\n".into()));
    until(&engine, "once", |found| count(found) >= 1);
    assert_eq!(text(&engine.ctr(&["wait", "once"]).stdout), "5\n");
    assert!(engine.ctr(&["rm", "-f", "once"]).status.success());
}

#[test]
fn after_a_reboot_comes_back_what_is_to() {
    let Some(engine) = Engine::new() else { return };
    let script = "sleep 1000";
    for (name, policy) in [
        ("always", "always"),
        ("stopped", "always"),
        ("kept", "unless-stopped"),
        ("left", "unless-stopped"),
        ("no", "no"),
    ] {
        start(&engine, name, &["--restart", policy, "--init=false"], script);
    }
    assert!(engine.ctr(&["stop", "-t", "0", "stopped", "left"]).status.success());
    // The machine goes down: no stop is by hand, and nothing is started again.
    let stopping = engine.dir.path().join("run/stopping");
    std::fs::write(&stopping, "").unwrap();
    assert!(engine.ctr(&["stop", "-t", "0", "always", "kept", "no"]).status.success());
    assert_eq!(engine.inspect("always")["State"]["Status"], "exited");
    std::fs::remove_file(&stopping).unwrap();
    let output = engine.ctr(&["autostart"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let status = |name: &str| engine.inspect(name)["State"]["Status"].as_str().unwrap().to_owned();
    let found = ["always", "stopped", "kept", "left", "no"].map(status);
    assert_eq!(found, ["running", "running", "running", "exited", "exited"]);
    assert!(engine.ctr(&["rm", "-f", "always", "stopped", "kept", "left", "no"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn health_is_what_the_checks_say() {
    let Some(engine) = Engine::new() else { return };
    let options =
        ["--health-cmd", "echo checked; test ! -e /sick", "--health-interval", "100ms", "--health-retries", "2"];
    start(&engine, "web", &options, "sleep 1000");
    assert_eq!(engine.inspect("web")["State"]["Health"]["Status"], "starting");
    let healthy = until(&engine, "web", |found| found["State"]["Health"]["Status"] == "healthy");
    let result = &healthy["State"]["Health"]["Log"][0];
    assert_eq!((&result["ExitCode"], &result["Output"]), (&0.into(), &"checked\n".into()));
    assert!(text(&engine.ctr(&["ps"]).stdout).contains("(healthy)"));
    assert!(engine.ctr(&["exec", "web", "touch", "/sick"]).status.success());
    let sick = until(&engine, "web", |found| found["State"]["Health"]["Status"] == "unhealthy");
    assert!(sick["State"]["Health"]["FailingStreak"].as_i64().unwrap() >= 2);
    assert!(sick["State"]["Health"]["Log"].as_array().unwrap().len() <= 5);
    assert!(engine.ctr(&["stop", "-t", "0", "web"]).status.success());
    assert_eq!(engine.inspect("web")["State"]["Health"]["Status"], "unhealthy");
    assert!(engine.ctr(&["rm", "web"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn a_check_that_hangs_is_ended_and_one_in_the_start_does_not_count() {
    let Some(engine) = Engine::new() else { return };
    let options = [
        "--health-cmd",
        "sleep 100",
        "--health-interval",
        "50ms",
        "--health-timeout",
        "200ms",
        "--health-retries",
        "1",
    ];
    start(&engine, "hangs", &options, "sleep 1000");
    let found = until(&engine, "hangs", |found| found["State"]["Health"]["Status"] == "unhealthy");
    let result = &found["State"]["Health"]["Log"][0];
    assert_eq!(
        (&result["ExitCode"], &result["Output"]),
        (&(-1).into(), &"Health check exceeded timeout (200ms)".into())
    );
    let options = [
        "--health-cmd",
        "false",
        "--health-retries",
        "1",
        "--health-start-period",
        "1h",
        "--health-start-interval",
        "50ms",
    ];
    start(&engine, "starts", &options, "sleep 1000");
    let found = until(&engine, "starts", |found| found["State"]["Health"]["Log"].as_array().unwrap().len() >= 3);
    assert_eq!(
        (&found["State"]["Health"]["Status"], &found["State"]["Health"]["FailingStreak"]),
        (&"starting".into(), &0.into())
    );
    let refused = engine.ctr(&["run", "--rm", "--no-healthcheck", "--health-cmd", "true", "busybox"]);
    assert!(text(&refused.stderr).contains("--no-healthcheck conflicts with --health-* options"));
    assert!(engine.ctr(&["rm", "-f", "hangs", "starts"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}

/// A tree in which this binary runs, which is not static here.
fn add_libraries(engine: &Engine) -> bool {
    let tree = engine.dir.path().join("tree");
    let script = "ldd \"$1\" | grep -o '/[^ )]*' | while read -r file; do mkdir -p \"$2/${file%/*}\" && cp -L \"$file\" \"$2/$file\"; done";
    let copied =
        Command::new("sh").args(["-c", script, "sh", env!("CARGO_BIN_EXE_coracle"), tree.to_str().unwrap()]).status();
    engine.import(&tree, "libraries");
    copied.is_ok_and(|status| status.success())
}

#[test]
fn init_reaps_and_passes_signals_on() {
    let Some(engine) = Engine::new() else { return };
    assert!(add_libraries(&engine));
    let run = |script: &str| {
        let output = engine.ctr(&["run", "--rm", "--init", "--network", "none", "libraries", "sh", "-c", script]);
        (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
    };
    let (code, output) = run("cat /proc/1/cmdline; echo; echo $$; exit 9");
    assert_eq!(code, 9, "{output}");
    assert!(output.starts_with("docker-init\0--\0sh\0") && !output.contains("\n1\n"), "{output}");
    assert_eq!(run("kill -9 $$").0, 137);
    // A child that is left to the init is reaped.
    assert_eq!(run("(sleep 0.1 &); sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l").1.trim(), "0");
    let missing = engine.ctr(&["run", "--rm", "--init", "--network", "none", "libraries", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{}", text(&missing.stderr));
    let args = [
        "run",
        "-d",
        "--name",
        "init",
        "--init",
        "--network",
        "none",
        "libraries",
        "sh",
        "-c",
        "trap 'exit 4' TERM; while :; do sleep 0.05; done",
    ];
    assert!(engine.ctr(&args).status.success());
    std::thread::sleep(Duration::from_millis(300));
    assert!(engine.ctr(&["stop", "init"]).status.success());
    assert_eq!(engine.inspect("init")["State"]["ExitCode"], 4);
    assert!(engine.ctr(&["rm", "init"]).status.success());
    assert_eq!(engine.leftovers(), (0, vec![]));
}
