//! The bill of materials: CycloneDX 1.5 of what is inside the image.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{At, Error, input};
use crate::guid::Guid;
use crate::layout::Arch;

/// Where the facts come from.
#[derive(Debug)]
pub struct Sources<'a> {
    /// Output of `cargo metadata --locked --format-version 1 --filter-platform TARGET`.
    pub metadata: &'a Path,
    /// Cargo.lock: the checksums.
    pub lock: &'a Path,
    /// Version of the Debian source package of the kernel.
    pub kernel: &'a str,
    /// Version of Debian's systemd-boot-efi.
    pub systemd_boot: &'a str,
    /// Version of the OS.
    pub version: &'a str,
    /// For what it is built.
    pub arch: Arch,
}

/// Write the bill to `out`. It has no time of its own: the same commit gives the same bytes.
///
/// # Errors
/// When an input cannot be read or is not what cargo writes.
pub fn write(sources: &Sources, out: &Path) -> Result<(), Error> {
    let metadata = fs::read_to_string(sources.metadata).at("read", sources.metadata)?;
    let metadata: Value =
        serde_json::from_str(&metadata).map_err(|error| input(sources.metadata, error.to_string()))?;
    let lock = fs::read_to_string(sources.lock).at("read", sources.lock)?;
    let crates = shipped(&metadata).ok_or_else(|| input(sources.metadata, "is no output of cargo metadata"))?;
    let bill = bill(sources, &crates, &checksums(&lock));
    let text = serde_json::to_string_pretty(&bill).map_err(|error| input(out, error.to_string()))?;
    fs::write(out, text + "\n").at("write", out)
}

fn bill(sources: &Sources, crates: &[&Value], checksums: &BTreeMap<(String, String), String>) -> Value {
    let version = sources.version;
    let mut components = vec![
        debian("linux", sources.kernel, "GPL-2.0-only"),
        debian("systemd", sources.systemd_boot, "LGPL-2.1-or-later"),
    ];
    components.extend(crates.iter().map(|package| component(package, checksums)));
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": format!("urn:uuid:{}", Guid::derive(version, &format!("sbom {}", sources.arch.name()))),
        "version": 1,
        "metadata": {
            "component": {
                "type": "operating-system",
                "name": "coracle",
                "version": version,
                "licenses": [{ "license": { "id": "Apache-2.0" } }],
                "properties": [{ "name": "architecture", "value": sources.arch.name() }],
            }
        },
        "components": components,
    })
}

fn debian(name: &str, version: &str, license: &str) -> Value {
    json!({
        "type": if name == "linux" { "operating-system" } else { "application" },
        "name": name,
        "version": version,
        "licenses": [{ "expression": license }],
        "purl": format!("pkg:deb/debian/{name}@{version}?arch=source"),
    })
}

fn component(package: &Value, checksums: &BTreeMap<(String, String), String>) -> Value {
    let text = |key| package.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (name, version) = (text("name"), text("version"));
    let mut component = json!({ "type": "library", "name": name, "version": version });
    if package.get("source").is_some_and(Value::is_string) {
        component["purl"] = format!("pkg:cargo/{name}@{version}").into();
    }
    // Old manifests separate alternatives by a slash, which SPDX does not know.
    let license = text("license").replace('/', " OR ");
    if !license.is_empty() {
        component["licenses"] = json!([{ "expression": license.split_whitespace().collect::<Vec<_>>().join(" ") }]);
    }
    if let Some(checksum) = checksums.get(&(name, version)) {
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    component
}

/// The packages that the crate `coracle` links: over normal dependencies only, and without macros, which run at build time.
fn shipped(metadata: &Value) -> Option<Vec<&Value>> {
    let packages: BTreeMap<&str, &Value> = metadata["packages"]
        .as_array()?
        .iter()
        .filter_map(|package| Some((package["id"].as_str()?, package)))
        .collect();
    let nodes: BTreeMap<&str, &Value> =
        metadata["resolve"]["nodes"].as_array()?.iter().filter_map(|node| Some((node["id"].as_str()?, node))).collect();
    let root = packages.values().find(|package| package["name"] == "coracle" && package["source"].is_null())?;
    let mut found = BTreeSet::new();
    let mut queue = vec![root["id"].as_str()?];
    while let Some(id) = queue.pop() {
        if packages.get(id).is_none_or(|package| is_macro(package)) || !found.insert(id) {
            continue;
        }
        for dependency in nodes.get(id)?["deps"].as_array()? {
            if dependency["dep_kinds"].as_array()?.iter().any(|kind| kind["kind"].is_null()) {
                queue.push(dependency["pkg"].as_str()?);
            }
        }
    }
    let mut crates: Vec<&Value> = found.iter().filter_map(|id| packages.get(id).copied()).collect();
    let key = |package: &Value| (package["name"].to_string(), package["version"].to_string());
    crates.sort_by_key(|package| key(package));
    Some(crates)
}

fn is_macro(package: &Value) -> bool {
    let kinds = |target: &Value| target["kind"].as_array().is_some_and(|kinds| kinds.iter().any(|k| k == "proc-macro"));
    package["targets"].as_array().is_some_and(|targets| targets.iter().any(kinds))
}

/// SHA-256 of each package by name and version. Cargo.lock is machine-written: a key and a value on each line.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let mut found = BTreeMap::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(" = \""))?;
            line.strip_suffix('"').map(str::to_owned)
        };
        if let (Some(name), Some(version), Some(checksum)) = (value("name"), value("version"), value("checksum")) {
            found.insert((name, version), checksum);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_what_is_linked_with_checksum_and_licence() {
        let package = |id: &str, kind: &str, source: Value| {
            json!({ "id": id, "name": id, "version": "1.0.0", "license": "MIT/Apache-2.0", "source": source,
                    "targets": [{ "kind": [kind] }] })
        };
        let dep = |id: &str, kind: Value| json!({ "pkg": id, "dep_kinds": [{ "kind": kind }] });
        let registry = || json!("registry");
        let metadata = json!({
            "packages": [
                package("coracle", "bin", Value::Null), package("linked", "lib", registry()),
                package("test-only", "lib", registry()), package("build-only", "lib", registry()),
                package("a-macro", "proc-macro", registry()),
            ],
            "resolve": { "nodes": [
                { "id": "coracle", "deps": [dep("linked", Value::Null), dep("test-only", json!("dev")),
                                            dep("build-only", json!("build")), dep("a-macro", Value::Null)] },
                { "id": "linked", "deps": [] },
            ] },
        });
        let names: Vec<_> = shipped(&metadata).unwrap().iter().map(|package| package["name"].clone()).collect();
        assert_eq!(names, ["coracle", "linked"]);
        let lock = "version = 4\n\n[[package]]\nname = \"linked\"\nversion = \"1.0.0\"\nchecksum = \"abc\"\n";
        let component = component(&package("linked", "lib", registry()), &checksums(lock));
        assert_eq!(component["purl"], "pkg:cargo/linked@1.0.0");
        assert_eq!(component["hashes"][0]["content"], "abc");
        assert_eq!(component["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert!(shipped(&json!({})).is_none());
    }
}
