//! What is printed, and where: state, list, ps, features, spec, version, log.

use super::*;

#[test]
fn list_as_table_json_and_names() {
    let Some(bundle) = Bundle::new() else { return };
    let out = |args: &[&str]| text(&bundle.run(&[&["list"], args].concat()).stdout);
    assert_eq!(out(&[]), "ID          PID         STATUS      BUNDLE      CREATED     OWNER\n");
    assert_eq!(out(&["-f", "json"]).trim(), "null");
    assert_eq!(out(&["-q"]), "");
    let id = bundle.id("list");
    bundle.change(|config| config["annotations"] = json!({"a": "b"}));
    bundle.start(&id);
    assert_eq!(out(&["--quiet"]), format!("{id}\n"));
    let list: Value = serde_json::from_str(&out(&["--format=json"])).unwrap();
    let mut state = bundle.state(&id);
    assert_eq!(state["annotations"]["a"], "b");
    state["owner"] = json!("root");
    assert_eq!(list, json!([state]));
    let table = out(&[]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(row[0], id);
    assert_eq!(row[1..3], [&*state["pid"].to_string(), "running"]);
    assert_eq!(row[5], "root");
    assert_eq!(bundle.complaint(&["list", "-f", "xml"], 1), "invalid format option");
}

/// Keys and their order are parsed by shell scripts too.
#[test]
fn state_has_runcs_keys_in_runcs_order() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("state");
    bundle.start(&id);
    let out = text(&bundle.run(&["state", &id]).stdout);
    let keys: Vec<&str> = out.lines().filter_map(|line| line.trim().strip_prefix('"')?.split('"').next()).collect();
    assert_eq!(keys, ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"]);
    assert!(out.starts_with("{\n  \"ociVersion\": \"1.") && out.ends_with('}'), "{out}");
}

#[test]
fn ps_has_the_hosts_columns() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("ps");
    bundle.start(&id);
    let pid = bundle.state(&id)["pid"].to_string();
    let table = text(&bundle.run(&["ps", &id]).stdout);
    assert!(table.lines().next().unwrap().contains("PID"), "{table}");
    assert_eq!(table.lines().count(), 2);
    assert!(table.lines().nth(1).unwrap().split_whitespace().any(|field| field == pid));
    assert_eq!(text(&bundle.run(&["ps", "--format", "json", &id]).stdout).trim(), format!("[{pid}]"));
    assert_eq!(bundle.complaint(&["ps", "-f", "xml", &id], 1), "invalid format option");
}

#[test]
fn the_log_is_where_callers_read_it() {
    let Some(bundle) = Bundle::new() else { return };
    let log = bundle.dir.path().join("log.json");
    let path = log.to_str().unwrap();
    let output = bundle.run(&["--log", path, "--log-format", "json", "state", "missing"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr).trim(), "container does not exist");
    let entry: Value = serde_json::from_slice(&fs::read(&log).unwrap()).unwrap();
    assert_eq!((&entry["level"], &entry["msg"]), (&json!("error"), &json!("container does not exist")));
    assert!(entry["time"].as_str().unwrap().contains('T'));
    fs::write(&log, "").unwrap();
    bundle.run(&["--log", path, "state", "missing"]);
    let line = fs::read_to_string(&log).unwrap();
    assert!(line.starts_with("time=\"") && line.ends_with(" level=error msg=\"container does not exist\"\n"), "{line}");
    if std::env::var_os("CORACLE_RUNTIME").is_none() {
        bundle.run(&["--debug", "--log", path, "list"]);
        assert!(fs::read_to_string(&log).unwrap().contains("level=debug"));
    }
    assert_eq!(bundle.run(&["--log-format", "xml", "list"]).status.code(), Some(1));
}

#[test]
fn usage_errors() {
    let Some(bundle) = Bundle::new() else { return };
    let said = |args: &[&str], status| {
        let output = bundle.run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}");
        text(&output.stderr)
    };
    assert!(said(&["create"], 1).contains("requires exactly 1 argument"));
    assert!(said(&["create", "a", "b"], 1).contains("requires exactly 1 argument"));
    assert!(said(&["start", "--nope", "a"], 1).contains("flag provided but not defined: -nope"));
    assert!(said(&["nosuch"], 3).contains("No help topic for 'nosuch'"));
    assert_eq!(bundle.run(&["--help"]).status.code(), Some(0));
    for command in ["create", "run", "exec", "update", "spec"] {
        let output = bundle.run(&[command, "--help"]);
        let help = text(&output.stdout);
        assert!(output.status.success() && help.contains("USAGE:") && help.contains("OPTIONS:"), "{command}");
        assert!(help.starts_with(&format!("NAME:\n   runc {command} - ")), "{help}");
    }
}

#[test]
fn version_is_parsed_by_podman_and_containerd() {
    let Some(bundle) = Bundle::new() else { return };
    let out = text(&bundle.run(&["--version"]).stdout);
    let mut lines = out.lines();
    assert!(lines.next().unwrap().starts_with("runc version "));
    assert!(out.lines().any(|line| line.starts_with("commit: ")));
    assert!(out.lines().any(|line| line.starts_with("spec: 1.")));
}

#[test]
fn spec_is_made_once() {
    let Some(bundle) = Bundle::new() else { return };
    let folder = bundle.dir.path().join("new");
    fs::create_dir(&folder).unwrap();
    let path = folder.to_str().unwrap();
    bundle.detached(&["spec", "-b", path]);
    let spec: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert_eq!(spec["process"]["args"], json!(["sh"]));
    assert_eq!(spec["root"], json!({"path": "rootfs", "readonly": true}));
    assert_eq!(bundle.complaint(&["spec", "-b", path], 1), "File config.json exists. Remove it first");
    fs::remove_file(folder.join("config.json")).unwrap();
    bundle.detached(&["spec", "--rootless", "-b", path]);
    let spec: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
    assert!(spec["linux"]["uidMappings"].is_array() && spec["linux"].get("resources").is_none());
}

#[test]
fn features_are_a_document_of_the_specification() {
    let Some(bundle) = Bundle::ours() else { return };
    let features: Value = serde_json::from_slice(&bundle.run(&["features"]).stdout).unwrap();
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["ociVersionMax"], "1.2.0");
    assert!(features["linux"]["capabilities"].as_array().unwrap().contains(&json!("CAP_BPF")));
    assert!(features["mountOptions"].as_array().unwrap().contains(&json!("rro")));
    assert_eq!(features["linux"]["seccomp"]["enabled"], true);
}

#[test]
fn what_is_not_done_is_refused_by_name() {
    let Some(bundle) = Bundle::ours() else { return };
    for command in ["checkpoint", "restore"] {
        let said = bundle.complaint(&[command, "--image-path", "/x", "id"], 1);
        assert_eq!(said, format!("{command} is not supported by this runtime"));
    }
}

#[test]
fn events_print_one_line_of_statistics() {
    let Some(bundle) = Bundle::new() else { return };
    let id = bundle.id("events");
    bundle.start(&id);
    let output = bundle.run(&["events", "--stats", &id]);
    let event: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&event["type"], &event["id"]), (&json!("stats"), &json!(id)));
    for part in ["cpu", "memory", "pids", "blkio", "hugetlb", "intel_rdt"] {
        assert!(event["data"][part].is_object(), "{part}");
    }
    assert!(event["data"]["cpu"]["usage"]["total"].is_number());
    assert_eq!(bundle.run(&["events", "--interval", "0s", &id]).status.code(), Some(1));
}
