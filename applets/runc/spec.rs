//! `spec`: a specification to start from. It is runc's.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

use anyhow::{Context, bail};
use serde_json::{Map, Value, json};

use super::SPEC_VERSION;

const TEMPLATE: &str = include_str!("spec.json");

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
    if args.rootless {
        make_rootless(&mut spec);
    }
    let mut file = match File::create_new(&path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("File config.json exists. Remove it first")
        }
        created => created.with_context(|| format!("cannot make {}", path.display()))?,
    };
    let text = serde_json::to_string_pretty(&spec)?.replace("  ", "\t");
    file.write_all(text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(0)
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
        if let Some(options) = mount["options"].as_array_mut() {
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
        namespaces.push(json!({"type": "user"}));
    }
    let id = |host: u32| json!([{"containerID": 0, "hostID": host, "size": 1}]);
    linux["uidMappings"] = id(nix::unistd::geteuid().as_raw());
    linux["gidMappings"] = id(nix::unistd::getegid().as_raw());
}

#[cfg(test)]
mod tests {
    use super::*;
    use oci_spec::runtime::Spec;

    #[test]
    fn both_are_specifications() {
        let mut spec = template().unwrap();
        let understood: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert_eq!(understood.version(), SPEC_VERSION);
        make_rootless(&mut spec);
        let _: Spec = serde_json::from_value(spec.clone()).unwrap();
        assert!(spec["linux"].get("resources").is_none());
        assert!(!spec.to_string().contains("gid=5"));
    }
}
