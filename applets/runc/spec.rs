//! `spec`: a specification to start from. It is runc's.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::SPEC_VERSION;

const TEMPLATE: &str = include_str!("spec.json");

/// The order of keys in each object, that of the fields of runc's types.
const ORDER: [&str; 40] = [
    "ociVersion",
    "process",
    "root",
    "hostname",
    "mounts",
    "linux",
    "terminal",
    "user",
    "uid",
    "gid",
    "args",
    "env",
    "cwd",
    "capabilities",
    "bounding",
    "effective",
    "permitted",
    "ambient",
    "rlimits",
    "noNewPrivileges",
    "path",
    "readonly",
    "destination",
    "type",
    "source",
    "options",
    "hard",
    "soft",
    "uidMappings",
    "gidMappings",
    "containerID",
    "hostID",
    "size",
    "resources",
    "devices",
    "namespaces",
    "maskedPaths",
    "readonlyPaths",
    "allow",
    "access",
];

/// `spec`.
#[derive(clap::Args)]
pub struct Args {
    /// Directory of the bundle (default: the current directory)
    #[arg(short, long, value_name = "DIR", default_value = ".", hide_default_value = true)]
    bundle: PathBuf,

    /// Make one for a rootless container
    #[arg(long)]
    rootless: bool,
}

/// Write config.json.
pub fn spec(args: &Args) -> anyhow::Result<i32> {
    let path = args.bundle.join("config.json");
    let mut spec = template()?;
    if is_unified() {
        add_namespace(&mut spec, "cgroup");
    }
    if args.rootless {
        make_rootless(&mut spec);
    }
    let mut file = match File::create_new(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("File config.json exists. Remove it first")
        }
        created => created.with_context(|| format!("cannot make {}", path.display()))?,
    };
    let mut text = String::new();
    print(&spec, "\n", &mut text);
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(0)
}

/// Whether cgroup v2 is all that there is; with version 1 a cgroup namespace hides nothing that matters.
fn is_unified() -> bool {
    coracle_cgroups::Hierarchy::find().is_ok_and(|tree| tree.root() == Path::new("/sys/fs/cgroup"))
}

fn add_namespace(spec: &mut Value, kind: &str) {
    if let Some(namespaces) = spec["linux"]["namespaces"].as_array_mut() {
        namespaces.push(json!({"type": kind}));
    }
}

/// Write a value as runc does: indented by tabs, with the keys in its order. `line`: a line break, and how deep we are.
fn print(value: &Value, line: &str, text: &mut String) {
    let deeper = format!("{line}\t");
    let mut list = |brackets: [char; 2], items: &[(Option<&String>, &Value)]| {
        text.push(brackets[0]);
        for (index, (key, value)) in items.iter().enumerate() {
            text.push_str(if index == 0 { "" } else { "," });
            text.push_str(&deeper);
            if let Some(key) = key {
                text.push_str(&format!("{}: ", Value::from(key.as_str())));
            }
            print(value, &deeper, text);
        }
        text.push_str(line);
        text.push(brackets[1]);
    };
    match value {
        Value::Array(items) => list(['[', ']'], &items.iter().map(|item| (None, item)).collect::<Vec<_>>()),
        Value::Object(items) => {
            let mut items: Vec<_> = items.iter().map(|(key, value)| (Some(key), value)).collect();
            items.sort_by_key(|(key, _)| ORDER.iter().position(|known| key.is_some_and(|key| key == known)));
            list(['{', '}'], &items);
        }
        other => text.push_str(&other.to_string()),
    }
}

fn template() -> anyhow::Result<Value> {
    let mut spec: Map<String, Value> = serde_json::from_str(TEMPLATE).context("the template is damaged")?;
    spec.insert("ociVersion".into(), SPEC_VERSION.into());
    Ok(spec.into())
}

/// A user namespace with the caller as its root, the host's network, no limits and no ids that are not mapped.
fn make_rootless(spec: &mut Value) {
    for mount in spec["mounts"].as_array_mut().into_iter().flatten() {
        if mount["destination"] == "/sys" {
            *mount = json!({
                "destination": "/sys", "type": "none", "source": "/sys",
                "options": ["rbind", "nosuid", "noexec", "nodev", "ro"],
            });
        }
        if let Some(options) = mount.get_mut("options").and_then(Value::as_array_mut) {
            options.retain(|option| {
                !option.as_str().is_some_and(|text| text.starts_with("gid=") || text.starts_with("uid="))
            });
        }
    }
    let linux = &mut spec["linux"];
    if let Some(linux) = linux.as_object_mut() {
        linux.remove("resources");
    }
    if let Some(namespaces) = linux["namespaces"].as_array_mut() {
        namespaces.retain(|namespace| namespace["type"] != "network");
    }
    let id = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    linux["uidMappings"] = id(nix::unistd::geteuid().as_raw());
    linux["gidMappings"] = id(nix::unistd::getegid().as_raw());
    add_namespace(spec, "user");
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn what_is_written_is_runcs_text() {
        let mut text = String::new();
        print(&template().unwrap(), "\n", &mut text);
        assert_eq!(text, TEMPLATE.trim_end());
    }

    #[test]
    fn both_are_specifications() {
        let mut spec = template().unwrap();
        let understood: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(understood.version(), SPEC_VERSION);
        make_rootless(&mut spec);
        let _: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert!(spec["linux"].get("resources").is_none());
        assert!(!spec.to_string().contains("gid=5"));
        assert!(!spec.to_string().contains("null"), "a mount without options has none");
    }
}
