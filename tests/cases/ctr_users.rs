//! Containers with users of their own (`--userns auto`).

use std::os::unix::fs::MetadataExt;

use super::{Engine, text};

#[test]
fn root_inside_is_nobody_outside_and_files_keep_their_ids() {
    let Some(engine) = Engine::new() else { return };
    let (status, said) = engine.run(
        &["--userns", "auto", "-v", "data:/etc"],
        "id -u; cat /proc/self/uid_map; touch /etc/new /tmp/new && ls -ln /etc/passwd | cat; stat -c %u /tmp/new",
    );
    assert_eq!(status, 0, "{said}");
    let map: Vec<&str> = said.lines().nth(1).unwrap().split_ascii_whitespace().collect();
    assert!(said.starts_with("0\n") && said.ends_with("\n0\n"), "{said}");
    assert!(map[0] == "0" && map[1].parse::<u32>().unwrap() >= 0x2000_0000 && map[2] == "65536", "{said}");
    let new = engine.dir.path().join("state/volumes/data/_data/new");
    assert_eq!(new.metadata().unwrap().uid(), 0);
    // The next has other users and the same files.
    let (status, said) = engine.run(&["--userns", "auto", "-v", "data:/data"], "stat -c %u /data/new /data/passwd");
    assert_eq!((status, said.as_str()), (0, "0\n0\n"));
    assert_eq!(engine.leftovers(), (0, vec![]));
}

#[test]
fn exec_joins_the_users() {
    let Some(engine) = Engine::new() else { return };
    let args = ["run", "-d", "--name", "users", "--network", "none", "--userns", "auto", "busybox", "sleep", "100"];
    let output = engine.ctr(&args);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let map = text(&engine.ctr(&["exec", "users", "cat", "/proc/1/uid_map"]).stdout);
    let output = engine.ctr(&["exec", "users", "cat", "/proc/self/uid_map"]);
    assert!(map.contains("65536") && text(&output.stdout) == map, "{}", text(&output.stderr));
    engine.ctr(&["rm", "-f", "users"]);
}
