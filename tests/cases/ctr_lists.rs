//! What is listed, and in which form: ps, inspect, version.

use super::{Engine, text};

fn ok(engine: &Engine, args: &[&str]) -> String {
    let output = engine.ctr(args);
    assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn create(engine: &Engine, options: &[&str]) {
    ok(engine, &[&["create", "--network", "none"], options, &["busybox", "sleep", "100"]].concat());
}

#[test]
fn ps_prints_dockers_table_and_templates() {
    let Some(engine) = Engine::new() else { return };
    create(&engine, &["--name", "one", "--label", "com.example.tier=web", "--label", "b"]);
    assert_eq!(ok(&engine, &["ps"]), "CONTAINER ID   IMAGE     COMMAND   CREATED   STATUS    PORTS     NAMES\n");
    let table = ok(&engine, &["ps", "-a"]);
    let (title, row) = table.split_once('\n').unwrap();
    assert!(title.starts_with("CONTAINER ID   IMAGE     COMMAND       CREATED "), "{table}");
    let words: Vec<_> = row.split("  ").map(str::trim).filter(|word| !word.is_empty()).collect();
    assert_eq!(
        (words[1], words[2], words[words.len() - 2], words[words.len() - 1]),
        ("busybox", "\"sleep 100\"", "Created", "one")
    );
    let whole = engine.inspect("one")["Id"].as_str().unwrap().to_owned();
    assert_eq!(ok(&engine, &["ps", "-aq"]), format!("{}\n", &whole[..12]));
    assert_eq!(ok(&engine, &["ps", "-aq", "--no-trunc"]), format!("{whole}\n"));
    let format = |format: &str| ok(&engine, &["ps", "-a", "--format", format]);
    assert_eq!(
        format("{{.Names}} {{.State}} {{.Label \"com.example.tier\"}} {{.Labels}}"),
        "one created web b=,com.example.tier=web\n"
    );
    assert_eq!(format(r"table {{.Names}}\t{{.Image}}"), "NAMES     IMAGE\none       busybox\n");
    let json: serde_json::Value = serde_json::from_str(&format("json")).unwrap();
    assert_eq!((json["Names"].as_str(), json["Command"].as_str()), (Some("one"), Some("\"sleep 100\"")));
    let wrong = engine.ctr(&["ps", "--format", "{{.Names"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("template parsing error: template: :1: unclosed action"));
    let wrong = engine.ctr(&["ps", "-a", "--format", "{{.Nope}}"]);
    assert!(text(&wrong.stderr).contains("can't evaluate field Nope in type *formatter.ContainerContext"));
}

#[test]
fn ps_filters_by_what_is_known() {
    let Some(engine) = Engine::new() else { return };
    create(&engine, &["--name", "first", "--label", "tier=web", "-v", "data:/data"]);
    create(&engine, &["--name", "second", "--label", "tier=db"]);
    let ended = engine.ctr(&["run", "--name", "third", "--network", "none", "busybox", "sh", "-c", "exit 3"]);
    assert_eq!(ended.status.code(), Some(3));
    let list = |filters: &[&str]| {
        let filters = filters.iter().flat_map(|filter| ["--filter", filter]);
        let args: Vec<_> = ["ps", "-a", "--format", "{{.Names}}"].into_iter().chain(filters).collect();
        ok(&engine, &args).lines().collect::<Vec<_>>().join(" ")
    };
    let id = engine.inspect("first")["Id"].as_str().unwrap().to_owned();
    assert_eq!(list(&[]), "third second first");
    assert_eq!(list(&["name=first"]), "first");
    assert_eq!(list(&["name=^s", "name=third"]), "third second");
    assert_eq!(list(&[&format!("id={}", &id[..10])]), "first");
    assert_eq!(list(&["label=tier"]), "second first");
    assert_eq!(list(&["label=tier=db"]), "second");
    assert_eq!(list(&["exited=3"]), "third");
    assert_eq!(list(&["status=created", "label=tier=web"]), "first");
    assert_eq!(list(&["before=second"]), "first");
    assert_eq!(list(&["since=first"]), "third second");
    assert_eq!(list(&["volume=data"]), "first");
    assert_eq!(list(&["volume=/data"]), "first");
    assert_eq!(list(&["network=none", "ancestor=busybox", "health=none"]), "third second first");
    assert_eq!(list(&["ancestor=other"]), "");
    assert_eq!(ok(&engine, &["ps", "-q", "--filter", "status=exited"]).lines().count(), 1, "status implies -a");
    assert_eq!(ok(&engine, &["ps", "-n", "2", "--format", "{{.Names}}"]), "third\nsecond\n");
    assert_eq!(ok(&engine, &["ps", "-l", "--format", "{{.Names}}"]), "third\n");
    assert!(ok(&engine, &["ps", "-as"]).lines().next().unwrap().ends_with("NAMES     SIZE"));
    for wrong in ["nope=1", "status=nope", "exited=x"] {
        let output = engine.ctr(&["ps", "--filter", wrong]);
        assert!(!output.status.success() && text(&output.stderr).contains("invalid filter"), "{wrong}");
    }
    assert_eq!(engine.ctr(&["ps", "--filter", "name"]).status.code(), Some(125));
}

#[test]
fn inspect_prints_by_template_and_names_what_is_missing() {
    let Some(engine) = Engine::new() else { return };
    create(&engine, &["--name", "one", "--label", "a=1", "-e", "A=b"]);
    let format = |format: &str| ok(&engine, &["inspect", "-f", format, "one"]);
    assert_eq!(format("{{.Name}} {{.State.Running}} {{.State.Status}}"), "/one false created\n");
    assert_eq!(format("{{range .Config.Env}}{{println .}}{{end}}"), "A=b\n\n");
    assert_eq!(
        format("{{index .Config.Labels \"a\"}}{{.Config.Labels.none}}{{json .Config.Cmd}}"),
        "1<no value>[\"sleep\",\"100\"]\n"
    );
    assert_eq!(format("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}"), "none\n");
    let both = engine.ctr(&["inspect", "-f", "{{.Name}}", "missing", "one"]);
    assert_eq!((both.status.code(), text(&both.stdout)), (Some(1), "/one\n".to_owned()));
    assert!(text(&both.stderr).contains("missing"));
    assert_eq!(text(&engine.ctr(&["inspect", "missing"]).stdout), "[]\n");
    assert_eq!(engine.ctr(&["inspect", "-f", "{{", "one"]).status.code(), Some(64));
    let wrong = engine.ctr(&["inspect", "-f", "{{.Nope}}", "one"]);
    assert_eq!(wrong.status.code(), Some(1));
    assert!(text(&wrong.stderr).contains("map has no entry for key \"Nope\""), "{}", text(&wrong.stderr));
    let sized: serde_json::Value = serde_json::from_str(&ok(&engine, &["inspect", "-s", "one"])).unwrap();
    assert_eq!(sized[0]["SizeRw"], 0);
    assert!(ok(&engine, &["version", "--format", "{{.Server.Version}} {{.Client.Os}}"]).ends_with(" linux\n"));
}

#[test]
fn volumes_are_listed_by_filter_and_template() {
    let Some(engine) = Engine::new() else { return };
    ok(&engine, &["volume", "create", "-d", "local", "--label", "tier=db", "data"]);
    ok(&engine, &["volume", "create", "spare"]);
    create(&engine, &["--name", "one", "-v", "data:/data"]);
    assert_eq!(ok(&engine, &["volume", "ls"]), "DRIVER    VOLUME NAME\nlocal     data\nlocal     spare\n");
    let list = |filter: &str| ok(&engine, &["volume", "ls", "-q", "--filter", filter]);
    assert_eq!((list("dangling=true"), list("dangling=false")), ("spare\n".to_owned(), "data\n".to_owned()));
    assert_eq!(
        (list("label=tier=db"), list("name=spa"), list("driver=other")),
        ("data\n".into(), "spare\n".into(), String::new())
    );
    assert_eq!(
        ok(&engine, &["volume", "ls", "--format", "{{.Name}} {{.Label \"tier\"}} {{.Scope}}"]),
        "data db local\nspare  local\n"
    );
    assert_eq!(ok(&engine, &["volume", "inspect", "-f", "{{.Name}} {{.Labels.tier}}", "data"]), "data db\n");
    assert_eq!(ok(&engine, &["inspect", "--type", "volume", "-f", "{{.Driver}}", "data"]), "local\n");
    assert_eq!(ok(&engine, &["inspect", "-f", "{{.Name}}", "spare"]), "spare\n");
    let removed = engine.ctr(&["volume", "rm", "data", "spare"]);
    assert_eq!((removed.status.code(), text(&removed.stdout)), (Some(1), "spare\n".to_owned()), "the one in use stays");
    ok(&engine, &["rm", "one"]);
    let pruned = ok(&engine, &["volume", "prune", "-af"]);
    assert_eq!(pruned, "Deleted Volumes:\ndata\n\nTotal reclaimed space: 0B\n");
}
