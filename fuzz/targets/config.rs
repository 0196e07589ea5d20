//! config.json of a container: understood, but nothing of it done.
#![no_main]
#![allow(dead_code, reason = "the runtime is part of a program, and here is only what reads")]

use std::path::Path;

use oci_spec::runtime::Spec;

#[path = "../../applets/runtime/mod.rs"]
mod runtime;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok((mut spec, _)) = runtime::from_json::<Spec>(data) else { return };
    // Files that it names are not opened.
    if let Some(linux) = spec.linux_mut() {
        let mut namespaces = linux.namespaces().clone().unwrap_or_default();
        namespaces.iter_mut().for_each(|namespace| drop(namespace.set_path(None)));
        linux.set_namespaces(Some(namespaces));
    }
    let identity = runtime::Identity { id: "fuzz", bundle: Path::new("/nonexistent") };
    if let Err(error) = runtime::check(&spec, Some(identity)) {
        drop(error.to_string());
    }
    let resources = spec.linux().as_ref().and_then(|linux| linux.resources().as_ref());
    if let Some(Ok(plan)) = resources.map(runtime::Resources::plan) {
        drop(plan.controllers());
    }
});
