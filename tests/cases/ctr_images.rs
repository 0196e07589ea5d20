//! Images as a user handles them: lists, histories, tags, removal, archives; in docker's words.

use std::fs;

use super::{Engine, text};

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

fn fails(engine: &Engine, args: &[&str], words: &[&str]) {
    let output = engine.ctr(args);
    assert_eq!(output.status.code(), Some(1), "{args:?}: {}{}", text(&output.stdout), text(&output.stderr));
    words.iter().for_each(|word| assert!(text(&output.stderr).contains(word), "{args:?}: {}", text(&output.stderr)));
}

fn lines(text: &str) -> Vec<&str> {
    text.lines().collect()
}

#[test]
fn lists_and_filters() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["tag", "busybox", "quay.io/team/app:1.2"]);
    let table = ok(&engine, &["images"]);
    assert!(lines(&table)[0].starts_with("REPOSITORY         TAG       IMAGE ID       CREATED"), "{table}");
    assert_eq!(lines(&table).len(), 3, "{table}");
    let id = ok(&engine, &["images", "-q", "--no-trunc", "busybox"]);
    assert!(id.starts_with("sha256:") && id.len() == 72, "{id}");
    let format = "{{.Repository}}:{{.Tag}}";
    for (condition, wanted) in [
        ("reference=busy*", "busybox:latest\n"),
        ("reference=quay.io/*/app:1.*", "quay.io/team/app:1.2\n"),
        ("dangling=true", ""),
        ("label=none", ""),
        ("since=busybox", ""),
    ] {
        assert_eq!(ok(&engine, &["images", "-f", condition, "--format", format]), wanted, "{condition}");
    }
    assert_eq!(ok(&engine, &["images", "--format", format, "quay.io/team/app"]), "quay.io/team/app:1.2\n");
    let row: serde_json::Value =
        serde_json::from_str(&ok(&engine, &["images", "--format", "json", "busybox"])).unwrap();
    assert_eq!((&row["Repository"], &row["Digest"]), (&"busybox".into(), &"<none>".into()));
    fails(&engine, &["images", "-f", "nope=1"], &["invalid filter 'nope'"]);
    assert!(ok(&engine, &["images", "--digests"]).contains("DIGEST"));
    let listed = ok(&engine, &["image", "ls", "-q"]);
    assert!(id.contains(lines(&listed)[0]));
}

#[test]
fn history_and_inspect() {
    let Some(engine) = Engine::new() else { return };
    let history = ok(&engine, &["history", "busybox"]);
    let (head, step) = (lines(&history)[0], lines(&history)[1]);
    assert!(head.starts_with("IMAGE          CREATED") && head.ends_with("COMMENT"), "{history}");
    assert!(step.contains("Imported from") && step.contains("ago"), "{history}");
    let step: serde_json::Value =
        serde_json::from_str(&ok(&engine, &["history", "--format", "json", "busybox"])).unwrap();
    assert!(step["CreatedAt"].as_str().unwrap().ends_with('Z') && step["Comment"].is_string());
    let document: serde_json::Value = serde_json::from_str(&ok(&engine, &["image", "inspect", "busybox"])).unwrap();
    let image = &document[0];
    assert_eq!(image["RepoTags"], serde_json::json!(["busybox:latest"]));
    assert_eq!((&image["Os"], &image["RootFS"]["Type"]), (&"linux".into(), &"layers".into()));
    assert!(image["Config"]["Labels"].is_null() && image["Size"].as_u64() > Some(1000));
    let id = ok(&engine, &["inspect", "--format", "{{.Id}}", "busybox"]);
    assert_eq!(image["Id"], id.trim());
    fails(&engine, &["inspect", "--type", "container", "busybox"], &["busybox"]);
    fails(&engine, &["image", "inspect", "nothing"], &["no such image: nothing"]);
    fails(&engine, &["inspect", "nothing"], &["no such object: nothing"]);
}

