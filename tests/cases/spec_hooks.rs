//! Hooks: when, where and with what they run, and what becomes of a container when one fails.

use std::fs;

use serde_json::{Value, json};

use super::Bundle;

const POINTS: [&str; 6] = ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

#[test]
fn all_points_in_order_in_their_namespaces_with_the_state() {
    let Some(mut bundle) = Bundle::new() else { return };
    let data = bundle.path("data");
    fs::create_dir(&data).unwrap();
    bundle.add_mount(json!({"destination": "/data", "type": "bind", "source": data, "options": ["rbind"]}));
    bundle.config["annotations"] = json!({"org.example.key": "value"});
    for point in POINTS {
        let log = if point == "startContainer" { "/data/log".into() } else { data.join("log") };
        let script = format!(
            "state=$(cat); echo \"{{\\\"at\\\":\\\"$0\\\",\\\"mnt\\\":\\\"$(readlink /proc/self/ns/mnt)\\\",\\\"state\\\":$state}}\" >> {}",
            log.display()
        );
        let hook = json!({"path": "/bin/sh", "args": ["sh", "-c", script, point], "env": ["PATH=/bin:/usr/bin"], "timeout": 30});
        bundle.config["hooks"][point] = json!([hook]);
    }
    bundle.run("echo \"{\\\"at\\\":\\\"program\\\",\\\"mnt\\\":\\\"$(readlink /proc/self/ns/mnt)\\\"}\" >> /data/log; sleep 0.5");
    let log = fs::read_to_string(data.join("log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let mut order: Vec<&str> = lines.iter().map(|line| line["at"].as_str().unwrap()).collect();
    // The program and poststart run side by side.
    order.retain(|at| *at != "program");
    assert_eq!(order, POINTS);
    let line = |at: &str| lines.iter().find(|line| line["at"] == at).unwrap();
    let host = fs::read_link("/proc/self/ns/mnt").unwrap().display().to_string();
    let own = line("program")["mnt"].clone();
    for (point, status) in std::iter::zip(POINTS, ["creating", "creating", "creating", "created", "running", "stopped"])
    {
        let inside = matches!(point, "createContainer" | "startContainer");
        assert_eq!(line(point)["mnt"], if inside { own.clone() } else { json!(host) }, "{point}");
        let state = &line(point)["state"];
        assert_eq!(state["status"], status, "{point}");
        assert_eq!(state["annotations"]["org.example.key"], "value");
        assert_eq!(state["bundle"], json!(bundle.dir.path()));
        if Bundle::is_ours() {
            let pid = state["pid"].as_u64();
            assert!(
                if inside {
                    pid == Some(1)
                } else if point == "poststop" {
                    pid.is_none()
                } else {
                    pid > Some(1)
                },
                "{state}"
            );
        }
    }
}

#[test]
fn a_failure_is_told_and_nothing_runs() {
    let Some(mut bundle) = Bundle::new() else { return };
    for point in &POINTS[..4] {
        bundle.config["hooks"] =
            json!({*point: [{"path": "/bin/true"}, {"path": "/bin/false"}, {"path": "/nonexistent"}]});
        let said = bundle.refused();
        assert!(said.contains(&format!("error running {point} hook #1: exit status 1")), "{said}");
    }
}

#[test]
fn a_hook_has_its_time() {
    let Some(mut bundle) = Bundle::new() else { return };
    let begin = std::time::Instant::now();
    bundle.config["hooks"] = json!({"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "100"], "timeout": 1}]});
    let said = bundle.refused();
    assert!(said.contains("hook ran past specified timeout of 1"), "{said}");
    assert!(begin.elapsed().as_secs() < 50);
}
