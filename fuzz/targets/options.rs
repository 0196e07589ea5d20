//! Options of `ctr run`, one argument a line: `--mount`, `-v`, `-p`, `--device` and all the others; and filters.
#![no_main]

#[allow(dead_code, unused_imports)]
#[path = "../shared/ctr.rs"]
mod ctr;

use clap::{Args, FromArgMatches};
use ctr::{filter, options, options_mounts, options_security};

libfuzzer_sys::fuzz_target!(|text: &str| {
    let words: Vec<&str> = text.lines().collect();
    let command = options::Options::augment_args(clap::Command::new("run")).args_override_self(true);
    match command.try_get_matches_from(["run"].iter().chain(&words)) {
        Ok(matches) => drop(options::Options::from_arg_matches(&matches).map(|options| options.image().len())),
        Err(error) => drop(error.to_string()),
    }
    // The same without the option's name before it, which few mutations keep.
    for word in words {
        if let Ok(volume) = options_mounts::parse_volume(word) {
            inside(&volume.destination);
        }
        if let Ok(mount) = options_mounts::parse_mount(word) {
            inside(&mount.target);
            let text = serde_json::to_string(&mount).expect("a record");
            assert_eq!(serde_json::from_str::<options_mounts::MountOption>(&text).expect("its own form"), mount);
        }
        if let Ok((path, options)) = options_mounts::parse_tmpfs(word) {
            inside(&path);
            let _ = options_mounts::tmpfs_options(&options);
        }
        if let Some(rule) = options_security::device_rule(word) {
            assert!(rule.allow());
        }
        if !word.starts_with("seccomp") {
            let _ = options_security::parse(word);
        }
        if let Ok(ports) = coracle_netns::PortMapping::parse_all(word) {
            assert!(ports.iter().all(|port| port.container_port != 0));
        }
        if let Ok(filter) = filter::parse(word) {
            let all = filter::Filters::new(&[filter], &["name", "until", "label"]);
            let _ = all.map(|all| (all.matches("name", &["some"]), all.until("2000-01-01T00:00:00Z")));
        }
    }
});

/// A place in a container: absolute, not the root, and nothing that leads out of it.
fn inside(path: &str) {
    assert!(path.len() > 1 && path.starts_with('/'), "{path:?}");
    assert!(path.split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")), "{path:?}");
}
