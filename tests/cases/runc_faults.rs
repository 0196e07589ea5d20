//! Killed at any point, and repeated: nothing is left but what the next command clears away.

use super::*;

/// Kill `command` after each of so many microseconds.
fn kill_after(bundle: &Bundle, args: &[&str], delay: u64) {
    let mut child = bundle.command(args).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(Duration::from_micros(delay));
    let _ = child.kill();
    child.wait().unwrap();
}

const DELAYS: u64 = 40;

#[test]
fn a_killed_create_is_repeated() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("faults");
    for step in 0..DELAYS {
        kill_after(&bundle, &["create", &id], 500 + step * 700);
        // Complete or not: a container can be made again, once what there is is deleted.
        if bundle.run(&["state", &id]).status.success() {
            bundle.detached(&["delete", "--force", &id]);
        }
        let deadline = Instant::now() + Duration::from_secs(5);
        // The orphan of the killed one holds the lock until it notices.
        while !bundle.succeeds(&["create", &id]) {
            assert!(Instant::now() < deadline, "step {step}");
        }
        bundle.detached(&["start", &id]);
        bundle.detached(&["delete", "--force", &id]);
        assert_eq!(bundle.leftovers(), [""; 0], "step {step}");
    }
}

#[test]
fn delete_clears_away_what_a_killed_create_left() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("faults");
    for step in 0..DELAYS {
        kill_after(&bundle, &["create", &id], 500 + step * 700);
        let deadline = Instant::now() + Duration::from_secs(5);
        while !bundle.run(&["delete", "--force", &id]).status.success() {
            assert!(Instant::now() < deadline, "step {step}");
        }
        assert_eq!(bundle.leftovers(), [""; 0], "step {step}");
    }
}

#[test]
fn start_and_delete_are_killed_and_repeated() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("faults");
    for step in 0..DELAYS {
        bundle.create(&id);
        kill_after(&bundle, &["start", &id], 500 + step * 300);
        // The one that was killed may have said its word: then the program is on its way.
        if bundle.status(&id) == "created" {
            bundle.succeeds(&["start", &id]);
        }
        bundle.wait_for_status(&id, "running");
        kill_after(&bundle, &["delete", "--force", &id], 500 + step * 300);
        bundle.detached(&["delete", "--force", &id]);
        assert_eq!(bundle.leftovers(), [""; 0], "step {step}");
    }
}

/// The program does not depend on the command that waits for it.
#[test]
fn a_container_outlives_a_killed_run() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("outlives");
    let mut child = bundle.command(&["run", &id]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while !bundle.succeeds(&["exec", &id, "true"]) {
        assert!(Instant::now() < deadline);
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(bundle.status(&id), "running");
    kill_after(&bundle, &["exec", &id, "sleep", "1000"], 20_000);
    bundle.detached(&["delete", "--force", &id]);
    assert_eq!(bundle.leftovers(), [""; 0]);
}

#[test]
fn one_of_several_makers_wins() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("race");
    let spawn = || {
        let mut command = bundle.command(&["create", &id]);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
    };
    for _ in 0..10 {
        let mut makers: Vec<_> = (0..4).map(|_| spawn()).collect();
        let made = makers.iter_mut().filter_map(|maker| maker.wait().unwrap().success().then_some(())).count();
        assert_eq!(made, 1);
        assert_eq!(bundle.status(&id), "created");
        bundle.detached(&["delete", &id]);
        assert_eq!(bundle.leftovers(), [""; 0]);
    }
}

#[test]
fn several_may_delete_at_once() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("race");
    for _ in 0..10 {
        bundle.create(&id);
        let spawn = || {
            let mut command = bundle.command(&["delete", "--force", &id]);
            command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
        };
        let all: Vec<_> = (0..4).map(|_| spawn()).collect();
        for one in all {
            let output = one.wait_with_output().unwrap();
            assert!(output.status.success(), "{}", text(&output.stderr));
        }
        assert_eq!(bundle.leftovers(), [""; 0]);
    }
}

/// Whoever makes the name anew while it is being deleted gets a whole container or an error.
#[test]
fn create_while_it_is_deleted() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("race");
    for _ in 0..20 {
        bundle.create(&id);
        let mut deleter = bundle.command(&["delete", "--force", &id]).spawn().unwrap();
        let created = (0..3).any(|_| bundle.succeeds(&["create", &id]));
        assert!(deleter.wait().unwrap().success());
        if created {
            assert_eq!(bundle.status(&id), "created");
        }
        bundle.detached(&["delete", "--force", &id]);
        assert_eq!(bundle.leftovers(), [""; 0]);
    }
}

#[test]
fn a_damaged_state_can_be_deleted() {
    let Some(bundle) = Bundle::ours() else { return };
    let id = bundle.id("damaged");
    bundle.create(&id);
    let pid = bundle.state(&id)["pid"].as_i64().unwrap();
    let path = bundle.root().join(&id).join("state.json");
    fs::write(&path, "{\"pid\": ").unwrap();
    assert!(bundle.complaint(&["state", &id], 1).contains("state.json"));
    assert!(!bundle.run(&["delete", &id]).status.success());
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid.try_into().unwrap()), nix::sys::signal::Signal::SIGKILL)
        .unwrap();
    bundle.detached(&["delete", "--force", &id]);
    assert!(!path.exists());
    // Where the cgroup was stood in the state. A killed process is in it until it has ended.
    for group in cgroups(Path::new("/sys/fs/cgroup"), &bundle.prefix) {
        let is_removed = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            fs::remove_dir(&group).is_ok()
        });
        assert!(is_removed, "{group} is still in use");
    }
}