#[test]
fn what_a_container_uses_is_not_removed() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["create", "--name", "one", "--network", "none", "busybox", "true"]);
    fails(
        &engine,
        &["rmi", "busybox"],
        &["conflict: unable to remove repository reference \"busybox\" (must force) - container"],
    );
    let id = ok(&engine, &["images", "-q"]);
    fails(&engine, &["rmi", id.trim()], &["(must be forced) - image is being used by stopped container"]);
    ok(&engine, &["tag", "busybox", "second"]);
    assert_eq!(ok(&engine, &["rmi", "second"]), "Untagged: second:latest\n");
    ok(&engine, &["tag", "busybox", "other"]);
    fails(&engine, &["rmi", id.trim()], &["must be forced"]);
    ok(&engine, &["rmi", "other"]);
    assert_eq!(ok(&engine, &["image", "prune", "-a", "-f"]), "Total reclaimed space: 0B\n");
    // By force the name and the image go; the container starts all the same.
    let removed = ok(&engine, &["rmi", "-f", "busybox"]);
    assert!(removed.starts_with("Untagged: busybox:latest\nDeleted: sha256:"), "{removed}");
    assert_eq!(ok(&engine, &["images", "-q"]), "");
    ok(&engine, &["start", "-a", "one"]);
    fails(&engine, &["rmi", "busybox", "nothing"], &["no such image: busybox", "no such image: nothing"]);
}

#[test]
fn pruning_asks_and_says_what_went() {
    let Some(engine) = Engine::new() else { return };
    let empty = engine.dir.path().join("empty.tar");
    fs::write(&empty, [0; 1024]).unwrap();
    let id = ok(&engine, &["import", empty.to_str().unwrap()]);
    assert!(ok(&engine, &["images", "-f", "dangling=true"]).contains("<none>"));
    fails(&engine, &["image", "prune"], &["image prune has been cancelled"]);
    let pruned = ok(&engine, &["image", "prune", "--force"]);
    assert!(pruned.starts_with(&format!("Deleted Images:\ndeleted: {}\n", id.trim())), "{pruned}");
    assert!(pruned.ends_with("\n\nTotal reclaimed space: 0B\n"), "{pruned}");
    ok(&engine, &["create", "--name", "one", "--network", "none", "busybox", "true"]);
    let usage = ok(&engine, &["system", "df"]);
    let words = |line: usize| lines(&usage)[line].split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(words(0), ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]);
    assert_eq!((words(1)[1..3].join(" "), words(2)[1..3].join(" ")), ("1 1".into(), "1 0".into()), "{usage}");
    assert!(ok(&engine, &["system", "df", "-v"]).contains("UNIQUE SIZE"));
    let all = ok(&engine, &["system", "prune", "-a", "-f"]);
    assert!(all.contains("Deleted Containers:\n") && all.contains("untagged: busybox:latest\n"), "{all}");
    assert_eq!(ok(&engine, &["images", "-q"]) + &ok(&engine, &["ps", "-aq"]), "");
    let info: serde_json::Value = serde_json::from_str(&ok(&engine, &["info", "--format", "json"])).unwrap();
    assert_eq!((&info["Images"], &info["Containers"]), (&0.into(), &0.into()));
}

#[test]
fn save_and_load() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["tag", "busybox", "busybox:1"]);
    let path = engine.dir.path().join("saved.tar");
    let file = path.to_str().unwrap();
    ok(&engine, &["save", "-o", file, "busybox"]);
    let id = ok(&engine, &["images", "-q", "busybox:1"]);
    let before = fs::read(&path).unwrap();
    fails(&engine, &["save", "-o", file, "nothing"], &["no such image: nothing"]);
    assert!(fs::read(&path).unwrap() == before, "a failed save leaves what was there");
    ok(&engine, &["rmi", "busybox", "busybox:1"]);
    let loaded = ok(&engine, &["load", "-q", "-i", file]);
    assert_eq!(loaded, "Loaded image: busybox:1\nLoaded image: busybox:latest\n");
    assert_eq!(ok(&engine, &["images", "-q", "busybox"]), id.repeat(2));
    assert_eq!(ok(&engine, &["run", "--rm", "--network", "none", "busybox", "echo", "there"]), "there\n");
    // Saved again it is the same.
    ok(&engine, &["save", "-o", file, "busybox"]);
    assert!(fs::read(&path).unwrap() == before);
    let names: Vec<_> = fs::read_dir(engine.dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(!names.iter().any(|name| name.to_string_lossy().starts_with(".ctr-save")), "{names:?}");
}
